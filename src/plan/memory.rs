//! How much memory a dream takes at the most, beyond what the process holds anyway.
//!
//! Both figures are fitted to the peak of the resident memory (`getrusage`) of `reverie render` processes: starts
//! from noise of 64×64 to 4000×4000 pixels, tiles from 256 to 2048, layers from the first to the last, two models;
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
