//! Where the tiles of one size lie, as indices on the device: all of a batch are read and written with a few operations.
//!
//! For the [library path](super::library). A GPU takes as long to start an operation as to copy a megapixel, and a tile that
//! crosses the edges of the image is four pieces. The indices are made once per octave; a step moves them by its offset.

use tch::{Device, Kind, Tensor};

use super::{RenderError, tile::Tile};
use reverie_dream::plan::{Span, Strip};

/// Indices of tiles, the `n`-th tile at index `n` of the first axis. All are int64.
pub(super) struct Places {
    /// `[1, 3, 1, 1]`: 0, 1, 2.
    channels: Tensor,
    /// Rows of the image, `[N, 1, H, 1]`, before they are wrapped; so are all others of the image.
    rows: Tensor,
    /// Columns of the image, `[N, 1, 1, W]`.
    columns: Tensor,
    /// Rows of the cores. All cores have as many indices as the longest: shorter ones name their last row again.
    core_rows: Tensor,
    /// Columns of the cores.
    core_columns: Tensor,
    /// Rows of the cores in their windows.
    inner_rows: Tensor,
    /// Columns of the cores in their windows.
    inner_columns: Tensor,
}

/// Indices along one axis, `[N, length]` each.
struct Axis {
    window: Tensor,
    core: Tensor,
    inner: Tensor,
}

impl Places {
    /// Of `tiles`, all of one size, for images on `device`.
    pub(super) fn new(tiles: &[Tile], device: Device) -> Result<Self, RenderError> {
        let of = |strip: fn(&Tile) -> Strip| Axis::new(tiles.iter().map(strip), device);
        let (row, column) = (of(|tile| tile.row)?, of(|tile| tile.column)?);
        let upright = |index: &Tensor| index.f_unsqueeze(1)?.f_unsqueeze(3);
        let level = |index: &Tensor| index.f_unsqueeze(1)?.f_unsqueeze(1);
        Ok(Self {
            channels: Tensor::f_arange(3, (Kind::Int64, device))?.f_view([1, 3, 1, 1])?,
            rows: upright(&row.window)?,
            columns: level(&column.window)?,
            core_rows: upright(&row.core)?,
            core_columns: level(&column.core)?,
            inner_rows: upright(&row.inner)?,
            inner_columns: level(&column.inner)?,
        })
    }

    /// What the network sees of the tiles `batch`, `[N, 3, H, W]`, of `image`, `[1, 3, H, W]`, as if it had been rolled by
    /// `shift` = (x, y).
    pub(super) fn gather(
        &self,
        image: &Tensor,
        batch: Span,
        shift: (i64, i64),
    ) -> Result<Tensor, RenderError> {
        let [rows, columns] = wrapped(image, batch, [&self.rows, &self.columns], shift)?;
        Ok(image.f_select(0, 0)?.f_index(&[Some(&self.channels), Some(&rows), Some(&columns)])?)
    }

    /// Writes the cores of `parts`, `[N, 3, H, W]`, which are the tiles `batch`, to `image`.
    pub(super) fn scatter(
        &self,
        parts: &Tensor,
        image: &Tensor,
        batch: Span,
        shift: (i64, i64),
    ) -> Result<(), RenderError> {
        let narrow = |index: &Tensor| index.f_narrow(0, batch.start, batch.length);
        let tiles = Tensor::f_arange(batch.length, (Kind::Int64, image.device()))?.f_view([-1, 1, 1, 1])?;
        let (rows, columns) = (narrow(&self.inner_rows)?, narrow(&self.inner_columns)?);
        let cores = parts.f_index(&[Some(&tiles), Some(&self.channels), Some(&rows), Some(&columns)])?;
        let [rows, columns] = wrapped(image, batch, [&self.core_rows, &self.core_columns], shift)?;
        // Where a row is named twice, the same values are written to it twice: their order does not matter.
        let places = [Some(&self.channels), Some(&rows), Some(&columns)];
        drop(image.f_select(0, 0)?.f_index_put_(&places, &cores, false)?);
        Ok(())
    }
}

impl Axis {
    fn new(strips: impl Iterator<Item = Strip>, device: Device) -> Result<Self, RenderError> {
        let strips: Vec<Strip> = strips.collect();
        let length = strips.first().map_or(0, |strip| strip.window.length);
        let longest = strips.iter().map(|strip| strip.core.length).max().unwrap_or(0);
        let numbers: Vec<i64> = strips
            .iter()
            .flat_map(|strip| [strip.window.start, strip.core.start, strip.core.length - 1])
            .collect();
        // One upload.
        let numbers = Tensor::f_from_slice(&numbers)?.f_to_device(device)?.f_view([-1, 3])?;
        let number = |index| numbers.f_narrow(1, index, 1);
        let count = |length| Tensor::f_arange(length, (Kind::Int64, device))?.f_unsqueeze(0);
        let core = number(1)?.f_add(&count(longest)?.f_minimum(&number(2)?)?)?;
        let window = number(0)?.f_add(&count(length)?)?;
        let inner = core.f_sub(&number(0)?)?;
        Ok(Self { window, core, inner })
    }
}

/// Rows and columns of the tiles `batch`, before the image was rolled.
fn wrapped(
    image: &Tensor,
    batch: Span,
    [rows, columns]: [&Tensor; 2],
    (x, y): (i64, i64),
) -> Result<[Tensor; 2], RenderError> {
    let (_, _, height, width) = image.size4()?;
    let wrap = |index: &Tensor, shift, n| {
        index.f_narrow(0, batch.start, batch.length)?.f_sub_scalar(shift)?.f_remainder(n)
    };
    Ok([wrap(rows, y, height)?, wrap(columns, x, width)?])
}
