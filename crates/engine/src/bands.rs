//! Work on whole images, a band of rows at a time.
//!
//! A picture of 100 megapixels is 1.2 GB of floats, and every temporary of its size costs as much again. What
//! has to touch all pixels therefore walks over bands of about a megapixel and changes the image where it lies:
//! temporaries are bounded by the band, not by the picture.

use tch::{Device, Kind, Tensor};

use super::RenderError;
use reverie_dream::plan::{BAND, Span};

/// [`BAND`] on a GPU, where starting an operation costs as much as a megapixel of work: 100 MB for a temporary.
const GPU_BAND: i64 = 1 << 23;

/// Cuts an image of this size into bands of rows, top to bottom; at least one row each.
pub(super) fn bands(height: i64, width: i64) -> impl Iterator<Item = Span> {
    bands_on(Device::Cpu, height, width)
}

/// As [`bands`], for an image on this device.
pub(super) fn bands_on(device: Device, height: i64, width: i64) -> impl Iterator<Item = Span> {
    let band = if device == Device::Cpu { BAND } else { GPU_BAND };
    let rows = (band / width.max(1)).max(1);
    (0..height)
        .step_by(usize::try_from(rows).unwrap_or(usize::MAX))
        .map(move |start| Span { start, length: rows.min(height - start) })
}

/// A view of the rows `span` of `[1, C, H, W]`.
pub(super) fn rows(image: &Tensor, span: Span) -> Result<Tensor, RenderError> {
    Ok(image.f_narrow(2, span.start, span.length)?)
}

/// Sum over all bands of a scalar that `measure` makes of each; a scalar in float64 on the image's device.
pub(super) fn total(
    image: &Tensor,
    mut measure: impl FnMut(&Tensor) -> Result<Tensor, RenderError>,
) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = image.size4()?;
    let mut total = Tensor::f_zeros([], (Kind::Double, image.device()))?;
    for span in bands_on(image.device(), height, width) {
        drop(total.f_add_(&measure(&rows(image, span)?)?)?);
    }
    Ok(total)
}

/// As [`total`], read from the device.
pub(super) fn sum(
    image: &Tensor,
    measure: impl FnMut(&Tensor) -> Result<Tensor, RenderError>,
) -> Result<f64, RenderError> {
    Ok(total(image, measure)?.f_double_value(&[])?)
}

/// Mean and standard deviation of all values.
pub(super) fn moments(image: &Tensor) -> Result<(f64, f64), RenderError> {
    let count = image.numel() as f64;
    let mean = sum(image, |band| Ok(band.f_sum(Kind::Double)?))? / count;
    let squares = sum(image, |band| Ok(band.f_sub_scalar(mean)?.f_square()?.f_sum(Kind::Double)?))?;
    Ok((mean, (squares / count).sqrt()))
}

/// Hands every band of `image` to `change`, which works on it where it lies.
pub(super) fn each(
    image: &Tensor,
    mut change: impl FnMut(Span, &mut Tensor) -> Result<Tensor, RenderError>,
) -> Result<(), RenderError> {
    let (_, _, height, width) = image.size4()?;
    for span in bands_on(image.device(), height, width) {
        // What comes back is the band again: operations in place return their tensor.
        drop(change(span, &mut rows(image, span)?)?);
    }
    Ok(())
}
