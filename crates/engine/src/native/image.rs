//! Passes over images, `[N, C, H, W]` float32 with one plane after the other: to what a network reads, and along a
//! gradient.

use tch::{Device, Kind, Tensor};

use super::{super::RenderError, Half, Team, Value, empty, values, values_mut, vectorised};

/// Values that are summed up together.
const STRETCH: usize = 4096;

/// `(image − mean) · scale` in channels-last memory and in `kind`; none where the loops cannot run over the image. It may
/// be a part of a larger one.
pub(in super::super) fn prepare(
    team: &Team,
    image: &Tensor,
    mean: f32,
    scale: f32,
    kind: Kind,
) -> Result<Option<Tensor>, RenderError> {
    match kind {
        Kind::Float => prepare_as::<f32>(team, image, mean, scale),
        Kind::BFloat16 => prepare_as::<Half>(team, image, mean, scale),
        _ => Ok(None),
    }
}

fn prepare_as<V: Value>(
    team: &Team,
    image: &Tensor,
    mean: f32,
    scale: f32,
) -> Result<Option<Tensor>, RenderError> {
    let stride = image.stride();
    let (Ok((images, 3, height, width)), Device::Cpu, Ok(Kind::Float), false, [apart, plane, row, 1]) =
        (image.size4(), image.device(), image.f_kind(), image.requires_grad(), &stride[..])
    else {
        return Ok(None);
    };
    if image.numel() == 0 {
        return Ok(None);
    }
    let length = (images - 1) * apart + 2 * plane + (height - 1) * row + width;
    #[allow(unsafe_code, reason = "tch has no view of a tensor's memory")]
    // SAFETY: from the first value to the last, all within the tensor's storage, which lives as long as the slice;
    // nothing writes to an image while a network reads it.
    let from: &[f32] = unsafe { std::slice::from_raw_parts(image.data_ptr().cast(), length as usize) };
    let [apart, plane, row, height, width] = [*apart, *plane, *row, height, width].map(|n| n as usize);
    let mut map = empty::<V>([images as usize, height, width, 3])?;
    team.over(values_mut::<V>(&mut map), 3 * width, |first, lines| {
        for (index, line) in lines.chunks_exact_mut(3 * width).enumerate() {
            let (image, at) = ((first + index) / height, (first + index) % height);
            let start = image * apart + at * row;
            let planes = [0, 1, 2].map(|channel| &from[start + channel * plane..][..width]);
            interleave(planes, mean, scale, line);
        }
    });
    Ok(Some(map))
}

vectorised! {
    fn interleave<V: Value>(planes: [&[f32]; 3], mean: f32, scale: f32, line: &mut [V]) {
        let [red, green, blue] = planes;
        let (pixels, _) = line.as_chunks_mut::<3>();
        for (((pixel, red), green), blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
            *pixel = [*red, *green, *blue].map(|value| V::nearest((value - mean) * scale));
        }
    }
}

/// Whether the loops can run over an image as over one row.
fn is_plain(image: &Tensor) -> bool {
    image.device() == Device::Cpu && matches!(image.f_kind(), Ok(Kind::Float)) && image.is_contiguous()
}

/// Sum of the magnitudes of all values; none where the loops cannot run over them.
pub(in super::super) fn magnitude(team: &Team, image: &Tensor) -> Option<f64> {
    let all = is_plain(image).then(|| values::<f32>(image))?;
    // A sum for each stretch, so that the total does not depend on the number of threads.
    let mut sums = vec![0.0f64; all.len().div_ceil(STRETCH)];
    team.share(size_of_val(all), &mut sums, 1, |first, sums| {
        for (stretch, sum) in all[first * STRETCH..].chunks(STRETCH).zip(sums) {
            magnitudes(stretch, sum);
        }
    });
    Some(sums.into_iter().sum())
}

vectorised! {
    fn magnitudes(values: &[f32], total: &mut f64) {
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

/// Adds `gradient · factor` to `image`, where it lies; false where the loops cannot run over them.
pub(in super::super) fn climb(team: &Team, image: &Tensor, gradient: &Tensor, factor: f32) -> bool {
    if !is_plain(image) || !is_plain(gradient) || image.size() != gradient.size() {
        return false;
    }
    let mut image = image.shallow_clone();
    let steps = values::<f32>(gradient);
    team.over(values_mut(&mut image), 1, |first, image| along(&steps[first..][..image.len()], factor, image));
    true
}

vectorised! {
    fn along(gradient: &[f32], factor: f32, image: &mut [f32]) {
        for (value, gradient) in image.iter_mut().zip(gradient) {
            *value += gradient * factor;
        }
    }
}
