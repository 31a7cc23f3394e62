//! Loops of our own on the CPU, where libtorch's operations take several times what the memory or the arithmetic asks for.
//!
//! libtorch has no fast local response normalisation, its max-pooling writes 64-bit positions and spreads gradients
//! value by value, both want TensorFlow's uneven padding as a copy of the map, and its convolutions do every multiplication
//! of the plain sum. These loops run over maps of float32 or bfloat16 in channels-last memory, and over the planes of
//! images; everything else (GPUs, other layouts) takes libtorch's way, which the tests compare them with. They compute in
//! float32. Every value is computed by the same operations in the same order whatever the number of threads and whatever
//! the processor, so that results do not depend on either, but for products of bfloat16 pairs, which few processors have.
//! Loops that the compiler vectorises well are written plainly
//! ([`vectorised`]); where sums have to stay in registers they are written over sixteen values at a time ([`lanes`]).

mod depthwise;
pub(super) mod halving;
pub(super) mod image;
mod lanes;
mod lrn;
pub(super) mod phases;
mod pointwise;
mod pool;
pub(super) mod rectifier;
mod team;
#[cfg(test)]
mod tests;
mod value;
mod winograd;

use tch::{Device, Kind, Tensor};

use super::RenderError;

pub(super) use depthwise::{Depthwise, Stride};
pub(super) use lrn::{Normalised, Response};
pub(super) use pointwise::{Besides, Pointwise};
pub(super) use pool::Pool;
pub(super) use rectifier::Rectifier;
pub(super) use team::Team;
use value::{Half, Stored, Value};
pub(super) use winograd::Winograd;

/// What a convolution does to every sum: adds a bias, `[kernels]`, and limits it. What is no number stays so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish<'a> {
    pub(super) bias: Option<&'a Tensor>,
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Finish<'_> {
    /// Nothing.
    pub(super) const NONE: Self = Finish { bias: None, low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// Images, rows, columns and channels of a map that the loops can run over; none where it must go libtorch's way.
pub(super) fn extent(map: &Tensor) -> Option<[usize; 4]> {
    match map.f_kind().ok()? {
        Kind::Float => extent_of::<f32>(map),
        Kind::BFloat16 => extent_of::<Half>(map),
        _ => None,
    }
}

/// As [`extent`], for maps of one kind.
fn extent_of<V: Stored>(map: &Tensor) -> Option<[usize; 4]> {
    let (_, step) = pixels::<V>(map)?;
    let (images, channels, height, width) = map.size4().ok()?;
    (step as i64 == channels).then_some([images, height, width, channels].map(|n| n as usize))
}

/// The values of a map whose pixels lie in order but may have others between them, and the distance from one pixel to the
/// next; none where the loops cannot run over it.
fn pixels<V: Stored>(map: &Tensor) -> Option<(&[V], usize)> {
    let (Ok((images, channels, height, width)), Device::Cpu, Ok(kind)) =
        (map.size4(), map.device(), map.f_kind())
    else {
        return None;
    };
    let stride = map.stride();
    let &[apart, next, down, across] = &stride[..] else { return None };
    // The stride of an axis of one place may be anything.
    let step = match (width, height, images) {
        (1, 1, 1) => channels,
        (1, 1, _) => apart,
        (1, ..) => down,
        _ => across,
    };
    let in_order = (channels == 1 || next == 1)
        && (height == 1 || down == width * step)
        && (images == 1 || apart == height * width * step)
        && step >= channels;
    // Autograd, which the tests compare with, must see libtorch's operations.
    if kind != V::KIND || !in_order || map.requires_grad() || map.numel() == 0 {
        return None;
    }
    let length = ((images * height * width - 1) * step + channels) as usize;
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: from the first value of the first pixel to the last of the last, all within the tensor's storage, which
    // lives as long as the slice; nothing writes to a map while it is an input.
    let values = unsafe { std::slice::from_raw_parts(map.data_ptr().cast(), length) };
    Some((values, step as usize))
}

/// A new map of so many images, rows, columns and channels in channels-last memory; its values are whatever was there.
fn empty<V: Stored>(extent: [usize; 4]) -> Result<Tensor, RenderError> {
    let shape = extent.map(|n| n as i64);
    Ok(Tensor::f_empty(shape, (V::KIND, Device::Cpu))?.f_permute([0, 3, 1, 2])?)
}

/// The values of a map or image without gaps, in the order of its memory.
#[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
fn values<V: Stored>(map: &Tensor) -> &[V] {
    debug_assert_eq!(map.kind(), V::KIND);
    // SAFETY: the tensor holds `numel` values of this kind without gaps, and lives as long as the slice; nothing writes
    // to it while a loop reads it.
    unsafe { std::slice::from_raw_parts(map.data_ptr().cast(), map.numel()) }
}

/// As [`values`], to write: only where nobody else looks while the slice lives.
#[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
fn values_mut<V: Stored>(map: &mut Tensor) -> &mut [V] {
    debug_assert_eq!(map.kind(), V::KIND);
    // SAFETY: as for `values`; nobody else reads or writes this memory during the loop that has the slice.
    unsafe { std::slice::from_raw_parts_mut(map.data_ptr().cast(), map.numel()) }
}

/// The values of a tensor of any layout and kind, in the order of its axes.
fn floats(tensor: &Tensor) -> Result<Vec<f32>, RenderError> {
    Ok(Vec::<f32>::try_from(&tensor.f_to_kind(Kind::Float)?.f_contiguous()?.f_reshape([-1])?)?)
}

/// `part`, added to a map that nobody else looks at where there is one.
pub(super) fn added_to(sum: Option<Tensor>, part: Tensor) -> Result<Tensor, RenderError> {
    Ok(match sum {
        Some(mut sum) => sum.f_add_(&part)?,
        None => part,
    })
}

/// Compiles the body of a function for AVX-512 and AVX2 too, and runs the widest that the processor has. Without fused
/// multiply-adds they give the same bits.
macro_rules! vectorised {
    (fn $name:ident $(<$value:ident: $bound:ident>)? ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        fn $name$(<$value: $bound>)?($($argument: $type),*) {
            #[inline(always)]
            fn body$(<$value: $bound>)?($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn widest$(<$value: $bound>)?($($argument: $type),*) {
                    body$(::<$value>)?($($argument),*);
                }
                #[target_feature(enable = "avx2")]
                fn wide$(<$value: $bound>)?($($argument: $type),*) {
                    body$(::<$value>)?($($argument),*);
                }
                if std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has what the function needs.
                    #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                    return unsafe { widest$(::<$value>)?($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                    return unsafe { wide$(::<$value>)?($($argument),*) };
                }
            }
            body$(::<$value>)?($($argument),*);
        }
    };
}
use vectorised;
