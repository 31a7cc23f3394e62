//! Levels of a Gaussian pyramid.

use proptest::prelude::*;

use super::{Fill, bits, cases, close, draw, fill, on_all, up_to};
use crate::{GaussianPyramidLevel, KernelError, ThreadPool, ValueKind, downsample::TAPS};

/// Pairs of a position of an image and one of its half, along one axis, with the weight between them.
fn pairs(size: usize) -> Vec<(usize, usize, f64)> {
    let half = size.div_ceil(2);
    let before = (2 * (half - 1) + 5).saturating_sub(size) / 2;
    let mut pairs = Vec::new();
    for position in 0..half {
        for (tap, weight) in TAPS.into_iter().enumerate() {
            let at = (2 * position + tap).wrapping_sub(before);
            if at < size {
                pairs.push((at, position, f64::from(weight)));
            }
        }
    }
    pairs
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn images_are_halved_and_doubled_as_by_plain_loops(
        planes in 1usize..4, size in [up_to(24), up_to(70)], fill in fill(), seed in any::<u64>(),
        factor in -2.0f32..2.0,
    ) {
        let level = GaussianPyramidLevel::new(planes, size).unwrap();
        let half = level.half_size();
        prop_assert_eq!(half, size.map(|n| n.div_ceil(2)));
        let (pixels, half_pixels) = (size[0] * size[1], half[0] * half[1]);
        let image = draw(seed, fill, ValueKind::F32, planes * pixels);
        let low = draw(seed ^ 1, fill, ValueKind::F32, planes * half_pixels);

        let downsampled = on_all(|threads| {
            let mut half = vec![77.0; low.len()];
            level.downsample(threads, &image, &mut half).unwrap();
            bits(&half)
        });
        let (subtracted, squares) = on_all(|threads| {
            let mut image = image.clone();
            let squares = level.subtract_upsampled(threads, &mut image, &low).unwrap();
            (bits(&image), if squares.is_nan() { f64::NAN.to_bits() } else { squares.to_bits() })
        });
        let merged = on_all(|threads| {
            let mut image = image.clone();
            level.scale_and_add_upsampled(threads, &mut image, &low, factor).unwrap();
            bits(&image)
        });
        if matches!(fill, Fill::Special) {
            return Ok(());
        }

        let mut expected_half = vec![0.0; low.len()];
        let mut upsampled = vec![0.0; image.len()];
        for plane in 0..planes {
            for (row, half_row, down) in pairs(size[0]) {
                for (column, half_column, across) in pairs(size[1]) {
                    let at = plane * pixels + row * size[1] + column;
                    let half_at = plane * half_pixels + half_row * half[1] + half_column;
                    expected_half[half_at] += f64::from(image[at]) * down * across / 256.0;
                    upsampled[at] += f64::from(low[half_at]) * down * across / 64.0;
                }
            }
        }
        let floats = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>();
        close(&floats(downsampled), &expected_half, 1.0e-6)?;
        let with = |run: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            image.iter().zip(&upsampled).map(|(image, upsampled)| run(f64::from(*image), *upsampled)).collect()
        };
        let difference = with(&|image, upsampled| image - upsampled);
        let subtracted = floats(subtracted);
        close(&subtracted, &difference, 1.0e-6)?;
        close(&floats(merged), &with(&|image, upsampled| image * f64::from(factor) + upsampled), 1.0e-6)?;
        let exact: f64 = subtracted.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        prop_assert!((f64::from_bits(squares) - exact).abs() <= 1.0e-12 * exact.max(1.0));
    }
}

#[test]
fn slices_of_another_size_are_refused() {
    assert!(GaussianPyramidLevel::new(3, [4, 0]).is_none());
    let level = GaussianPyramidLevel::new(1, [4, 4]).unwrap();
    let run = |image: usize, half: usize| {
        level.downsample(&ThreadPool::new(1), &vec![0.0; image], &mut vec![0.0; half])
    };
    assert_eq!(run(16, 4), Ok(()));
    assert!(matches!(run(15, 4), Err(KernelError::Length { what: "image", .. })));
    assert!(matches!(run(16, 5), Err(KernelError::Length { what: "half of the image", .. })));
}
