//! Starting a kernel: over which grid, with which arguments, on which stream.

use std::ffi::{c_int, c_void};

use reverie_kernels::{ConvShape, LrnParams, MaxPool, ValueKind};
use tch::{Device, Tensor};

use super::{
    super::super::RenderError,
    program::{ProgramKey, Runtime, Source},
    pyramid,
};

/// Threads of a block, which lie side by side.
const BLOCK: usize = 256;

/// Results that a thread of a depthwise convolution computes; as in `depthwise.cu`.
pub(super) const SIDE: usize = 4;

/// Channels that a thread computes where there are so many: what it reads of float32 is then the widest access there is.
const WIDTH: usize = 4;

/// Channels of a thread, of so many in maps that begin where these tensors do.
pub(super) fn width(channels: usize, tensors: &[&Tensor]) -> usize {
    // The widest access has 16 bytes. What libtorch allocates begins at a multiple of that, a part of it perhaps not.
    let aligned = tensors.iter().all(|tensor| (tensor.data_ptr() as usize).is_multiple_of(4 * WIDTH));
    if channels.is_multiple_of(WIDTH) && aligned { WIDTH } else { 1 }
}

/// Where kernels run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// On GPU number `device`.
    Cuda { device: usize, runtime: &'static Runtime },
    /// On the CPU, for tests.
    #[cfg(test)]
    Host,
}

/// A kernel and its grid.
pub(super) struct Launch {
    pub(super) program: ProgramKey,
    pub(super) kernel: &'static str,
    /// Blocks side by side, rows, images.
    pub(super) grid: [u32; 3],
}

impl Launch {
    /// Over so many threads, without regard to where their values are.
    pub(super) fn over(
        threads: u32,
        (source, width): (Source, usize),
        kind: ValueKind,
        kernel: &'static str,
    ) -> Self {
        Self {
            program: ProgramKey { source, kind, sizes: None, width },
            kernel,
            grid: [threads.div_ceil(BLOCK as u32), 1, 1],
        }
    }
}

impl Target {
    /// GPU number `device`; none where kernels cannot be compiled for it. One that every dream needs is compiled to find out: a pass
    /// that has begun with kernels has to end with them.
    pub(super) fn of(device: usize) -> Option<Self> {
        let runtime = Runtime::get()?;
        let tried = runtime.kernel(device, pyramid::PROGRAM, pyramid::DOWNSAMPLE);
        tried.map(|_| Self::Cuda { device, runtime })
    }

    pub(super) fn device(self) -> Device {
        match self {
            Self::Cuda { device, .. } => Device::Cuda(device),
            #[cfg(test)]
            Self::Host => Device::Cpu,
        }
    }

    /// Whether kernels can reach what lies on `device`.
    pub(super) fn has(self, device: Device) -> bool {
        self.device() == device
    }

    /// Starts a kernel on this thread's stream; whether it could be compiled. Every pointer among `arguments` is that of a
    /// tensor which the caller still holds, and of what the kernel expects; libtorch gives memory on a stream away in the order of that stream's
    /// work.
    ///
    /// # Errors
    /// [`RenderError::Engine`] when the GPU refuses.
    pub(super) fn launch(self, launch: &Launch, arguments: &mut [Argument]) -> Result<bool, RenderError> {
        let mut addresses: Vec<*mut c_void> = arguments.iter_mut().map(Argument::address).collect();
        match self {
            Self::Cuda { device, runtime } => {
                let Some(kernel) = runtime.kernel(device, launch.program, launch.kernel) else {
                    return Ok(false);
                };
                runtime.start(device, kernel, launch.grid, BLOCK as u32, &mut addresses)?;
            }
            #[cfg(test)]
            Self::Host => super::tests::run(launch, BLOCK as u32, &mut addresses),
        }
        Ok(true)
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(super) enum Argument {
    Pointer(*mut c_void),
    Int(c_int),
    Uint(u32),
    Float(f32),
    Window(Window),
    Lrn(Lrn),
    Level(Level),
}

impl Argument {
    /// The values of a tensor.
    pub(super) fn of(tensor: &Tensor) -> Self {
        Self::Pointer(tensor.data_ptr())
    }

    /// The same, or nothing.
    pub(super) fn maybe(tensor: Option<&Tensor>) -> Self {
        tensor.map_or(Self::Pointer(std::ptr::null_mut()), Self::of)
    }

    fn address(&mut self) -> *mut c_void {
        match self {
            Self::Pointer(value) => std::ptr::from_mut(value).cast(),
            Self::Int(value) => std::ptr::from_mut(value).cast(),
            Self::Uint(value) => std::ptr::from_mut(value).cast(),
            Self::Float(value) => std::ptr::from_mut(value).cast(),
            Self::Window(value) => std::ptr::from_mut(value).cast(),
            Self::Lrn(value) => std::ptr::from_mut(value).cast(),
            Self::Level(value) => std::ptr::from_mut(value).cast(),
        }
    }
}

/// `Window` of `window.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Window {
    kernel: [c_int; 2],
    stride: [c_int; 2],
    before: [c_int; 2],
    input: [c_int; 2],
    output: [c_int; 2],
    channels: c_int,
    /// Not the kernel's: it reads no further than `channels`.
    images: c_int,
}

impl Window {
    /// Of a pooling over a map of shape `[N, …, C]`; none if its extents are too large for a grid.
    pub(super) fn of_pool(pool: &MaxPool, shape: [usize; 4]) -> Option<Self> {
        let MaxPool { kernel, stride, before, input, output, .. } = *pool;
        Self::new(ConvShape { stride, before, input, output }, kernel, shape)
    }

