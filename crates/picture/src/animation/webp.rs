//! Animated WebP: pictures in chunks `ANMF` of an extended file. Source: RFC 9649, 2.7.1.

use super::{
    super::recipe::{extended, riff},
    Encoding, Picture, PictureError, Sequence, broken,
};

/// Flag of an extended file.
const ANIMATED: u8 = 0x02;

/// Flag of a frame: it takes the place of what was there, and is not blended with it.
const REPLACES: u8 = 0x02;

/// Bytes before the chunks of a file: `RIFF`, a length, `WEBP`.
const START: usize = 12;

/// Where a file has its length, which counts what is behind it.
const LENGTH: std::ops::Range<usize> = 4..8;

/// The chunk of a picture, of an even length as all chunks. One without transparency has no other.
pub(super) fn frame(picture: &Picture, encoding: Encoding) -> Result<Vec<u8>, PictureError> {
    let file = picture.encode_opaque(encoding)?;
    let ours = |chunk: &&[u8]| chunk.starts_with(b"VP8 ") || chunk.starts_with(b"VP8L");
    let chunk = file.get(START..).filter(ours).filter(|chunk| chunk.len().is_multiple_of(2));
    chunk.map(<[u8]>::to_vec).ok_or_else(|| broken("the WebP encoder wrote another form of WebP"))
}

/// The file, or `None` where it would be larger than 4 GB, or a frame than 16,384 pixels.
pub(super) fn file(sequence: &Sequence<'_>) -> Option<Vec<u8>> {
    let Sequence { width, height, playback, frames, .. } = sequence;
    let less_one = |edge: &u32| edge.checked_sub(1).filter(|edge| *edge < 1 << 24);
    let (width, height) = (less_one(width)?, less_one(height)?);
    let header = extended(ANIMATED, width, height)?;
    // A background of no meaning (readers ignore it), and how often it plays: 0 is without end.
    let plays = u16::from(playback.ends()).to_le_bytes();
    let animation = riff(b"ANIM", &[&[0; 4][..], &plays].concat())?;
    let mut file = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 26).sum::<usize>() + 64);
    // The length follows.
    file.extend_from_slice(b"RIFF\0\0\0\0WEBP");
    file.extend_from_slice(&header);
    file.extend_from_slice(&animation);
    for (frame, milliseconds) in frames.iter().zip(sequence.delays(1000)) {
        let length = u32::try_from(frame.len() + 16).ok()?;
        let milliseconds = u32::try_from(milliseconds).ok()?;
        file.extend_from_slice(b"ANMF");
        file.extend_from_slice(&length.to_le_bytes());
        // At the canvas's origin; numbers of 24 bits.
        file.extend_from_slice(&[0; 6]);
        for number in [width, height, milliseconds] {
            file.extend_from_slice(&number.to_le_bytes()[..3]);
        }
        file.push(REPLACES);
        file.extend_from_slice(frame);
    }
    let length = u32::try_from(file.len() - LENGTH.end).ok()?;
    file.get_mut(LENGTH)?.copy_from_slice(&length.to_le_bytes());
    Some(file)
}
