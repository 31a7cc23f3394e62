//! What is written is read back by the decoders of the crate `image`.

use std::io::Cursor;

use image::{
    AnimationDecoder, Frame,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use super::*;
use crate::{Samples, decode, recipe};

const fn encoding(format: Format, lossless: bool) -> Encoding {
    Encoding { format, quality: 90, lossless }
}

const ENCODINGS: [Encoding; 4] = [
    encoding(Format::Png, false),
    encoding(Format::Webp, false),
    encoding(Format::Webp, true),
    encoding(Format::Gif, false),
];

/// 21×10 pixels of few colours, other ones for each `index`. An odd width makes chunks of odd lengths likelier.
fn picture(index: u8) -> Picture {
    let pixel = |at: u16| [(at % 21) as u8 * 12, index * 50, if at > 100 { 200 } else { 40 }];
    let rgb = Samples::Eight((0..210).flat_map(pixel).collect());
    Picture { width: 21, height: 10, rgb, alpha: Some(vec![100; 210]) }
}

fn animation(encoding: Encoding, count: u8) -> Animation {
    let mut animation = Animation::new(encoding, 21, 10).unwrap();
    (0..count).for_each(|index| animation.push(&picture(index)).unwrap());
    animation
}

/// The frames of a file, by a decoder of others.
fn frames(file: &[u8], format: Format) -> Vec<Frame> {
    let file = Cursor::new(file);
    let frames = match format {
        Format::Png => PngDecoder::new(file).unwrap().apng().unwrap().into_frames(),
        Format::Webp => WebPDecoder::new(file).unwrap().into_frames(),
        Format::Gif => GifDecoder::new(file).unwrap().into_frames(),
        Format::Jpeg => panic!("no animation"),
    };
    frames.collect_frames().unwrap()
}

/// Milliseconds that a frame shows.
fn delay(frame: &Frame) -> f64 {
    let (numerator, denominator) = frame.delay().numer_denom_ms();
    f64::from(numerator) / f64::from(denominator)
}

/// The mean difference of a frame from the picture that it was; other pictures differ by 16 and more.
fn difference(frame: &Frame, index: u8) -> f64 {
    let found = image::DynamicImage::ImageRgba8(frame.buffer().clone()).into_rgb8();
    let Samples::Eight(wanted) = picture(index).rgb else { panic!("as deep as before") };
    let sum: u32 = found.iter().zip(&wanted).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    f64::from(sum) / wanted.len() as f64
}

#[test]
fn frames_come_back_in_every_format() {
    for encoding in ENCODINGS {
        let file = animation(encoding, 4).finish(20, Playback::Repeat).unwrap();
        let frames = frames(&file, encoding.format);
        assert_eq!(frames.len(), 4, "{encoding:?}");
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(frame.buffer().dimensions(), (21, 10));
            assert_eq!(delay(frame), 50.0, "{encoding:?}");
            let lossy = encoding.format == Format::Webp && !encoding.lossless;
            let difference = difference(frame, index as u8);
            assert!(difference <= if lossy { 12.0 } else { 0.0 }, "{encoding:?} frame {index}: {difference}");
        }
        // Programs that show one picture show the first.
        assert_eq!(decode(&file, 1000).unwrap().rgb, decode(&still(encoding), 1000).unwrap().rgb);
    }
}

/// The first picture as a file of its own.
fn still(encoding: Encoding) -> Vec<u8> {
    Picture { alpha: None, ..picture(0) }.encode(encoding).unwrap()
}

#[test]
fn a_boomerang_goes_back_without_showing_its_ends_twice() {
    for encoding in ENCODINGS {
        for (count, expected) in [(4, &[0, 1, 2, 3, 2, 1][..]), (3, &[0, 1, 2, 1]), (2, &[0, 1]), (1, &[0])] {
            let file = animation(encoding, count).finish(10, Playback::Boomerang).unwrap();
            let frames = frames(&file, encoding.format);
            let nearest = |frame: &Frame| {
                let differs = |index: &u8| difference(frame, *index);
                (0..count).min_by(|a, b| differs(a).total_cmp(&differs(b))).unwrap()
            };
            let order: Vec<u8> = frames.iter().map(nearest).collect();
            assert_eq!(order, expected, "{encoding:?}");
        }
    }
}

