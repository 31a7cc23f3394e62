//! Kernels of our own for GPUs, on tensors: the operations that libtorch is slow at there.
//!
//! What they compute stands in the files ending in `.cu`. [`program`] has them compiled, [`launch`] starts them. Here a tensor's layout and kind decide
//! whether a kernel can run over it, and results are allocated. Where none can, these functions return none, and libtorch's
//! operations do the same: for other layouts and kinds, where NVRTC is missing, and with `worker.kernels = "library"`.
//!
//! They are the counterparts of [the processor's](super::super::kernels), and mean the same by the same words.

mod launch;
mod nvrtc;
mod program;
mod pyramid;
#[cfg(test)]
mod tests;

use reverie_kernels::{ConvShape, LrnParams, MaxPool, ValueKind};
use tch::{Device, Kind, Tensor};

use super::super::{
    RenderError,
    kernels::{Epilogue, Geometry, ReluMask, SavedLrn, add_to, overlap},
};
use launch::{Argument, Launch, Lrn, Target, Window};
use program::Source;
pub(in super::super) use pyramid::GpuPyramid;

/// Values that [`LrnParams`]' kernels number with 32 bits.
const MOST_VALUES: usize = u32::MAX as usize;

/// Rows and images of a grid.
const MOST_BLOCKS: usize = 65_535;

/// Where the kernels run.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct GpuKernels {
    target: Target,
}

impl GpuKernels {
    /// Those for `device`; none on a CPU, and where kernels cannot be compiled.
    pub(in super::super) fn of(device: Device) -> Option<Self> {
        let Device::Cuda(index) = device else { return None };
        Target::of(index).map(|target| Self { target })
    }

    /// The same kernels on the CPU, value by value.
    #[cfg(test)]
    pub(in super::super) fn on_host() -> Self {
        Self { target: Target::Host }
    }

