//! One tile, and how tiles are read from an image and written to it, as views where that is possible.
//!
//! The image is never rolled: a tile that crosses an edge of the rolled image is put together of two or four pieces.

use tch::Tensor;

use super::RenderError;
use reverie_dream::plan::{Span, Strip};

/// One tile: its rows and its columns.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) row: Strip,
    pub(super) column: Strip,
}

impl Tile {
    /// What the network sees, `[H, W]`.
    pub(super) fn size(&self) -> [i64; 2] {
        [self.row.window.length, self.column.window.length]
    }
}

/// What the network sees of tiles of one size, `[N, 3, H, W]`.
pub(super) fn windows(image: &Tensor, tiles: &[Tile], shift: (i64, i64)) -> Result<Tensor, RenderError> {
    let windows = tiles.iter().map(|tile| piece(image, tile.row.window, tile.column.window, shift));
    join(windows.collect::<Result<_, _>>()?, 0)
}

/// Writes the cores of `tiles`, whose windows are `parts`, `[N, 3, H, W]`, to `image`, `[1, 3, H, W]`, as if that had been
/// rolled by `shift` = (x, y).
pub(super) fn scatter(
    parts: &Tensor,
    tiles: &[Tile],
    image: &Tensor,
    shift: (i64, i64),
) -> Result<(), RenderError> {
    for (index, tile) in tiles.iter().enumerate() {
        let part = parts.f_narrow(0, index as i64, 1)?;
        let part = cut(&part, inner(tile.row), inner(tile.column))?;
        put(&part, image, tile.row.core, tile.column.core, shift)?;
    }
    Ok(())
}

/// The core in the coordinates of its window.
fn inner(strip: Strip) -> Span {
    Span { start: strip.core.start - strip.window.start, length: strip.core.length }
}

/// A view of one tile.
pub(super) fn cut(image: &Tensor, row: Span, column: Span) -> Result<Tensor, RenderError> {
    Ok(image.f_narrow(2, row.start, row.length)?.f_narrow(3, column.start, column.length)?)
}

/// Where a span of an axis of `n` pixels lies before the axis was rolled by `shift`: the part of it (in its own
/// coordinates) and the place of that part. Two parts where it crosses the end of the axis, more where it is longer than that.
fn unrolled(span: Span, shift: i64, n: i64) -> impl Iterator<Item = (Span, Span)> + Clone {
    let first = (span.start - shift).rem_euclid(n);
    let mut next = 0;
    std::iter::from_fn(move || {
        let place = if next == 0 { first } else { 0 };
        let length = (span.length - next).min(n - place);
        let part = Span { start: next, length };
        next += length;
        (length > 0).then_some((part, Span { start: place, length }))
    })
}

/// One tile of the rolled image: a view, or a copy where it crosses an edge.
fn piece(image: &Tensor, row: Span, column: Span, (x, y): (i64, i64)) -> Result<Tensor, RenderError> {
    let (_, _, height, width) = image.size4()?;
    let columns = unrolled(column, x, width);
    let rows = unrolled(row, y, height).map(|(_, row)| -> Result<Tensor, RenderError> {
        let parts = columns.clone().map(|(_, column)| cut(image, row, column));
        join(parts.collect::<Result<_, _>>()?, 3)
    });
    join(rows.collect::<Result<_, _>>()?, 2)
}

/// The parts along an axis; one part as it is.
fn join(parts: Vec<Tensor>, axis: i64) -> Result<Tensor, RenderError> {
    Ok(match &parts[..] {
        [whole] => whole.shallow_clone(),
        parts => Tensor::f_cat(parts, axis)?,
    })
}

/// Writes the tile at `row` and `column` of the rolled image.
fn put(
    tile: &Tensor,
    image: &Tensor,
    row: Span,
    column: Span,
    (x, y): (i64, i64),
) -> Result<(), RenderError> {
    let (_, _, height, width) = image.size4()?;
    for (part_row, row) in unrolled(row, y, height) {
        for (part_column, column) in unrolled(column, x, width) {
            cut(image, row, column)?.f_copy_(&cut(tile, part_row, part_column)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn tiles_lie_as_if_the_image_had_been_rolled() {
        let image = Tensor::rand([1, 3, 5, 7], (Kind::Float, Device::Cpu));
        for shift in [(0, 0), (2, 1), (6, 4), (23, 19)] {
            let (x, y) = shift;
            let rolled = image.roll([y, x], [2, 3]);
            let back = image.zeros_like();
            for (row, column) in [(0, 0), (0, 3), (2, 0), (2, 3)] {
                let row = Span { start: row, length: if row == 0 { 2 } else { 3 } };
                let column = Span { start: column, length: if column == 0 { 3 } else { 4 } };
                let tile = piece(&image, row, column, shift).unwrap();
                assert_eq!(tile, cut(&rolled, row, column).unwrap());
                put(&tile, &back, row, column, shift).unwrap();
            }
            assert_eq!(back, image);
            // A window that is longer than the picture sees it more than once.
            let (rows, columns) = (Span { start: -3, length: 13 }, Span { start: -8, length: 23 });
            let seen = piece(&image, rows, columns, shift).unwrap();
            let expected = rolled.repeat([1, 1, 4, 5]).narrow(2, 2, 13).narrow(3, 6, 23);
            assert_eq!(seen, expected);
        }
    }
}
