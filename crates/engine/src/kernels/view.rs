//! Tensors as slices with a shape, where their layout allows it.
//!
//! A tensor says nothing of who else has its memory. Slices live for one call of a kernel, on the thread that the tensors of a
//! dream belong to; within that call, [`Exclusive`] lets nothing be written that an input of the same call is read from.

use std::ops::Range;

use reverie_kernels::{Bf16, Map, MapMut, Shape, ValueKind, Values, ValuesMut};
use tch::{Device, Kind, Tensor};

use super::{super::RenderError, mistake};

/// The kind of a tensor's values; none for kinds without kernels.
pub(super) fn value_kind(tensor: &Tensor) -> Option<ValueKind> {
    match tensor.f_kind().ok()? {
        Kind::Float => Some(ValueKind::F32),
        Kind::BFloat16 => Some(ValueKind::Bf16),
        _ => None,
    }
}

/// Whether kernels can run over a map: float32 or bfloat16 in channels-last memory of the CPU, without gaps.
pub(in super::super) fn is_supported(map: &Tensor) -> bool {
    dense(map).is_some()
}

/// A map without gaps; none for an unsupported layout.
pub(super) fn dense(map: &Tensor) -> Option<Map<'_>> {
    strided(map).filter(Map::is_dense)
}

/// How a map lies in the memory of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Geometry {
    pub(in super::super) kind: ValueKind,
    /// `[N, H, W, C]`.
    pub(in super::super) shape: Shape,
    /// From one pixel to the next, in values.
    pub(in super::super) step: usize,
}

impl Geometry {
    /// Of a map of float32 or bfloat16 whose pixels lie in order but may have other channels between them; none for another
    /// layout.
    pub(in super::super) fn of(map: &Tensor) -> Option<Self> {
        let kind = value_kind(map)?;
        let Ok((images, channels, height, width)) = map.size4() else { return None };
        let stride = map.stride();
        let &[image_stride, channel_stride, row_stride, column_stride] = &stride[..] else { return None };
        // The stride of an axis of extent 1 may be anything.
        let step = match (width, height, images) {
            (1, 1, 1) => channels,
            (1, 1, _) => image_stride,
            (1, ..) => row_stride,
            _ => column_stride,
        };
        let in_order = (channels == 1 || channel_stride == 1)
            && (height == 1 || row_stride == width * step)
            && (images == 1 || image_stride == height * width * step)
            && step >= channels;
        // Autograd, which the tests compare with, must see libtorch's operations.
        if !in_order || map.requires_grad() || map.numel() == 0 {
            return None;
        }
        let shape = [images, height, width, channels].map(|n| n as usize);
        Some(Self { kind, shape, step: step as usize })
    }

    /// Whether there are no gaps.
    pub(in super::super) fn is_dense(&self) -> bool {
        self.step == self.shape[3]
    }
}

/// A map whose pixels lie in order but may have other channels between them; none for an unsupported layout.
pub(super) fn strided(map: &Tensor) -> Option<Map<'_>> {
    let Geometry { kind, shape, step } = Geometry::of(map).filter(|_| map.device() == Device::Cpu)?;
    let [images, height, width, channels] = shape;
    let length = (images * height * width - 1) * step + channels;
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: by its geometry, the slice reaches from the first value of the first pixel to the last of the last;
    // nothing writes to a map while it is an input.
    let values = unsafe {
        match kind {
            ValueKind::F32 => Values::F32(raw(map, length)),
            ValueKind::Bf16 => Values::Bf16(raw(map, length)),
        }
    };
    Map::new(values, shape, step).ok()
}

/// The values of a float32 tensor without gaps, in the order of its memory; none for an unsupported layout.
pub(super) fn floats(tensor: &Tensor) -> Option<&[f32]> {
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: the tensor holds `numel` values of float32 without gaps; nothing writes to it while a kernel reads it.
    is_plain(tensor).then(|| unsafe { raw(tensor, tensor.numel()) })
}

/// The bytes of memory that the values of a tensor lie between; none for a kind that nothing is known of.
fn bytes_of(tensor: &Tensor) -> Option<Range<usize>> {
    let start = tensor.data_ptr() as usize;
    let axes = tensor.size().into_iter().zip(tensor.stride());
    let last: i64 = axes.map(|(extent, stride)| (extent - 1).max(0) * stride).sum();
    let values = if tensor.numel() == 0 { 0 } else { last as usize + 1 };
    Some(start..start + values * tensor.f_kind().ok()?.elt_size_in_bytes())
}

/// Whether two tensors may share memory: whether what one lies between meets what the other does.
pub(in super::super) fn overlap(one: &Tensor, other: &Tensor) -> bool {
    let (Some(one), Some(other)) = (bytes_of(one), bytes_of(other)) else { return true };
    one.start < other.end && other.start < one.end
}

/// Whether a tensor is float32, on the CPU and contiguous.
pub(super) fn is_plain(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && matches!(tensor.f_kind(), Ok(Kind::Float)) && tensor.is_contiguous()
}

/// The first `length` values of a tensor.
///
/// # Safety
/// The memory of the tensor, from its first value on, holds `length` values of type `T`, and nothing writes to them
/// while the slice lives.
#[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
pub(super) unsafe fn raw<T>(tensor: &Tensor, length: usize) -> &[T] {
    if length == 0 {
        // There is no memory, and no pointer to it.
        return &[];
    }
    // SAFETY: the caller's promise; the tensor keeps its memory as long as the slice.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), length) }
}

