//! Where tiles lie.
//!
//! The default walk lays tiles that overlap: the gradient of a tile is kept only in its core, and computed with
//! a halo of neighbouring pixels around it, so that what the network sees near a border of the core is the
//! picture and not padding. Windows keep the phase of the network's strides: they start at multiples of the
//! stride, and all are as long as the image modulo the stride, which makes the asymmetric `SAME` padding fall
//! alike in each. What is left is the influence of pixels beyond the halo.
//!
//! A GPU computes tiles together, which have to be of one size for that, and plans anew for every size that it meets: for
//! longer than a dream of a megapixel takes. With jitter the picture is a torus: windows may run over its edge and go on at
//! the opposite one. So there all windows of an octave can be of one size ([`Grid::uniform`]), and that size one of a few, whatever
//! the size of the picture.

use std::collections::BTreeMap;

use crate::spec::{DreamSpec, Tiling};

/// Pixels around a tile's core that the network sees too. Wider halos cost more than they mend: see the
/// measurements in `docs/tiles.md`.
pub const HALO: i64 = 32;

/// The same where tiles stay in place, or about there: there a seam would grow with every iteration.
pub const STILL_HALO: i64 = 96;

/// Uniform windows are as long as a multiple of this. Pictures of any size then have about 150 kinds of pass among
/// them, instead of four each, for an eighth more pixels.
const LENGTHS: i64 = 64;

/// Pixels that a uniform window may have, as a multiple of a tile's, where the picture is not cut.
const WHOLE: f64 = 1.25;

/// Pixels that a pass of the network may hold in more than one tile. Larger tiles gain little from a batch, and small
/// tiles may be chosen to save memory.
pub const BATCH: i64 = 1 << 16;

/// Pixels that a pass may hold on the library path, where batch sizes are not measured. Up to `mixed4c`, GoogLeNet
/// computes about 80 values per pixel, and EfficientNet-Lite0 about 150 up to its last block: forward and back that is 360
/// to 700 bytes per pixel in float32, so a pass takes up to 3 GB of a GPU's memory.
pub const LIBRARY_BATCH: i64 = 1 << 22;

/// Bytes of a GPU's memory for each pixel of a pass: twice what [`LIBRARY_BATCH`] names, since a recorded pass keeps memory
/// of its own, and something for what libraries need beside it.
const GPU_BYTES: u64 = 1600;

/// Part of a GPU's memory that passes may take; the rest is for weights and pictures.
const GPU_PART: u64 = 2;

/// Pixels that a pass may hold where a renderer has so many bytes of a GPU's memory: [`LIBRARY_BATCH`] from 14 GB on. It goes
/// by the size of the card and not by what is free at the moment, so that the same job has the same batches.
pub fn batch_within(memory: u64) -> i64 {
    i64::try_from(memory / GPU_PART / GPU_BYTES).map_or(LIBRARY_BATCH, |pixels| pixels.min(LIBRARY_BATCH))
}

/// Tiles of `[H, W]` pixels that a pass may hold, if that is so many pixels; at least one.
pub fn held(pixels: i64, [height, width]: [i64; 2]) -> usize {
    usize::try_from(pixels / (height * width).max(1)).unwrap_or(0).max(1)
}

/// One axis of a tile or of its core: `start..start + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First pixel; before the image for a [uniform](Grid::uniform) window that begins at its other end.
    pub start: i64,
    /// Number of pixels.
    pub length: i64,
}

/// One axis of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    /// What the network sees.
    pub window: Span,
    /// The part of it whose gradient is kept.
    pub core: Span,
}

/// How tiles are laid.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Largest edge of a square window; a window that is narrower may be longer, where that saves cutting the image.
    pub tile: i64,
    /// Wanted width of the halo; less where the tile is small.
    pub halo: i64,
    /// Image pixels between neighbouring positions of the deepest layer.
    pub stride: i64,
    /// With halo or as in the article.
    pub tiling: Tiling,
    /// Whether all windows of an axis are of one length, one of a few, and run over the edges of the image. For
    /// [`Tiling::Even`] alone.
    pub uniform: bool,
}

