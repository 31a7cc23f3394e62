//! What a convolution does to its results while they are in registers: operations that would each be one more pass over
//! memory.

use super::{KernelError, Map, Shape, map::check_length, simd::LANES, value::Value};

/// Adds a bias to every result and clamps it: `min(max(y + bias, low), high)`. NaN propagates.
///
/// `B` is how the bias is held: a slice here, `[outputs]`; a tensor in the engine.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<B> {
    /// `[outputs]`.
    pub bias: Option<B>,
    /// The lower bound; `-∞` for none.
    pub low: f32,
    /// The upper bound; `∞` for none.
    pub high: f32,
}

impl<B> Epilogue<B> {
    /// Does nothing.
    pub const NONE: Self = Self { bias: None, low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// The ReLU before a convolution, for the backward pass through both: the gradient passes where `0 < output < limit`,
/// and is zero elsewhere.
///
/// `M` is how the map is held: a [`Map`] here, a tensor in the engine.
#[derive(Clone, Copy, Debug)]
pub struct ReluMask<M> {
    /// The output of the ReLU, which is the input of the convolution.
    pub output: M,
    /// The upper bound of the ReLU; infinite where there is none.
    pub limit: f32,
}

impl<'a> ReluMask<Map<'a>> {
    /// The values of the output, a dense map of this shape, and the limit.
    pub(crate) fn values<V: Value>(&self, shape: Shape) -> Result<(&'a [V], f32), KernelError> {
        Ok((self.output.dense_of("output of the ReLU", shape)?, self.limit))
    }
}

impl Epilogue<&[f32]> {
    /// The bias of each of `outputs`, followed by zeros up to a whole number of SIMD vectors.
    pub(crate) fn padded_bias(&self, outputs: usize) -> Result<Vec<f32>, KernelError> {
        let mut bias = Vec::with_capacity(outputs.next_multiple_of(LANES));
        if let Some(given) = self.bias {
            check_length("bias", given.len(), outputs)?;
            bias.extend_from_slice(given);
        }
        bias.resize(outputs.next_multiple_of(LANES), 0.0);
        Ok(bias)
    }
}
