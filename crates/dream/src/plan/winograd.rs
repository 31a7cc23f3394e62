//! Which convolutions are computed with fewer multiplications: by Winograd's method, which has 36 multiplications in
//! place of 144 for 3×3 weights. The renderer on a CPU goes by this rule, and so do predictions of time and memory.

use reverie_graph::Op;

/// Channels, and outputs, that are computed side by side.
pub const LANES: usize = 16;

/// Taps along an axis.
const TAPS: std::ops::RangeInclusive<usize> = 3..=5;

/// Results of an image below which reading the weights, of which there are up to four times as many, takes longer than
/// is saved: on a Zen 4 EPYC 8×8 took as long either way, 10×10 two thirds, 40×40 less than half.
const MIN_RESULTS: usize = 80;

/// The same for bfloat16, which that processor multiplies at twice the rate of the float32 that is computed with here:
/// 16×16 took a tenth longer, 20×20 a fifth less, 40×40 a third less; 5×5 weights took longer at any size.
const MIN_RESULTS_BF16: usize = 400;

/// Whether weights `[outputs, channels, rows, columns]` of a convolution without groups, strides and dilation are of a
/// shape for which it can pay.
pub fn suits([outputs, channels, rows, columns]: [usize; 4]) -> bool {
    rows == columns
        && TAPS.contains(&rows)
        && channels > 0
        && channels.is_multiple_of(LANES)
        && outputs >= LANES
}

/// Whether it is faster than plain sums for images with so many results each, in bfloat16 or else float32. The number of
/// images does not matter: what an image gives must not depend on what else is in the batch.
pub fn pays(weights: [usize; 4], bf16: bool, results: usize) -> bool {
    let least = if bf16 { MIN_RESULTS_BF16 } else { MIN_RESULTS };
    suits(weights) && results >= least && !(bf16 && weights[2] > 4)
}

/// The weights of a convolution that [`suits`]; none of another operation.
pub(super) fn weights_of(op: &Op) -> Option<[usize; 4]> {
    match op {
        Op::Conv2d { weight, stride: [1, 1], dilation: [1, 1], groups: 1, .. } => {
            let shape: [usize; 4] = weight.shape.as_slice().try_into().ok()?;
            suits(shape).then_some(shape)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pays_for_large_maps_and_fitting_weights() {
        let (three, five) = ([32, 16, 3, 3], [32, 16, 5, 5]);
        assert!(!pays(three, false, 64) && pays(three, false, 81) && pays(five, false, 81));
        assert!(!pays(three, true, 361) && pays(three, true, 400));
        assert!(!pays(five, true, 8100));
        for weights in
            [[8, 16, 3, 3], [32, 24, 3, 3], [32, 16, 1, 1], [32, 16, 3, 5], [32, 16, 7, 7], [32, 0, 3, 3]]
        {
            assert!(!pays(weights, false, 8100), "{weights:?}");
        }
    }
}
