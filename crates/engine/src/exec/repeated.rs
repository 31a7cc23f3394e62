//! Layers whose weight is one value, repeated: all outputs are the same, so one is computed, and copied.
//!
//! A file of a few kilobytes may stand for such a layer of half a gigabyte, which takes no memory here. And outputs that are the same
//! stay the same: sums of the same numbers in different orders differ by rounding, and a softmax makes much of that where the numbers
//! are large.

use reverie_kernels::ThreadPool;
use tch::{Kind, Tensor};

use super::{
    super::RenderError,
    Layout,
    convolution::{Activation, Convolution},
};

/// A convolution in one group.
pub(super) struct RepeatedConvolution {
    /// With one output and no bias.
    pub(super) one: Convolution,
    /// `[1, out, 1, 1]`.
    pub(super) bias: Option<Tensor>,
    /// Outputs.
    pub(super) channels: i64,
}

impl RepeatedConvolution {
    pub(super) fn forward(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        layout: Layout,
    ) -> Result<Tensor, RenderError> {
        let one = self.one.forward(threads, x, None, Activation::None)?;
        let (images, _, height, width) = one.size4()?;
        let all = layout.arrange(&one.f_expand([images, self.channels, height, width], false)?)?;
        Ok(match &self.bias {
            Some(bias) => all.f_add(bias)?,
            None => all,
        })
    }

    /// As of [`Convolution::backward`].
    pub(super) fn backward(
        &self,
        threads: &ThreadPool,
        gradient: &Tensor,
        size: [i64; 2],
        sum: Option<Tensor>,
        layout: Layout,
    ) -> Result<Tensor, RenderError> {
        let of_one = gradient.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>)?;
        self.one.backward(threads, &layout.arrange(&of_one)?, size, sum)
    }
}

/// A product with `[in, out]`.
pub(super) struct RepeatedMatrix {
    pub(super) value: f64,
    pub(super) shape: [i64; 2],
}

impl RepeatedMatrix {
    pub(super) fn forward(&self, rows: &Tensor) -> Result<Tensor, RenderError> {
        self.spread(rows, self.shape[1])
    }

    pub(super) fn backward(&self, gradient: &Tensor) -> Result<Tensor, RenderError> {
        self.spread(gradient, self.shape[0])
    }

    /// Each row's sum times the value, so many times. Row by row: what an image gives must not depend on what else is in the batch.
    fn spread(&self, rows: &Tensor, times: i64) -> Result<Tensor, RenderError> {
        let (count, _) = rows.size2()?;
        let sums = (0..count).map(|row| {
            let sum = rows.f_narrow(0, row, 1)?.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>)?;
            Ok(sum.f_mul_scalar(self.value)?.f_repeat([1, times])?)
        });
        Ok(Tensor::f_cat(&sums.collect::<Result<Vec<_>, RenderError>>()?, 0)?)
    }
}
