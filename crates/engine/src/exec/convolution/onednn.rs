//! oneDNN's convolutions with what stands around them: weights that already lie as it wants them, the bias, the
//! activation and the sum in one pass.
//!
//! libtorch's own `conv2d` reorders the weights at every call (for the small maps deep in a network that is a tenth of
//! the time) and leaves bias, activation and sum to passes over memory of their own. The operations that do better are
//! part of its C interface for compiled models (`torch/csrc/inductor/aoti_torch/c/shim_cpu.h`), which tch does not
//! bind. They are looked up by name in the libtorch that runs: one built without oneDNN lacks them. A name says nothing of
//! the parameters behind it, so they are called only in versions of libtorch whose header the types below were compared
//! with; in all others libtorch's own operations do.

use std::{
    ffi::{CStr, c_char, c_void},
    ptr::{null, null_mut},
    sync::OnceLock,
};

use tch::Tensor;

use super::super::super::{RenderError, abi, library::ConvParams};

/// What is applied to every sum of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
}

impl Activation {
    /// What results are limited to.
    pub(super) fn limits(self) -> (f32, f32) {
        match self {
            Self::None => (f32::NEG_INFINITY, f32::INFINITY),
            Self::Relu => (0.0, f32::INFINITY),
            Self::Relu6 => (0.0, 6.0),
        }
    }

    /// Of `y`, in its memory.
    pub(super) fn apply(self, mut y: Tensor) -> Result<Tensor, RenderError> {
        Ok(match self {
            Self::None => y,
            Self::Relu => y.f_relu_()?,
            Self::Relu6 => y.f_clamp_(0.0, 6.0)?,
        })
    }
}

/// `AtenTensorHandle`: a pointer to a C++ tensor, as tch holds one.
type Handle = *mut c_void;

/// `aoti_torch_cpu_mkldnn__convolution_pointwise`.
type Pointwise = unsafe extern "C" fn(
    x: Handle,
    weight: Handle,
    bias: *const Handle,
    padding: *const i64,
    paddings: i64,
    stride: *const i64,
    strides: i64,
    dilation: *const i64,
    dilations: i64,
    groups: i64,
    activation: *const c_char,
    limits: *const *const f64,
    limit_count: i64,
    algorithm: *const *const c_char,
    result: *mut Handle,
) -> i32;

/// `aoti_torch_cpu_mkldnn__convolution_pointwise_binary_`.
type PointwiseOnto = unsafe extern "C" fn(
    sum: Handle,
    x: Handle,
    weight: Handle,
    bias: *const Handle,
    padding: *const i64,
    paddings: i64,
    stride: *const i64,
    strides: i64,
    dilation: *const i64,
    dilations: i64,
    groups: i64,
    operation: *const c_char,
    alpha: *const f64,
    activation: *const *const c_char,
    limits: *const *const f64,
    limit_count: i64,
    algorithm: *const *const c_char,
    result: *mut Handle,
) -> i32;

/// The operations.
#[derive(Clone, Copy)]
pub(super) struct OneDnn {
    pointwise: Pointwise,
    pointwise_onto: PointwiseOnto,
}

