//! 1×1 convolutions: a matrix of pixels times one of weights.
//!
//! oneDNN multiplies large ones of these as fast as the processor can, but on the smallest maps a call takes it twenty
//! microseconds, most of them on one thread before the others have work, and a step has tens of calls. Here a call
//! costs less; bias, activation, sum and the gradient of the ReLU before come with it, and the products of bfloat16
//! reach more of their rate.

mod block;

use super::{
    Bf16, Epilogue, InstructionSet, KernelError, Map, MapMut, ReluMask, ThreadPool, ValueKind, ValuesMut,
    map::{check_length, check_shape},
    simd::LANES,
    value::Value,
};
use block::{Task, multiply_bf16_pairs, multiply_f32};

/// Products that take about as long as other loops' work on a byte; only the order of magnitude matters.
const PER_BYTE: usize = 16;

/// The weights of a 1×1 convolution.
pub struct Conv1x1 {
    channels: usize,
    outputs: usize,
    weights: Weights,
}

/// Weights of sixteen outputs after those of another sixteen, padded with zeros.
enum Weights {
    /// For each channel.
    F32(Vec<[f32; LANES]>),
    /// For each two channels, the first in the lower bits.
    Bf16Pairs(Vec<[u32; LANES]>),
}

impl Conv1x1 {
    /// Takes over weights `[outputs, channels]` for maps of float32.
    ///
    /// # Errors
    /// [`KernelError`] unless there are that many, and at least one.
    pub fn new_f32(weights: &[f32], [outputs, channels]: [usize; 2]) -> Result<Self, KernelError> {
        check(weights, [outputs, channels])?;
        let at = |output: usize, channel: usize| {
            if output < outputs { weights[output * channels + channel] } else { 0.0 }
        };
        Ok(Self { channels, outputs, weights: Weights::F32(packed(outputs, channels, 1, at)) })
    }

    /// As [`Self::new_f32`], for maps of bfloat16, an even number of channels, and [`InstructionSet::Avx512Bf16`]. The
    /// weights are bfloat16 already.
    ///
    /// # Errors
    /// As [`Self::new_f32`], and [`KernelError::Unsupported`] for an odd number of channels.
    pub fn new_bf16(weights: &[f32], [outputs, channels]: [usize; 2]) -> Result<Self, KernelError> {
        check(weights, [outputs, channels])?;
        if !channels.is_multiple_of(2) {
            return Err(KernelError::Unsupported("an odd number of channels of bfloat16"));
        }
        let at = |output: usize, channel: usize| {
            if output < outputs { weights[output * channels + channel] } else { 0.0 }
        };
        let pair = |output, channel| {
            let [low, high] = [0, 1].map(|next| at(output, channel + next).to_bits());
            (low >> 16) | (high & 0xffff_0000)
        };
        Ok(Self { channels, outputs, weights: Weights::Bf16Pairs(packed(outputs, channels, 2, pair)) })
    }

    /// What maps have to be of.
    pub fn kind(&self) -> ValueKind {
        match self.weights {
            Weights::F32(_) => ValueKind::F32,
            Weights::Bf16Pairs(_) => ValueKind::Bf16,
        }
    }

    /// Channels of the input.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels of the output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The convolution of `x`; added to what `y` holds if `accumulate` says so, before the epilogue. `relu`: the result
    /// is a gradient, and goes through the backward pass of this ReLU.
    ///
    /// # Errors
    /// [`KernelError`] unless all maps are of the kind of the weights and of fitting shapes, or where the threads lack the
    /// instructions.
    pub fn convolve(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        accumulate: bool,
        epilogue: Epilogue<&[f32]>,
        relu: Option<ReluMask<Map<'_>>>,
        y: MapMut<'_>,
    ) -> Result<(), KernelError> {
        let isa = threads.isa();
        let shape = y.shape();
        match (&self.weights, y.values) {
            (Weights::F32(weights), ValuesMut::F32(y)) => {
                let task = self.task(weights, x, shape, accumulate, epilogue, relu)?;
                self.run(threads, y, |first, y| multiply_f32(isa, &task, first, y));
            }
            (Weights::Bf16Pairs(weights), ValuesMut::Bf16(y)) => {
                let dot = isa.bf16_dot().ok_or(KernelError::InstructionSet(InstructionSet::Avx512Bf16))?;
                let task = self.task(weights, x, shape, accumulate, epilogue, relu)?;
                self.run(threads, y, |first, y| multiply_bf16_pairs(dot, &task, first, y));
            }
            (Weights::F32(_), ValuesMut::Bf16(_)) => {
                return Err(KernelError::Kind { found: Bf16::KIND, expected: f32::KIND });
            }
            (Weights::Bf16Pairs(_), ValuesMut::F32(_)) => {
                return Err(KernelError::Kind { found: f32::KIND, expected: Bf16::KIND });
            }
        }
        Ok(())
    }

    fn task<'a, V: Value, U>(
        &self,
        weights: &'a [U],
        x: Map<'a>,
        shape: [usize; 4],
        accumulate: bool,
        epilogue: Epilogue<&[f32]>,
        relu: Option<ReluMask<Map<'a>>>,
    ) -> Result<Task<'a, V, U>, KernelError> {
        let Self { channels, outputs, .. } = *self;
        let [images, rows, columns, _] = shape;
        check_shape("result", shape, [images, rows, columns, outputs])?;
        check_shape("input", x.shape(), [images, rows, columns, channels])?;
        Ok(Task {
            weights,
            channels,
            outputs,
            x: x.of()?,
            pixel_stride: x.pixel_stride(),
            bias: epilogue.padded_bias(outputs)?,
            limits: [epilogue.low, epilogue.high],
            accumulate,
            relu: relu.map(|relu| relu.values(shape)).transpose()?,
        })
    }

    fn run<V: Value>(&self, threads: &ThreadPool, y: &mut [V], run: impl Fn(usize, &mut [V]) + Sync) {
        // As much work as a loop has that writes so many bytes and does little for each.
        threads.split_by_cost(y.len() * self.channels / PER_BYTE, y, self.outputs, run);
    }
}

/// Whether there are weights, and that many.
fn check(weights: &[f32], [outputs, channels]: [usize; 2]) -> Result<(), KernelError> {
    if outputs * channels == 0 {
        return Err(KernelError::Unsupported("a convolution without weights"));
    }
    check_length("weights", weights.len(), outputs * channels)
}

/// What `unit` makes of an output and the first of `count` channels: for sixteen outputs side by side, `count` channels
/// after the others, and then for the next sixteen outputs.
fn packed<U>(
    outputs: usize,
    channels: usize,
    count: usize,
    unit: impl Fn(usize, usize) -> U,
) -> Vec<[U; LANES]> {
    let mut units = Vec::with_capacity(outputs.div_ceil(LANES) * channels / count);
    for panel in (0..outputs).step_by(LANES) {
        for channel in (0..channels).step_by(count) {
            units.push(std::array::from_fn(|lane| unit(panel + lane, channel)));
        }
    }
    units
}
