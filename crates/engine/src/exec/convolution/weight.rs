//! Weights, and one convolution with them by the fastest implementation that this machine has.

use std::cell::{OnceCell, RefCell};

use reverie_kernels::ThreadPool;
use tch::{Device, Kind, Tensor};

use super::{
    super::{
        super::{
            RenderError,
            cuda::GpuKernels,
            kernels::{Conv1x1, Epilogue, PostOps, Winograd},
            library::{self, ConvParams},
        },
        Layout, Manner,
    },
    onednn::{Activation, OneDnn, pack},
};

/// Sizes of maps that weights are kept ready for: the tiles of an octave are of few sizes, alone and in batches.
const SIZES: usize = 4;

/// A size that was not met in so many convolutions makes room for another one. When the cache is full, another packing
/// is reused: oneDNN reorders it at every call then, which takes less than packing it anew.
const MAX_AGE: u64 = 4 * SIZES as u64;

/// The weights of a convolution.
pub(super) struct Weight {
    /// `[out, in / groups, kh, kw]`.
    plain: Tensor,
    /// Ready for some sizes; none where oneDNN is not to be asked.
    packed: Option<RefCell<Cache>>,
    /// For maps of any size, made when it first pays.
    winograd: OnceCell<Winograd>,
    /// For 1×1 weights, made when it is first asked for; none where there is no kernel for them.
    conv1x1: OnceCell<Option<Conv1x1>>,
    /// Whether to use these two at all.
    use_native: bool,
    /// Whether ties must be equal bit by bit: an argmax may follow.
    tie_exact: bool,
    /// Where libtorch convolves.
    layout: Layout,
    library_only: bool,
    gpu: Option<GpuKernels>,
    tf32: bool,
}

/// Weights that are ready.
#[derive(Default)]
struct Cache {
    packed: Vec<Packed>,
    /// Convolutions so far.
    calls: u64,
}

/// Weights as oneDNN wants them for maps of one size.
struct Packed {
    /// `[N, C, H, W]`.
    size: Vec<i64>,
    weight: Tensor,
    /// The convolution that used it last.
    used: u64,
}

impl Weight {
    /// `tie_exact`: whether results of equal patches must be equal bit by bit, for an argmax to choose the first.
    pub(super) fn new(weight: &Tensor, manner: Manner, tie_exact: bool) -> Result<Self, RenderError> {
        let Manner { layout, library_only, gpu, tf32, .. } = manner;
        let fast = !library_only && layout == Layout::ChannelsLast && weight.device() == Device::Cpu;
        Ok(Self {
            plain: layout.arrange(weight)?,
            packed: (fast && suits(weight.kind())).then(RefCell::default),
            winograd: OnceCell::new(),
            conv1x1: OnceCell::new(),
            use_native: fast && !has_amx(weight.kind()),
            tie_exact,
            layout,
            library_only,
            gpu,
            tf32,
        })
    }

    /// `[out, in / groups, kh, kw]`.
    pub(super) fn shape(&self) -> Result<[i64; 4], RenderError> {
        let (out, channels, height, width) = self.plain.size4()?;
        Ok([out, channels, height, width])
    }

    /// As they came.
    pub(super) fn plain(&self) -> &Tensor {
        &self.plain
    }

    /// `activation(weight * x + bias)`; `bias` is `[out]`.
    pub(super) fn convolve(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        bias: Option<&Tensor>,
        params: ConvParams,
        activation: Activation,
    ) -> Result<Tensor, RenderError> {
        if self.gives_one_column(x, params)? {
            let wide = x.f_pad([0, params.stride[1], 0, 0], "constant", 0.0)?;
            let y = self.convolve(threads, &wide, bias, params, activation)?;
            return self.layout.arrange(&y.f_narrow(3, 0, 1)?);
        }
        let (low, high) = activation.limits();
        let post_ops = PostOps { epilogue: Epilogue { bias, low, high }, sum: None, relu: None };
        if let Some(y) = self.winograd(threads, x, params, post_ops)? {
            return Ok(y);
        }
        if let Some(y) = self.conv1x1(threads, x, params, post_ops)? {
            return Ok(y);
        }
        if let Some((onednn, weight)) = self.ready(x, params)? {
            return onednn.convolve(x, &weight, bias, params, activation);
        }
        if activation == Activation::Relu
            && let Some(y) = library::convolve_relu(x, &self.plain, bias, params, self.tf32)?
        {
            return Ok(y);
        }
        if let Some(gpu) = self.gpu
            && !params.is_depthwise(&self.plain)
            && (bias.is_some() || activation != Activation::None)
        {
            let mut y = library::convolve(x, &self.plain, None, params, self.tf32)?;
            if gpu.epilogue(&y, post_ops.epilogue)? {
                return Ok(y);
            }
            if let Some(bias) = bias {
                y = y.f_add_(&bias.f_reshape([1, -1, 1, 1])?)?;
            }
            return activation.apply(y);
        }
        let y = if self.library_only && params.is_depthwise(&self.plain) {
            let y = library::convolve(&x.f_contiguous()?, &self.plain, bias, params, false)?;
            self.layout.arrange(&y)?
        } else {
            library::convolve(x, &self.plain, bias, params, self.tf32)?
        };
        activation.apply(y)
    }

