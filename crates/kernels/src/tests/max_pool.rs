//! Max-pooling.

use proptest::prelude::*;

use super::{Buffer, cases, channels, draw, fill, kind, on_all, rounded_bits};
use crate::{KernelError, MaxPool, ThreadPool, ValueKind};

/// Windows of any extent, stride and padding over a small map.
fn pool() -> impl Strategy<Value = MaxPool> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let axis = (pair(1..10), pair(1..5), pair(1..4), pair(0..4), pair(0..4), any::<bool>());
    axis.prop_filter_map("the window fits", |(input, kernel, stride, before, after, through_relu)| {
        let mut output = [0; 2];
        for axis in 0..2 {
            if before[axis] >= kernel[axis] || after[axis] >= kernel[axis] {
                return None;
            }
            let room = (input[axis] + before[axis] + after[axis]).checked_sub(kernel[axis])?;
            output[axis] = room / stride[axis] + 1;
        }
        Some(MaxPool { kernel, stride, before, input, output, through_relu })
    })
}

/// The positions of a window that lie in the map: the index of each within the window, and where it lies.
fn window(pool: &MaxPool, row: usize, column: usize) -> Vec<(u8, usize)> {
    let mut positions = Vec::new();
    for down in 0..pool.kernel[0] {
        for across in 0..pool.kernel[1] {
            let at = [row * pool.stride[0] + down, column * pool.stride[1] + across];
            let inside = |axis: usize| {
                at[axis] >= pool.before[axis] && at[axis] - pool.before[axis] < pool.input[axis]
            };
            if inside(0) && inside(1) {
                let place = (at[0] - pool.before[0]) * pool.input[1] + at[1] - pool.before[1];
                positions.push(((down * pool.kernel[1] + across) as u8, place));
            }
        }
    }
    positions
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn maxima_and_their_gradients_are_those_of_plain_loops(
        pool in pool(), images in 1usize..3, channels in channels(), kind in kind(), fill in fill(),
        seed in any::<u64>(), accumulate in any::<bool>(),
    ) {
        let shape = |[rows, columns]: [usize; 2]| [images, rows, columns, channels];
        let size = |shape: [usize; 4]| shape.iter().product::<usize>();
        let (inputs, outputs) = (shape(pool.input), shape(pool.output));
        let x = draw(seed, fill, kind, size(inputs));
        let gradient = draw(seed ^ 1, fill, kind, size(outputs));
        let sum = draw(seed ^ 2, fill, kind, size(inputs));
        let mut maxima = vec![f32::NEG_INFINITY; size(outputs)];
        let mut argmax = vec![0; size(outputs)];
        let mut back = if accumulate { sum.clone() } else { vec![0.0; size(inputs)] };
        let windows = |run: &mut dyn FnMut(usize, usize, u8)| {
            for output in 0..size(outputs) {
                let (at, channel) = (output / channels, output % channels);
                let (row, column) = (at / pool.output[1] % pool.output[0], at % pool.output[1]);
                let image = at / pool.output[1] / pool.output[0] * pool.input[0] * pool.input[1];
                for (index, place) in window(&pool, row, column) {
                    run(output, (image + place) * channels + channel, index);
                }
            }
        };
        windows(&mut |output, input, index| {
            if x[input] > maxima[output] || x[input].is_nan() {
                (maxima[output], argmax[output]) = (x[input], index);
            }
        });
        for (maximum, index) in maxima.iter().zip(&mut argmax) {
            if pool.through_relu && *maximum <= 0.0 {
                *index = 255;
            }
        }
        windows(&mut |output, input, index| {
            if argmax[output] == index {
                back[input] += gradient[output];
            }
        });

        let (x, gradient) = (Buffer::new(kind, &x), Buffer::new(kind, &gradient));
        let found = on_all(|threads| {
            let (mut y, mut indices) = (Buffer::stale(kind, outputs), vec![9; argmax.len()]);
            pool.forward(threads, x.map(inputs), y.map_mut(outputs), &mut indices).unwrap();
            (y.bits(), indices)
        });
        prop_assert_eq!(found, (rounded_bits(kind, &maxima), argmax.clone()));
        let found = on_all(|threads| {
            let mut back = if accumulate { Buffer::new(kind, &sum) } else { Buffer::stale(kind, inputs) };
            pool.backward(threads, gradient.map(outputs), &argmax, accumulate, back.map_mut(inputs)).unwrap();
            back.bits()
        });
        prop_assert_eq!(found, rounded_bits(kind, &back));
    }
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let pool = MaxPool {
        kernel: [2, 2],
        stride: [2, 2],
        before: [0, 0],
        input: [4, 4],
        output: [2, 2],
        through_relu: false,
    };
    let threads = ThreadPool::new(1);
    let x = Buffer::stale(ValueKind::F32, [1, 4, 4, 3]);
    let run = |pool: MaxPool, x: &Buffer, rows: usize, argmax: usize| {
        let shape = [1, rows, 2, 3];
        let mut y = Buffer::stale(ValueKind::F32, shape);
        pool.forward(&threads, x.map([1, 4, 4, 3]), y.map_mut(shape), &mut vec![0; argmax])
    };
    assert_eq!(run(pool, &x, 2, 12), Ok(()));
    assert!(matches!(run(pool, &x, 3, 18), Err(KernelError::Shape { what: "output", .. })));
    assert!(matches!(run(pool, &x, 2, 11), Err(KernelError::Length { what: "argmax", .. })));
    assert!(matches!(run(MaxPool { stride: [0, 2], ..pool }, &x, 2, 12), Err(KernelError::Unsupported(_))));
    assert!(matches!(run(MaxPool { input: [4, 3], ..pool }, &x, 2, 12), Err(KernelError::Shape { .. })));
    let other = Buffer::stale(ValueKind::Bf16, [1, 4, 4, 3]);
    let expected = KernelError::Kind { found: ValueKind::Bf16, expected: ValueKind::F32 };
    assert_eq!(run(pool, &other, 2, 12), Err(expected));
}