impl Grid {
    /// As a spec wants it; `stride` is that of its deepest layer, see [`Network::stride`](reverie_graph::Network::stride).
    /// Not uniform: that is for the renderer to say, which knows where it computes.
    pub fn of(spec: &DreamSpec, stride: i64) -> Self {
        // A few pixels of jitter leave the borders of tiles about where they are.
        let halo = if spec.jitter && spec.jitter_pixels.is_none() { HALO } else { STILL_HALO };
        Self { tile: i64::from(spec.tile_size), halo, stride, tiling: spec.tiling, uniform: false }
    }

    /// The same, with uniform windows where `wanted`, and where the image is a torus: with jitter.
    #[must_use]
    pub fn uniform_for(self, spec: &DreamSpec, wanted: bool) -> Self {
        Self { uniform: wanted && spec.jitter && self.tiling == Tiling::Even, ..self }
    }

    /// Height and width of the smallest window of an image of this size that is not uniform, so that the same images are large
    /// enough for a network wherever it runs; they may be those of two windows.
    pub fn least(&self, height: i64, width: i64) -> [i64; 2] {
        let plain = Self { uniform: false, ..*self };
        plain
            .strips(height, width)
            .map(|strips| strips.iter().map(|strip| strip.window.length).min().unwrap_or(0))
    }

    /// Cuts an image of this size: the rows of tiles, and the columns.
    ///
    /// [`Tiling::Even`]: near-equal cores that cover everything, in windows no longer than the tile; one window where
    /// the image has no more pixels than a tile, and a uniform one not many more.
    /// [`Tiling::Article`]: `range(0, max(n − tile/2, tile), tile)` without halo; up to half a tile is left out
    /// at the end.
    pub fn strips(&self, height: i64, width: i64) -> [Vec<Strip>; 2] {
        let tile = self.tile.saturating_mul(self.tile);
        let fits = height.saturating_mul(width) <= tile && {
            let [rows, columns] = [height, width].map(|n| self.whole(n).window.length);
            rows.saturating_mul(columns) as f64 <= WHOLE * tile as f64
        };
        [height, width]
            .map(|n| if fits && self.tiling == Tiling::Even { vec![self.whole(n)] } else { self.cut(n) })
    }

    /// An axis that is not cut. A uniform window is longer: it sees the same of the opposite side at both ends.
    fn whole(&self, n: i64) -> Strip {
        let core = Span { start: 0, length: n };
        if !self.uniform {
            return Strip { window: core, core };
        }
        let length = common(n);
        Strip { window: Span { start: -((length - n) / 2), length }, core }
    }

    /// How many windows an image of this size has of each size, `[H, W]`.
    pub fn windows(&self, height: i64, width: i64) -> BTreeMap<[i64; 2], usize> {
        let [rows, columns] = self.strips(height, width).map(lengths);
        let of_row =
            |(row, down)| columns.iter().map(move |(column, across)| ([row, *column], down * across));
        rows.into_iter().flat_map(of_row).collect()
    }

    /// Cuts an axis of `n` pixels.
    fn cut(&self, n: i64) -> Vec<Strip> {
        let Self { tile, .. } = *self;
        match self.tiling {
            Tiling::Even if n <= tile => vec![self.whole(n)],
            Tiling::Even => self.overlapping(n),
            Tiling::Article => {
                let starts =
                    (0..(n - tile / 2).max(tile)).step_by(usize::try_from(tile).unwrap_or(usize::MAX));
                let spans = starts.map(|start| Span { start, length: tile.min(n - start) });
                spans.map(|span| Strip { window: span, core: span }).collect()
            }
        }
    }

    fn overlapping(&self, n: i64) -> Vec<Strip> {
        let Self { tile, .. } = *self;
        let halo = self.halo.min(tile / 4);
        // A small tile has no room to keep the phase of a large stride.
        let stride = if self.stride * 8 > tile { 1 } else { self.stride };
        let reach = tile - 2 * halo - 2 * stride;
        let count = (n + reach - 1) / reach;
        let cut = |index: i64| index * n / count;
        let core = |index: i64| Span { start: cut(index), length: cut(index + 1) - cut(index) };
        if self.uniform {
            let start = |core: Span| (core.start - halo).div_euclid(stride) * stride;
            let needed = (0..count).map(core).map(|core| core.start + core.length + halo - start(core));
            let needed = needed.max().unwrap_or(n);
            let in_phase = (needed + stride - 1) / stride * stride;
            let length = Some(common(in_phase)).filter(|length| length % stride == 0 && *length <= tile);
            let length = length.unwrap_or(in_phase);
            let strip = |core| Strip { window: Span { start: start(core), length }, core };
            return (0..count).map(core).map(strip).collect();
        }
        let strip = |index: i64| {
            let core = core(index);
            let start = (core.start - halo).max(0) / stride * stride;
            let end = n - (n - core.start - core.length - halo).max(0) / stride * stride;
            Strip { window: Span { start, length: end - start }, core }
        };
        (0..count).map(strip).collect()
    }
}

