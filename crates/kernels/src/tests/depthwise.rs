//! Depthwise convolutions.

use proptest::prelude::*;

use super::{Buffer, cases, draw, fill, kind, on_all, rounded_bits, up_to};
use crate::{ConvShape, Depthwise, Epilogue, KernelError, ReluMask, ValueKind};

/// Any weights, stride and padding over a small map: the extent of the weights, and the rest.
fn conv() -> impl Strategy<Value = ([usize; 2], ConvShape)> {
    let pair = |range: std::ops::Range<usize>| [range.clone(), range];
    let axes = ([1usize..7, up_to(24)], pair(1..6), pair(1..5), pair(0..5), pair(0..5));
    axes.prop_filter_map("the window fits", |(input, kernel, stride, before, after)| {
        let mut output = [0; 2];
        for axis in 0..2 {
            let room = (input[axis] + before[axis] + after[axis]).checked_sub(kernel[axis])?;
            output[axis] = room / stride[axis] + 1;
        }
        Some((kernel, ConvShape { stride, before, input, output }))
    })
}

/// Adds up the terms of every result, by tap: `pairs` are input position, output position, and tap.
fn pairs(kernel: [usize; 2], shape: ConvShape) -> Vec<(usize, usize, usize)> {
    let mut pairs = Vec::new();
    for tap in 0..kernel[0] * kernel[1] {
        for output in 0..shape.output[0] * shape.output[1] {
            let taps = [tap / kernel[1], tap % kernel[1]];
            let at = [output / shape.output[1], output % shape.output[1]];
            let input = [0, 1]
                .map(|axis| (at[axis] * shape.stride[axis] + taps[axis]).wrapping_sub(shape.before[axis]));
            if input[0] < shape.input[0] && input[1] < shape.input[1] {
                pairs.push((input[0] * shape.input[1] + input[1], output, tap));
            }
        }
    }
    pairs
}

fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let raised = if value < low { low } else { value };
    if raised > high { high } else { raised }
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn convolutions_and_their_gradients_are_those_of_plain_loops(
        (kernel, shape) in conv(), images in 1usize..3, panels in 1usize..6, kind in kind(), fill in fill(),
        seed in any::<u64>(), limited in any::<bool>(), through_relu in any::<bool>(),
    ) {
        let channels = 16 * panels;
        let map = |[rows, columns]: [usize; 2]| [images, rows, columns, channels];
        let (inputs, outputs) = (map(shape.input), map(shape.output));
        let size = |shape: [usize; 4]| shape.iter().product::<usize>();
        let [per_input, per_output] = [inputs, outputs].map(|shape| shape[1] * shape[2]);
        let weights = draw(seed, fill, ValueKind::F32, kernel[0] * kernel[1] * channels);
        let bias = draw(seed ^ 1, fill, ValueKind::F32, channels);
        let x = draw(seed ^ 2, fill, kind, size(inputs));
        let gradient = draw(seed ^ 3, fill, kind, size(outputs));
        let relu_output = draw(seed ^ 4, fill, kind, size(inputs));
        let (low, high) = if limited { (0.0, 1.5) } else { (f32::NEG_INFINITY, f32::INFINITY) };
        let mut y: Vec<f32> = bias.iter().copied().cycle().take(size(outputs)).collect();
        let mut back = vec![0.0; size(inputs)];
        for (input, output, tap) in pairs(kernel, shape) {
            for image in 0..images {
                for channel in 0..channels {
                    let input = (image * per_input + input) * channels + channel;
                    let output = (image * per_output + output) * channels + channel;
                    let weight = weights[tap * channels + channel];
                    y[output] = x[input].mul_add(weight, y[output]);
                    back[input] = gradient[output].mul_add(weight, back[input]);
                }
            }
        }
        y.iter_mut().for_each(|value| *value = clamp(*value, low, high));
        if through_relu {
            for (back, output) in back.iter_mut().zip(&relu_output) {
                *back = if *output > 0.0 && *output < 1.5 { *back } else { 0.0 };
            }
        }

        let depthwise = Depthwise::new(weights, kernel, channels).unwrap();
        let (x, gradient) = (Buffer::new(kind, &x), Buffer::new(kind, &gradient));
        let relu_output = Buffer::new(kind, &relu_output);
        let found = on_all(|threads| {
            let mut y = Buffer::stale(kind, outputs);
            let epilogue = Epilogue { bias: Some(&bias[..]), low, high };
            depthwise.forward(threads, x.map(inputs), shape, epilogue, y.map_mut(outputs)).unwrap();
            y.bits()
        });
        prop_assert_eq!(found, rounded_bits(kind, &y));
        let found = on_all(|threads| {
            let mut back = Buffer::stale(kind, inputs);
            let relu = through_relu.then(|| ReluMask { output: relu_output.map(inputs), limit: 1.5 });
            depthwise.backward(threads, gradient.map(outputs), shape, relu, back.map_mut(inputs)).unwrap();
            back.bits()
        });
        prop_assert_eq!(found, rounded_bits(kind, &back));
    }
}

#[test]
fn unsupported_weights_are_refused() {
    let new = |count, channels| Depthwise::new(vec![0.0; count], [3, 3], channels).err();
    assert_eq!(new(9 * 32, 32), None);
    assert!(matches!(new(9 * 24, 24), Some(KernelError::Unsupported(_))));
    assert!(matches!(new(9 * 32 - 1, 32), Some(KernelError::Length { what: "weights", .. })));
}
