//! Channels that the picture or chance decides: the strongest, the weakest, or any.
//!
//! They are found before the first step, on the picture in the size of the first octave, tile by tile. All that goes into it
//! follows from the request and not from the size of its tiles, so an attempt that goes on after a checkpoint finds the same ones,
//! and so does a replay; but for a device that lacks the memory for even one forward pass over a tile of [`TILE`].

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tch::Tensor;

use super::{RenderError, tiles::TiledGradient};
use reverie_dream::spec::{DreamSpec, Objective, Pick};
use reverie_graph::{Network, NodeId};

/// The stream of the first objective's random channels, and of each further one the next below: no octave or frame has one of
/// these, nor has the start from noise.
const FIRST_STREAM: u64 = u64::MAX - 1;

/// Edge in pixels of the largest tile in which they are measured, whatever the spec's: those are halved where memory is missing.
pub(super) const TILE: u32 = 256;

/// Whether the picture has to be looked at.
pub(super) fn looks(spec: &DreamSpec) -> bool {
    spec.objectives.iter().any(|objective| is_measured(objective.pick))
}

fn is_measured(pick: Option<Pick>) -> bool {
    matches!(pick, Some(Pick::Strongest | Pick::Weakest))
}

/// The mean activation of every channel on the picture, for each objective that asks; `tiled` lies on the first octave,
/// `base`, `[1, 3, H, W]`.
pub(super) fn means(
    tiled: &TiledGradient<'_>,
    network: &Network,
    spec: &DreamSpec,
    base: &Tensor,
) -> Result<Vec<Option<Vec<f64>>>, RenderError> {
    let asking = spec.objectives.iter().filter(|objective| is_measured(objective.pick));
    let layers = asking.map(|objective| network.find(&objective.layer));
    let layers = layers.collect::<Result<Vec<NodeId>, _>>()?;
    let mut found = tiled.channel_means(base, &layers)?.into_iter();
    let of = |objective: &Objective| if is_measured(objective.pick) { found.next() } else { None };
    Ok(spec.objectives.iter().map(of).collect())
}

/// The objectives of `spec` with their channels, and a sentence for each that was settled here. `means` are those of [`means`],
/// empty where no objective asks.
pub(super) fn settled(
    spec: &DreamSpec,
    network: &Network,
    means: &[Option<Vec<f64>>],
) -> Result<(Vec<Objective>, Vec<String>), RenderError> {
    let mut notes = Vec::new();
    let mut objectives = Vec::with_capacity(spec.objectives.len());
    for (index, objective) in spec.objectives.iter().enumerate() {
        let Some(pick) = objective.pick else {
            objectives.push(objective.clone());
            continue;
        };
        let count = objective.count.unwrap_or(1) as usize;
        let (mut channels, which) = match pick {
            Pick::Random => {
                let width = network.channels(network.find(&objective.layer)?);
                (drawn(spec.seed, FIRST_STREAM - index as u64, width, count), "random")
            }
            Pick::Strongest | Pick::Weakest => {
                let unmeasured = || RenderError::Engine("channels were not measured".into());
                let means = means.get(index).and_then(Option::as_ref).ok_or_else(unmeasured)?;
                let strongest = pick == Pick::Strongest;
                (ranked(means, count, strongest), if strongest { "strongest" } else { "weakest" })
            }
        };
        let named = channels.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let (layer, number) = (&objective.layer, index + 1);
        notes.push(format!("objective {number} measures the {which} channels of \"{layer}\" here: {named}"));
        channels.sort_unstable();
        objectives.push(Objective { channels, pick: None, count: None, ..objective.clone() });
    }
    Ok((objectives, notes))
}

/// The `count` channels with the largest means, or the smallest, in that order; of equal ones the first.
fn ranked(means: &[f64], count: usize, strongest: bool) -> Vec<u32> {
    let mut order: Vec<(u32, f64)> = (0..).zip(means.iter().copied()).collect();
    order.sort_by(|one, other| {
        let by_mean = one.1.total_cmp(&other.1);
        if strongest { by_mean.reverse() } else { by_mean }
    });
    order.into_iter().take(count).map(|(channel, _)| channel).collect()
}

/// `count` different channels of `width`, in the order in which they were drawn.
fn drawn(seed: u64, stream: u64, width: usize, count: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut channels: Vec<u32> = (0..).take(width).collect();
    for place in 0..count.min(width) {
        let rest = (width - place) as u64;
        // Multiply-shift maps 32 random bits to the range.
        let other = place + ((u64::from(rng.next_u32()) * rest) >> 32) as usize;
        channels.swap(place, other);
    }
    channels.truncate(count);
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_channels_comes_first() {
        let means = [1.0, 3.0, -2.0, 3.0, 0.0];
        assert_eq!(ranked(&means, 3, true), [1, 3, 0]);
        assert_eq!(ranked(&means, 2, false), [2, 4]);
        assert_eq!(ranked(&means, 9, true).len(), 5);
    }

    #[test]
    fn drawn_channels_differ_and_follow_from_the_seed() {
        let drawn = |seed, stream| drawn(seed, stream, 480, 8);
        let first = drawn(7, FIRST_STREAM);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert!(sorted.len() == 8 && sorted.iter().all(|channel| *channel < 480));
        assert_eq!(first, drawn(7, FIRST_STREAM));
        assert!(first != drawn(8, FIRST_STREAM) && first != drawn(7, FIRST_STREAM - 1));
        assert_eq!(super::drawn(1, 2, 3, 8).len(), 3);
    }
}