/// How often windows of each length occur along an axis: most are alike.
fn lengths(strips: Vec<Strip>) -> BTreeMap<i64, usize> {
    let mut lengths = BTreeMap::new();
    for strip in strips {
        *lengths.entry(strip.window.length).or_default() += 1;
    }
    lengths
}

/// The least common length of uniform windows that holds `n` pixels: a multiple of [`LENGTHS`], or of less where that would
/// be more than half as much again.
fn common(n: i64) -> i64 {
    let mut step = LENGTHS;
    while step > (n / 2).max(1) {
        step /= 2;
    }
    (n + step - 1) / step * step
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn even_strips_cover_every_pixel_once_and_keep_the_phase() {
        for (tile, stride) in [(64, 1), (64, 32), (100, 8), (512, 16), (512, 32)] {
            let grid = Grid { tile, halo: HALO, stride, tiling: Tiling::Even, uniform: false };
            for n in 1..2500 {
                let strips = grid.cut(n);
                let mut next = 0;
                for Strip { window, core } in &strips {
                    assert_eq!(core.start, next);
                    assert!(
                        core.length > 0 && (1..=tile).contains(&window.length),
                        "{n} in {tile}: {window:?}"
                    );
                    let (before, after) = (core.start - window.start, window.length - core.length);
                    assert!(before >= 0 && after >= before && window.start + window.length <= n);
                    assert!(window.start == 0 || before >= HALO.min(tile / 4));
                    if stride * 8 <= tile {
                        assert_eq!((window.start % stride, (n - window.length) % stride), (0, 0));
                    }
                    next += core.length;
                }
                assert_eq!(next, n);
            }
        }
    }

    #[test]
    fn uniform_strips_are_of_one_length_and_see_a_halo_everywhere() {
        for (tile, stride) in [(64, 1), (64, 32), (100, 8), (500, 16), (512, 16), (512, 32)] {
            let grid = Grid { tile, halo: HALO, stride, tiling: Tiling::Even, uniform: true };
            let halo = HALO.min(tile / 4);
            for n in 1..2500 {
                let strips = grid.cut(n);
                let (mut next, length) = (0, strips[0].window.length);
                assert!(length >= 1 && (n <= tile || length <= tile), "{n} in {tile}: {length}");
                assert!(2 * length <= 3 * n.max(1), "{n} in {tile}: {length} is half as much again");
                assert_eq!(strips.len(), Grid { uniform: false, ..grid }.cut(n).len());
                for Strip { window, core } in &strips {
                    assert_eq!((core.start, window.length), (next, length));
                    let before = core.start - window.start;
                    let after = length - before - core.length;
                    assert!(before >= 0 && after >= 0, "{n} in {tile}: {window:?}");
                    assert!(n <= tile || (before >= halo && after >= halo), "{n} in {tile}: {window:?}");
                    assert!(stride * 8 > tile || n <= tile || window.start.rem_euclid(stride) == 0);
                    assert!(stride * 8 > tile || n <= tile || length % stride == 0, "{n} in {tile}");
                    next += core.length;
                }
                assert_eq!(next, n);
            }
        }
    }

    #[test]
    fn pictures_of_many_sizes_have_few_kinds_of_uniform_passes() {
        let grid = |uniform| Grid { tile: 512, halo: HALO, stride: 16, tiling: Tiling::Even, uniform };
        let octaves = (0..1600).flat_map(|size| {
            let [height, width] = [400 + 31 * (size / 40), 400 + 29 * (size % 40)];
            (0..4).map(move |octave| [height, width].map(|n| (f64::from(n) / 1.4f64.powi(octave)) as i64))
        });
        // Kinds of pass, which are so many windows of a size, and the pixels of all windows.
        let of = |uniform| {
            let (mut kinds, mut pixels) = (BTreeSet::new(), 0);
            for [height, width] in octaves.clone() {
                let windows = grid(uniform).windows(height, width);
                let count = |([rows, columns], count): (&[i64; 2], &usize)| rows * columns * *count as i64;
                pixels += windows.iter().map(count).sum::<i64>();
                kinds.extend(windows);
            }
            (kinds, pixels as f64)
        };
        let ((few, more), (many, pixels)) = (of(true), of(false));
        assert!(few.len() <= 160 && many.len() > 5000, "{} instead of {}", few.len(), many.len());
        assert!((1.0..1.3).contains(&(more / pixels)), "{}", more / pixels);
        for ([rows, columns], _) in few {
            assert!((rows * columns) as f64 <= WHOLE * 512.0 * 512.0, "{rows}×{columns}");
        }
    }

    #[test]
    fn a_long_strip_is_not_made_broader_by_much() {
        let grid = Grid { tile: 512, halo: HALO, stride: 16, tiling: Tiling::Even, uniform: true };
        for (height, width) in [(1, 262_144), (3, 80_000), (20, 9000), (90, 2600)] {
            let [rows, columns] = grid.strips(height, width);
            let pixels: i64 = columns.iter().map(|column| rows[0].window.length * column.window.length).sum();
            assert!(rows.len() == 1 && pixels < 2 * height * width, "{height}×{width}: {pixels}");
        }
    }

    #[test]
    fn a_pass_fits_the_memory_of_its_gpu() {
        const GIB: u64 = 1 << 30;
        assert_eq!([80, 24].map(|size| batch_within(size * GIB)), [LIBRARY_BATCH; 2]);
        let small = batch_within(8 * GIB);
        assert!(
            (1 << 20..LIBRARY_BATCH).contains(&small) && small as u64 * GPU_BYTES <= 8 * GIB / 2,
            "{small}"
        );
        assert_eq!(held(batch_within(0), [512, 512]), 1, "a tile goes through in any case");
    }

    #[test]
    fn windows_are_uniform_where_the_image_is_a_torus() {
        let catalogue = crate::plan::tests::catalogue();
        let of = |fields: serde_json::Value, wanted| {
            let spec = crate::spec::resolve("", fields, &catalogue, crate::spec::InputKind::Image).unwrap();
            Grid::of(&spec, 2).uniform_for(&spec, wanted).uniform
        };
        assert!(of(serde_json::json!({}), true) && !of(serde_json::json!({}), false));
        assert!(!of(serde_json::json!({ "jitter": false }), true));
        assert!(!of(serde_json::json!({ "tiling": "article" }), true));
    }

    #[test]
    fn article_strips_are_those_of_the_article() {
        let grid = Grid { tile: 512, halo: HALO, stride: 16, tiling: Tiling::Article, uniform: false };
        let of = |n| -> Vec<_> {
            let strips = grid.cut(n);
            assert!(strips.iter().all(|strip| strip.window == strip.core));
            strips.iter().map(|strip| (strip.core.start, strip.core.length)).collect()
        };
        assert_eq!(of(359), [(0, 359)]);
        assert_eq!(of(640), [(0, 512)]);
        assert_eq!(of(769), [(0, 512), (512, 257)]);
        assert_eq!(of(1280), [(0, 512), (512, 512)]);
    }

    #[test]
    fn an_image_of_no_more_pixels_than_a_tile_is_not_cut() {
        let grid = |tiling| Grid { tile: 512, halo: HALO, stride: 16, tiling, uniform: false };
        let counts = |tiling, height, width| grid(tiling).strips(height, width).map(|strips| strips.len());
        assert_eq!(counts(Tiling::Even, 359, 640), [1, 1]);
        assert_eq!(counts(Tiling::Even, 512, 512), [1, 1]);
        assert_eq!(counts(Tiling::Even, 1, 262_144), [1, 1]);
        assert_eq!(counts(Tiling::Even, 512, 513), [1, 2]);
        assert_eq!(counts(Tiling::Article, 359, 769), [1, 2]);
        assert_eq!(grid(Tiling::Even).least(359, 640), [359, 640]);
    }
}
