//! The scalar that a dream climbs, and its gradient with respect to tiles of the image.

use tch::{Kind, Tensor};

use super::{RenderError, exec::Executor};
use crate::{
    graph::{Network, NodeId, Op, Shape},
    spec::{Objective, ObjectiveKind},
};

/// A spec's objectives, bound to the nodes of a network.
#[derive(Clone)]
pub(super) struct Goal {
    terms: Vec<Term>,
    layers: Vec<NodeId>,
}

#[derive(Clone)]
struct Term {
    kind: ObjectiveKind,
    weight: f64,
    /// Channels, or the class; all where there are none.
    channels: Vec<i64>,
    /// Whether the layer's classes have to be made to compete first.
    softmax: bool,
}

impl Goal {
    /// Looks the layers up.
    pub(super) fn new(network: &Network, objectives: &[Objective]) -> Result<Self, RenderError> {
        let mut terms = Vec::with_capacity(objectives.len());
        let mut layers = Vec::with_capacity(objectives.len());
        for objective in objectives {
            let layer = network.find(&objective.layer)?;
            layers.push(layer);
            // A layer that is a softmax already holds probabilities.
            let softmax =
                objective.kind == ObjectiveKind::Probability && network.node(layer).op != Op::Softmax;
            let channels = match objective.class {
                Some(class) => vec![i64::from(class)],
                None => objective.channels.iter().map(|&channel| i64::from(channel)).collect(),
            };
            terms.push(Term { kind: objective.kind, weight: objective.weight, channels, softmax });
        }
        Ok(Self { terms, layers })
    }

    /// The layers that the network is run for.
    pub(super) fn layers(&self) -> &[NodeId] {
        &self.layers
    }

    /// Image pixels between neighbouring positions of the deepest layer; 1 where no layer has positions.
    pub(super) fn stride(&self, network: &Network) -> i64 {
        network.stride(&self.layers) as i64
    }

    /// Whether the layers can be computed for an image of this size.
    pub(super) fn fits(&self, network: &Network, height: i64, width: i64) -> bool {
        let [height, width] = [height, width].map(|extent| usize::try_from(extent).unwrap_or(0));
        network.shapes(&self.layers, height, width).is_ok()
    }

    /// Weighted sum of all terms for one tile, `[1, 3, H, W]` in 0–255; a scalar tensor.
    pub(super) fn score(&self, executor: &Executor, tile: &Tensor) -> Result<Tensor, RenderError> {
        let values = self.values(&executor.forward(tile, &self.layers)?)?;
        self.sum(&values, self.terms.iter().map(|term| term.weight))
    }

    /// Score of one tile and its gradient, as [`gradients`] of a batch of one.
    pub(super) fn gradient(&self, executor: &Executor, tile: &Tensor) -> Result<(f64, Tensor), RenderError> {
        let (scores, gradient) = gradients(executor, tile, &[Climb { goal: self, whole: None }])?;
        Ok((scores.into_iter().sum(), gradient))
    }

    /// The value of each term, scalars.
    fn values(&self, activations: &[Tensor]) -> Result<Vec<Tensor>, RenderError> {
        self.terms.iter().zip(activations).map(|(term, activation)| term.value(activation)).collect()
    }

    fn sum(&self, values: &[Tensor], weights: impl Iterator<Item = f64>) -> Result<Tensor, RenderError> {
        let mut sum: Option<Tensor> = None;
        for (value, weight) in values.iter().zip(weights) {
            let value = value.f_mul_scalar(weight)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&value)?,
                None => value,
            });
        }
        sum.ok_or_else(|| RenderError::Engine("a spec without objectives".into()))
    }

    /// What each term is a mean over, for an image of this size: the positions of its layer, or the image's pixels
    /// where that has none; classes are sums.
    pub(super) fn positions(
        &self,
        network: &Network,
        height: i64,
        width: i64,
    ) -> Result<Vec<f64>, RenderError> {
        let shapes = network.shapes(&self.layers, height as usize, width as usize)?;
        let of = |(term, layer): (&Term, &NodeId)| match (term.kind, shapes[layer.0]) {
            (ObjectiveKind::Class | ObjectiveKind::Probability, Some(Shape::Map { .. })) => 1.0,
            (_, Some(Shape::Map { height: rows, width: columns, .. })) => (rows * columns) as f64,
            (_, Some(Shape::Rows { .. }) | None) => (height * width) as f64,
        };
        Ok(self.terms.iter().zip(&self.layers).map(of).collect())
    }
}

