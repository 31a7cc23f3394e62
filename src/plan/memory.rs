//! How much memory a dream takes at the most, beyond what the process holds anyway.
//!
//! The figures come from the peak of the resident memory of `reverie render` processes. Per pixel: the slope between
//! images of 4, 16 and 100 megapixels, which `tests/memory.rs` bounds. Per value: fitted to tiles from 256 to 2048 and
//! layers from the first to the last of two models, when the way back was autograd's, which held more than today's;
//! what is left for an image of 64×64 is the process itself, and taken off.

/// Bytes per pixel of the largest octave: the decoded image, the octaves that wait for their turn, the dream,
/// its gradient and what normalising it needs.
const PER_PIXEL: f64 = 38.0;

/// Bytes per value that the network computes for the largest tile: the value, and what the way back keeps of it
/// or makes of it.
const PER_VALUE: f64 = 5.0;

/// Bytes for a render of `pixels` in its largest octave, and `values` in its largest tile.
pub(super) fn bytes(pixels: f64, values: f64, half: bool) -> u64 {
    let per_value = if half { PER_VALUE / 2.0 } else { PER_VALUE };
    (pixels * PER_PIXEL + values * per_value) as u64
}
