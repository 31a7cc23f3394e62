//! 1×1 convolutions.

use proptest::prelude::*;

use super::{Buffer, Fill, bits, cases, channels, draw, fill, on_all, spread, up_to};
use crate::{Conv1x1, Epilogue, InstructionSet, KernelError, Map, ReluMask, ThreadPool, ValueKind};

/// Shapes of a convolution, and what else it does.
#[derive(Clone, Copy, Debug)]
struct Case {
    pixels: usize,
    channels: usize,
    outputs: usize,
    gap: usize,
    accumulate: bool,
    limited: bool,
    through_relu: bool,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (up_to(40), channels(), channels(), 0usize..4);
    (sizes, any::<[bool; 3]>(), any::<u64>()).prop_map(|((pixels, channels, outputs, gap), flags, seed)| {
        let [accumulate, limited, through_relu] = flags;
        Case { pixels, channels, outputs, gap, accumulate, limited, through_relu, seed }
    })
}

/// The operands of a case.
struct Operands {
    weights: Vec<f32>,
    bias: Vec<f32>,
    x: Vec<f32>,
    sum: Vec<f32>,
    relu_output: Vec<f32>,
    limits: [f32; 2],
}

impl Case {
    fn operands(&self, fill: Fill, kind: ValueKind) -> Operands {
        let draw = |salt, count| draw(self.seed ^ salt, fill, kind, count);
        let limits = if self.limited { [0.0, 6.0] } else { [f32::NEG_INFINITY, f32::INFINITY] };
        Operands {
            weights: draw(1, self.outputs * self.channels),
            bias: draw(2, self.outputs),
            x: draw(3, self.pixels * self.channels),
            sum: draw(4, self.pixels * self.outputs),
            relu_output: draw(5, self.pixels * self.outputs),
            limits,
        }
    }

    fn run(
        &self,
        conv: &Conv1x1,
        operands: &Operands,
        threads: &ThreadPool,
    ) -> Result<Vec<f32>, KernelError> {
        let kind = conv.kind();
        let x = spread(kind, &operands.x, self.channels, self.gap);
        let [inputs, outputs] = [self.channels, self.outputs].map(|channels| [1, self.pixels, 1, channels]);
        let x = Map::new(x.values(), inputs, self.channels + self.gap).unwrap();
        let mut y =
            if self.accumulate { Buffer::new(kind, &operands.sum) } else { Buffer::stale(kind, outputs) };
        let relu_output = Buffer::new(kind, &operands.relu_output);
        let relu = self.through_relu.then(|| ReluMask { output: relu_output.map(outputs), limit: 1.5 });
        let [low, high] = operands.limits;
        let epilogue = Epilogue { bias: Some(&operands.bias[..]), low, high };
        conv.convolve(threads, x, self.accumulate, epilogue, relu, y.map_mut(outputs))?;
        Ok(y.to_f32())
    }

    /// Hands the bias, the terms and what to add of every result to `sum`, and does the rest.
    fn expected(&self, operands: &Operands, sum: impl Fn(f32, &[f32], &[f32], f32) -> f32) -> Vec<f32> {
        let Operands { weights, bias, x, sum: onto, relu_output, limits: [low, high] } = operands;
        let mut y = Vec::new();
        for x in x.chunks(self.channels) {
            for (weights, bias) in weights.chunks(self.channels).zip(bias) {
                let at = y.len();
                let mut value = sum(*bias, x, weights, if self.accumulate { onto[at] } else { -0.0 });
                value = if value < *low { *low } else { value };
                value = if value > *high { *high } else { value };
                let passes = !self.through_relu || relu_output[at] > 0.0 && relu_output[at] < 1.5;
                y.push(if passes { value } else { 0.0 });
            }
        }
        y
    }
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn float32_is_that_of_plain_loops(case in case(), fill in fill()) {
        let operands = case.operands(fill, ValueKind::F32);
        let expected = case.expected(&operands, |bias, x, weights, onto| {
            x.iter().zip(weights).fold(bias, |sum, (x, weight)| x.mul_add(*weight, sum)) + onto
        });
        let conv = Conv1x1::new_f32(&operands.weights, [case.outputs, case.channels]).unwrap();
        let found = on_all(|threads| bits(&case.run(&conv, &operands, threads).unwrap()));
        prop_assert_eq!(found, bits(&expected));
    }

    #[test]
    fn bfloat16_is_near_that_of_plain_loops(case in case()) {
        let case = Case { channels: case.channels.next_multiple_of(2), ..case };
        let operands = case.operands(Fill::Ordinary, ValueKind::Bf16);
        let conv = Conv1x1::new_bf16(&operands.weights, [case.outputs, case.channels]).unwrap();
        let expected = case.expected(&operands, |bias, x, weights, onto| {
            let terms = x.iter().zip(weights).map(|(x, weight)| f64::from(*x) * f64::from(*weight));
            (terms.sum::<f64>() + f64::from(bias) + f64::from(onto)) as f32
        });
        for set in InstructionSet::available() {
            for threads in [1, 3] {
                let threads = ThreadPool::spawning(threads).with_instruction_set(set).unwrap();
                let found = case.run(&conv, &operands, &threads);
                if !set.has_bf16_dot() {
                    prop_assert_eq!(found, Err(KernelError::InstructionSet(InstructionSet::Avx512Bf16)));
                    continue;
                }
                for (found, expected) in found.unwrap().into_iter().zip(&expected) {
                    // Half of the last digit of the result, and the roundings of the sum.
                    let bound = expected.abs() / 256.0 + 1.0e-5 * case.channels as f32;
                    prop_assert!((found - expected).abs() <= bound, "{found}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn unsupported_weights_are_refused() {
    assert!(matches!(Conv1x1::new_bf16(&[0.0; 9], [3, 3]), Err(KernelError::Unsupported(_))));
    assert!(matches!(Conv1x1::new_f32(&[], [0, 3]), Err(KernelError::Unsupported(_))));
    assert!(matches!(Conv1x1::new_f32(&[0.0; 8], [3, 3]), Err(KernelError::Length { .. })));
}

#[test]
fn maps_of_another_kind_or_shape_are_refused() {
    let conv = Conv1x1::new_f32(&[1.0; 6], [2, 3]).unwrap();
    let run = |kind, channels, bias: usize| {
        let x = Buffer::stale(kind, [1, 2, 2, channels]);
        let mut y = Buffer::stale(kind, [1, 2, 2, 2]);
        let bias = vec![0.0; bias];
        let epilogue = Epilogue { bias: Some(&bias[..]), ..Epilogue::NONE };
        let x = x.map([1, 2, 2, channels]);
        conv.convolve(&ThreadPool::new(1), x, false, epilogue, None, y.map_mut([1, 2, 2, 2]))
    };
    assert_eq!(run(ValueKind::F32, 3, 2), Ok(()));
    assert!(matches!(run(ValueKind::Bf16, 3, 2), Err(KernelError::Kind { .. })));
    assert!(matches!(run(ValueKind::F32, 4, 2), Err(KernelError::Shape { what: "input", .. })));
    assert!(matches!(run(ValueKind::F32, 3, 1), Err(KernelError::Length { what: "bias", .. })));
}
