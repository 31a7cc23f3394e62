//! Resampling, as PIL's bilinear filter does it on float channels: half-pixel centres, and a support that widens
//! when shrinking, so that nothing aliases. No rounding to 8 bits.
//!
//! Computed in double precision: single-precision weights do not sum to exactly 1, and the ripple of 10⁻⁴ that
//! they leave in flat areas (a clipped sky) decides which of several equal pixels a max-pooling picks, which
//! changes the gradient by several per cent.
//!
//! Band by band: libtorch resamples the rows of a band horizontally; vertically, where a band needs its
//! neighbours, each output row is a weighted sum of input rows. The source may be anything that yields rows, so
//! that no image has to be held as floats only to be resampled.

use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{bands, rows},
    transfer::upload,
};
use reverie_dream::plan::Span;

/// An image, `[1, C, H, W]`, that yields some of its rows at a time.
pub(super) trait Rows {
    /// Height and width.
    fn extent(&self) -> Result<(i64, i64), RenderError>;

    /// `[1, C, span.length, W]` in float64.
    fn rows(&self, span: Span) -> Result<Tensor, RenderError>;
}

impl Rows for Tensor {
    fn extent(&self) -> Result<(i64, i64), RenderError> {
        let (_, _, height, width) = self.size4()?;
        Ok((height, width))
    }

    fn rows(&self, span: Span) -> Result<Tensor, RenderError> {
        Ok(rows(self, span)?.f_to_kind(Kind::Double)?)
    }
}

/// Resamples `image`, `[1, C, H, W]`, to `height × width`, in its own kind.
pub(super) fn resize(image: &Tensor, height: i64, width: i64) -> Result<Tensor, RenderError> {
    let (_, channels, _, _) = image.size4()?;
    let resized = Tensor::f_empty([1, channels, height, width], (image.f_kind()?, image.device()))?;
    resample(image, height, width, |span, band| {
        rows(&resized, span)?.f_copy_(band)?;
        Ok(())
    })?;
    Ok(resized)
}

/// Resamples `source` to `height × width` and hands the result to `each`, band by band in float64.
pub(super) fn resample(
    source: &dyn Rows,
    height: i64,
    width: i64,
    mut each: impl FnMut(Span, &Tensor) -> Result<(), RenderError>,
) -> Result<(), RenderError> {
    let (source_height, source_width) = source.extent()?;
    // A band of the larger of the two images is as large as a band may be.
    let rows_per_row = (source_height as f64 / height as f64).max(1.0);
    let widest = (source_width.max(width) as f64 * rows_per_row) as i64;
    for span in bands(height, widest) {
        let taps = Taps::new(source_height, height, span);
        let band = source.rows(taps.needed)?;
        let band = if source_width == width {
            band
        } else {
            band.f_internal_upsample_bilinear2d_aa([taps.needed.length, width], false, None, None)?
        };
        each(span, &taps.combine(&band)?)?;
    }
    Ok(())
}

/// Which rows of the source make the rows of a band, and by how much.
struct Taps {
    /// The rows that are needed at all.
    needed: Span,
    /// For each output row the first of its input rows, relative to `needed`, and the weight of each from there on;
    /// all lists are equally long.
    weights: Vec<(i64, Vec<f64>)>,
}

impl Taps {
    /// For the output rows `span` of `output`, from `input` rows.
    fn new(input: i64, output: i64, span: Span) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let row = |index: i64| {
            let centre = (index as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0);
            let last = ((centre + support + 0.5) as i64).min(input);
            let weight = |at: i64| (1.0 - ((at as f64 - centre + 0.5) / support).abs()).max(0.0);
            let weights: Vec<f64> = (first..last).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| weight / sum).collect::<Vec<_>>())
        };
        let mut weights: Vec<_> = (span.start..span.start + span.length).map(row).collect();
        let longest = weights.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let start = weights.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let ends = weights.iter().map(|(first, weights)| first + weights.len() as i64);
        let needed = Span { start, length: ends.max().unwrap_or(0) - start };
        for (first, weights) in &mut weights {
            *first -= start;
            weights.resize(longest, 0.0);
        }
        Self { needed, weights }
    }

    /// Output rows of the rows that are needed, `[1, C, needed, W]` float64.
    fn combine(&self, band: &Tensor) -> Result<Tensor, RenderError> {
        let last = self.needed.length - 1;
        let longest = self.weights.first().map_or(0, |(_, weights)| weights.len());
        // Beyond a row's own weights lie zeros; they may point past the end.
        let from = self.by_tap(longest, |(first, _), tap| (first + tap as i64).min(last));
        let weights = self.by_tap(longest, |(_, weights), tap| weights[tap]);
        // One upload of each.
        let [from, weights] = [Tensor::f_from_slice(&from)?, Tensor::f_from_slice(&weights)?]
            .map(|list| upload(&list, band.device()));
        let (from, weights) =
            (from?.f_view([longest as i64, -1])?, weights?.f_view([longest as i64, 1, 1, -1, 1])?);
        let mut combined: Option<Tensor> = None;
        for tap in 0..longest as i64 {
            let mut part = band.f_index_select(2, &from.f_select(0, tap)?)?;
            drop(part.f_mul_(&weights.f_select(0, tap)?)?);
            combined = Some(match combined {
                Some(mut sum) => sum.f_add_(&part)?,
                None => part,
            });
        }
        combined.ok_or_else(|| RenderError::Engine("an image without rows".into()))
    }

    /// What `of` says of every output row, for one tap after the other.
    fn by_tap<T>(&self, longest: usize, of: impl Fn(&(i64, Vec<f64>), usize) -> T) -> Vec<T> {
        (0..longest).flat_map(|tap| self.weights.iter().map(|row| of(row, tap)).collect::<Vec<_>>()).collect()
    }
}
