//! Winograd convolutions.

use proptest::prelude::*;

use super::{Buffer, Fill, cases, draw, fill, kind, on_all, spread, up_to};
use crate::{Epilogue, KernelError, Map, Shape, ThreadPool, ValueKind, Winograd};

/// The convolution by plain sums in float64.
fn plain(
    x: &[f32],
    [images, rows, columns, channels]: Shape,
    weights: &[f32],
    padding: [usize; 2],
    outputs: Shape,
) -> Vec<f64> {
    let [_, out_rows, out_columns, kernels] = outputs;
    let taps = rows + 2 * padding[0] + 1 - out_rows;
    let mut y = Vec::new();
    for at in 0..images * out_rows * out_columns {
        let (image, row, column) =
            (at / out_columns / out_rows, at / out_columns % out_rows, at % out_columns);
        for kernel in 0..kernels {
            let mut sum = 0.0;
            for tap in 0..taps * taps {
                let down = (row + tap / taps).wrapping_sub(padding[0]);
                let across = (column + tap % taps).wrapping_sub(padding[1]);
                if down >= rows || across >= columns {
                    continue;
                }
                let pixel = &x[((image * rows + down) * columns + across) * channels..][..channels];
                for (channel, x) in pixel.iter().enumerate() {
                    let weight = weights[(kernel * channels + channel) * taps * taps + tap];
                    sum += f64::from(*x) * f64::from(weight);
                }
            }
            y.push(sum);
        }
    }
    y
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn results_are_those_of_plain_sums(
        taps in 3usize..6, size in [up_to(14), up_to(20)], padding in [0usize..4, 0usize..4], images in 1usize..3,
        panels in 1usize..if cfg!(miri) { 2 } else { 3 }, kernels in prop::sample::select(if cfg!(miri) { vec![1usize, 5] } else { vec![1, 5, 16, 24, 48] }), gap in 0usize..3,
        kind in kind(), fill in fill(), seed in any::<u64>(), accumulate in any::<bool>(), tie_exact in any::<bool>(),
        limited in any::<bool>(),
    ) {
        let channels = 16 * panels;
        let inputs = [images, size[0], size[1], channels];
        let weights = draw(seed, fill, kind, kernels * channels * taps * taps);
        let winograd = Winograd::new(&weights, [kernels, channels, taps, taps], tie_exact).unwrap();
        let outputs = winograd.output_shape(inputs, padding);
        prop_assume!(!outputs.contains(&0));
        let x = draw(seed ^ 1, fill, kind, inputs.iter().product());
        let sum = draw(seed ^ 2, fill, kind, outputs.iter().product());
        let bias = draw(seed ^ 3, fill, kind, kernels);
        let strided = spread(kind, &x, channels, gap);
        let (low, high) = if limited { (0.0, 1.0) } else { (f32::NEG_INFINITY, f32::INFINITY) };
        let found = on_all(|threads| {
            let mut y = if accumulate { Buffer::new(kind, &sum) } else { Buffer::stale(kind, outputs) };
            let x = Map::new(strided.values(), inputs, channels + gap).unwrap();
            let epilogue = Epilogue { bias: Some(&bias[..]), low, high };
            winograd.convolve(threads, x, padding, epilogue, accumulate, y.map_mut(outputs)).unwrap();
            y.bits()
        });
        if matches!(fill, Fill::Special) {
            return Ok(());
        }
        let found: Vec<f32> = found.into_iter().map(f32::from_bits).collect();
        let sums = plain(&x, inputs, &weights, padding, outputs);
        let scale = sums.iter().fold(1.0, |scale: f64, value| scale.max(value.abs()));
        for (index, (found, expected)) in found.iter().zip(&sums).enumerate() {
            let onto = if accumulate { f64::from(sum[index]) } else { 0.0 };
            let expected = expected + f64::from(bias[index % kernels]) + onto;
            let expected = expected.clamp(f64::from(low), f64::from(high));
            // float32 loses a few of the last digits of the largest sum; bfloat16 rounds the result.
            let rounding = if kind == ValueKind::F32 { 0.0 } else { expected.abs() / 256.0 };
            let difference = (f64::from(*found) - expected).abs();
            prop_assert!(difference <= 1.0e-5 * scale + rounding, "{found} at {index}, expected {expected}");
        }
    }

    #[test]
    fn equal_patches_give_equal_bits(
        taps in 3usize..6, flat_rows in any::<bool>(), kind in kind(), seed in any::<u64>(),
    ) {
        let (size, channels, kernels) = if cfg!(miri) { ([6, 7], 16, 5) } else { ([13, 17], 16, 20) };
        let inputs = [1, size[0], size[1], channels];
        // Equal along one axis.
        let lines = draw(seed, Fill::Ordinary, kind, 17 * channels);
        let x: Vec<f32> = (0..size[0] * size[1])
            .flat_map(|at| {
                let line = if flat_rows { at / size[1] } else { at % size[1] };
                lines[line * channels..][..channels].iter().copied()
            })
            .collect();
        let weights = draw(seed ^ 1, Fill::Ordinary, kind, kernels * channels * taps * taps);
        let winograd = Winograd::new(&weights, [kernels, channels, taps, taps], true).unwrap();
        let outputs = winograd.output_shape(inputs, [0, 0]);
        let x = Buffer::new(kind, &x);
        let found = on_all(|threads| {
            let mut y = Buffer::stale(kind, outputs);
            winograd.convolve(threads, x.map(inputs), [0, 0], Epilogue::NONE, false, y.map_mut(outputs)).unwrap();
            y.bits()
        });
        let [_, rows, columns, _] = outputs;
        let at = |row: usize, column: usize| &found[(row * columns + column) * kernels..][..kernels];
        for row in 0..rows {
            for column in 0..columns {
                let first = if flat_rows { at(row, 0) } else { at(0, column) };
                prop_assert_eq!(at(row, column), first, "{} {}", row, column);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a large map takes long there, and small ones run the same loops")]
fn nan_reaches_what_reads_it_and_nothing_else_far_away() {
    let (inputs, outputs) = ([1, 24, 24, 16], [1, 24, 24, 16]);
    let mut x = draw(1, Fill::Ordinary, ValueKind::F32, 24 * 24 * 16);
    x[(7 * 24 + 9) * 16 + 3] = f32::NAN;
    let weights = draw(2, Fill::Ordinary, ValueKind::F32, 16 * 16 * 9);
    let winograd = Winograd::new(&weights, [16, 16, 3, 3], false).unwrap();
    let x = Buffer::new(ValueKind::F32, &x);
    let mut y = Buffer::stale(ValueKind::F32, outputs);
    let relu = Epilogue { low: 0.0, ..Epilogue::NONE };
    let threads = ThreadPool::new(1);
    winograd.convolve(&threads, x.map(inputs), [1, 1], relu, false, y.map_mut(outputs)).unwrap();
    let y = y.to_f32();
    let row = |row: usize, columns: std::ops::Range<usize>| {
        &y[(row * 24 + columns.start) * 16..(row * 24 + columns.end) * 16]
    };
    for near in 6..9 {
        assert!(row(near, 8..11).iter().all(|value| value.is_nan()));
    }
    for far in 16..24 {
        assert!(row(far, 0..24).iter().all(|value| !value.is_nan()));
    }
}

#[test]
fn weights_fit_or_are_refused() {
    for taps in [3, 4, 5] {
        assert!(Winograd::fits([16, 16, taps, taps]) && Winograd::fits([3, 32, taps, taps]), "{taps}");
    }
    for weights in
        [[16, 16, 7, 7], [16, 16, 1, 1], [16, 16, 5, 3], [16, 3, 3, 3], [16, 24, 3, 3], [0, 16, 3, 3]]
    {
        assert!(!Winograd::fits(weights), "{weights:?}");
    }
    assert!(matches!(Winograd::new(&[], [16, 24, 3, 3], false), Err(KernelError::Unsupported(_))));
    assert!(matches!(Winograd::new(&[0.0; 9], [16, 16, 3, 3], false), Err(KernelError::Length { .. })));
}
