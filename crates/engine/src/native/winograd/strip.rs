//! The steps of [`super`], over some tens of windows.

use super::{
    super::{
        Value,
        lanes::{LANES, Lanes, in_lanes},
    },
    ALL, MOST, PANELS, Winograd,
    product::Block,
    transform::{In, Out, POINTS},
};

/// One convolution.
pub(super) struct Task<'a, V> {
    pub(super) winograd: &'a Winograd,
    pub(super) x: &'a [V],
    /// Values from one pixel of `x` to the next.
    pub(super) step: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) padding: [usize; 2],
    pub(super) bias: Vec<f32>,
    pub(super) low: f32,
    pub(super) high: f32,
    /// Whether to add to what is there.
    pub(super) onto: bool,
}

/// Windows side by side, and where their results go.
pub(super) struct Span<'a, V> {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) windows: usize,
    /// As many rows as there are; the rest is empty.
    pub(super) rows: [&'a mut [V]; MOST],
}

in_lanes! {
    /// Takes the windows of `spans` through all steps.
    pub(super) fn strip<V: Value>(
        lanes,
        task: &Task<'_, V>,
        spans: &mut [Span<'_, V>],
        scratch: &mut Vec<f32>,
    ) {
        if S::MANY {
            match task.winograd.results {
                4 => steps::<V, S, 12, 6, 2, 4>(lanes, task, spans, scratch),
                3 => steps::<V, S, 12, 6, 2, 3>(lanes, task, spans, scratch),
                _ => steps::<V, S, 12, 6, 2, 2>(lanes, task, spans, scratch),
            }
        } else {
            match task.winograd.results {
                4 => steps::<V, S, 6, 3, 1, 4>(lanes, task, spans, scratch),
                3 => steps::<V, S, 6, 3, 1, 3>(lanes, task, spans, scratch),
                _ => steps::<V, S, 6, 3, 1, 2>(lanes, task, spans, scratch),
            }
        }
    }
}

/// `ROWS` windows and the kernels of `WIDTH` panels at a time fill the registers; `HALF` is half of the windows.
#[inline(always)]
fn steps<
    V: Value,
    S: Lanes,
    const ROWS: usize,
    const HALF: usize,
    const WIDTH: usize,
    const RESULTS: usize,
>(
    lanes: S,
    task: &Task<'_, V>,
    spans: &mut [Span<'_, V>],
    scratch: &mut Vec<f32>,
) {
    let Winograd { channels, kernels, ref weights, .. } = *task.winograd;
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
            way_in(lanes, task, span, index, &mut at_points[window * channels..], plane);
            window += 1;
        }
    }
    let panels = kernels.div_ceil(LANES);
    for first in (0..panels).step_by(PANELS) {
        let end = panels.min(first + PANELS);
        for point in 0..ALL {
            let from = &at_points[point * plane..];
            let weights = |panel: usize| &weights[(panel * ALL + point) * channels..][..channels];
            for panel in (first..end).step_by(WIDTH) {
                let to = &mut multiplied[point * products + (panel - first) * LANES..];
                if panel + WIDTH <= end {
                    let weights = std::array::from_fn(|index| weights(panel + index));
                    multiply::<S, ROWS, HALF, WIDTH>(lanes, from, windows, weights, to);
                } else {
                    multiply::<S, ROWS, HALF, 1>(lanes, from, windows, [weights(panel)], to);
                }
            }
        }
        let mut window = 0;
        for span in &mut *spans {
            for index in 0..span.windows {
                for panel in first..end {
                    let from = &multiplied[(window * PANELS + panel - first) * LANES..];
                    way_out::<V, S, RESULTS>(lanes, task, span, index, from, products, panel * LANES);
                }
                window += 1;
            }
        }
    }
}

/// The products of so many windows at one point, with the kernels of some panels.
#[inline(always)]
fn multiply<S: Lanes, const ROWS: usize, const HALF: usize, const SOME: usize>(
    lanes: S,
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
            lanes.call(Block::<HALF, SOME> { from, weights, to });
        } else {
            lanes.call(Block::<ROWS, SOME> { from, weights, to });
        }
    }
}

