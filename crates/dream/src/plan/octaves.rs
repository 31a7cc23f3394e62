//! Sizes of octaves: the scales at which an image is dreamed, from coarse to fine.

use super::TooManyPixels;
use crate::spec::{Count, DreamSpec, OctaveMode};

/// Shorter edge in pixels of the smallest octave, about, where the number of octaves is left to the picture: at that
/// size a network sees forms that fill a good part of it.
const SMALLEST_EDGE: f64 = 200.0;

/// Octaves of a dream that grows, where their number is left open.
const GROWING_OCTAVES: u32 = 4;

/// Most octaves, as many as a spec may ask for.
const MAX_OCTAVES: u32 = 16;

/// Steps per octave where they are left open: the coarse octaves, where the large forms grow, and the further ones, which take
/// most of the time and only draw the forms out.
const COARSE_STEPS: u32 = 10;
const FINE_STEPS: u32 = 6;

/// Octaves that have [`COARSE_STEPS`].
const COARSE_OCTAVES: usize = 4;

/// Size `(height, width)` at which an image of that size is dreamed: its longer edge has at most the spec's `max_edge`
/// pixels.
pub fn dreamed_size(spec: &DreamSpec, (height, width): (i64, i64)) -> (i64, i64) {
    match spec.max_edge.map(i64::from).filter(|&edge| edge > 0) {
        Some(edge) => within((height, width), edge),
        None => (height, width),
    }
}

/// The size `(height, width)`, shrunk in its proportions so that its longer edge has at most `edge` pixels.
pub(super) fn within((height, width): (i64, i64), edge: i64) -> (i64, i64) {
    let longer = height.max(width);
    if longer <= edge {
        return (height, width);
    }
    let shrink = |n: i64| ((n as f64 * edge as f64 / longer as f64).round() as i64).max(1);
    (shrink(height), shrink(width))
}

/// Gradient steps of an octave, counted from 0 at the coarsest.
pub fn steps(spec: &DreamSpec, octave: usize) -> u32 {
    match spec.iterations {
        Count::Of(steps) => steps,
        Count::Auto if octave < COARSE_OCTAVES => COARSE_STEPS,
        Count::Auto => FINE_STEPS,
    }
}

/// Octaves that `spec` wants of an image that is dreamed at that size.
pub fn octave_count(spec: &DreamSpec, (height, width): (i64, i64)) -> u32 {
    match (spec.octaves, spec.octave_mode) {
        (Count::Of(count), _) => count,
        (Count::Auto, OctaveMode::Enlarge) => GROWING_OCTAVES,
        (Count::Auto, OctaveMode::CarryDetail) => {
            let shorter = height.min(width) as f64;
            let further = ((shorter / SMALLEST_EDGE).ln() / spec.octave_scale.ln()).round();
            // A picture that is smaller than the smallest octave has one; NaN and infinities do not come up.
            1 + (further.max(0.0) as u32).min(MAX_OCTAVES - 1)
        }
    }
}

/// Sizes `(height, width)` of the octaves that `spec` makes of an image that is dreamed at that size, coarsest first; `fits` says
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
    let octaves = octave_count(spec, (height, width));
    match spec.octave_mode {
        OctaveMode::CarryDetail => Ok(octave_sizes(height, width, octaves, spec.octave_scale, fits)),
        OctaveMode::Enlarge => enlarged_sizes(height, width, octaves, spec.octave_scale, max_pixels),
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
    use crate::spec::Preset;

    #[test]
    fn octaves_shrink_as_in_the_article() {
        let any = |_, _| true;
        assert_eq!(octave_sizes(359, 640, 4, 1.4, &any), [(130, 232), (182, 326), (256, 457), (359, 640)]);
        assert_eq!(octave_sizes(2, 3, 4, 1.4, &any), [(1, 2), (2, 3)]);
        assert_eq!(octave_sizes(1, 5000, 16, 1.4, &any), [(1, 5000)]);
        assert_eq!(octave_sizes(359, 640, 4, 1.4, &|height, _| height > 200), [(256, 457), (359, 640)]);
    }

    #[test]
    fn photos_are_shrunk_and_have_octaves_and_steps_that_suit_their_size() {
        let mut spec = DreamSpec::of_preset(Preset::default());
        for (size, dreamed) in [
            ((3000, 4000), (960, 1280)),
            ((4000, 3000), (1280, 960)),
            ((960, 1280), (960, 1280)),
            ((359, 640), (359, 640)),
            ((2, 20_000), (1, 1280)),
        ] {
            assert_eq!(dreamed_size(&spec, size), dreamed);
        }
        let smallest = |spec: &DreamSpec, (height, width)| {
            sizes(spec, (height, width), u64::MAX, &|_, _| true).unwrap()[0]
        };
        let counts = [(960, 1280, 6), (512, 768, 4), (359, 640, 3), (256, 256, 2), (64, 48, 1), (1, 1, 1)];
        for (height, width, count) in counts {
            assert_eq!(octave_count(&spec, (height, width)), count, "{height}×{width}");
            let (least, _) = smallest(&spec, (height, width));
            // Half an octave more or less, where the picture is large enough.
            assert!((165..=240).contains(&least) || height < 200, "{height}×{width}: {least}");
        }
        assert_eq!((0..7).map(|octave| steps(&spec, octave)).collect::<Vec<_>>(), [10, 10, 10, 10, 6, 6, 6]);
        spec.octave_scale = 1.05;
        assert_eq!(octave_count(&spec, (960, 1280)), 16);
        spec.octave_mode = OctaveMode::Enlarge;
        assert_eq!(octave_count(&spec, (960, 1280)), 4);
        (spec.octaves, spec.iterations, spec.max_edge) = (Count::Of(7), Count::Of(3), Some(0));
        assert_eq!((octave_count(&spec, (960, 1280)), steps(&spec, 6)), (7, 3));
        assert_eq!(dreamed_size(&spec, (3000, 4000)), (3000, 4000));
        let article = DreamSpec::of_preset(Preset::Deepdream);
        assert_eq!(
            (article.max_edge, article.octaves, article.iterations),
            (None, Count::Of(4), Count::Of(10))
        );
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
