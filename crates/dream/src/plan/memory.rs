//! How much memory a dream takes at the most, beyond what the process holds anyway.
//!
//! The figures come from the peak of the resident memory of `reverie render` processes. Per pixel: the slope between
//! images of 4, 16 and 100 megapixels, which `tests/memory.rs` bounds. Per value and per weight: tiles from 64 to 1024
//! and layers from the first to the last of two models, in float32; what is left for an image of 64×64 and the first layers
//! is the process itself, and taken off. The first layers set the figure per value, deeper ones take half of it.

use super::winograd;
use crate::spec::{DreamSpec, Precision};
use reverie_graph::{Network, NodeId, Op};

/// Bytes per pixel of the largest octave, at the most, of pictures with eight bits per sample: image and gradient (12 each),
/// the levels of the Laplacian pyramid (4), the input (3) and its transparency (1), and a few bands of rows. Admission and the
/// documents name this figure; `tests/memory.rs` measures that it is enough.
pub const BYTES_PER_PIXEL: f64 = 38.0;

/// Bytes per value that the network computes for the largest tile: the value, and what the backward pass keeps of it
/// or makes of it.
const PER_VALUE: f64 = 4.5;

/// Bytes per weight of a convolution, in the forms that the renderer keeps ready: measured at small tiles, as what layers
/// of more and more weights add.
const PER_WEIGHT: f64 = 32.0;

/// The same for kernels that are convolved with fewer multiplications, whose weights are kept at 36 points.
const PER_WEIGHT_AT_POINTS: f64 = 60.0;

/// Bytes per pixel of an image that is shrunk before the dream begins: the decoded picture and the tensor made of it (3
/// each) with their transparency and a mask (1 each), while there are both, and what the allocators keep (8.6 to 10.8 were
/// measured). `tests/memory.rs` measures that this and the next are enough.
pub const BYTES_PER_SHRUNK_PIXEL: f64 = 13.0;

/// Bytes per pixel of a decoded image with its transparency and a mask, while a guide image is made ready.
pub(super) const BYTES_PER_DECODED_PIXEL: f64 = 5.0;

/// The same where the dream is given the image's size again: the enlarged dream (12), the image (3), and what is written (3)
/// with its transparency and a mask.
pub const BYTES_PER_RESTORED_PIXEL: f64 = 22.0;

/// Bytes per pixel of the largest octave that ascent along waves takes beside the above: the spectrum of a colour and what it is
/// transformed through (12), and the strengths of the waves (2).
pub const BYTES_PER_FOURIER_PIXEL: f64 = 20.0;

/// The same of random transformations: the image as the network sees it, whose memory goes to the gradient by the image (12).
pub const BYTES_PER_TRANSFORMED_PIXEL: f64 = 14.0;

/// Bytes per pixel of the band of rows that a transformation works on: places, shares and sums, most of them in eight bytes.
pub const BYTES_PER_BAND_PIXEL: f64 = 160.0;

/// Pixels of a band of rows on a processor: large enough that starting an operation costs nothing, small enough to stay near its
/// caches.
pub const BAND: i64 = 1 << 19;

/// Bytes per pixel that `spec` takes beside what every dream does.
fn beside(spec: &DreamSpec) -> f64 {
    // They come one after the other, and the memory of one is that of the other.
    let fourier = if spec.is_fourier() { BYTES_PER_FOURIER_PIXEL } else { 0.0 };
    let transformed = if spec.is_transformed() { BYTES_PER_TRANSFORMED_PIXEL } else { 0.0 };
    fourier + transformed
}

/// What a dream holds of its images.
pub(super) struct Images {
    /// Pixels of the largest octave.
    pub(super) largest: f64,
    /// Pixels of the image that is shrunk; 0 where none is.
    pub(super) shrunk: f64,
    /// Whether the dream is given the image's size again.
    pub(super) restored: bool,
}

impl Images {
    /// Bytes of a render of `spec` with so many `values` in its largest tile.
    pub(super) fn bytes(&self, spec: &DreamSpec, values: f64) -> u64 {
        let half = spec.precision == Precision::Bf16;
        let per_value = if half { PER_VALUE / 2.0 } else { PER_VALUE };
        let per_pixel = BYTES_PER_PIXEL + beside(spec);
        let per_shrunk = if self.restored { BYTES_PER_RESTORED_PIXEL } else { BYTES_PER_SHRUNK_PIXEL };
        let band =
            if spec.is_transformed() { self.largest.min(BAND as f64) * BYTES_PER_BAND_PIXEL } else { 0.0 };
        (band + self.largest * per_pixel + self.shrunk * per_shrunk + values * per_value) as u64
    }
}

/// Bytes for the weights that `layers` need.
pub(super) fn weights(network: &Network, layers: &[NodeId]) -> u64 {
    let needed = network.needed(layers);
    let nodes = network.nodes().iter().zip(needed).filter(|(_, needed)| *needed);
    let bytes = nodes.map(|(node, _)| match &node.op {
        Op::Conv2d { weight, .. } => {
            let fewer = winograd::weights_of(&node.op).is_some();
            let each = if fewer { PER_WEIGHT_AT_POINTS } else { PER_WEIGHT };
            // That many kernels are packed together.
            let kernels = weight.shape[0];
            (weight.data.len() / kernels.max(1) * kernels.next_multiple_of(winograd::LANES)) as f64 * each
        }
        _ => 0.0,
    });
    bytes.sum::<f64>() as u64
}
