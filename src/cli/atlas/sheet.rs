//! Sheets: tiles side by side in one picture, so that an atlas is dozens of files and not thousands.

use super::{super::Failure, selection::Wanted};
use crate::tile::EDGE;
use reverie_dream::spec::Format;
use reverie_picture::{self as picture, Encoding, Picture, Samples};

/// Tiles in a row of a sheet.
const COLUMNS: usize = 8;

/// Tiles on a sheet.
const TILES: usize = COLUMNS * 8;

/// As the service has its tiles.
const ENCODING: Encoding = Encoding { format: Format::Webp, quality: 80, lossless: false };

/// Grey of places without a tile.
const EMPTY: u8 = 128;

/// A sheet to be made.
pub(super) struct Sheet<'a> {
    /// What its file's name begins with.
    pub(super) stem: String,
    pub(super) tiles: Vec<&'a Wanted>,
}

/// Distributes tiles over sheets: layers as a whole first, then each layer's channels.
pub(super) fn cut(tiles: &[Wanted]) -> Vec<Sheet<'_>> {
    let (layers, channels): (Vec<&Wanted>, Vec<&Wanted>) =
        tiles.iter().partition(|wanted| wanted.tile.channel.is_none());
    let of_layers = layers.chunks(TILES).map(|tiles| (String::from("layers"), tiles));
    let groups = channels.chunk_by(|one, other| one.node == other.node);
    let of_channels = groups.flat_map(|group| group.chunks(TILES)).filter_map(|tiles| {
        let first = tiles.first()?;
        // Names of layers may be anything, and differ in what a file's name cannot say.
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let layer: String = first.tile.layer.chars().map(plain).take(60).collect();
        Some((format!("{:04}-{layer}", first.node), tiles))
    });
    let sheets = of_layers.chain(of_channels);
    sheets.map(|(stem, tiles)| Sheet { stem, tiles: tiles.to_vec() }).collect()
}

/// Left and upper edge, in pixels, of the tile at a place of a sheet.
pub(super) fn position(place: usize) -> (u32, u32) {
    let [x, y] = [place % COLUMNS, place / COLUMNS].map(|count| count as u32 * EDGE);
    (x, y)
}

/// Puts tiles, which are pictures of [`EDGE`] × [`EDGE`] pixels as files, together as a WebP file.
///
/// # Errors
/// A tile that is damaged or of another size.
pub(super) fn assemble(tiles: &[&[u8]]) -> Result<Vec<u8>, Failure> {
    let edge = EDGE as usize;
    let (columns, rows) = (tiles.len().min(COLUMNS), tiles.len().div_ceil(COLUMNS));
    let (width, height) = (columns * edge, rows * edge);
    let mut rgb = vec![EMPTY; width * height * 3];
    for (place, file) in tiles.iter().enumerate() {
        let tile = picture::decode(file, u64::from(EDGE * EDGE))?;
        let Samples::Eight(values) = &tile.rgb else { return Err("a tile has 16 bits".into()) };
        if (tile.width, tile.height) != (EDGE, EDGE) {
            return Err(format!("a tile has {}×{} pixels", tile.width, tile.height).into());
        }
        let (x, y) = position(place);
        let rows = rgb.chunks_exact_mut(width * 3).skip(y as usize);
        for (to, from) in rows.zip(values.chunks_exact(edge * 3)) {
            let left = x as usize * 3;
            to[left..left + edge * 3].copy_from_slice(from);
        }
    }
    let (width, height) = (width as u32, height as u32);
    Ok(Picture { width, height, rgb: Samples::Eight(rgb), alpha: None }.encode(ENCODING)?)
}
