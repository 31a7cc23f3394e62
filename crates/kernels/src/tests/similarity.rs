//! Turned and scaled images.

use proptest::prelude::*;

use super::{Fill, bits, cases, draw, on_all, up_to};
use crate::{KernelError, Similarity, ThreadPool, ValueKind};

/// What one axis of the plain loop is at `at`: the pixels before and behind it, with their shares.
fn around(at: f64, extent: usize) -> [(usize, f64); 2] {
    let mirrored = |place: f64| {
        let mut place = place as i64;
        let extent = extent as i64;
        while !(0..extent).contains(&place) {
            place = if place < 0 { -1 - place } else { 2 * extent - 1 - place };
        }
        place as usize
    };
    let before = at.floor();
    [(mirrored(before), 1.0 - (at - before)), (mirrored(before + 1.0), at - before)]
}

/// Pixels of the result and of the image, with the weight between them.
fn pairs([height, width]: [usize; 2], scale: f64, radians: f64) -> Vec<(usize, usize, f64)> {
    let (sine, cosine) = radians.sin_cos();
    let middle = [height, width].map(|extent| (extent as f64 - 1.0) / 2.0);
    let mut pairs = Vec::new();
    for row in 0..height {
        for column in 0..width {
            let (y, x) = (row as f64 - middle[0], column as f64 - middle[1]);
            let rows = around((y * cosine - x * sine) / scale + middle[0], height);
            let columns = around((x * cosine + y * sine) / scale + middle[1], width);
            for (at, share) in rows {
                for (beside, part) in columns {
                    pairs.push((row * width + column, at * width + beside, share * part));
                }
            }
        }
    }
    pairs
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn images_are_turned_and_back_as_by_plain_loops(
        planes in 1usize..4, size in [up_to(24), up_to(70)], scale in 0.4f64..2.5, radians in -4.0f64..4.0,
        seed in any::<u64>(),
    ) {
        let similarity = Similarity::new(planes, size, scale, radians).unwrap();
        let pixels = size[0] * size[1];
        let image = draw(seed, Fill::Ordinary, ValueKind::F32, planes * pixels);
        let gradient = draw(seed ^ 1, Fill::Ordinary, ValueKind::F32, planes * pixels);
        let seen = on_all(|threads| {
            let mut seen = vec![77.0; image.len()];
            similarity.apply(threads, &image, &mut seen).unwrap();
            bits(&seen)
        });
        let sum = on_all(|threads| {
            let mut sum = vec![77.0; image.len()];
            similarity.adjoint(threads, &gradient, &mut sum).unwrap();
            bits(&sum)
        });
        let mut expected_seen = vec![0.0; image.len()];
        let mut expected_sum = vec![0.0; image.len()];
        // How much a pixel of the image has given away.
        let mut given = vec![0.0; image.len()];
        for plane in (0..planes).map(|plane| plane * pixels) {
            for &(there, here, weight) in &pairs(size, scale, radians) {
                expected_seen[plane + there] += f64::from(image[plane + here]) * weight;
                expected_sum[plane + here] += f64::from(gradient[plane + there]) * weight;
                given[plane + here] += weight;
            }
        }
        for (found, expected) in seen.iter().zip(&expected_seen) {
            prop_assert!((f64::from(f32::from_bits(*found)) - expected).abs() < 1e-5);
        }
        for ((found, expected), given) in sum.iter().zip(&expected_sum).zip(&given) {
            prop_assert!((f64::from(f32::from_bits(*found)) - expected).abs() < 1e-5 * (1.0 + given));
        }
    }
}

#[test]
fn what_is_not_moved_stays_as_it_is() {
    let similarity = Similarity::new(2, [3, 5], 1.0, 0.0).unwrap();
    let image = draw(9, Fill::Ordinary, ValueKind::F32, 30);
    let threads = ThreadPool::new(1);
    let (mut seen, mut sum) = (vec![0.0; 30], vec![0.0; 30]);
    similarity.apply(&threads, &image, &mut seen).unwrap();
    similarity.adjoint(&threads, &image, &mut sum).unwrap();
    assert_eq!(bits(&seen), bits(&image));
    assert_eq!(bits(&sum), bits(&image));
}

#[test]
fn mistakes_are_refused() {
    for (size, scale) in [([0, 4], 1.0), ([4, 0], 1.0), ([4, 4], 0.0), ([4, 4], -1.0), ([4, 4], f64::NAN)] {
        assert!(Similarity::new(3, size, scale, 0.1).is_none(), "{size:?}, {scale}");
    }
    assert!(Similarity::new(0, [4, 4], 1.0, 0.0).is_none());
    assert!(Similarity::new(1, [4, 4], 1.0, f64::INFINITY).is_none());
    let similarity = Similarity::new(1, [4, 4], 1.0, 0.0).unwrap();
    let threads = ThreadPool::new(1);
    let short = similarity.apply(&threads, &[0.0; 15], &mut [0.0; 16]);
    assert_eq!(short, Err(KernelError::Length { what: "image", found: 15, expected: 16 }));
    assert!(similarity.adjoint(&threads, &[0.0; 16], &mut [0.0; 17]).is_err());
}
