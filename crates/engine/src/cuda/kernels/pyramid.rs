//! The Laplacian pyramid on a GPU.

use std::ffi::c_int;

use reverie_kernels::ValueKind;
use tch::{Kind, Tensor};

use super::{
    super::super::RenderError,
    GpuKernels, MOST_BLOCKS,
    launch::{Argument, Launch, Level},
    program::{ProgramKey, Source},
};

/// The program.
pub(super) const PROGRAM: ProgramKey =
    ProgramKey { source: Source::Pyramid, kind: ValueKind::F32, sizes: None, width: 1 };

/// A kernel of it.
pub(super) const DOWNSAMPLE: &str = "reverie_downsample";

/// An image, `[1, C, H, W]`, as planes that the kernels work on where they lie.
pub(in super::super::super) struct GpuPyramid<'a> {
    kernels: GpuKernels,
    image: &'a Tensor,
    planes: u32,
    level: Level,
}

impl<'a> GpuPyramid<'a> {
    /// `before` is the padding above and to the left; none for an image that is not float32 without gaps, or too large.
    pub(in super::super::super) fn new(
        kernels: GpuKernels,
        image: &'a Tensor,
        before: [i64; 2],
    ) -> Result<Option<Self>, RenderError> {
        let (images, channels, height, width) = image.size4()?;
        let plain = image.f_kind()? == Kind::Float && image.is_contiguous() && image.numel() > 0;
        let fits = height <= MOST_BLOCKS as i64 && images * channels <= MOST_BLOCKS as i64;
        if !plain || !fits || !kernels.target.has(image.device()) {
            return Ok(None);
        }
        let ints = |pair: [i64; 2]| -> Option<[c_int; 2]> {
            Some([c_int::try_from(pair[0]).ok()?, c_int::try_from(pair[1]).ok()?])
        };
        let low = [(height + 1) / 2, (width + 1) / 2];
        let (Some(size), Some(low), Some(before)) = (ints([height, width]), ints(low), ints(before)) else {
            return Ok(None);
        };
        let planes = u32::try_from(images * channels).unwrap_or(u32::MAX);
        Ok(Some(Self { kernels, image, planes, level: Level { size, low, before } }))
    }

    /// The image at half its size, blurred; none where the kernels cannot be compiled.
    pub(in super::super::super) fn downsample(&self) -> Result<Option<Tensor>, RenderError> {
        let (images, channels, ..) = self.image.size4()?;
        let [height, width] = self.level.low.map(i64::from);
        let low = Tensor::f_empty([images, channels, height, width], (Kind::Float, self.image.device()))?;
        let done = self.run(DOWNSAMPLE, self.level.low, &low, None)?;
        Ok(done.then_some(low))
    }

    /// Takes away what `low` gives at the image's size.
    pub(in super::super::super) fn subtract_upsampled(&self, low: &Tensor) -> Result<(), RenderError> {
        self.finish("reverie_subtract_upsampled", low, None)
    }

    /// Divides the image by `rms`, a float32 scalar on the device, and adds what `low` gives at its size.
    pub(in super::super::super) fn divide_and_add_upsampled(
        &self,
        low: &Tensor,
        rms: &Tensor,
    ) -> Result<(), RenderError> {
        self.finish("reverie_divide_and_add_upsampled", low, Some(rms))
    }

    /// A kernel over the image, which has begun to change.
    fn finish(&self, kernel: &'static str, low: &Tensor, rms: Option<&Tensor>) -> Result<(), RenderError> {
        match self.run(kernel, self.level.size, low, rms)? {
            true => Ok(()),
            false => Err(RenderError::Engine(format!("{kernel} is not there, and the first one was"))),
        }
    }

    fn run(
        &self,
        kernel: &'static str,
        grid: [c_int; 2],
        low: &Tensor,
        rms: Option<&Tensor>,
    ) -> Result<bool, RenderError> {
        let launch = Launch { program: PROGRAM, kernel, grid: Level::grid(grid, self.planes) };
        let mut arguments = vec![Argument::of(self.image), Argument::of(low)];
        arguments.extend(rms.map(Argument::of));
        arguments.push(Argument::Level(self.level));
        self.kernels.target.launch(&launch, &mut arguments)
    }
}