    /// See [`max_pool_forward`](super::super::kernels::max_pool_forward).
    pub(in super::super) fn max_pool_forward(
        self,
        pool: &MaxPool,
        x: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>, RenderError> {
        let Some(map) = self.map(x).filter(|_| MaxPool::fits(pool.kernel)) else { return Ok(None) };
        let Some(window) = Window::of_pool(pool, map.shape) else { return Ok(None) };
        let (y, shape) = self.result(map, pool.output)?;
        let argmax = Tensor::f_empty(shape, (Kind::Uint8, x.device()))?;
        let width = launch::width(map.shape[3], &[x, &y, &argmax]);
        let launch = Launch {
            program: window.program(Source::MaxPool, map.kind, width),
            kernel: "reverie_max_pool_forward",
            grid: window.grid(pool.output, 1, width),
        };
        let through_relu = Argument::Int(i32::from(pool.through_relu));
        let mut arguments = [
            Argument::of(x),
            Argument::of(&y),
            Argument::of(&argmax),
            Argument::Window(window),
            through_relu,
        ];
        Ok(self.target.launch(&launch, &mut arguments)?.then_some((y, argmax)))
    }

    /// See [`max_pool_backward`](super::super::kernels::max_pool_backward).
    pub(in super::super) fn max_pool_backward(
        self,
        pool: &MaxPool,
        gradient: &Tensor,
        argmax: &Tensor,
        sum: Option<Tensor>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(map) = self.map(gradient) else { return Ok(None) };
        let Some(window) = Window::of_pool(pool, map.shape) else { return Ok(None) };
        if argmax.f_kind()? != Kind::Uint8 || !argmax.is_contiguous() || argmax.numel() != gradient.numel() {
            return Err(RenderError::Engine("argmax indices are not as max-pooling made them".into()));
        }
        let fits = |sum: &Tensor| {
            let same = Geometry { shape: shape(map, pool.input), ..map };
            self.map(sum) == Some(same) && !overlap(sum, gradient)
        };
        let (back, rest) = match sum {
            Some(sum) if fits(&sum) => (sum, None),
            sum => (self.result(map, pool.input)?.0, Some(sum)),
        };
        let width = launch::width(map.shape[3], &[gradient, argmax, &back]);
        let launch = Launch {
            program: window.program(Source::MaxPool, map.kind, width),
            kernel: "reverie_max_pool_backward",
            grid: window.grid(pool.input, 1, width),
        };
        let accumulate = Argument::Int(i32::from(rest.is_none()));
        let mut arguments = [
            Argument::of(gradient),
            Argument::of(argmax),
            Argument::of(&back),
            Argument::Window(window),
            accumulate,
        ];
        if !self.target.launch(&launch, &mut arguments)? {
            return Ok(None);
        }
        rest.map_or(Ok(back.shallow_clone()), |sum| add_to(sum, back)).map(Some)
    }

    /// See [`lrn_forward`](super::super::kernels::lrn_forward).
    pub(in super::super) fn lrn_forward(
        self,
        params: LrnParams,
        x: &Tensor,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some((map, lrn, count)) = self.normalisation(params, x, false) else { return Ok(None) };
        let y = x.f_empty_like()?;
        let mut arguments = [Argument::of(x), Argument::of(&y), Argument::Lrn(lrn), Argument::Uint(count)];
        let launch = Launch::over(count, (Source::Lrn, 1), map.kind, "reverie_lrn_forward");
        Ok(self.target.launch(&launch, &mut arguments)?.then_some(y))
    }

    /// See [`lrn_backward`](super::super::kernels::lrn_backward).
    pub(in super::super) fn lrn_backward(
        self,
        params: LrnParams,
        saved: &SavedLrn,
        gradient: &Tensor,
    ) -> Result<Option<Tensor>, RenderError> {
        let SavedLrn { x, through_relu } = saved;
        let Some((map, lrn, count)) = self.normalisation(params, x, *through_relu) else { return Ok(None) };
        if self.map(gradient) != Some(map) {
            return Ok(None);
        }
        let terms = Tensor::f_empty([i64::from(count)], (Kind::Float, x.device()))?;
        let back = x.f_empty_like()?;
        let [lrn, count_too] = [Argument::Lrn(lrn), Argument::Uint(count)];
        let launch = |kernel| Launch::over(count, (Source::Lrn, 1), map.kind, kernel);
        let mut arguments = [Argument::of(x), Argument::of(gradient), Argument::of(&terms), lrn, count_too];
        if !self.target.launch(&launch("reverie_lrn_terms"), &mut arguments)? {
            return Ok(None);
        }
        let [x, gradient, terms, ..] = arguments;
        let mut arguments = [x, gradient, terms, Argument::of(&back), lrn, count_too];
        Ok(self.target.launch(&launch("reverie_lrn_backward"), &mut arguments)?.then_some(back))
    }

    /// `min(max(y + bias, low), high)` in the memory of `y`, a map that nothing else reads; whether the kernels can. `bias` is `[C]`, of
    /// the map's kind.
    pub(in super::super) fn epilogue(
        self,
        y: &Tensor,
        Epilogue { bias, low, high }: Epilogue<'_>,
    ) -> Result<bool, RenderError> {
        let Some(map) = self.map(y).filter(|_| y.numel() <= MOST_VALUES) else { return Ok(false) };
        let [.., channels] = map.shape;
        let Some(bias) = like(bias, y, channels)? else { return Ok(false) };
        let width = launch::width(channels, &[y, bias.unwrap_or(y)]);
        let (Ok(int), Ok(packs)) = (i32::try_from(channels), u32::try_from(y.numel() / width)) else {
            return Ok(false);
        };
        let mut arguments = [
            Argument::of(y),
            Argument::maybe(bias),
            Argument::Int(int),
            Argument::Float(low),
            Argument::Float(high),
            Argument::Uint(packs),
        ];
        let launch = Launch::over(packs, (Source::Epilogue, width), map.kind, "reverie_epilogue");
        self.target.launch(&launch, &mut arguments)
    }

    /// A map that the normalisation's kernels run over, its constants and its number of values.
    fn normalisation(
        self,
        params: LrnParams,
        x: &Tensor,
        through_relu: bool,
    ) -> Option<(Geometry, Lrn, u32)> {
        let map = self.map(x).filter(|_| x.numel() <= MOST_VALUES)?;
        let [.., channels] = map.shape;
        Some((map, Lrn::new(params, channels, through_relu)?, u32::try_from(x.numel()).ok()?))
    }

    /// Whether kernels can run over a map: float32 or bfloat16 in channels-last memory, without gaps.
    fn map(self, map: &Tensor) -> Option<Geometry> {
        let geometry = Geometry::of(map).filter(Geometry::is_dense)?;
        let [images, rows, ..] = geometry.shape;
        (self.target.has(map.device()) && images.max(rows) <= MOST_BLOCKS).then_some(geometry)
    }

    /// A new map like `map`, uninitialised, of so many rows and columns; and its shape, `[N, H, W, C]`.
    fn result(self, map: Geometry, size: [usize; 2]) -> Result<(Tensor, [i64; 4]), RenderError> {
        let kind = match map.kind {
            ValueKind::F32 => Kind::Float,
            ValueKind::Bf16 => Kind::BFloat16,
        };
        let shape = shape(map, size).map(|n| n as i64);
        let device = self.target.device();
        Ok((Tensor::f_empty(shape, (kind, device))?.f_permute([0, 3, 1, 2])?, shape))
    }
}

/// A bias for maps like `map` of so many channels, where there is one; none in the outer option if it does not fit.
fn like<'a>(
    bias: Option<&'a Tensor>,
    map: &Tensor,
    channels: usize,
) -> Result<Option<Option<&'a Tensor>>, RenderError> {
    let Some(bias) = bias else { return Ok(Some(None)) };
    let fits = bias.size() == [channels as i64]
        && bias.is_contiguous()
        && bias.f_kind()? == map.f_kind()?
        && bias.device() == map.device();
    Ok(fits.then_some(Some(bias)))
}

