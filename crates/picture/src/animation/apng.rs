//! APNG: a PNG whose further frames are in chunks that other readers leave out, so that they show the first frame. Source:
//! PNG, third edition, 11.3.6.

use super::{Encoding, Format, Picture, PictureError, Sequence, broken};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Eight bits of red, green and blue; deflate, filters by row, not interlaced.
const RGB8: [u8; 5] = [8, 2, 0, 0, 0];

/// The compressed pixels of a picture.
pub(super) fn frame(picture: &Picture) -> Result<Vec<u8>, PictureError> {
    let still = Encoding { format: Format::Png, quality: 100, lossless: true };
    let file = picture.encode_opaque(still)?;
    pixels(&file).ok_or_else(|| broken("the PNG encoder wrote another form of PNG"))
}

/// What the chunks `IDAT` of a file hold, where its header is that of the whole animation.
fn pixels(file: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut pixels) = (file.strip_prefix(SIGNATURE)?, Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let data = rest.get(8..length.checked_add(8)?)?;
        match rest.get(4..8)? {
            b"IHDR" if data.get(8..) != Some(&RGB8[..]) => return None,
            b"IDAT" => pixels.extend_from_slice(data),
            _ => {}
        }
        rest = rest.get(length.checked_add(12)?..)?;
    }
    (!pixels.is_empty()).then_some(pixels)
}

/// The file, or `None` where a chunk or a number would be too large.
pub(super) fn file(sequence: &Sequence<'_>) -> Option<Vec<u8>> {
    let Sequence { width, height, fps, playback, frames } = sequence;
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let mut file = SIGNATURE.to_vec();
    file.reserve_exact(frames.iter().map(|frame| frame.len() + 54).sum::<usize>() + 65);
    chunk(&mut file, b"IHDR", &[&size[..], &RGB8].concat())?;
    // 0 plays without end.
    let plays = u32::from(playback.ends());
    let count = u32::try_from(frames.len()).ok()?;
    chunk(&mut file, b"acTL", &[count.to_be_bytes(), plays.to_be_bytes()].concat())?;
    let fps = u16::try_from(*fps).ok()?;
    let mut number = 0u32;
    let mut next = || {
        let this = number;
        number += 1;
        this.to_be_bytes()
    };
    for (index, frame) in frames.iter().enumerate() {
        // At the canvas's origin, for 1/fps seconds, disposed of in no way and drawn over what was there.
        let times = [1u16.to_be_bytes(), fps.to_be_bytes()].concat();
        let control = [&next()[..], &size, &[0; 8], &times, &[0, 0]].concat();
        chunk(&mut file, b"fcTL", &control)?;
        if index == 0 {
            chunk(&mut file, b"IDAT", frame)?;
        } else {
            parts(&mut file, b"fdAT", &[&next(), frame])?;
        }
    }
    chunk(&mut file, b"IEND", &[])?;
    Some(file)
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) -> Option<()> {
    parts(file, name, &[data])
}

/// Appends a chunk: its length, its name, its data in parts, and the checksum of name and data.
fn parts(file: &mut Vec<u8>, name: &[u8; 4], parts: &[&[u8]]) -> Option<()> {
    let length = i32::try_from(parts.iter().map(|part| part.len()).sum::<usize>()).ok()?;
    file.extend_from_slice(&length.to_be_bytes());
    let mut checksum = crc32fast::Hasher::new();
    for part in [&name[..]].iter().chain(parts) {
        checksum.update(part);
        file.extend_from_slice(part);
    }
    file.extend_from_slice(&checksum.finalize().to_be_bytes());
    Some(())
}
