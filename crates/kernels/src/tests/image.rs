//! Passes over images, and the pixel shuffle.

use proptest::prelude::*;

use super::{Buffer, bits, cases, draw, fill, kind, on_all, rounded_bits, up_to};
use crate::{
    KernelError, ThreadPool, ValueKind,
    image::{Planes, add_scaled, prepare, sum_abs},
    pixel_shuffle::pixel_shuffle,
};

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn images_are_prepared(
        images in 1usize..3, size in [1usize..9, up_to(40)], more in 0usize..5, kind in kind(), fill in fill(),
        seed in any::<u64>(), mean in -9.0f32..9.0, scale in 0.1f32..2.0,
    ) {
        // A part of a larger image.
        let [height, width] = size;
        let (row, plane) = (width + more, (height + more) * (width + more));
        let strides = [3 * plane + more, plane, row];
        let length = (images - 1) * strides[0] + 2 * plane + (height - 1) * row + width;
        let values = draw(seed, fill, ValueKind::F32, length);
        let mut expected = Vec::new();
        for at in 0..images * height * width {
            let (image, row, column) = (at / width / height, at / width % height, at % width);
            for channel in 0..3 {
                let value = values[image * strides[0] + channel * strides[1] + row * strides[2] + column];
                expected.push((value - mean) * scale);
            }
        }
        let shape = [images, height, width, 3];
        let found = on_all(|threads| {
            let mut map = Buffer::stale(kind, shape);
            let image = Planes { values: &values, images, size, strides };
            prepare(threads, image, mean, scale, map.map_mut(shape)).unwrap();
            map.bits()
        });
        prop_assert_eq!(found, rounded_bits(kind, &expected));
    }

    #[test]
    fn magnitudes_are_summed_and_gradients_added(
        count in up_to(20_000), fill in fill(), seed in any::<u64>(), factor in -2.0f32..2.0,
    ) {
        let image = draw(seed, fill, ValueKind::F32, count);
        let gradient = draw(seed ^ 1, fill, ValueKind::F32, count);
        let sum = f64::from_bits(on_all(|threads| {
            let sum = sum_abs(threads, &image);
            if sum.is_nan() { f64::NAN.to_bits() } else { sum.to_bits() }
        }));
        let exact: f64 = image.iter().map(|value| f64::from(value.abs())).sum();
        let equal = sum == exact || (sum.is_nan() && exact.is_nan());
        prop_assert!(equal || (sum - exact).abs() <= 1.0e-12 * exact, "{}, expected {}", sum, exact);
        let expected: Vec<f32> = image.iter().zip(&gradient).map(|(value, gradient)| value + gradient * factor).collect();
        let found = on_all(|threads| {
            let mut image = image.clone();
            add_scaled(threads, &mut image, &gradient, factor).unwrap();
            bits(&image)
        });
        prop_assert_eq!(found, bits(&expected));
    }

    #[test]
    fn phases_are_shuffled_into_pixels(
        images in 1usize..3, phases in [1usize..6, up_to(30)], channels in 1usize..4, more in 0usize..5,
        before in [0usize..4, 0usize..4], size in [1usize..14, up_to(64)], kind in kind(), fill in fill(),
        seed in any::<u64>(),
    ) {
        let shape = [images, phases[0], phases[1], 4 * channels + more];
        let source = draw(seed, fill, kind, shape.iter().product());
        let mut expected = Vec::new();
        for at in 0..images * channels * size[0] * size[1] {
            let (plane, row, column) = (at / size[1] / size[0], at / size[1] % size[0], at % size[1]);
            let (row, column) = (row + before[0], column + before[1]);
            let (image, channel) = (plane / channels, plane % channels);
            let inside = row / 2 < phases[0] && column / 2 < phases[1];
            let pixel = (image * phases[0] + row / 2) * phases[1] + column / 2;
            let phase = 4 * channel + 2 * (row % 2) + column % 2;
            expected.push(if inside { source[pixel * shape[3] + phase] } else { 0.0 });
        }
        let source = Buffer::new(kind, &source);
        let found = on_all(|threads| {
            let mut planes = Buffer::new(kind, &vec![77.0; expected.len()]);
            let values = planes.values_mut();
            pixel_shuffle(threads, source.map(shape), channels, before, size, values).unwrap();
            planes.bits()
        });
        prop_assert_eq!(found, rounded_bits(kind, &expected));
    }
}

#[test]
fn images_of_another_size_are_refused() {
    let threads = ThreadPool::new(1);
    let run = |length: usize, rows: usize| {
        let values = vec![0.0; length];
        let image = Planes { values: &values, images: 1, size: [2, 3], strides: [18, 6, 3] };
        let shape = [1, rows, 3, 3];
        prepare(&threads, image, 0.0, 1.0, Buffer::stale(ValueKind::F32, shape).map_mut(shape))
    };
    assert_eq!(run(18, 2), Ok(()));
    assert!(matches!(run(17, 2), Err(KernelError::Length { what: "image", .. })));
    assert!(matches!(run(18, 3), Err(KernelError::Shape { what: "prepared map", .. })));
    assert!(matches!(add_scaled(&threads, &mut [0.0; 3], &[0.0; 2], 1.0), Err(KernelError::Length { .. })));
}
