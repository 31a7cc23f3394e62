//! What tile borders do to a gradient: every tiling against the gradient of the image as one tile.
//!
//! The error of a region is `‖g − g₀‖ / ‖g₀‖` there, after the best common scale of `g` is taken out (a gradient
//! is normalised anyway). `border` is the region within eight pixels of a border between tiles, `interior`
//! the rest. Without jitter, so that nothing averages out.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    CancelFlag, RenderError,
    batch::{GradientSource, LocalExecutor},
    exec::Executor,
    objective::BoundObjective,
    original::Original,
    tile::cut,
    tiles::TiledGradient,
};
use reverie_dream::{
    model::Model,
    plan::{Grid, HALO, Span, Strip},
    spec::{Objective, Tiling},
};
use reverie_picture as picture;

/// Pixels to either side of a border.
const BAND: i64 = 8;

/// Largest image that is measured, as one tile.
const MAX_PIXELS: u64 = 4_000_000;

/// The errors of one tiling.
#[derive(Clone, Debug)]
pub struct Seam {
    /// `even` or `article`.
    pub tiling: &'static str,
    /// Halo in pixels.
    pub halo: i64,
    /// Relative error near tile borders.
    pub border: f64,
    /// Relative error elsewhere.
    pub interior: f64,
    /// Share of the pixels that get no gradient.
    pub skipped: f64,
    /// Pixels that the network sees per pixel of the image.
    pub work: f64,
}

/// Measures the article's tiling, and even tiles with several halos, on the CPU.
///
/// # Errors
/// As a render: an unreadable image, an unknown layer, an image that is too small for it.
pub fn measure(
    model: &Arc<Model>,
    objective: &Objective,
    image: &[u8],
    tile: u32,
) -> Result<Vec<Seam>, RenderError> {
    let picture = picture::decode(image, MAX_PIXELS)?;
    let image = Original::new(&picture, Device::Cpu)?.to_floats()?;
    let own = LocalExecutor::new(Executor::new(Arc::clone(model), Device::Cpu, Kind::Float)?);
    measure_on(&own, objective, &image, i64::from(tile))
}

pub(super) fn measure_on(
    own: &LocalExecutor,
    objective: &Objective,
    image: &Tensor,
    tile: i64,
) -> Result<Vec<Seam>, RenderError> {
    let bound = BoundObjective::new(own.network(), std::slice::from_ref(objective))?;
    let stride = bound.stride(own.network());
    let (_, whole) = bound.gradient(own.executor(), image)?;
    let even = [0, HALO / 2, HALO, HALO * 3 / 2, HALO * 2, HALO * 3].map(|halo| ("even", Tiling::Even, halo));
    let tilings = [("article", Tiling::Article, 0)].into_iter().chain(even);
    let tilings = tilings.filter(|(_, _, halo)| halo * 4 <= tile);
    tilings
        .map(|(name, tiling, halo)| {
            let grid = Grid { tile, halo, stride, tiling, uniform: false };
            let gradient =
                TiledGradient::over(own, &bound, grid, &CancelFlag::default()).gradient(image, (0, 0))?.1;
            compare(name, grid, &gradient, &whole)
        })
        .collect()
}

fn compare(tiling: &'static str, grid: Grid, gradient: &Tensor, whole: &Tensor) -> Result<Seam, RenderError> {
    let (_, _, height, width) = whole.size4()?;
    let [rows, columns] = grid.strips(height, width);
    let number = |tensor: Tensor| -> Result<f64, RenderError> { Ok(tensor.f_double_value(&[])?) };
    let dot = |a: &Tensor, b: &Tensor| number(a.f_mul(b)?.f_sum(Kind::Double)?);
    let scale = dot(gradient, whole)? / dot(gradient, gradient)?;
    let squares = |tensor: &Tensor| tensor.f_square()?.f_sum_dim_intlist(&[0i64, 1][..], false, Kind::Float);
    let wrong = squares(&gradient.f_mul_scalar(scale)?.f_sub(whole)?)?;
    let right = squares(whole)?;
    let border = borders(&rows, &columns, height, width)?;
    let within = |map: &Tensor| number(map.f_mul(&border)?.f_sum(Kind::Double)?);
    let (wrong_border, right_border) = (within(&wrong)?, within(&right)?);
    let (wrong_all, right_all) = (number(wrong.f_sum(Kind::Double)?)?, number(right.f_sum(Kind::Double)?)?);
    let sum = |strips: &[Strip], of: fn(&Strip) -> i64| strips.iter().map(of).sum::<i64>() as f64;
    let area = |of| sum(&rows, of) * sum(&columns, of) / (height * width) as f64;
    Ok(Seam {
        tiling,
        halo: grid.halo,
        border: (wrong_border / right_border).sqrt(),
        interior: ((wrong_all - wrong_border) / (right_all - right_border)).sqrt(),
        skipped: 1.0 - area(|strip| strip.core.length),
        work: area(|strip| strip.window.length),
    })
}

/// `[H, W]`: 1 near a border between two tiles, else 0.
fn borders(rows: &[Strip], columns: &[Strip], height: i64, width: i64) -> Result<Tensor, RenderError> {
    let mask = Tensor::f_zeros([1, 1, height, width], (Kind::Float, Device::Cpu))?;
    let whole = |n| Span { start: 0, length: n };
    let band = |strip: &Strip, n: i64| {
        let end = strip.core.start + strip.core.length;
        (end < n).then(|| Span { start: end - BAND, length: (2 * BAND).min(n - end + BAND) })
    };
    for span in rows.iter().filter_map(|strip| band(strip, height)) {
        drop(cut(&mask, span, whole(width))?.f_fill_(1.0)?);
    }
    for span in columns.iter().filter_map(|strip| band(strip, width)) {
        drop(cut(&mask, whole(height), span)?.f_fill_(1.0)?);
    }
    Ok(mask.f_squeeze()?)
}
