//! What holds a dream back: total variation, which smooths it, and L2 decay, which draws it back to grey.
//!
//! ```text
//! P(x) = a · Σ √(δ_y² + δ_x² + 1)  +  b · Σ (x − 127.5)² / 255
//! ```
//!
//! over the values of a picture in 0–255, where δ are the differences to the next row and the next column, 0 beyond the edges. The 1
//! keeps flat areas from trembling. The derivative is taken from the *normalised* gradient, so a weight means the same for every
//! layer and model: as strong as a, where the gradient's values are about 1. Nothing here depends on tiles.

use tch::Tensor;

use super::{
    RenderError,
    bands::{each, rows},
    resample::Rows,
};
use reverie_dream::{plan::Span, spec::DreamSpec};

/// The value of grey.
const GREY: f64 = 127.5;

/// The penalties of a spec.
pub(super) struct Penalty {
    total_variation: f64,
    l2_decay: f64,
}

/// How large the values of a gradient are that is normalised when it is added.
pub(super) enum Unit<'a> {
    Number(f64),
    /// On the device; a scalar.
    Tensor(&'a Tensor),
}

impl Unit<'_> {
    fn times(&self, values: &Tensor) -> Result<Tensor, RenderError> {
        Ok(match self {
            Self::Number(unit) => values.f_mul_scalar(*unit)?,
            Self::Tensor(unit) => values.f_mul(&unit.f_to_kind(values.f_kind()?)?)?,
        })
    }
}

impl Penalty {
    /// Those of `spec`; none where it wants none, which costs nothing then.
    pub(super) fn of(spec: &DreamSpec) -> Option<Self> {
        let DreamSpec { total_variation, l2_decay, .. } = *spec;
        (total_variation > 0.0 || l2_decay > 0.0).then_some(Self { total_variation, l2_decay })
    }

    /// Takes the derivative at `image` from `gradient`, both `[1, 3, H, W]`, in the gradient's `unit`.
    pub(super) fn apply(
        &self,
        image: &Tensor,
        gradient: &Tensor,
        unit: &Unit<'_>,
    ) -> Result<(), RenderError> {
        each(gradient, |span, band| Ok(band.f_sub_(&unit.times(&self.derivative(image, span)?)?)?))
    }

    /// The derivative of P by the rows `span` of `image`.
    fn derivative(&self, image: &Tensor, span: Span) -> Result<Tensor, RenderError> {
        let own = rows(image, span)?;
        let decay = || Ok(own.f_sub_scalar(GREY)?.f_mul_scalar(self.l2_decay / GREY)?);
        if self.total_variation == 0.0 {
            return decay();
        }
        let smoothing = variation(image, span)?.f_mul_scalar(self.total_variation)?;
        if self.l2_decay == 0.0 { Ok(smoothing) } else { Ok(smoothing.f_add(&decay()?)?) }
    }
}

/// The derivative of the total variation by the rows `span` of `image`, `[1, 3, H, W]`.
///
/// With p = δ / √(δ_y² + δ_x² + 1), what a pixel has of it is `p_x` and `p_y` of the pixels before it, less its own.
fn variation(image: &Tensor, span: Span) -> Result<Tensor, RenderError> {
    let (height, width) = image.extent()?;
    // The row before takes part, and the row behind is what the last one differs from.
    let (first, last) = ((span.start - 1).max(0), (span.start + span.length + 1).min(height));
    let around = image.f_narrow(2, first, last - first)?;
    let count = last - first;
    let [down, right] = [around.f_zeros_like()?, around.f_zeros_like()?];
    let difference = |axis: i64, length: i64, into: &Tensor| -> Result<(), RenderError> {
        if length > 1 {
            let next = around.f_narrow(axis, 1, length - 1)?;
            let before = around.f_narrow(axis, 0, length - 1)?;
            into.f_narrow(axis, 0, length - 1)?.f_copy_(&next.f_sub(&before)?)?;
        }
        Ok(())
    };
    difference(2, count, &down)?;
    difference(3, width, &right)?;
    let steepness = down.f_square()?.f_add(&right.f_square()?)?.f_add_scalar(1.0)?.f_sqrt()?;
    let [down, right] = [down.f_div(&steepness)?, right.f_div(&steepness)?];
    let derivative = down.f_add(&right)?.f_neg()?;
    for (axis, length, before) in [(2, count, &down), (3, width, &right)] {
        if length > 1 {
            let before = before.f_narrow(axis, 0, length - 1)?;
            drop(derivative.f_narrow(axis, 1, length - 1)?.f_add_(&before)?);
        }
    }
    Ok(derivative.f_narrow(2, span.start - first, span.length)?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn penalty(image: &Tensor, total_variation: f64, l2_decay: f64) -> Tensor {
        let (_, _, height, width) = image.size4().unwrap();
        let down = image.narrow(2, 1, height - 1) - image.narrow(2, 0, height - 1);
        let right = image.narrow(3, 1, width - 1) - image.narrow(3, 0, width - 1);
        let squares = down.square().constant_pad_nd([0, 0, 0, 1]) + right.square().constant_pad_nd([0, 1]);
        let variation = (squares + 1.0).sqrt().sum(Kind::Double);
        variation * total_variation + ((image - 127.5).square() / 255.0).sum(Kind::Double) * l2_decay
    }

    #[test]
    fn the_derivatives_are_those_of_autograd() {
        tch::manual_seed(31);
        let image = Tensor::rand([1, 3, 23, 31], (Kind::Double, Device::Cpu)) * 255.0;
        for (total_variation, l2_decay) in [(0.5, 0.0), (0.0, 0.25), (0.125, 2.0)] {
            let leaf = image.copy().set_requires_grad(true);
            let score = penalty(&leaf, total_variation, l2_decay);
            let expected = Tensor::run_backward(&[&score], &[&leaf], false, false).remove(0);
            let own = Penalty { total_variation, l2_decay };
            let error = |found: Tensor, unit: f64| {
                ((found / unit + &expected).norm() / expected.norm()).double_value(&[])
            };
            let three = Tensor::from(3.0);
            for unit in [Unit::Number(1.0), Unit::Number(3.0), Unit::Tensor(&three)] {
                let gradient = image.zeros_like();
                own.apply(&image, &gradient, &unit).unwrap();
                let factor = if matches!(unit, Unit::Number(1.0)) { 1.0 } else { 3.0 };
                assert!(error(gradient, factor) < 1e-12, "{total_variation}, {l2_decay}");
            }
            // However it is cut into bands.
            let parts = [(0, 1), (1, 8), (9, 13), (22, 1)].map(|(start, length)| {
                tch::no_grad(|| own.derivative(&image, Span { start, length }).unwrap())
            });
            assert!(error(-Tensor::cat(&parts, 2), 1.0) < 1e-12);
        }
    }

    #[test]
    fn pictures_of_one_row_or_one_pixel_have_a_derivative() {
        let own = Penalty { total_variation: 1.0, l2_decay: 1.0 };
        for (height, width) in [(1, 1), (1, 5), (4, 1)] {
            let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu)) * 255.0;
            let gradient = image.zeros_like();
            own.apply(&image, &gradient, &Unit::Number(1.0)).unwrap();
            assert_eq!(gradient.isfinite().all().int64_value(&[]), 1);
        }
        let grey = Tensor::full([1, 3, 4, 4], GREY, (Kind::Float, Device::Cpu));
        let gradient = grey.zeros_like();
        own.apply(&grey, &gradient, &Unit::Number(1.0)).unwrap();
        assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
    }
}
