//! Sizes of octaves: the scales at which an image is dreamed, from coarse to fine.

use super::TooManyPixels;
use crate::spec::{DreamSpec, OctaveMode};

/// Sizes `(height, width)` of the octaves that `spec` makes of an image of that size, coarsest first; `fits` says
/// which sizes the network takes.
///
/// # Errors
/// [`TooManyPixels`] when the spec enlarges beyond `max_pixels`.
pub fn sizes(
    spec: &DreamSpec,
    (height, width): (i64, i64),
    max_pixels: u64,
    fits: &dyn Fn(i64, i64) -> bool,
) -> Result<Vec<(i64, i64)>, TooManyPixels> {
    match spec.octave_mode {
        OctaveMode::CarryDetail => Ok(octave_sizes(height, width, spec.octaves, spec.octave_scale, fits)),
        OctaveMode::Enlarge => enlarged_sizes(height, width, spec.octaves, spec.octave_scale, max_pixels),
    }
}

/// Sizes `(height, width)` of the octaves, coarsest first; the last one is the image's own.
///
/// Each is `int(float32(size) / scale)` of the next, the article's arithmetic. The pyramid is cut short before
/// the first size that has no pixels or does not `fit` the network.
pub fn octave_sizes(
    height: i64,
    width: i64,
    octaves: u32,
    scale: f64,
    fits: &dyn Fn(i64, i64) -> bool,
) -> Vec<(i64, i64)> {
    let shrink = |n: i64| (n as f32 / scale as f32) as i64;
    let mut sizes = vec![(height, width)];
    let mut size = (height, width);
    for _ in 1..octaves {
        size = (shrink(size.0), shrink(size.1));
        if size.0 < 1 || size.1 < 1 || !fits(size.0, size.1) {
            break;
        }
        sizes.push(size);
    }
    sizes.reverse();
    sizes
}

/// Sizes `(height, width)` of the octaves where each is larger than the one before; the first is the image's
/// own, and each further one has `int(float32(size) · scale)` pixels along an edge.
///
/// # Errors
/// [`TooManyPixels`] with the first octave of more than `max_pixels`.
fn enlarged_sizes(
    height: i64,
    width: i64,
    octaves: u32,
    scale: f64,
    max_pixels: u64,
) -> Result<Vec<(i64, i64)>, TooManyPixels> {
    let grow = |n: i64| (n as f32 * scale as f32) as i64;
    let mut sizes = vec![(height, width)];
    let mut size = (height, width);
    for _ in 1..octaves {
        size = (grow(size.0), grow(size.1));
        if size.0.saturating_mul(size.1) as u64 > max_pixels {
            return Err(TooManyPixels { width: size.1 as u64, height: size.0 as u64, max_pixels });
        }
        sizes.push(size);
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octaves_shrink_as_in_the_article() {
        let any = |_, _| true;
        assert_eq!(octave_sizes(359, 640, 4, 1.4, &any), [(130, 232), (182, 326), (256, 457), (359, 640)]);
        assert_eq!(octave_sizes(2, 3, 4, 1.4, &any), [(1, 2), (2, 3)]);
        assert_eq!(octave_sizes(1, 5000, 16, 1.4, &any), [(1, 5000)]);
        assert_eq!(octave_sizes(359, 640, 4, 1.4, &|height, _| height > 200), [(256, 457), (359, 640)]);
    }

    #[test]
    fn octaves_grow_up_to_the_limit() {
        let sizes = enlarged_sizes(100, 200, 3, 1.5, 1_000_000);
        assert_eq!(sizes, Ok(vec![(100, 200), (150, 300), (225, 450)]));
        let refused = enlarged_sizes(100, 200, 3, 1.5, 101_249);
        assert_eq!(refused, Err(TooManyPixels { width: 450, height: 225, max_pixels: 101_249 }));
        assert!(enlarged_sizes(1 << 30, 1 << 30, 16, 4.0, 1 << 60).is_err());
    }
}
