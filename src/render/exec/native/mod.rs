//! Loops of our own over maps on the CPU, where libtorch's operations take several times what the memory asks for.
//!
//! libtorch has no fast local response normalisation, its max-pooling writes 64-bit positions and spreads gradients
//! value by value, and both want TensorFlow's uneven padding as a copy of the map. These loops run over float32 maps of
//! one image in channels-last memory; everything else (GPUs, bfloat16, other layouts) takes libtorch's way, which the
//! tests compare them with. Every value is computed by the same operations in the same order whatever the number of
//! threads and whatever the processor, so that results do not depend on either.

mod lrn;
mod pool;
#[cfg(test)]
mod tests;

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::super::RenderError;

pub(super) use lrn::Response;
pub(super) use pool::Pool;

/// Threads for the loops, as many as libtorch uses.
pub(super) struct Team {
    /// None where one thread is all.
    pool: Option<rayon::ThreadPool>,
    size: usize,
}

impl Team {
    pub(super) fn new() -> Result<Self, RenderError> {
        let size = usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1);
        let build =
            || rayon::ThreadPoolBuilder::new().num_threads(size).thread_name(|_| "loops".into()).build();
        let pool = (size > 1).then(build).transpose();
        Ok(Self { pool: pool.map_err(|error| RenderError::Engine(error.to_string()))?, size })
    }

    /// Cuts `rows` of `values` values each into one stretch per thread, and runs each with the number of its first row.
    fn over<T: Send>(&self, map: &mut [T], values: usize, run: impl Fn(usize, &mut [T]) + Sync) {
        let rows = map.len() / values.max(1);
        match &self.pool {
            Some(pool) if rows > 1 => {
                let share = rows.div_ceil(self.size);
                let stretches = map.par_chunks_mut(share * values).enumerate();
                pool.install(|| stretches.for_each(|(index, stretch)| run(index * share, stretch)));
            }
            _ => run(0, map),
        }
    }
}

/// Rows, columns and channels of a map that the loops can run over; none where it must go libtorch's way.
pub(super) fn extent(map: &Tensor) -> Option<[usize; 3]> {
    let (Ok((1, channels, height, width)), Device::Cpu, Ok(Kind::Float)) =
        (map.size4(), map.device(), map.f_kind())
    else {
        return None;
    };
    let dense = map.stride().get(1..) == Some(&[1, width * channels, channels]);
    // Autograd, which the tests compare with, must see libtorch's operations.
    (dense && !map.requires_grad() && map.numel() > 0).then_some([
        height as usize,
        width as usize,
        channels as usize,
    ])
}

/// A new map `[1, C, H, W]` in channels-last memory; its values are whatever was there.
fn empty([height, width, channels]: [usize; 3], kind: Kind) -> Result<Tensor, RenderError> {
    let shape = [1, height, width, channels].map(|n| n as i64);
    Ok(Tensor::f_empty(shape, (kind, Device::Cpu))?.f_permute([0, 3, 1, 2])?)
}

/// The values of a map that [`extent`] accepts, in the order of its memory.
#[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
fn values<T: tch::kind::Element>(map: &Tensor) -> &[T] {
    debug_assert_eq!(map.kind(), T::KIND);
    // SAFETY: the tensor owns `numel` values of this kind without gaps, and lives as long as the slice; nothing writes
    // to a map while it is an input.
    unsafe { std::slice::from_raw_parts(map.data_ptr().cast(), map.numel()) }
}

/// As [`values`], to write: only for a map that [`empty`] has just made.
#[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
fn values_mut<T: tch::kind::Element>(map: &mut Tensor) -> &mut [T] {
    debug_assert_eq!(map.kind(), T::KIND);
    // SAFETY: as for `values`; the map is new, so that nobody else has a view of its memory.
    unsafe { std::slice::from_raw_parts_mut(map.data_ptr().cast(), map.numel()) }
}

/// Compiles the body of a function a second time for AVX2, and runs that where the processor has it. Without fused
/// multiply-adds the two give the same bits.
macro_rules! vectorised {
    (fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        fn $name($($argument: $type),*) {
            #[inline(always)]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) {
                    body($($argument),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what the function needs.
                    #[allow(unsafe_code, reason = "only a check at run time can know the processor")]
                    return unsafe { wide($($argument),*) };
                }
            }
            body($($argument),*);
        }
    };
}
use vectorised;