/// What is climbed at one tile of a batch.
#[derive(Clone, Copy)]
pub(super) struct Climb<'a> {
    pub(super) goal: &'a Goal,
    /// [`Goal::positions`] of the image that the tile is part of.
    ///
    /// A mean over the positions of a layer is divided by their number, so its derivative shrinks as the tile grows.
    /// With these the derivative is that of the mean over the whole, so that tiles of different sizes agree.
    pub(super) whole: Option<&'a [f64]>,
}

/// Scores of `tiles`, `[N, 3, H, W]` in 0–255, and their gradients, `[N, 3, H, W]` float32. There is a climb for each
/// tile, and all are to the same layers. A tile's results do not depend on what else is in the batch.
pub(super) fn gradients(
    executor: &Executor,
    tiles: &Tensor,
    climbs: &[Climb<'_>],
) -> Result<(Vec<f64>, Tensor), RenderError> {
    let Some(Climb { goal: Goal { layers, .. }, .. }) = climbs.first() else {
        return Err(RenderError::Engine("a batch without tiles".into()));
    };
    let (_, _, height, width) = tiles.size4()?;
    let tape = executor.record(tiles, layers)?;
    let mut scores = Vec::with_capacity(climbs.len());
    let mut seeds: Vec<Vec<Tensor>> = layers.iter().map(|_| Vec::new()).collect();
    for (index, Climb { goal, whole }) in climbs.iter().enumerate() {
        // Autograd differentiates the terms themselves, which are small; from there the executor goes on.
        let leaves = tape.activations.iter().map(|layer| {
            let rows = layer.size()[0] / climbs.len() as i64;
            let own = layer.f_narrow(0, index as i64 * rows, rows)?;
            Ok(own.f_detach()?.f_set_requires_grad(true)?)
        });
        let leaves = leaves.collect::<Result<Vec<Tensor>, RenderError>>()?;
        let values = goal.values(&leaves)?;
        let score = goal.sum(&values, goal.terms.iter().map(|term| term.weight))?;
        let climbed = match whole {
            Some(whole) => {
                let part = goal.positions(executor.network(), height, width)?;
                let shares = part.into_iter().zip(*whole).map(|(part, whole)| part / whole);
                goal.sum(&values, goal.terms.iter().zip(shares).map(|(term, share)| term.weight * share))?
            }
            None => score.shallow_clone(),
        };
        let derivatives = Tensor::f_run_backward(&[&climbed], &leaves, false, false)?;
        for (seeds, derivative) in seeds.iter_mut().zip(derivatives) {
            seeds.push(derivative);
        }
        scores.push(score.f_detach()?);
    }
    let seeds = seeds.into_iter().map(|mut parts| match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Ok(Tensor::f_cat(&parts, 0)?),
    });
    let seeds = seeds.collect::<Result<Vec<Tensor>, RenderError>>()?;
    let gradient = tape.gradient(seeds)?;
    // One look at the device for all, after it has got everything to do.
    Ok((Vec::try_from(Tensor::f_stack(&scores, 0)?.f_to_kind(Kind::Double)?)?, gradient))
}

impl Term {
    /// A scalar in float32 or better.
    fn value(&self, activation: &Tensor) -> Result<Tensor, RenderError> {
        // Sums over a layer need more digits than bfloat16 has.
        let exact = match activation.f_kind()? {
            Kind::BFloat16 => activation.f_to_kind(Kind::Float)?,
            _ => activation.shallow_clone(),
        };
        let competing = if self.softmax { exact.f_softmax(1, None::<Kind>)? } else { exact };
        let picked = match &self.channels[..] {
            [] => competing,
            channels => {
                let channels = Tensor::f_from_slice(channels)?.f_to_device(competing.device())?;
                competing.f_index_select(1, &channels)?
            }
        };
        Ok(match self.kind {
            ObjectiveKind::Mean => picked.f_mean(None::<Kind>)?,
            ObjectiveKind::L2 => picked.f_square()?.f_mean(None::<Kind>)?,
            ObjectiveKind::Class | ObjectiveKind::Probability => picked.f_sum(None::<Kind>)?,
        })
    }
}