/// A tensor whose memory a kernel writes, and nothing else reads meanwhile.
pub(super) struct Exclusive(Tensor);

impl Exclusive {
    /// A new map in channels-last memory, uninitialised.
    pub(super) fn map(kind: ValueKind, shape: Shape) -> Result<Self, RenderError> {
        let kind = tensor_kind(kind);
        let shape = shape.map(|n| n as i64);
        Ok(Self(Tensor::f_empty(shape, (kind, Device::Cpu))?.f_permute([0, 3, 1, 2])?))
    }

    /// A new contiguous tensor, uninitialised.
    pub(super) fn contiguous(kind: Kind, shape: &[i64]) -> Result<Self, RenderError> {
        Ok(Self(Tensor::f_empty(shape, (kind, Device::Cpu))?))
    }

    /// A tensor that shares its memory with `tensor`, which is float32, on the CPU and contiguous; none for other ones, and
    /// where one of the `inputs` may share that memory too.
    ///
    /// # Safety
    /// No other thread reads or writes that memory while this value lives, and this one does through `inputs` only.
    #[allow(unsafe_code, reason = "only the caller knows who else has the memory")]
    pub(super) unsafe fn in_place(tensor: &Tensor, inputs: &[&Tensor]) -> Option<Self> {
        let apart = inputs.iter().all(|input| !overlap(tensor, input));
        (apart && is_plain(tensor)).then(|| Self(tensor.shallow_clone()))
    }

    /// As [`Self::in_place`], for a map of this kind and shape, without gaps; none for other ones.
    ///
    /// # Safety
    /// As for [`Self::in_place`].
    #[allow(unsafe_code, reason = "only the caller knows who else has the memory")]
    pub(super) unsafe fn same(
        map: &Tensor,
        kind: ValueKind,
        shape: Shape,
        inputs: &[&Tensor],
    ) -> Option<Self> {
        let apart = inputs.iter().all(|input| !overlap(map, input));
        let fits = dense(map).is_some_and(|map| map.kind() == kind && map.shape() == shape);
        (apart && fits).then(|| Self(map.shallow_clone()))
    }

    /// Whether a tensor may share this one's memory.
    pub(super) fn overlaps(&self, tensor: &Tensor) -> bool {
        overlap(&self.0, tensor)
    }

    /// A view of a map.
    pub(super) fn view(&mut self) -> Result<MapMut<'_>, RenderError> {
        let (images, channels, height, width) = self.0.size4()?;
        let shape = [images, height, width, channels].map(|n| n as usize);
        MapMut::new(self.values()?, shape).map_err(mistake)
    }

    /// All values, in the order of the memory.
    pub(super) fn values(&mut self) -> Result<ValuesMut<'_>, RenderError> {
        #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
        match value_kind(&self.0) {
            // SAFETY: the type is that of the kind.
            Some(ValueKind::F32) => Ok(ValuesMut::F32(unsafe { self.slice::<f32>() })),
            // SAFETY: as above.
            Some(ValueKind::Bf16) => Ok(ValuesMut::Bf16(unsafe { self.slice::<Bf16>() })),
            None => Err(RenderError::Engine("a kernel has no loops for this kind of values".into())),
        }
    }

    /// All values of a tensor of float32.
    pub(super) fn floats(&mut self) -> Result<&mut [f32], RenderError> {
        match self.values()? {
            ValuesMut::F32(values) => Ok(values),
            ValuesMut::Bf16(_) => Err(RenderError::Engine("a kernel over float32 has got bfloat16".into())),
        }
    }

    /// All values of a tensor of bytes.
    pub(super) fn bytes(&mut self) -> Result<&mut [u8], RenderError> {
        #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
        match self.0.f_kind()? {
            // SAFETY: the type is that of the kind.
            Kind::Uint8 => Ok(unsafe { self.slice::<u8>() }),
            kind => Err(RenderError::Engine(format!("a kernel over bytes has got {kind:?}"))),
        }
    }

    /// All values.
    ///
    /// # Safety
    /// The kind of the tensor is that of values of type `T`.
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    unsafe fn slice<T>(&mut self) -> &mut [T] {
        if self.0.numel() == 0 {
            // There is no memory, and no pointer to it.
            return &mut [];
        }
        // SAFETY: the tensor holds `numel` values without gaps, of type `T` by the caller's promise, and nothing else has
        // them: that is what this type is for.
        unsafe { std::slice::from_raw_parts_mut(self.0.data_ptr().cast(), self.0.numel()) }
    }

    /// The tensor.
    pub(super) fn into_tensor(self) -> Tensor {
        self.0
    }
}

/// The kind of a tensor that holds such values.
pub(super) fn tensor_kind(kind: ValueKind) -> Kind {
    match kind {
        ValueKind::F32 => Kind::Float,
        ValueKind::Bf16 => Kind::BFloat16,
    }
}

/// The values of a tensor of any layout and kind, in the order of its axes.
pub(super) fn to_vec(tensor: &Tensor) -> Result<Vec<f32>, RenderError> {
    Ok(Vec::<f32>::try_from(&tensor.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?)?)
}