    /// `sum + weight * x`; `sum` is a map that nothing else reads.
    pub(super) fn convolve_onto(
        &self,
        threads: &ThreadPool,
        mut sum: Tensor,
        x: &Tensor,
        params: ConvParams,
    ) -> Result<Tensor, RenderError> {
        let post_ops = PostOps { epilogue: Epilogue::NONE, sum: Some(&sum), relu: None };
        if let Some(sum) = self.winograd(threads, x, params, post_ops)? {
            return Ok(sum);
        }
        if let Some(sum) = self.conv1x1(threads, x, params, post_ops)? {
            return Ok(sum);
        }
        match self.ready(x, params)? {
            Some((onednn, weight)) => onednn.convolve_onto(&sum, x, &weight, params),
            None => Ok(sum.f_add_(&self.convolve(threads, x, None, params, Activation::None)?)?),
        }
    }

    /// Whether oneDNN would make a map of one column in bfloat16 with a stride. With the tiles of AMX it reads beyond the map for that
    /// (libtorch 2.11): a test compares. With a column more it does not.
    fn gives_one_column(&self, x: &Tensor, params: ConvParams) -> Result<bool, RenderError> {
        let ConvParams { stride: [_, stride], padding: [_, padding], dilation: [_, dilation], .. } = params;
        let ((_, _, _, width), [_, _, _, edge]) = (x.size4()?, self.shape()?);
        let room = width + 2 * padding - dilation * (edge - 1) - 1;
        Ok(stride > 1
            && (0..stride).contains(&room)
            && x.device() == Device::Cpu
            && x.f_kind()? == Kind::BFloat16)
    }

    /// The Winograd convolution; none where that is not possible or does not pay.
    fn winograd(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        params: ConvParams,
        post_ops: PostOps<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let ConvParams { stride: [1, 1], dilation: [1, 1], groups: 1, padding } = params else {
            return Ok(None);
        };
        if !self.use_native || !Winograd::pays(&self.plain, x, padding)? {
            return Ok(None);
        }
        let winograd = once(&self.winograd, || Winograd::new(&self.plain, self.tie_exact))?;
        winograd.convolve(threads, x, padding, post_ops)
    }

    /// Whether [`Self::conv1x1`] is possible for maps of a supported layout.
    pub(super) fn is_conv1x1(&self) -> Result<bool, RenderError> {
        Ok(self.conv1x1_weights()?.is_some())
    }

    fn conv1x1_weights(&self) -> Result<Option<&Conv1x1>, RenderError> {
        if !self.use_native {
            return Ok(None);
        }
        Ok(once(&self.conv1x1, || Conv1x1::new(&self.plain))?.as_ref())
    }

    /// The 1×1 convolution; none for other weights or an unsupported layout.
    pub(super) fn conv1x1(
        &self,
        threads: &ThreadPool,
        x: &Tensor,
        params: ConvParams,
        post_ops: PostOps<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let ConvParams { stride: [1, 1], padding: [0, 0], groups: 1, .. } = params else { return Ok(None) };
        match self.conv1x1_weights()? {
            Some(conv1x1) => conv1x1.convolve(threads, x, post_ops),
            None => Ok(None),
        }
    }

    /// oneDNN and the weights for maps of the size of `x`; none where libtorch's own convolution must do.
    fn ready(
        &self,
        x: &Tensor,
        params: ConvParams,
    ) -> Result<Option<(&'static OneDnn, Tensor)>, RenderError> {
        // Autograd, which the tests compare with, must see libtorch's operations.
        let Some(packed) = self.packed.as_ref().filter(|_| !x.requires_grad()) else { return Ok(None) };
        let Some(onednn) = OneDnn::get() else { return Ok(None) };
        Ok(Some((onednn, packed.borrow_mut().find(&self.plain, params, x.size())?)))
    }
}

/// What lies in `cell`, made now where it is empty.
fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T, RenderError>) -> Result<&T, RenderError> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}

impl Cache {
    /// `plain`, packed for maps of `size`, or for another size where that would not be kept for long enough.
    fn find(&mut self, plain: &Tensor, params: ConvParams, size: Vec<i64>) -> Result<Tensor, RenderError> {
        self.calls += 1;
        let calls = self.calls;
        if let Some(ready) = self.packed.iter_mut().find(|ready| ready.size == size) {
            ready.used = calls;
            return Ok(ready.weight.shallow_clone());
        }
        if self.packed.len() == SIZES
            && let Some(oldest) = (0..SIZES).min_by_key(|&index| self.packed[index].used)
        {
            if calls - self.packed[oldest].used < MAX_AGE {
                return Ok(self.packed[oldest].weight.shallow_clone());
            }
            drop(self.packed.swap_remove(oldest));
        }
        let weight = pack(plain, params, &size)?;
        self.packed.push(Packed { size, weight: weight.shallow_clone(), used: calls });
        Ok(weight)
    }
}

/// Whether oneDNN convolves such values on this processor.
fn suits(kind: Kind) -> bool {
    #[cfg(target_arch = "x86_64")]
    let half = std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512dq");
    #[cfg(not(target_arch = "x86_64"))]
    let half = false;
    match kind {
        Kind::Float => true,
        Kind::BFloat16 => half,
        _ => false,
    }
}

/// Whether this processor multiplies such values so much faster than float32 that fewer multiplications of those do not
/// pay: bfloat16 in the tiles of AMX, at eight times the rate and more.
fn has_amx(kind: Kind) -> bool {
    #[cfg(target_arch = "x86_64")]
    let tiles = {
        const AMX_BF16: u32 = 1 << 22;
        std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & AMX_BF16 != 0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let tiles = false;
    kind == Kind::BFloat16 && tiles
}
