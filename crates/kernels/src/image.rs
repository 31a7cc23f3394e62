//! Passes over images, float32 with one plane after the other: to the map that a network reads, and along a gradient.

use super::{
    KernelError, MapMut, ThreadPool,
    instruction_set::dispatch_autovectorized,
    map::{check_length, check_shape, for_kind},
    value::Value,
};

/// Values that are summed up together.
const STRETCH: usize = 4096;

/// Images of three planes, which may be a part of larger ones: `[images, 3, rows, columns]` with the distances between
/// images, planes and rows in values.
#[derive(Clone, Copy, Debug)]
pub struct Planes<'a> {
    /// From the first value to the last.
    pub values: &'a [f32],
    /// How many images.
    pub images: usize,
    /// Rows and columns.
    pub size: [usize; 2],
    /// From an image, a plane and a row to the next.
    pub strides: [usize; 3],
}

/// `(image − mean) · scale`, in channels-last memory and rounded to the kind of `map`.
///
/// # Errors
/// [`KernelError`] unless `map` is of the same shape, with three channels, and the values are as many as that needs.
pub fn prepare(
    threads: &ThreadPool,
    image: Planes<'_>,
    mean: f32,
    scale: f32,
    map: MapMut<'_>,
) -> Result<(), KernelError> {
    let Planes { values, images, size: [height, width], strides } = image;
    check_shape("prepared map", map.shape(), [images, height, width, 3])?;
    let last = [images - 1, 2, height - 1];
    let reach = last.iter().zip(&strides).map(|(last, stride)| last * stride).sum::<usize>() + width;
    check_length("image", values.len(), reach)?;
    for_kind!(map.values, map => prepare_as(threads, image, mean, scale, map));
    Ok(())
}

fn prepare_as<V: Value>(threads: &ThreadPool, image: Planes<'_>, mean: f32, scale: f32, map: &mut [V]) {
    let Planes { values, size: [height, width], strides: [image_stride, plane_stride, row_stride], .. } =
        image;
    threads.split(map, 3 * width, |first, lines| {
        for (index, line) in lines.chunks_exact_mut(3 * width).enumerate() {
            let (image, row) = ((first + index) / height, (first + index) % height);
            let start = image * image_stride + row * row_stride;
            let planes = [0, 1, 2].map(|channel| &values[start + channel * plane_stride..][..width]);
            interleave(threads.isa(), planes, mean, scale, line);
        }
    });
}

dispatch_autovectorized! {
    fn interleave<V: Value>(planes: [&[f32]; 3], mean: f32, scale: f32, line: &mut [V]) {
        let [red, green, blue] = planes;
        let (pixels, _) = line.as_chunks_mut::<3>();
        for (((pixel, red), green), blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
            *pixel = [*red, *green, *blue].map(|value| V::from_f32((value - mean) * scale));
        }
    }
}

/// Sum of the magnitudes of all values.
pub fn sum_abs(threads: &ThreadPool, values: &[f32]) -> f64 {
    // A sum for each stretch, so that the total does not depend on the number of threads.
    let mut sums = vec![0.0f64; values.len().div_ceil(STRETCH)];
    threads.split_by_cost(size_of_val(values), &mut sums, 1, |first, sums| {
        for (stretch, sum) in values[first * STRETCH..].chunks(STRETCH).zip(sums) {
            sum_abs_of(threads.isa(), stretch, sum);
        }
    });
    sums.into_iter().sum()
}

dispatch_autovectorized! {
    fn sum_abs_of(values: &[f32], total: &mut f64) {
        let mut sums = [0.0f64; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value.abs());
            }
        }
        let rest = rest.iter().map(|value| f64::from(value.abs()));
        *total = sums.into_iter().chain(rest).sum();
    }
}

/// Adds `gradient · factor` to `image`.
///
/// # Errors
/// [`KernelError::Length`] unless both have as many values.
pub fn add_scaled(
    threads: &ThreadPool,
    image: &mut [f32],
    gradient: &[f32],
    factor: f32,
) -> Result<(), KernelError> {
    check_length("gradient", gradient.len(), image.len())?;
    threads.split(image, 1, |first, image| {
        add_scaled_to(threads.isa(), &gradient[first..][..image.len()], factor, image);
    });
    Ok(())
}

dispatch_autovectorized! {
    fn add_scaled_to(gradient: &[f32], factor: f32, image: &mut [f32]) {
        for (value, gradient) in image.iter_mut().zip(gradient) {
            *value += gradient * factor;
        }
    }
}