impl OneDnn {
    /// Those of the libtorch that runs; none where it has none.
    pub(super) fn get() -> Option<&'static Self> {
        static LOADED: OnceLock<Option<OneDnn>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref()
    }

    #[cfg(all(unix, target_arch = "x86_64"))]
    #[allow(unsafe_code, reason = "functions are called by the signatures in libtorch's header")]
    fn load() -> Option<Self> {
        let program = libloading::os::unix::Library::this();
        Self::of_version(abi::running(), || {
            // SAFETY: the types are those of the header of this version of libtorch.
            unsafe {
                let pointwise =
                    program.get::<Pointwise>(b"aoti_torch_cpu_mkldnn__convolution_pointwise\0").ok()?;
                let name = b"aoti_torch_cpu_mkldnn__convolution_pointwise_binary_\0";
                let pointwise_onto = program.get::<PointwiseOnto>(name).ok()?;
                Some(Self { pointwise: *pointwise, pointwise_onto: *pointwise_onto })
            }
        })
    }

    #[cfg(not(all(unix, target_arch = "x86_64")))]
    fn load() -> Option<Self> {
        None
    }

    /// What `look_up` finds in a libtorch of this version (as `aoti_torch_abi_version` has it), which is not asked where
    /// the version is none of the known ones.
    pub(super) fn of_version(version: Option<u64>, look_up: impl FnOnce() -> Option<Self>) -> Option<Self> {
        match abi::check(version) {
            Ok(()) => look_up(),
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "oneDNN's convolutions are not used, but libtorch's own, which are slower"
                );
                None
            }
        }
    }

    /// `activation(weight * x + bias)`, a new map in channels-last memory. `weight` is [`pack`]ed.
    #[allow(unsafe_code, reason = "a C interface")]
    pub(super) fn convolve(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        params: ConvParams,
        activation: Activation,
    ) -> Result<Tensor, RenderError> {
        let bias = bias.map(handle);
        let (name, limits): (&CStr, &[f64]) = match activation {
            Activation::None => (c"none", &[]),
            Activation::Relu => (c"relu", &[]),
            Activation::Relu6 => (c"hardtanh", &[0.0, 6.0]),
        };
        let limits: Vec<*const f64> = limits.iter().map(|limit| limit as *const f64).collect();
        let mut result: Handle = null_mut();
        // SAFETY: every pointer is to something that outlives the call, and every count is that of what is pointed to. The
        // result is a new tensor, which the call hands over.
        unsafe {
            let status = (self.pointwise)(
                handle(x),
                handle(weight),
                bias.as_ref().map_or(null(), |bias| bias as *const Handle),
                params.padding.as_ptr(),
                2,
                params.stride.as_ptr(),
                2,
                params.dilation.as_ptr(),
                2,
                params.groups,
                name.as_ptr(),
                limits.as_ptr(),
                limits.len() as i64,
                null(),
                &raw mut result,
            );
            owned(status, result)
        }
    }

    /// Adds `weight * x` to `sum`, a map in channels-last memory that nothing else reads.
    #[allow(unsafe_code, reason = "a C interface")]
    pub(super) fn convolve_onto(
        &self,
        sum: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        params: ConvParams,
    ) -> Result<Tensor, RenderError> {
        let mut result: Handle = null_mut();
        // SAFETY: as in `convolve`.
        unsafe {
            let status = (self.pointwise_onto)(
                handle(sum),
                handle(x),
                handle(weight),
                null(),
                params.padding.as_ptr(),
                2,
                params.stride.as_ptr(),
                2,
                params.dilation.as_ptr(),
                2,
                params.groups,
                c"add".as_ptr(),
                &raw const ONE,
                null(),
                null(),
                0,
                null(),
                &raw mut result,
            );
            owned(status, result)
        }
    }
}

/// The factor of a sum.
static ONE: f64 = 1.0;

/// `weight`, `[out, in / groups, kh, kw]`, as oneDNN wants it for maps of `size`, `[N, C, H, W]`.
pub(super) fn pack(weight: &Tensor, params: ConvParams, size: &[i64]) -> Result<Tensor, RenderError> {
    let ConvParams { stride, padding, dilation, groups } = params;
    let opaque = weight.f_to_mkldnn(None::<tch::Kind>)?;
    Ok(opaque.f_mkldnn_reorder_conv2d_weight(padding, stride, dilation, groups, size)?)
}

fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut().cast()
}

/// The tensor that a call gave.
///
/// # Safety
/// With a status of 0, `result` is null or a tensor that nothing else owns.
#[allow(unsafe_code, reason = "a C interface")]
unsafe fn owned(status: i32, result: Handle) -> Result<Tensor, RenderError> {
    if status != 0 || result.is_null() {
        // libtorch has written the reason to standard error; its C interface keeps no message.
        return Err(RenderError::Engine("oneDNN refused a convolution".into()));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { Tensor::from_ptr(result.cast()) })
}
