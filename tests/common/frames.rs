//! The frames of animations, as another decoder finds them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "every test uses a part of this, and tests may fail loudly"
)]

use std::io::Cursor;

use image::{
    AnimationDecoder, Frame,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

/// The frames of a file, by its first bytes, as another decoder finds them.
pub fn frames(file: &[u8]) -> Vec<Frame> {
    let bytes = Cursor::new(file);
    let frames = match image::guess_format(file).unwrap() {
        image::ImageFormat::Png => PngDecoder::new(bytes).unwrap().apng().unwrap().into_frames(),
        image::ImageFormat::WebP => WebPDecoder::new(bytes).unwrap().into_frames(),
        image::ImageFormat::Gif => GifDecoder::new(bytes).unwrap().into_frames(),
        other => panic!("{other:?}"),
    };
    frames.collect_frames().unwrap()
}

/// Checks number, size and time of frames, and that each differs from the one before.
pub fn check(file: &[u8], count: usize, (width, height): (u32, u32), milliseconds: f64) {
    let frames = frames(file);
    assert_eq!(frames.len(), count);
    for frame in &frames {
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        assert_eq!(f64::from(numerator) / f64::from(denominator), milliseconds);
        assert_eq!(frame.buffer().dimensions(), (width, height));
    }
    assert!(frames.windows(2).all(|pair| pair[0].buffer() != pair[1].buffer()));
}