    /// Of a convolution with such a kernel over a map of shape `[N, …, C]`; none as above.
    pub(super) fn new(
        shape: ConvShape,
        kernel: [usize; 2],
        [images, .., channels]: [usize; 4],
    ) -> Option<Self> {
        let ConvShape { stride, before, input, output } = shape;
        let int = |n: usize| c_int::try_from(n).ok();
        let pair = |[rows, columns]: [usize; 2]| Some([int(rows)?, int(columns)?]);
        let row = input[1].max(output[1]).checked_add(SIDE)?.checked_mul(channels)?;
        let fits = int(row).is_some() && input[0].max(output[0]).max(images) <= super::MOST_BLOCKS;
        let [kernel, stride, before] = [pair(kernel)?, pair(stride)?, pair(before)?];
        let window = Self {
            kernel,
            stride,
            before,
            input: pair(input)?,
            output: pair(output)?,
            channels: int(channels)?,
            images: int(images)?,
        };
        fits.then_some(window)
    }

    /// The grid over a map of so many rows and columns, of which a thread computes `side` in a row, of `width` channels.
    pub(super) fn grid(&self, [rows, columns]: [usize; 2], side: usize, width: usize) -> [u32; 3] {
        let values = columns.div_ceil(side) * self.channels as usize / width;
        // Checked when the window was made.
        [values.div_ceil(BLOCK) as u32, rows as u32, self.images as u32]
    }

    /// The program for windows like this one, of which a thread computes `width` channels.
    pub(super) fn program(&self, source: Source, kind: ValueKind, width: usize) -> ProgramKey {
        let [rows, columns] = self.kernel;
        let [down, across] = self.stride;
        ProgramKey { source, kind, sizes: Some([rows, columns, down, across]), width }
    }
}

/// `Lrn` of `lrn.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Lrn {
    channels: c_int,
    radius: c_int,
    bias: f32,
    alpha: f32,
    beta: f32,
    through_relu: c_int,
}

impl Lrn {
    /// Of maps with so many channels; none for more than are counted.
    pub(super) fn new(params: LrnParams, channels: usize, through_relu: bool) -> Option<Self> {
        let LrnParams { radius, bias, alpha, beta } = params;
        let channels = c_int::try_from(channels).ok()?;
        // More than there are channels is as many.
        let radius = c_int::try_from(radius).unwrap_or(c_int::MAX);
        Some(Self { channels, radius, bias, alpha, beta, through_relu: c_int::from(through_relu) })
    }
}

/// `Level` of `pyramid.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Level {
    pub(super) size: [c_int; 2],
    pub(super) low: [c_int; 2],
    pub(super) before: [c_int; 2],
}

impl Level {
    /// The grid over planes of so many rows and columns.
    pub(super) fn grid([rows, columns]: [c_int; 2], planes: u32) -> [u32; 3] {
        [columns.unsigned_abs().div_ceil(BLOCK as u32), rows.unsigned_abs(), planes]
    }
}
