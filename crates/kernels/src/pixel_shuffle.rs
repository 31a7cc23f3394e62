//! Puts the gradient of the input of a convolution with stride 2 together from its four phases.

use super::{
    KernelError, Map, ThreadPool, ValuesMut,
    instruction_set::dispatch_autovectorized,
    map::{check_length, for_kind},
    value::Value,
};

/// Fills `planes`, `[images, channels, rows, columns]` with `size` = `[rows, columns]`: pixel `(2i + p, 2j + q)` of
/// channel `c`, counted from `before`, is `phases[n, i, j, 4c + 2p + q]`, and zero where there is none.
///
/// # Errors
/// [`KernelError`] unless `phases` is dense and of the same kind, with at least `4 · channels` channels, and `planes` has
/// as many values as its shape says.
pub fn pixel_shuffle(
    threads: &ThreadPool,
    phases: Map<'_>,
    channels: usize,
    before: [usize; 2],
    size: [usize; 2],
    planes: ValuesMut<'_>,
) -> Result<(), KernelError> {
    let [images, rows, columns, phase_count] = phases.shape();
    let [height, width] = size;
    if phase_count < 4 * channels || width == 0 || height == 0 {
        return Err(KernelError::Unsupported("a map without four phases for each channel"));
    }
    check_length("planes", planes.len(), images * channels * height * width)?;
    for_kind!(planes, planes => {
        let source = phases.dense_of("phases", phases.shape())?;
        shuffle(threads, (source, [rows, columns, phase_count]), channels, before, size, planes);
        Ok(())
    })
}

fn shuffle<V: Value>(
    threads: &ThreadPool,
    (source, [rows, columns, step]): (&[V], [usize; 3]),
    channels: usize,
    [top, left]: [usize; 2],
    [height, width]: [usize; 2],
    planes: &mut [V],
) {
    threads.split(planes, width, |first, lines| {
        for (index, line) in lines.chunks_exact_mut(width).enumerate() {
            let (plane, row) = ((first + index) / height, (first + index) % height + top);
            let (image, channel) = (plane / channels, plane % channels);
            if row / 2 >= rows {
                line.fill(V::from_f32(0.0));
                continue;
            }
            let source = &source[(image * rows + row / 2) * columns * step..][..columns * step];
            interleave(threads.isa(), source, step, 4 * channel + 2 * (row % 2), left, line);
        }
    });
}

dispatch_autovectorized! {
    fn interleave<V: Value>(source: &[V], step: usize, phase: usize, left: usize, line: &mut [V]) {
        for (index, value) in line.iter_mut().enumerate() {
            let column = index + left;
            *value = source.get(column / 2 * step + phase + column % 2).copied().unwrap_or(V::from_f32(0.0));
        }
    }
}