/// The values of one window at the points, each `plane` values after the one before.
#[inline(always)]
fn way_in<V: Value, S: Lanes>(
    lanes: S,
    task: &Task<'_, V>,
    span: &Span<'_, V>,
    index: usize,
    to: &mut [f32],
    plane: usize,
) {
    let places = places(task, span, index);
    let constants = In::new(lanes);
    for channel in (0..task.winograd.channels).step_by(LANES) {
        let column = |across: usize| places.map(|row| row[across]);
        let half = [
            way_in_of(lanes, &constants, task.x, column(0), channel),
            way_in_of(lanes, &constants, task.x, column(1), channel),
            way_in_of(lanes, &constants, task.x, column(2), channel),
            way_in_of(lanes, &constants, task.x, column(3), channel),
            way_in_of(lanes, &constants, task.x, column(4), channel),
            way_in_of(lanes, &constants, task.x, column(5), channel),
        ];
        for down in 0..POINTS {
            let [a, b, c, d, e, f] = half;
            let line = constants.window(lanes, [a[down], b[down], c[down], d[down], e[down], f[down]]);
            for (across, value) in line.into_iter().enumerate() {
                let at = (down * POINTS + across) * plane + channel;
                if let Some(to) = to[at..].first_chunk_mut() {
                    lanes.store(value, to);
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
                *place = (row * task.width + column - left) * task.step;
            }
        }
    }
    places
}

/// One column of a window at its points.
#[inline(always)]
fn way_in_of<V: Value, S: Lanes>(
    lanes: S,
    constants: &In<S::V>,
    x: &[V],
    places: [usize; POINTS],
    channel: usize,
) -> [S::V; POINTS] {
    let mut line = [lanes.splat(0.0); POINTS];
    for down in 0..POINTS {
        if places[down] != OUTSIDE
            && let Some(values) = x[places[down] + channel..].first_chunk()
        {
            line[down] = V::load(lanes, values);
        }
    }
    constants.window(lanes, line)
}

/// The results of one window for sixteen kernels from their products.
#[inline(always)]
fn way_out<V: Value, S: Lanes, const RESULTS: usize>(
    lanes: S,
    task: &Task<'_, V>,
    span: &mut Span<'_, V>,
    index: usize,
    from: &[f32],
    plane: usize,
    kernel: usize,
) {
    let constants = Out::new(lanes);
    let half: [[S::V; RESULTS]; POINTS] = [
        way_out_of(lanes, &constants, from, plane),
        way_out_of(lanes, &constants, &from[plane..], plane),
        way_out_of(lanes, &constants, &from[2 * plane..], plane),
        way_out_of(lanes, &constants, &from[3 * plane..], plane),
        way_out_of(lanes, &constants, &from[4 * plane..], plane),
        way_out_of(lanes, &constants, &from[5 * plane..], plane),
    ];
    let bias = match task.bias[kernel..].first_chunk() {
        Some(bias) => lanes.load(bias),
        None => lanes.splat(0.0),
    };
    for down in 0..RESULTS {
        let [a, b, c, d, e, f] = half;
        let line: [S::V; RESULTS] =
            constants.results(lanes, [a[down], b[down], c[down], d[down], e[down], f[down]]);
        let row = &mut *span.rows[down];
        for (across, value) in line.into_iter().enumerate() {
            let kernels = task.winograd.kernels;
            let at = (index * RESULTS + across) * kernels + kernel;
            if at >= row.len() {
                break;
            }
            let value = lanes.add(value, bias);
            let left = kernels - kernel;
            if let Some(to) = row[at..].first_chunk_mut::<LANES>().filter(|_| left >= LANES) {
                finish(lanes, task, value, to);
            } else {
                // Fewer of the last kernels.
                let mut few = [V::nearest(0.0); LANES];
                few[..left].copy_from_slice(&row[at..][..left]);
                finish(lanes, task, value, &mut few);
                row[at..][..left].copy_from_slice(&few[..left]);
            }
        }
    }
}

/// Adds to what is there, if that is wanted, and limits.
#[inline(always)]
fn finish<V: Value, S: Lanes>(lanes: S, task: &Task<'_, V>, mut value: S::V, to: &mut [V; LANES]) {
    if task.onto {
        value = lanes.add(value, V::load(lanes, to));
    }
    V::store(lanes, lanes.clamp(value, lanes.splat(task.low), lanes.splat(task.high)), to);
}

/// One column of points, from products that lie six planes apart.
#[inline(always)]
fn way_out_of<S: Lanes, const RESULTS: usize>(
    lanes: S,
    constants: &Out<S::V>,
    from: &[f32],
    plane: usize,
) -> [S::V; RESULTS] {
    let mut line = [lanes.splat(0.0); POINTS];
    for down in 0..POINTS {
        if let Some(values) = from[down * POINTS * plane..].first_chunk() {
            line[down] = lanes.load(values);
        }
    }
    constants.results(lanes, line)
}
