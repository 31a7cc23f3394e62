//! Laplacian normalisation: every band of spatial frequencies of the gradient gets the same strength, so
//! that a dream grows smooth forms and fine detail alike.
//!
//! Source: Mordvintsev, Olah and Tyka's DeepDream notebook (2015). The pyramid is Burt and Adelson's (1983)
//! with the binomial kernel `[1, 4, 6, 4, 1]`; borders follow TensorFlow's `SAME` convolution, so that odd
//! sizes give the published values.
//!
//! On the CPU the pyramid runs in [kernels of our own](reverie_kernels::downsample): a convolution does two and a half
//! times the arithmetic, and leaves every step of the pyramid to a pass over memory of its own.

use reverie_kernels::{ThreadPool, downsample::TAPS};
use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{bands_on, each, rows, sum, total},
    cuda::{GpuKernels, GpuPyramid},
    kernels::{Pyramid, thread_pool},
    library::{ConvParams, convolve, transposed},
};
use reverie_dream::plan::Span;
use reverie_graph::Padding;

const WINDOW: i64 = TAPS.len() as i64;

/// What a band is divided by at the least.
const LEAST_RMS: f64 = 1e-10;

/// Half the size.
const HALF_SIZE: ConvParams = ConvParams { stride: [2, 2], padding: [0, 0], dilation: [1, 1], groups: 1 };

/// What normalising on one device needs.
pub(super) struct Laplacian {
    /// `[1, 1, 5, 5]`, sums to 1. Channels go through it as a batch: as groups they take four to seven times as long.
    down: Tensor,
    /// Four times [`Self::down`]: spreading a pixel over 2×2 must keep the brightness.
    up: Tensor,
    threads: ThreadPool,
    library: bool,
    gpu: Option<GpuKernels>,
}

impl Laplacian {
    /// On the [library path](super::library), there in a GPU's kernels where it has them; or in kernels of our own.
    pub(super) fn new(
        device: tch::Device,
        library: bool,
        gpu: Option<GpuKernels>,
    ) -> Result<Self, RenderError> {
        let taps = Tensor::f_from_slice(&TAPS)?.f_to_device(device)?;
        let kernel = taps.f_outer(&taps)?.f_div_scalar(256.0)?;
        let down = kernel.f_reshape([1, 1, 5, 5])?;
        Ok(Self { up: down.f_mul_scalar(4.0)?, down, threads: thread_pool(), library, gpu })
    }

    /// Splits `image`, `[1, 3, H, W]`, into `levels` bands and a rest, divides each by its root mean square
    /// (at least 1e-10) and puts them together again, all in the memory of `image`: apart from it only the smaller
    /// levels are held, a third of its size.
    pub(super) fn normalize(&self, image: &Tensor, levels: u32) -> Result<(), RenderError> {
        if levels == 0 {
            return self.unit_rms(image);
        }
        if let Some(gpu) = self.gpu
            && self.on_gpu(gpu, image, levels)?
        {
            return Ok(());
        }
        let pyramid = if self.library { None } else { Pyramid::new(image) };
        let Some(mut pyramid) = pyramid else { return self.by_convolution(image, levels) };
        let rest = pyramid.downsample(&self.threads)?;
        let squares = pyramid.subtract_upsampled(&self.threads, &rest)?;
        let factor = 1.0 / rms(image, squares);
        self.normalize(&rest, levels - 1)?;
        pyramid.scale_and_add_upsampled(&self.threads, &rest, factor as f32)
    }

    /// [`Self::normalize`] in a GPU's kernels, for at least one level; whether they could.
    fn on_gpu(&self, gpu: GpuKernels, image: &Tensor, levels: u32) -> Result<bool, RenderError> {
        let ([top, _], [left, _]) = borders(image)?;
        let Some(pyramid) = GpuPyramid::new(gpu, image, [top, left])? else { return Ok(false) };
        let Some(rest) = pyramid.downsample()? else { return Ok(false) };
        pyramid.subtract_upsampled(&rest)?;
        let rms = rms_on_device(image)?;
        self.normalize(&rest, levels - 1)?;
        pyramid.divide_and_add_upsampled(&rest, &rms)?;
        Ok(true)
    }

    /// [`Self::normalize`] with libtorch's operations, for at least one level.
    fn by_convolution(&self, image: &Tensor, levels: u32) -> Result<(), RenderError> {
        let rest = self.blur(image)?;
        each(image, |span, band| Ok(band.f_sub_(&self.expand(&rest, image, span)?)?))?;
        self.unit_rms(image)?;
        self.normalize(&rest, levels - 1)?;
        each(image, |span, band| Ok(band.f_add_(&self.expand(&rest, image, span)?)?))
    }

