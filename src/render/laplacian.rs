//! Laplacian normalisation: every band of spatial frequencies of the gradient gets the same strength, so
//! that a dream grows smooth forms and fine detail alike.
//!
//! Source: Mordvintsev, Olah and Tyka's DeepDream notebook (2015). The pyramid is Burt and Adelson's (1983)
//! with the binomial kernel `[1, 4, 6, 4, 1]`; borders follow TensorFlow's `SAME` convolution, so that odd
//! sizes give the published values.

use tch::{Kind, Tensor};

use super::RenderError;
use crate::graph::Padding;

const TAPS: [f32; 5] = [1.0, 4.0, 6.0, 4.0, 1.0];

/// The blur kernel for one device.
pub(super) struct Laplacian {
    /// `[3, 1, 5, 5]`, sums to 1 per channel.
    down: Tensor,
    /// Four times [`Self::down`]: spreading a pixel over 2×2 must keep the brightness.
    up: Tensor,
}

impl Laplacian {
    pub(super) fn new(device: tch::Device) -> Result<Self, RenderError> {
        let taps = Tensor::f_from_slice(&TAPS)?.f_to_device(device)?;
        let kernel = taps.f_outer(&taps)?.f_div_scalar(256.0)?;
        let down = kernel.f_reshape([1, 1, 5, 5])?.f_repeat([3, 1, 1, 1])?;
        Ok(Self { up: down.f_mul_scalar(4.0)?, down })
    }

    /// Splits `image`, `[1, 3, H, W]`, into `levels` bands and a rest, divides each by its root mean square
    /// (at least 1e-10) and puts them together again.
    pub(super) fn normalize(&self, image: &Tensor, levels: u32) -> Result<Tensor, RenderError> {
        let mut bands = Vec::with_capacity(levels as usize + 1);
        let mut rest = image.shallow_clone();
        for _ in 0..levels {
            let (low, high) = self.split(&rest)?;
            bands.push(unit_rms(&high)?);
            rest = low;
        }
        let mut merged = unit_rms(&rest)?;
        for band in bands.iter().rev() {
            merged = self.expand(&merged, band)?.f_add(band)?;
        }
        Ok(merged)
    }

    /// Half-size blurred image, and what it lacks.
    fn split(&self, image: &Tensor) -> Result<(Tensor, Tensor), RenderError> {
        let ([top, bottom], [left, right]) = borders(image)?;
        let padded = image.f_pad([left, right, top, bottom], "constant", 0.0)?;
        let low = padded.f_conv2d(&self.down, None::<Tensor>, [2, 2], [0, 0], [1, 1], 3)?;
        let high = image.f_sub(&self.expand(&low, image)?)?;
        Ok((low, high))
    }

    /// Enlarges `low` to the size of `like`: the transpose of the convolution in [`Self::split`].
    fn expand(&self, low: &Tensor, like: &Tensor) -> Result<Tensor, RenderError> {
        let (_, _, height, width) = like.size4()?;
        let ([top, _], [left, _]) = borders(like)?;
        let full = low.f_conv_transpose2d(&self.up, None::<Tensor>, [2, 2], [0, 0], [0, 0], 3, [1, 1])?;
        Ok(full.f_narrow(2, top, height)?.f_narrow(3, left, width)?)
    }
}

/// `SAME` padding of a 5×5 window with stride 2, vertical and horizontal, `[before, after]` each.
fn borders(image: &Tensor) -> Result<([i64; 2], [i64; 2]), RenderError> {
    let (_, _, height, width) = image.size4()?;
    let [vertical, horizontal] = [height, width].map(|n| {
        let resolved = Padding::Same.resolve(n as usize, TAPS.len(), 2);
        resolved.map_or([0, 0], |(_, before, after)| [before as i64, after as i64])
    });
    Ok((vertical, horizontal))
}

fn unit_rms(band: &Tensor) -> Result<Tensor, RenderError> {
    let rms = band.f_square()?.f_mean(None::<Kind>)?.f_sqrt()?.f_clamp_min(1e-10)?;
    Ok(band.f_div(&rms)?)
}
