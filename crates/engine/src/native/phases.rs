//! Puts the gradient of a strided convolution's input together from its phases.

use tch::{Device, Kind, Tensor};

use super::{super::RenderError, Half, Team, Value, extent_of, values, values_mut, vectorised};

/// The map `[N, C, H, W]` of `size` rows and columns, one channel after the other, whose pixel `(2i + p, 2j + q)` of
/// channel `c`, counted from `before`, is `phases[n, 4c + 2p + q, i, j]`; zeros where there is none. None where the loops
/// cannot run over it.
pub(in super::super) fn join(
    team: &Team,
    phases: &Tensor,
    channels: usize,
    before: [i64; 2],
    size: [i64; 2],
) -> Result<Option<Tensor>, RenderError> {
    match phases.f_kind()? {
        Kind::BFloat16 => join_of::<Half>(team, phases, channels, before, size),
        _ => join_of::<f32>(team, phases, channels, before, size),
    }
}

fn join_of<V: Value>(
    team: &Team,
    phases: &Tensor,
    channels: usize,
    before: [i64; 2],
    size: [i64; 2],
) -> Result<Option<Tensor>, RenderError> {
    let Some([images, rows, columns, step]) = extent_of::<V>(phases) else { return Ok(None) };
    let [height, width] = size.map(|n| n as usize);
    let [top, left] = before.map(|n| n as usize);
    let shape = [images as i64, channels as i64, size[0], size[1]];
    let mut map = Tensor::f_empty(shape, (V::KIND, Device::Cpu))?;
    let from = values::<V>(phases);
    team.over(values_mut(&mut map), width, |first, lines| {
        for (index, line) in lines.chunks_exact_mut(width).enumerate() {
            let (plane, row) = ((first + index) / height, (first + index) % height + top);
            let (image, channel) = (plane / channels, plane % channels);
            if row / 2 >= rows {
                line.fill(V::nearest(0.0));
                continue;
            }
            let source = &from[(image * rows + row / 2) * columns * step..][..columns * step];
            interleave(source, step, 4 * channel + 2 * (row % 2), left, line);
        }
    });
    Ok(Some(map))
}

vectorised! {
    fn interleave<V: Value>(source: &[V], step: usize, phase: usize, left: usize, line: &mut [V]) {
        for (index, value) in line.iter_mut().enumerate() {
            let column = index + left;
            *value = source.get(column / 2 * step + phase + column % 2).copied().unwrap_or(V::nearest(0.0));
        }
    }
}
