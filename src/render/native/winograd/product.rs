//! The products of matrices between the transforms: for each of the 36 points, `[tiles, in] · [in, out]`.

use super::super::lanes::{LANES, Lanes};

/// `to[t, ..] = Σ from[t, c] · weights[c, ..]` for `ROWS` rows, and the sixteen columns of each of `PANELS` panels.
/// Rows of `from` and `to` are `stride` and `width` values apart.
#[inline(always)]
pub(in super::super) fn block<S: Lanes, const ROWS: usize, const PANELS: usize>(
    lanes: S,
    (from, stride): (&[f32], usize),
    weights: [&[[f32; LANES]]; PANELS],
    (to, width): (&mut [f32], usize),
) {
    let channels = weights[0].len();
    let mut rows = [&from[..0]; ROWS];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = &from[index * stride..][..channels];
    }
    let mut panels = [&weights[0][..0]; PANELS];
    for (panel, weights) in panels.iter_mut().zip(weights) {
        *panel = &weights[..channels];
    }
    let mut sums = [[lanes.splat(0.0); PANELS]; ROWS];
    for channel in 0..channels {
        let mut columns = [lanes.splat(0.0); PANELS];
        for panel in 0..PANELS {
            columns[panel] = lanes.load(&panels[panel][channel]);
        }
        for row in 0..ROWS {
            let value = lanes.splat(rows[row][channel]);
            for panel in 0..PANELS {
                sums[row][panel] = lanes.fma(value, columns[panel], sums[row][panel]);
            }
        }
    }
    for row in 0..ROWS {
        let (lines, _) = to[row * width..].as_chunks_mut::<LANES>();
        for panel in 0..PANELS {
            lanes.store(sums[row][panel], &mut lines[panel]);
        }
    }
}
