//! The way back through rectifiers: the gradient where the output lies between the limits, and nothing elsewhere.

use tch::{Kind, Tensor};

use super::{super::RenderError, Team, empty, extent, pixels, values, values_mut, vectorised};

/// The gradient of the input of `min(max(x, 0), limit)`, given its output `y` and that one's gradient, which is
/// overwritten if it is `own`: memory that nobody else looks at. None where the loops cannot run over them.
pub(in super::super) fn backward(
    team: &Team,
    y: &Tensor,
    limit: f32,
    gradient: &Tensor,
    own: bool,
) -> Result<Option<Tensor>, RenderError> {
    let Some(all) = extent(y) else { return Ok(None) };
    let [.., channels] = all;
    let dense = extent(gradient) == Some(all);
    let outputs = values::<f32>(y);
    if dense && own {
        let mut back = gradient.shallow_clone();
        team.over(values_mut(&mut back), channels, |first, back| {
            pass(&outputs[first * channels..][..back.len()], limit, back);
        });
        return Ok(Some(back));
    }
    // Of a concatenation every part has its gradient between those of the others.
    let Some((from, step)) = pixels(gradient).filter(|_| gradient.size() == y.size()) else {
        return Ok(None);
    };
    let mut back = empty(all, Kind::Float)?;
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
    fn pass(y: &[f32], limit: f32, gradient: &mut [f32]) {
        for (gradient, y) in gradient.iter_mut().zip(y) {
            let mask = u32::from((*y > 0.0) & (*y < limit)).wrapping_neg();
            *gradient = f32::from_bits(gradient.to_bits() & mask);
        }
    }
}