/// The shape of a map with other rows and columns.
fn shape(map: Geometry, [rows, columns]: [usize; 2]) -> [usize; 4] {
    let [images, .., channels] = map.shape;
    [images, rows, columns, channels]
}

/// A depthwise convolution on a GPU.
pub(in super::super) struct GpuDepthwise {
    kernels: GpuKernels,
    /// `[kh, kw, C]` float32.
    weights: Tensor,
}

impl GpuDepthwise {
    /// Takes over weights `[C, 1, kh, kw]` of a convolution in so many groups; none if it is not depthwise.
    pub(in super::super) fn new(
        kernels: GpuKernels,
        weight: &Tensor,
        groups: usize,
    ) -> Result<Option<Self>, RenderError> {
        let (channels, shared, ..) = weight.size4()?;
        if channels != groups as i64 || shared != 1 {
            return Ok(None);
        }
        let weights = weight.f_permute([2, 3, 0, 1])?.f_contiguous()?.f_squeeze_dim(3)?;
        Ok(Some(Self { kernels, weights: weights.f_to_kind(Kind::Float)? }))
    }

    /// Whether the kernels can run over `x`.
    pub(in super::super) fn supports(&self, x: &Tensor) -> bool {
        self.kernels.map(x).is_some_and(|map| map.shape[3] as i64 == self.weights.size()[2])
    }

    /// See [`Depthwise::forward`](super::super::kernels::Depthwise::forward).
    pub(in super::super) fn forward(
        &self,
        x: &Tensor,
        shape: ConvShape,
        Epilogue { bias, low, high }: Epilogue<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some((map, window)) = self.window(x, shape, shape.input)? else { return Ok(None) };
        let (y, _) = self.kernels.result(map, shape.output)?;
        let Some(bias) = like(bias, x, map.shape[3])? else { return Ok(None) };
        let launch = Launch {
            program: window.program(Source::Depthwise, map.kind, 1),
            kernel: "reverie_depthwise_forward",
            grid: window.grid(shape.output, launch::SIDE, 1),
        };
        let mut arguments = [
            Argument::of(x),
            Argument::of(&self.weights),
            Argument::maybe(bias),
            Argument::of(&y),
            Argument::Window(window),
            Argument::Float(low),
            Argument::Float(high),
        ];
        Ok(self.kernels.target.launch(&launch, &mut arguments)?.then_some(y))
    }

    /// See [`Depthwise::backward`](super::super::kernels::Depthwise::backward).
    pub(in super::super) fn backward(
        &self,
        gradient: &Tensor,
        shape: ConvShape,
        relu: Option<ReluMask<'_>>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some((map, window)) = self.window(gradient, shape, shape.output)? else { return Ok(None) };
        let (back, _) = self.kernels.result(map, shape.input)?;
        let (output, limit) = relu.map_or((None, f32::INFINITY), |relu| (Some(relu.output), relu.limit));
        if output.is_some_and(|output| self.kernels.map(output) != self.kernels.map(&back)) {
            return Ok(None);
        }
        let launch = Launch {
            program: window.program(Source::Depthwise, map.kind, 1),
            kernel: "reverie_depthwise_backward",
            grid: window.grid(shape.input, launch::SIDE, 1),
        };
        let mut arguments = [
            Argument::of(gradient),
            Argument::of(&self.weights),
            Argument::maybe(output),
            Argument::Float(limit),
            Argument::of(&back),
            Argument::Window(window),
        ];
        Ok(self.kernels.target.launch(&launch, &mut arguments)?.then_some(back))
    }

    /// How the windows move over `map`, whose rows and columns are to be `size`; none where the kernels cannot run.
    fn window(
        &self,
        map: &Tensor,
        shape: ConvShape,
        size: [usize; 2],
    ) -> Result<Option<(Geometry, Window)>, RenderError> {
        let kernel = [0, 1].map(|axis| self.weights.size()[axis] as usize);
        let Some(geometry) = self.kernels.map(map).filter(|_| self.supports(map)) else { return Ok(None) };
        if geometry.shape[1..3] != size {
            return Err(RenderError::Engine("a depthwise convolution has a map of another size".into()));
        }
        Ok(Window::new(shape, kernel, geometry.shape).map(|window| (geometry, window)))
    }
}
