//! What objectives and penalties cost beside the network's passes and what a guide adds.

use super::{guide::positions, work::Work};
use crate::spec::{DreamSpec, Objective, ObjectiveKind, Pick};
use reverie_graph::{Network, NodeId, ShapeError, UnknownLayer};

/// How often a direction goes through its layer's values: its dot products, their lengths, and twice for the derivative.
const DIRECTION: f64 = 6.0;

/// How often a place goes through them: for the score and for the derivative.
const PLACE: f64 = 2.0;

/// Pixels of a plain step that total variation takes as long as: 34 nanoseconds a pixel on two cores.
const TOTAL_VARIATION: f64 = 3.0;

/// The same of L2 decay.
const L2_DECAY: f64 = 0.3;

/// The same of the filter of a Fourier parametrisation: 130 nanoseconds of two cores a pixel.
const FOURIER: f64 = 6.0;

/// The same of a random transformation and its adjoint: 40 nanoseconds of them.
const TRANSFORMATION: f64 = 3.0;

/// A layer, and how often an objective goes through its values beyond what every objective does.
pub(super) type Measured = (NodeId, f64);

/// Those of `spec`.
pub(super) fn measured(spec: &DreamSpec, network: &Network) -> Result<Vec<Measured>, UnknownLayer> {
    let times = |objective: &Objective| {
        let direction = if objective.kind == ObjectiveKind::Direction { DIRECTION } else { 0.0 };
        let place = if objective.at.is_some() { PLACE } else { 0.0 };
        direction + place
    };
    let costly = spec.objectives.iter().filter(|objective| times(objective) > 0.0);
    costly.map(|objective| Ok((network.find(&objective.layer)?, times(objective)))).collect()
}

/// What they add to one window.
pub(super) fn work(
    measured: &[Measured],
    network: &Network,
    height: usize,
    width: usize,
) -> Result<Work, ShapeError> {
    let mut work = Work::default();
    for &(layer, times) in measured {
        let Some(shape) = network.shapes(&[layer], height, width)?[layer.0] else { continue };
        work.values += positions(shape) * network.channels(layer) as f64 * times;
        work.operations += times;
    }
    Ok(work)
}

/// Whether channels are found out before the first step, which takes one way forward over the first octave.
pub(super) fn looks_first(spec: &DreamSpec) -> bool {
    let looks = |pick| matches!(pick, Some(Pick::Strongest | Pick::Weakest));
    spec.all_objectives().any(|objective| looks(objective.pick))
}

/// Pixels whose plain steps take as long as one of this spec's.
pub(super) fn pixels(spec: &DreamSpec) -> f64 {
    let smooth = if spec.total_variation > 0.0 { TOTAL_VARIATION } else { 0.0 };
    let decay = if spec.l2_decay > 0.0 { L2_DECAY } else { 0.0 };
    let fourier = if spec.is_fourier() { FOURIER } else { 0.0 };
    let transformed = if spec.is_transformed() { TRANSFORMATION } else { 0.0 };
    1.0 + smooth + decay + fourier + transformed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            BYTES_PER_BAND_PIXEL, BYTES_PER_FOURIER_PIXEL, BYTES_PER_TRANSFORMED_PIXEL, Plan, tests::plan,
        },
        FOURIER, TRANSFORMATION,
    };

    fn of(members: serde_json::Value) -> Plan {
        let mut spec = json!({ "octaves": 2, "iterations": 10, "preset": "deepdream" });
        spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        plan(spec, (300, 400))
    }

    #[test]
    fn what_is_done_beside_the_passes_has_its_price() {
        let plain = of(json!({ "objectives": [{ "kind": "mean" }] }));
        let smooth =
            of(json!({ "objectives": [{ "kind": "mean" }], "total_variation": 0.1, "l2_decay": 0.1 }));
        assert!((smooth.work.pixels - plain.work.pixels * 4.3).abs() < 1.0, "{:?}", smooth.work);
        let otherwise = of(
            json!({ "objectives": [{ "kind": "mean" }], "parametrization": "fourier", "random_scale": 0.1 }),
        );
        let times = 1.0 + FOURIER + TRANSFORMATION;
        assert!((otherwise.work.pixels - plain.work.pixels * times).abs() < 1.0, "{:?}", otherwise.work);
        let more = (otherwise.memory - plain.memory) as f64;
        let bytes = BYTES_PER_BAND_PIXEL + BYTES_PER_FOURIER_PIXEL + BYTES_PER_TRANSFORMED_PIXEL;
        assert!((more - 300.0 * 400.0 * bytes).abs() < 2.0, "{more}");
        // One way forward of the smaller octave.
        let picked = of(json!({ "objectives": [{ "pick": "strongest" }] }));
        let first = plain.work.dense / 10.4 / (1.0 + 1.4 * 1.4);
        let more = picked.work.dense - plain.work.dense;
        assert!(more > 0.35 * first && more < 0.5 * first, "{more}, {first}");
        assert_eq!(of(json!({ "objectives": [{ "pick": "random" }] })).work, plain.work);
        let placed = of(json!({ "objectives": [{ "kind": "mean", "at": {} }] }));
        let direction = of(json!({ "objectives": [{ "direction": { "1": 1 } }] }));
        let values = |plan: &Plan| plan.work.values;
        assert!(values(&plain) < values(&placed) && values(&placed) < values(&direction));
        assert_eq!(plain.work.dense, direction.work.dense);
    }
}
