//! GIF: frames of at most 256 colours, each with colours of its own. Source: CompuServe, GIF89a.

use gif::{Encoder, EncodingError, Frame, Repeat};

use super::{Picture, PictureError, Playback, Sequence, broken};

/// How much of a picture the choice of colours looks at, as the crate `gif` counts it: 1 is all of it and slow, 30 little; it
/// recommends 10.
const SPEED: i32 = 10;

/// Hundredths of a second, in which GIF counts.
const UNITS: u64 = 100;

fn failed(error: EncodingError) -> PictureError {
    broken(format!("GIF: {error}"))
}

/// A frame: the number of its colours minus 1, its colours, and its pixels as GIF compresses them.
pub(super) fn frame(picture: &Picture) -> Result<Vec<u8>, PictureError> {
    let (width, height) = size(picture.width, picture.height)?;
    let pixels = picture.bytes();
    if pixels.len() != usize::from(width) * usize::from(height) * 3 || pixels.is_empty() {
        return Err(broken("a frame has another number of pixels than its size says"));
    }
    let mut frame = Frame::from_rgb_speed(width, height, &pixels, SPEED);
    frame.make_lzw_pre_encoded();
    let colours = frame.palette.as_deref().unwrap_or_default();
    let count = u8::try_from((colours.len() / 3).saturating_sub(1)).unwrap_or(u8::MAX);
    Ok([&[count][..], colours, &frame.buffer].concat())
}

/// The file.
pub(super) fn file(sequence: &Sequence<'_>) -> Result<Vec<u8>, PictureError> {
    let (width, height) = size(sequence.width, sequence.height)?;
    let room = sequence.frames.iter().map(|frame| frame.len() + frame.len() / 255 + 24).sum::<usize>() + 64;
    let mut encoder = Encoder::new(Vec::with_capacity(room), width, height, &[]).map_err(failed)?;
    if !sequence.playback.ends() {
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    }
    for (encoded, delay) in sequence.frames.iter().zip(sequence.delays(UNITS)) {
        let (colours, pixels) = parts(encoded).ok_or_else(|| broken("a stored frame is cut off"))?;
        let frame = Frame {
            width,
            height,
            delay: u16::try_from(delay).unwrap_or(u16::MAX),
            palette: Some(colours.to_vec()),
            buffer: pixels.into(),
            ..Frame::default()
        };
        encoder.write_lzw_pre_encoded_frame(&frame).map_err(failed)?;
    }
    encoder.into_inner().map_err(|error| broken(format!("GIF: {error}")))
}

/// A single picture as a file, without colours that show through.
pub(crate) fn still(picture: &Picture) -> Result<Vec<u8>, PictureError> {
    let encoded = frame(picture)?;
    let Picture { width, height, .. } = *picture;
    file(&Sequence { width, height, fps: 1, playback: Playback::Once, frames: vec![&encoded] })
}

/// Colours and pixels of a frame.
fn parts(encoded: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = encoded.split_first()?;
    rest.split_at_checked((usize::from(*count) + 1) * 3)
}

fn size(width: u32, height: u32) -> Result<(u16, u16), PictureError> {
    let edge = |edge: u32| u16::try_from(edge).map_err(|_| broken("a GIF has at most 65535 pixels per edge"));
    Ok((edge(width)?, edge(height)?))
}
