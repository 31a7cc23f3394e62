//! The stages of [`super`], over some tens of windows.

use super::{
    super::{
        instruction_set::dispatch,
        simd::{LANES, SimdVector},
        value::Value,
    },
    ALL, MAX_RESULTS, PANELS, Winograd,
    matmul::Block,
    transform::{InputTransform, OutputTransform, POINTS},
};

/// One convolution.
pub(super) struct Task<'a, V> {
    pub(super) winograd: &'a Winograd,
    pub(super) x: &'a [V],
    /// Values from one pixel of `x` to the next.
    pub(super) pixel_stride: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) padding: [usize; 2],
    pub(super) bias: Vec<f32>,
    pub(super) low: f32,
    pub(super) high: f32,
    /// Whether to add to the values of the result.
    pub(super) accumulate: bool,
}

/// Windows side by side, and where their results go.
pub(super) struct Span<'a, V> {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) windows: usize,
    /// As many rows as there are; the rest is empty.
    pub(super) rows: [&'a mut [V]; MAX_RESULTS],
}

dispatch! {
    /// Takes the windows of `spans` through all stages.
    pub(super) fn run_stages<V: Value>(
        simd,
        task: &Task<'_, V>,
        spans: &mut [Span<'_, V>],
        scratch: &mut Vec<f32>,
    ) {
        if S::MANY_REGISTERS {
            match task.winograd.results {
                4 => steps::<V, S, 12, 6, 2, 4>(simd, task, spans, scratch),
                3 => steps::<V, S, 12, 6, 2, 3>(simd, task, spans, scratch),
                _ => steps::<V, S, 12, 6, 2, 2>(simd, task, spans, scratch),
            }
        } else {
            match task.winograd.results {
                4 => steps::<V, S, 6, 3, 1, 4>(simd, task, spans, scratch),
                3 => steps::<V, S, 6, 3, 1, 3>(simd, task, spans, scratch),
                _ => steps::<V, S, 6, 3, 1, 2>(simd, task, spans, scratch),
            }
        }
    }
}

/// `ROWS` windows and the outputs of `WIDTH` panels at a time fill the registers; `HALF` is half of the windows.
#[inline(always)]
fn steps<
    V: Value,
    S: SimdVector,
    const ROWS: usize,
    const HALF: usize,
    const WIDTH: usize,
    const RESULTS: usize,
>(
    simd: S,
    task: &Task<'_, V>,
    spans: &mut [Span<'_, V>],
    scratch: &mut Vec<f32>,
) {
    let Winograd { channels, outputs, ref weights, .. } = *task.winograd;
    let mut windows = 0;
    for span in &*spans {
        windows += span.windows;
    }
    let room = windows.next_multiple_of(ROWS);
    // Planes a little further apart than a power of two: values at the same place in each would share a line of cache.
    let (plane, products) = (room * channels + LANES, room * PANELS * LANES + LANES);
    if scratch.len() < ALL * (plane + products) {
        scratch.resize(ALL * (plane + products), 0.0);
    }
    let (at_points, scratch) = scratch.split_at_mut(ALL * plane);
    let multiplied = &mut scratch[..ALL * products];
    let mut window = 0;
    for span in &*spans {
        for index in 0..span.windows {
            transform_input(simd, task, span, index, &mut at_points[window * channels..], plane);
            window += 1;
        }
    }
    let panels = outputs.div_ceil(LANES);
    for first in (0..panels).step_by(PANELS) {
        let end = panels.min(first + PANELS);
        for point in 0..ALL {
            let from = &at_points[point * plane..];
            let weights = |panel: usize| &weights[(panel * ALL + point) * channels..][..channels];
            for panel in (first..end).step_by(WIDTH) {
                let to = &mut multiplied[point * products + (panel - first) * LANES..];
                if panel + WIDTH <= end {
                    let weights = std::array::from_fn(|index| weights(panel + index));
                    multiply::<S, ROWS, HALF, WIDTH>(simd, from, windows, weights, to);
                } else {
                    multiply::<S, ROWS, HALF, 1>(simd, from, windows, [weights(panel)], to);
                }
            }
        }
        let mut window = 0;
        for span in &mut *spans {
            for index in 0..span.windows {
                for panel in first..end {
                    let from = &multiplied[(window * PANELS + panel - first) * LANES..];
                    transform_output::<V, S, RESULTS>(simd, task, span, index, from, products, panel * LANES);
                }
                window += 1;
            }
        }
    }
}

/// The products of so many windows at one point, with the outputs of some panels.
#[inline(always)]
fn multiply<S: SimdVector, const ROWS: usize, const HALF: usize, const SOME: usize>(
    simd: S,
    from: &[f32],
    windows: usize,
    weights: [&[[f32; LANES]]; SOME],
    to: &mut [f32],
) {
    let (channels, width) = (weights[0].len(), PANELS * LANES);
    for row in (0..windows).step_by(ROWS) {
        let from = (&from[row * channels..], channels);
        let to = (&mut to[row * width..], width);
        if windows - row <= HALF {
            simd.call(Block::<HALF, SOME> { from, weights, to });
        } else {
            simd.call(Block::<ROWS, SOME> { from, weights, to });
        }
    }
}

/// The values of one window at the points, each `plane` values after the one before.
#[inline(always)]
fn transform_input<V: Value, S: SimdVector>(
    simd: S,
    task: &Task<'_, V>,
    span: &Span<'_, V>,
    index: usize,
    to: &mut [f32],
    plane: usize,
) {
    let places = places(task, span, index);
    let constants = InputTransform::new(simd);
    for channel in (0..task.winograd.channels).step_by(LANES) {
        let column = |across: usize| places.map(|row| row[across]);
        let half = [
            transform_input_column(simd, &constants, task.x, column(0), channel),
            transform_input_column(simd, &constants, task.x, column(1), channel),
            transform_input_column(simd, &constants, task.x, column(2), channel),
            transform_input_column(simd, &constants, task.x, column(3), channel),
            transform_input_column(simd, &constants, task.x, column(4), channel),
            transform_input_column(simd, &constants, task.x, column(5), channel),
        ];
        for down in 0..POINTS {
            let [a, b, c, d, e, f] = half;
            let line = constants.window(simd, [a[down], b[down], c[down], d[down], e[down], f[down]]);
            for (across, value) in line.into_iter().enumerate() {
                let at = (down * POINTS + across) * plane + channel;
                if let Some(to) = to[at..].first_chunk_mut() {
                    simd.store(value, to);
                }
            }
        }
    }
}

/// A place outside the map, where there are zeros.
const OUTSIDE: usize = usize::MAX;

/// Where the values of a window lie in the map, row by row.
fn places<V>(task: &Task<'_, V>, span: &Span<'_, V>, index: usize) -> [[usize; POINTS]; POINTS] {
    let [top, left] = task.padding;
    let (row, column) = (span.row, span.column + index * task.winograd.results);
    let mut places = [[OUTSIDE; POINTS]; POINTS];
    for (row, places) in (row..).zip(&mut places) {
        for (column, place) in (column..).zip(places) {
            if row >= top && row - top < task.height && column >= left && column - left < task.width {
                let row = span.image * task.height + row - top;
                *place = (row * task.width + column - left) * task.pixel_stride;
            }
        }
    }
    places
}

/// One column of a window at its points.
#[inline(always)]
fn transform_input_column<V: Value, S: SimdVector>(
    simd: S,
    constants: &InputTransform<S::V>,
    x: &[V],
    places: [usize; POINTS],
    channel: usize,
) -> [S::V; POINTS] {
    let mut line = [simd.splat(0.0); POINTS];
    for down in 0..POINTS {
        if places[down] != OUTSIDE
            && let Some(values) = x[places[down] + channel..].first_chunk()
        {
            line[down] = V::load(simd, values);
        }
    }
    constants.window(simd, line)
}

/// The results of one window for sixteen outputs from their products.
#[inline(always)]
fn transform_output<V: Value, S: SimdVector, const RESULTS: usize>(
    simd: S,
    task: &Task<'_, V>,
    span: &mut Span<'_, V>,
    index: usize,
    from: &[f32],
    plane: usize,
    output: usize,
) {
    let constants = OutputTransform::new(simd);
    let half: [[S::V; RESULTS]; POINTS] = [
        transform_output_column(simd, &constants, from, plane),
        transform_output_column(simd, &constants, &from[plane..], plane),
        transform_output_column(simd, &constants, &from[2 * plane..], plane),
        transform_output_column(simd, &constants, &from[3 * plane..], plane),
        transform_output_column(simd, &constants, &from[4 * plane..], plane),
        transform_output_column(simd, &constants, &from[5 * plane..], plane),
    ];
    let bias = match task.bias[output..].first_chunk() {
        Some(bias) => simd.load(bias),
        None => simd.splat(0.0),
    };
    for down in 0..RESULTS {
        let [a, b, c, d, e, f] = half;
        let line: [S::V; RESULTS] =
            constants.results(simd, [a[down], b[down], c[down], d[down], e[down], f[down]]);
        let row = &mut *span.rows[down];
        for (across, value) in line.into_iter().enumerate() {
            let outputs = task.winograd.outputs;
            let at = (index * RESULTS + across) * outputs + output;
            if at >= row.len() {
                break;
            }
            let value = simd.add(value, bias);
            let left = outputs - output;
            if let Some(to) = row[at..].first_chunk_mut::<LANES>().filter(|_| left >= LANES) {
                store_result(simd, task, value, to);
            } else {
                // Fewer of the last outputs.
                let mut few = [V::from_f32(0.0); LANES];
                few[..left].copy_from_slice(&row[at..][..left]);
                store_result(simd, task, value, &mut few);
                row[at..][..left].copy_from_slice(&few[..left]);
            }
        }
    }
}

/// The rest of the epilogue: adds to the values of the result, if that is wanted, and clamps.
#[inline(always)]
fn store_result<V: Value, S: SimdVector>(simd: S, task: &Task<'_, V>, mut value: S::V, to: &mut [V; LANES]) {
    if task.accumulate {
        value = simd.add(value, V::load(simd, to));
    }
    V::store(simd, simd.clamp(value, simd.splat(task.low), simd.splat(task.high)), to);
}

/// One column of points, from products that lie six planes apart.
#[inline(always)]
fn transform_output_column<S: SimdVector, const RESULTS: usize>(
    simd: S,
    constants: &OutputTransform<S::V>,
    from: &[f32],
    plane: usize,
) -> [S::V; RESULTS] {
    let mut line = [simd.splat(0.0); POINTS];
    for down in 0..POINTS {
        if let Some(values) = from[down * POINTS * plane..].first_chunk() {
            line[down] = simd.load(values);
        }
    }
    constants.results(simd, line)
}
