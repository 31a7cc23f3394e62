//! The backward pass of ReLUs: the gradient passes where the output lies between the limits, and is zero elsewhere.

use super::{
    KernelError, Map, MapMut, ReluMask, ThreadPool,
    instruction_set::dispatch_autovectorized,
    map::{check_shape, for_kind},
    value::Value,
};

/// The gradient of the input of `min(max(x, 0), limit)`, given the gradient of the output; `relu.output` is dense, the
/// gradient may be some channels of a larger map.
///
/// # Errors
/// [`KernelError`] unless all maps are of one kind and shape.
pub fn backward(
    threads: &ThreadPool,
    relu: ReluMask<Map<'_>>,
    gradient: Map<'_>,
    back: MapMut<'_>,
) -> Result<(), KernelError> {
    let shape = back.shape();
    check_shape("gradient", gradient.shape(), shape)?;
    let channels = shape[3];
    for_kind!(back.values, back => {
        let (output, limit) = relu.values(shape)?;
        copy_and_mask(threads, channels, (output, limit), (gradient.of()?, gradient.pixel_stride()), back);
        Ok(())
    })
}

/// As [`backward`], in the place of the gradient.
///
/// # Errors
/// As [`backward`].
pub fn backward_in_place(
    threads: &ThreadPool,
    relu: ReluMask<Map<'_>>,
    gradient: MapMut<'_>,
) -> Result<(), KernelError> {
    let shape = gradient.shape();
    for_kind!(gradient.values, gradient => {
        let (output, limit) = relu.values(shape)?;
        threads.split(gradient, shape[3], |first, gradient| {
            mask(threads.isa(), &output[first * shape[3]..][..gradient.len()], limit, gradient);
        });
        Ok(())
    })
}

fn copy_and_mask<V: Value>(
    threads: &ThreadPool,
    channels: usize,
    (output, limit): (&[V], f32),
    (gradient, stride): (&[V], usize),
    back: &mut [V],
) {
    threads.split(back, channels, |first, back| {
        let output = &output[first * channels..][..back.len()];
        let pixels = back.chunks_exact_mut(channels).zip(output.chunks_exact(channels));
        for (index, (back, output)) in pixels.enumerate() {
            back.copy_from_slice(&gradient[(first + index) * stride..][..channels]);
            mask(threads.isa(), output, limit, back);
        }
    });
}

dispatch_autovectorized! {
    fn mask<V: Value>(output: &[V], limit: f32, gradient: &mut [V]) {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            let mask = u32::from((output.to_f32() > 0.0) & (output.to_f32() < limit)).wrapping_neg();
            *gradient = V::from_f32(f32::from_bits(gradient.to_f32().to_bits() & mask));
        }
    }
}
