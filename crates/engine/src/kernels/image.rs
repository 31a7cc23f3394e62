//! Passes over images, `[N, C, H, W]` float32 with one plane after the other.

use reverie_kernels::{GaussianPyramidLevel, KernelError, Similarity, ThreadPool, ValueKind, image};
use tch::{Device, Kind, Tensor};

use super::{
    super::RenderError,
    mistake,
    view::{Exclusive, floats, raw},
};

/// `(image − mean) · scale` in channels-last memory and in `kind`; none for an unsupported layout. The image may be a
/// part of a larger one.
pub(in super::super) fn prepare(
    threads: &ThreadPool,
    image: &Tensor,
    mean: f32,
    scale: f32,
    kind: Kind,
) -> Result<Option<Tensor>, RenderError> {
    let kind = match kind {
        Kind::Float => ValueKind::F32,
        Kind::BFloat16 => ValueKind::Bf16,
        _ => return Ok(None),
    };
    let stride = image.stride();
    let (Ok((images, 3, height, width)), Device::Cpu, Ok(Kind::Float), false, &[apart, plane, row, 1]) =
        (image.size4(), image.device(), image.f_kind(), image.requires_grad(), &stride[..])
    else {
        return Ok(None);
    };
    if image.numel() == 0 {
        return Ok(None);
    }
    let length = (images - 1) * apart + 2 * plane + (height - 1) * row + width;
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: from the first value to the last, all within the tensor's memory; nothing writes to an image while a
    // network reads it.
    let values: &[f32] = unsafe { raw(image, length as usize) };
    let [images, height, width, apart, plane, row] =
        [images, height, width, apart, plane, row].map(|n| n as usize);
    let planes = image::Planes { values, images, size: [height, width], strides: [apart, plane, row] };
    let mut map = Exclusive::map(kind, [images, height, width, 3])?;
    image::prepare(threads, planes, mean, scale, map.view()?).map_err(mistake)?;
    Ok(Some(map.into_tensor()))
}

/// Sum of the magnitudes of all values; none for an unsupported layout.
pub(in super::super) fn sum_abs(threads: &ThreadPool, image: &Tensor) -> Option<f64> {
    floats(image).map(|values| image::sum_abs(threads, values))
}

/// Adds `gradient · factor` to `image`, which nothing else reads meanwhile; false for an unsupported layout.
pub(in super::super) fn add_scaled(
    threads: &ThreadPool,
    image: &Tensor,
    gradient: &Tensor,
    factor: f32,
) -> Result<bool, RenderError> {
    if image.size() != gradient.size() {
        return Ok(false);
    }
    #[allow(unsafe_code, reason = "only the caller knows who else has the memory")]
    // SAFETY: an image belongs to the thread that renders it, in which nothing else reads it while it is changed.
    let target = unsafe { Exclusive::in_place(image, &[gradient]) };
    let (Some(mut image), Some(gradient)) = (target, floats(gradient)) else { return Ok(false) };
    image::add_scaled(threads, image.floats()?, gradient, factor).map_err(mistake)?;
    Ok(true)
}

/// `image` made `scale` times larger and turned clockwise about its centre, mirrored beyond its edges; none for an unsupported
/// layout.
pub(in super::super) fn turned(
    threads: &ThreadPool,
    image: &Tensor,
    scale: f64,
    radians: f64,
) -> Result<Option<Tensor>, RenderError> {
    similarity(image, scale, radians, |by, image, turned| by.apply(threads, image, turned))
}

/// The gradient by an image, given that by what [`turned`] makes of it; none for an unsupported layout.
pub(in super::super) fn turned_back(
    threads: &ThreadPool,
    gradient: &Tensor,
    scale: f64,
    radians: f64,
) -> Result<Option<Tensor>, RenderError> {
    similarity(gradient, scale, radians, |by, gradient, sum| by.adjoint(threads, gradient, sum))
}

/// What `run` writes, of the shape of `image`.
fn similarity(
    image: &Tensor,
    scale: f64,
    radians: f64,
    run: impl FnOnce(Similarity, &[f32], &mut [f32]) -> Result<(), KernelError>,
) -> Result<Option<Tensor>, RenderError> {
    let (Ok((1, planes, height, width)), Some(values), false) =
        (image.size4(), floats(image), image.requires_grad())
    else {
        return Ok(None);
    };
    let size = [height, width].map(|n| n as usize);
    let Some(by) = Similarity::new(planes as usize, size, scale, radians) else { return Ok(None) };
    let mut result = Exclusive::contiguous(Kind::Float, &image.size())?;
    run(by, values, result.floats()?).map_err(mistake)?;
    Ok(Some(result.into_tensor()))
}

/// A level of the Laplacian pyramid in the memory of an image that nothing else reads meanwhile.
pub(in super::super) struct Pyramid {
    level: GaussianPyramidLevel,
    image: Exclusive,
    planes: i64,
}

impl Pyramid {
    /// Of `image`, `[1, C, H, W]`; none for an unsupported layout.
    pub(in super::super) fn new(image: &Tensor) -> Option<Self> {
        let Ok((1, planes, height, width)) = image.size4() else { return None };
        let level = GaussianPyramidLevel::new(planes as usize, [height, width].map(|n| n as usize))?;
        #[allow(unsafe_code, reason = "only the caller knows who else has the memory")]
        // SAFETY: an image belongs to the thread that renders it, in which nothing else reads it while it is changed; what
        // the functions below read is not of its memory (`read`).
        let image = unsafe { Exclusive::in_place(image, &[]) }?;
        Some(Self { level, image, planes })
    }

    /// The blurred half of the image, `[1, C, ⌈H / 2⌉, ⌈W / 2⌉]`.
    pub(in super::super) fn downsample(&mut self, threads: &ThreadPool) -> Result<Tensor, RenderError> {
        let [rows, columns] = self.level.half_size().map(|n| n as i64);
        let mut half = Exclusive::contiguous(Kind::Float, &[1, self.planes, rows, columns])?;
        self.level.downsample(threads, self.image.floats()?, half.floats()?).map_err(mistake)?;
        Ok(half.into_tensor())
    }

    /// Subtracts the upsampled `half` from the image; the sum of the squares of what is left.
    pub(in super::super) fn subtract_upsampled(
        &mut self,
        threads: &ThreadPool,
        half: &Tensor,
    ) -> Result<f64, RenderError> {
        let half = self.read(half)?;
        self.level.subtract_upsampled(threads, self.image.floats()?, half).map_err(mistake)
    }

    /// `image · factor` plus the upsampled `half`, in the memory of the image.
    pub(in super::super) fn scale_and_add_upsampled(
        &mut self,
        threads: &ThreadPool,
        half: &Tensor,
        factor: f32,
    ) -> Result<(), RenderError> {
        let half = self.read(half)?;
        self.level.scale_and_add_upsampled(threads, self.image.floats()?, half, factor).map_err(mistake)
    }

    /// The values of a half, which [`Self::downsample`] has made.
    fn read<'a>(&self, half: &'a Tensor) -> Result<&'a [f32], RenderError> {
        let half = floats(half).filter(|_| !self.image.overlaps(half));
        half.ok_or_else(|| {
            RenderError::Engine(
                "a level of the pyramid is not contiguous float32 in memory of its own".into(),
            )
        })
    }
}