    /// Divides `band` by its root mean square, where it lies.
    fn unit_rms(&self, band: &Tensor) -> Result<(), RenderError> {
        if self.library {
            let rms = rms_on_device(band)?;
            return each(band, |_, band| Ok(band.f_div_(&rms)?));
        }
        let rms = rms(band, sum(band, squares)?);
        each(band, |_, band| Ok(band.f_div_scalar_(rms)?))
    }

    /// Half-size blurred image.
    fn blur(&self, image: &Tensor) -> Result<Tensor, RenderError> {
        let (_, channels, height, width) = image.size4()?;
        let ([top, _], [left, right]) = borders(image)?;
        let (low_height, low_width) = ((height + 1) / 2, (width + 1) / 2);
        let low = Tensor::f_empty([1, channels, low_height, low_width], (image.f_kind()?, image.device()))?;
        for span in bands_on(image.device(), low_height, 2 * width) {
            // Where the window of the band would begin and end, beyond the image too.
            let (first, end) = (2 * span.start - top, 2 * (span.start + span.length - 1) - top + WINDOW);
            let (from, to) = (first.max(0), end.min(height));
            let band = rows(image, Span { start: from, length: to - from })?;
            let padded = band.f_pad([left, right, from - first, end - to], "constant", 0.0)?;
            let blurred = convolve(&padded.f_transpose(0, 1)?, &self.down, None, HALF_SIZE, false)?;
            rows(&low, span)?.f_copy_(&blurred.f_transpose(0, 1)?)?;
        }
        Ok(low)
    }

    /// The rows `span` of `low` enlarged to the size of `like`: the transpose of the convolution in
    /// [`Self::blur`].
    fn expand(&self, low: &Tensor, like: &Tensor, span: Span) -> Result<Tensor, RenderError> {
        let (_, _, low_height, _) = low.size4()?;
        let (_, _, _, width) = like.size4()?;
        let ([top, _], [left, _]) = borders(like)?;
        // Row i of `low` reaches the rows 2i to 2i + 4 of an image that begins `top` rows above.
        let (first, last) = (span.start + top, span.start + span.length - 1 + top);
        let from = ((first - WINDOW + 2) / 2).max(0);
        let to = (last / 2).min(low_height - 1);
        let part = rows(low, Span { start: from, length: to - from + 1 })?;
        let full = transposed(&part.f_transpose(0, 1)?, &self.up, HALF_SIZE, [0, 0], false)?;
        Ok(full.f_transpose(0, 1)?.f_narrow(2, first - 2 * from, span.length)?.f_narrow(3, left, width)?)
    }
}

/// `SAME` padding of a 5×5 window with stride 2, vertical and horizontal, `[before, after]` each.
fn borders(image: &Tensor) -> Result<([i64; 2], [i64; 2]), RenderError> {
    let (_, _, height, width) = image.size4()?;
    let [vertical, horizontal] = [height, width].map(|n| {
        let resolved = Padding::Same.resolve(0, n as usize, TAPS.len(), 2);
        resolved.map_or([0, 0], |(_, before, after)| [before as i64, after as i64])
    });
    Ok((vertical, horizontal))
}

/// Root mean square of the values of `band`, at least 1e-10, as a scalar of its kind on its device, which need not be waited
/// for.
fn rms_on_device(band: &Tensor) -> Result<Tensor, RenderError> {
    let mean = total(band, squares)?.f_div_scalar(band.numel() as f64)?;
    Ok(mean.f_sqrt()?.f_clamp_min(LEAST_RMS)?.f_to_kind(band.f_kind()?)?)
}

/// Sum of the squares of the values of `band`, a scalar in float64.
fn squares(band: &Tensor) -> Result<Tensor, RenderError> {
    Ok(band.f_square()?.f_sum(Kind::Double)?)
}

/// Root mean square of the values of `band`, given the sum of their squares; at least 1e-10.
fn rms(band: &Tensor, squares: f64) -> f64 {
    (squares / band.numel() as f64).sqrt().max(LEAST_RMS)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn kernels_and_convolutions_agree() {
        let [laplacian, library] =
            [false, true].map(|library| Laplacian::new(Device::Cpu, library, None).unwrap());
        for (height, width) in
            [(1, 1), (1, 2), (2, 1), (3, 3), (4, 5), (5, 4), (17, 40), (64, 33), (131, 290)]
        {
            let image = Tensor::randn([1, 3, height, width], (Kind::Float, Device::Cpu));
            let (ours, theirs) = (image.copy(), image.copy());
            laplacian.normalize(&ours, 1).unwrap();
            library.normalize(&theirs, 1).unwrap();
            let worst = (&ours - &theirs).abs().max().double_value(&[]);
            let scale = theirs.abs().max().double_value(&[]);
            assert!(worst <= 2e-6 * scale, "{height}×{width}: {worst} of {scale}");
        }
    }
}
