//! The way back through rectifiers: the gradient where the output lies between the limits, and nothing elsewhere.

use tch::{Kind, Tensor};

use super::{
    super::RenderError, Half, Team, Value, empty, extent_of, pixels, values, values_mut, vectorised,
};

/// The rectifier before a convolution: its output, which is the convolution's input, and its upper limit.
#[derive(Clone, Copy)]
pub(in super::super) struct Rectifier<'a> {
    pub(in super::super) y: &'a Tensor,
    /// Infinite where there is none.
    pub(in super::super) limit: f32,
}

/// The gradient of the input of `min(max(x, 0), limit)`, given its output `y` and that one's gradient, which is
/// overwritten if it is `own`: memory that nobody else looks at. None where the loops cannot run over them.
pub(in super::super) fn backward(
    team: &Team,
    y: &Tensor,
    limit: f32,
    gradient: &Tensor,
    own: bool,
) -> Result<Option<Tensor>, RenderError> {
    match y.f_kind()? {
        Kind::BFloat16 => backward_of::<Half>(team, y, limit, gradient, own),
        _ => backward_of::<f32>(team, y, limit, gradient, own),
    }
}

fn backward_of<V: Value>(
    team: &Team,
    y: &Tensor,
    limit: f32,
    gradient: &Tensor,
    own: bool,
) -> Result<Option<Tensor>, RenderError> {
    let Some(extent) = extent_of::<V>(y) else { return Ok(None) };
    let [.., channels] = extent;
    let outputs = values::<V>(y);
    if own && extent_of::<V>(gradient) == Some(extent) {
        let mut back = gradient.shallow_clone();
        team.over(values_mut(&mut back), channels, |first, back| {
            pass(&outputs[first * channels..][..back.len()], limit, back);
        });
        return Ok(Some(back));
    }
    // Of a concatenation every part has its gradient between those of the others.
    let Some((from, step)) = pixels::<V>(gradient).filter(|_| gradient.size() == y.size()) else {
        return Ok(None);
    };
    let mut back = empty::<V>(extent)?;
    team.over(values_mut(&mut back), channels, |first, back| {
        let part = &outputs[first * channels..][..back.len()];
        for (index, (back, y)) in back.chunks_exact_mut(channels).zip(part.chunks_exact(channels)).enumerate()
        {
            back.copy_from_slice(&from[(first + index) * step..][..channels]);
            pass(y, limit, back);
        }
    });
    Ok(Some(back))
}

vectorised! {
    fn pass<V: Value>(y: &[V], limit: f32, gradient: &mut [V]) {
        for (gradient, y) in gradient.iter_mut().zip(y) {
            let mask = u32::from((y.wide() > 0.0) & (y.wide() < limit)).wrapping_neg();
            *gradient = V::nearest(f32::from_bits(gradient.wide().to_bits() & mask));
        }
    }
}