#[test]
fn frames_are_as_fast_as_was_asked_for_on_the_whole() {
    for (encoding, units) in ENCODINGS.into_iter().zip([f64::INFINITY, 1000.0, 1000.0, 100.0]) {
        for fps in [1, 7, 12, 15, 24, 30, 50] {
            let file = animation(encoding, 5).finish(fps, Playback::Repeat).unwrap();
            let delays: Vec<f64> = frames(&file, encoding.format).iter().map(delay).collect();
            let wanted = 1000.0 / f64::from(fps);
            assert!(delays.iter().all(|delay| (delay - wanted).abs() <= 1000.0 / units + 1.0), "{delays:?}");
            let total: f64 = delays.iter().sum();
            // Half a unit, and what the decoder rounds to milliseconds.
            assert!((total - 5.0 * wanted).abs() <= 500.0 / units + 0.01, "{encoding:?} {fps}: {delays:?}");
        }
    }
}

#[test]
fn an_animation_repeats_unless_it_is_to_play_once() {
    let of = |encoding, playback| animation(encoding, 2).finish(10, playback).unwrap();
    let at = |file: &[u8], name: &[u8]| file.windows(name.len()).position(|part| part == name);
    for (playback, plays) in [(Playback::Repeat, 0), (Playback::Boomerang, 0), (Playback::Once, 1)] {
        let png = of(ENCODINGS[0], playback);
        let control = at(&png, b"acTL").unwrap();
        assert_eq!(png[control + 8..control + 12], [0, 0, 0, plays]);
        let webp = of(ENCODINGS[1], playback);
        let control = at(&webp, b"ANIM").unwrap();
        assert_eq!(webp[control + 12..control + 14], [plays, 0]);
        assert_eq!(at(&of(ENCODINGS[3], playback), b"NETSCAPE2.0").is_some(), plays == 0);
    }
}

#[test]
fn an_animation_that_was_stored_between_two_frames_ends_with_the_same_bytes() {
    for encoding in ENCODINGS {
        let whole = animation(encoding, 3).finish(12, Playback::Repeat).unwrap();
        let stored = animation(encoding, 2).frames().to_vec();
        let mut again = Animation::of_frames(encoding, 21, 10, stored).unwrap();
        again.push(&picture(2)).unwrap();
        assert!(again.finish(12, Playback::Repeat).unwrap() == whole, "{encoding:?}");
    }
}

#[test]
fn an_animation_carries_a_recipe_and_its_frames_stay() {
    for encoding in ENCODINGS {
        let plain = animation(encoding, 3).finish(12, Playback::Repeat).unwrap();
        let file = recipe::embed(plain.clone(), encoding.format, "{\"a\": \"b\"}").unwrap();
        assert_eq!(recipe::extract(&file).as_deref(), Some("{\"a\": \"b\"}"), "{encoding:?}");
        let pixels =
            |file| frames(file, encoding.format).into_iter().map(Frame::into_buffer).collect::<Vec<_>>();
        assert_eq!(pixels(&file), pixels(&plain), "{encoding:?}");
    }
}

#[test]
fn what_is_no_animation_is_refused() {
    let refused = Animation::new(encoding(Format::Jpeg, false), 21, 10).unwrap_err();
    assert!(matches!(refused, PictureError::NotAnimated), "{refused}");
    for (encoding, edge) in [(ENCODINGS[1], 16_384), (ENCODINGS[3], 65_536)] {
        let refused = Animation::new(encoding, edge, 1).unwrap_err();
        assert!(matches!(refused, PictureError::EdgeTooLong { .. }), "{refused}");
    }
    for encoding in ENCODINGS {
        let mut other = Animation::new(encoding, 20, 10).unwrap();
        assert!(other.push(&picture(0)).is_err());
        assert!(other.finish(10, Playback::Repeat).is_err(), "an animation without a frame");
        // What a checkpoint holds may be damaged.
        let damaged = Animation::of_frames(encoding, 21, 10, vec![vec![255, 0]]).unwrap();
        drop(damaged.finish(10, Playback::Repeat));
    }
}
