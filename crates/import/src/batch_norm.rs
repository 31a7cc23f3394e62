//! Batch normalisation of a network that is only evaluated: one factor and one offset for each channel.

use super::floats::list;
use reverie_graph::Array;

/// `scale / √(variance + ε)` and `offset − mean · scale / √(variance + ε)`, of `[scale, offset, mean, variance]`. In 64 bits, so
/// that this adds no error worth mentioning.
pub(super) fn affine([scale, offset, mean, variance]: [&[f32]; 4], epsilon: f64) -> (Array, Array) {
    let factors: Vec<f64> = (scale.iter().zip(variance))
        .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + epsilon).sqrt())
        .collect();
    let offsets = (offset.iter().zip(mean)).zip(&factors);
    let offsets =
        offsets.map(|((&offset, &mean), factor)| (f64::from(offset) - f64::from(mean) * factor) as f32);
    (list(factors.iter().map(|&factor| factor as f32).collect()), list(offsets.collect()))
}
