//! Weights, and one convolution with them in the fastest way that this machine has.

use std::cell::{OnceCell, RefCell};

use tch::{Device, Kind, Tensor};

use super::{
    super::{
        super::{
            RenderError,
            library::{self, Slide},
            native::{Besides, Finish, Pointwise, Team, Winograd},
        },
        Layout, Manner,
    },
    onednn::{Activation, OneDnn, pack},
};

/// Sizes of maps that weights are kept ready for: the tiles of an octave are of few sizes, alone and in batches.
const SIZES: usize = 4;

/// A size that was not met in so many convolutions makes room for another one. Where more are met in turn than are kept,
/// the rest uses what there is: it is reordered at every call then, which takes less than packing it anew.
const PATIENCE: u64 = 4 * SIZES as u64;

/// A convolution's kernel.
pub(super) struct Weight {
    /// `[out, in / groups, kh, kw]`.
    plain: Tensor,
    /// Ready for some sizes; none where oneDNN is not to be asked.
    packed: Option<RefCell<Cache>>,
    /// For maps of any size, made when it first pays.
    winograd: OnceCell<Winograd>,
    /// For kernels of one pixel, made when it is first asked for; none where the loops cannot multiply them.
    pointwise: OnceCell<Option<Pointwise>>,
    /// Whether these two ways are to be taken at all.
    ours: bool,
    /// Whether somebody chooses among the results.
    chosen_from: bool,
    /// Where libtorch convolves.
    layout: Layout,
    library: bool,
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
    /// `chosen_from`: whether results of equal neighbourhoods have to be equal, for a maximum to choose the first.
    pub(super) fn new(weight: &Tensor, manner: Manner, chosen_from: bool) -> Result<Self, RenderError> {
        let Manner { layout, library, tf32, .. } = manner;
        let fast = !library && layout == Layout::ChannelsLast && weight.device() == Device::Cpu;
        Ok(Self {
            plain: layout.arrange(weight)?,
            packed: (fast && suits(weight.kind())).then(RefCell::default),
            winograd: OnceCell::new(),
            pointwise: OnceCell::new(),
            ours: fast && !outrun(weight.kind()),
            chosen_from,
            layout,
            library,
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
        team: &Team,
        x: &Tensor,
        bias: Option<&Tensor>,
        slide: Slide,
        activation: Activation,
    ) -> Result<Tensor, RenderError> {
        let (low, high) = activation.limits();
        let besides = Besides { finish: Finish { bias, low, high }, sum: None, rectifier: None };
        if let Some(y) = self.by_points(team, x, slide, besides)? {
            return Ok(y);
        }
        if let Some(y) = self.by_pixels(team, x, slide, besides)? {
            return Ok(y);
        }
        if let Some((library, weight)) = self.ready(x, slide)? {
            return library.convolve(x, &weight, bias, slide, activation);
        }
        let mut y = if self.library && slide.is_depthwise(&self.plain) {
            let y = library::convolve(&x.f_contiguous()?, &self.plain, bias, slide, false)?;
            self.layout.arrange(&y)?
        } else {
            library::convolve(x, &self.plain, bias, slide, self.tf32)?
        };
        Ok(match activation {
            Activation::None => y,
            Activation::Relu => y.f_relu_()?,
            Activation::Relu6 => y.f_clamp_(0.0, 6.0)?,
        })
    }

    /// `sum + weight * x`; `sum` is a map that nobody else looks at.
    pub(super) fn convolve_onto(
        &self,
        team: &Team,
        mut sum: Tensor,
        x: &Tensor,
        slide: Slide,
    ) -> Result<Tensor, RenderError> {
        let besides = Besides { finish: Finish::NONE, sum: Some(&sum), rectifier: None };
        if let Some(sum) = self.by_points(team, x, slide, besides)? {
            return Ok(sum);
        }
        if let Some(sum) = self.by_pixels(team, x, slide, besides)? {
            return Ok(sum);
        }
        match self.ready(x, slide)? {
            Some((library, weight)) => library.convolve_onto(&sum, x, &weight, slide),
            None => Ok(sum.f_add_(&self.convolve(team, x, None, slide, Activation::None)?)?),
        }
    }

    /// The convolution with fewer multiplications; none where that is not possible or does not pay.
    fn by_points(
        &self,
        team: &Team,
        x: &Tensor,
        slide: Slide,
        besides: Besides<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Slide { stride: [1, 1], dilation: [1, 1], groups: 1, padding } = slide else { return Ok(None) };
        if !self.ours || !Winograd::pays(&self.plain, x, padding)? {
            return Ok(None);
        }
        let winograd = once(&self.winograd, || Winograd::of(&self.plain, self.chosen_from))?;
        winograd.convolve(team, x, padding, besides.finish, besides.sum)
    }

    /// Whether [`Self::by_pixels`] is possible for maps that the loops can run over.
    pub(super) fn is_pointwise(&self) -> Result<bool, RenderError> {
        Ok(self.pointwise()?.is_some())
    }

    fn pointwise(&self) -> Result<Option<&Pointwise>, RenderError> {
        if !self.ours {
            return Ok(None);
        }
        Ok(once(&self.pointwise, || Pointwise::of(&self.plain))?.as_ref())
    }

    /// The product of pixels and kernels; none where it is not one, or the loops cannot run over it.
    pub(super) fn by_pixels(
        &self,
        team: &Team,
        x: &Tensor,
        slide: Slide,
        besides: Besides<'_>,
    ) -> Result<Option<Tensor>, RenderError> {
        let Slide { stride: [1, 1], padding: [0, 0], groups: 1, .. } = slide else { return Ok(None) };
        match self.pointwise()? {
            Some(pointwise) => pointwise.convolve(team, x, besides),
            None => Ok(None),
        }
    }

    /// oneDNN and the weights for maps of the size of `x`; none where libtorch's way must do.
    fn ready(&self, x: &Tensor, slide: Slide) -> Result<Option<(&'static OneDnn, Tensor)>, RenderError> {
        // Autograd, which the tests compare with, must see libtorch's operations.
        let Some(packed) = self.packed.as_ref().filter(|_| !x.requires_grad()) else { return Ok(None) };
        let Some(library) = OneDnn::get() else { return Ok(None) };
        Ok(Some((library, packed.borrow_mut().find(&self.plain, slide, x.size())?)))
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
    fn find(&mut self, plain: &Tensor, slide: Slide, size: Vec<i64>) -> Result<Tensor, RenderError> {
        self.calls += 1;
        let calls = self.calls;
        if let Some(ready) = self.packed.iter_mut().find(|ready| ready.size == size) {
            ready.used = calls;
            return Ok(ready.weight.shallow_clone());
        }
        if self.packed.len() == SIZES
            && let Some(oldest) = (0..SIZES).min_by_key(|&index| self.packed[index].used)
        {
            if calls - self.packed[oldest].used < PATIENCE {
                return Ok(self.packed[oldest].weight.shallow_clone());
            }
            drop(self.packed.swap_remove(oldest));
        }
        let weight = pack(plain, slide, &size)?;
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
fn outrun(kind: Kind) -> bool {
    #[cfg(target_arch = "x86_64")]
    let tiles = {
        const AMX_BF16: u32 = 1 << 22;
        std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & AMX_BF16 != 0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let tiles = false;
    kind == Kind::BFloat16 && tiles
}
