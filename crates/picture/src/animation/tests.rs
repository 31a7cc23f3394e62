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

const UNENDING: Ending<'_> = Ending { recipe: None, is_canceled: &|| false };

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
        Format::Jpeg | Format::Mp4 | Format::Webm => panic!("not read by these"),
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
        let file = animation(encoding, 4).finish(20, Playback::Repeat, UNENDING).unwrap();
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
            let file = animation(encoding, count).finish(10, Playback::Boomerang, UNENDING).unwrap();
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
            let file = animation(encoding, 5).finish(fps, Playback::Repeat, UNENDING).unwrap();
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
    let of = |encoding, playback| animation(encoding, 2).finish(10, playback, UNENDING).unwrap();
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
        let whole = animation(encoding, 3).finish(12, Playback::Repeat, UNENDING).unwrap();
        let stored = animation(encoding, 2).frames().to_vec();
        let mut again = Animation::of_frames(encoding, 21, 10, stored).unwrap();
        again.push(&picture(2)).unwrap();
        assert!(again.finish(12, Playback::Repeat, UNENDING).unwrap() == whole, "{encoding:?}");
    }
}

#[test]
fn an_animation_carries_a_recipe_and_its_frames_stay() {
    for encoding in ENCODINGS {
        let plain = animation(encoding, 3).finish(12, Playback::Repeat, UNENDING).unwrap();
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
        assert!(other.finish(10, Playback::Repeat, UNENDING).is_err(), "an animation without a frame");
        // What a checkpoint holds may be damaged.
        let damaged = Animation::of_frames(encoding, 21, 10, vec![vec![255, 0]]).unwrap();
        drop(damaged.finish(10, Playback::Repeat, UNENDING));
    }
}

/// Whether videos can be written here; where `CI` is set they have to.
fn has_ffmpeg(test: &str) -> bool {
    let lacking = [Format::Mp4, Format::Webm].map(can_write).into_iter().find_map(Result::err);
    if let Some(lacking) = &lacking {
        assert!(std::env::var_os("CI").is_none(), "{test}: {lacking}");
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("skipped: {test}: {lacking}\n").as_bytes(),
        );
    }
    lacking.is_none()
}

#[test]
fn a_video_has_its_recipe_and_its_frames_and_the_same_bytes_again() {
    if !has_ffmpeg("a_video_has_its_recipe_and_its_frames_and_the_same_bytes_again") {
        return;
    }
    const RECIPE: &str = "{\"layer\": \"a=b;c\\n#\", \"naïve\": [1, 'x']}";
    for format in [Format::Mp4, Format::Webm] {
        let ending = Ending { recipe: Some(RECIPE), is_canceled: &|| false };
        let file =
            |count: u8| animation(encoding(format, false), count).finish(10, Playback::Once, ending).unwrap();
        let video = file(5);
        assert_eq!(recipe::extract(&video).as_deref(), Some(RECIPE), "{format:?}");
        assert!(video == file(5), "{format:?}: other bytes");
        assert!(video != file(4));
        // An odd column is there twice.
        let first = decode(&first_frame(&video, format, 320).unwrap(), 1000).unwrap();
        assert_eq!((first.width, first.height), (22, 10));
        let small = decode(&first_frame(&video, format, 11).unwrap(), 1000).unwrap();
        assert_eq!((small.width, small.height), (11, 5));
        let (Samples::Eight(shown), Samples::Eight(sent)) = (&first.rgb, &picture(0).rgb) else {
            panic!("eight")
        };
        let far = |(x, y): (usize, usize)| {
            let at = |rgb: &[u8], width: usize, c: usize| i32::from(rgb[(y * width + x) * 3 + c]);
            (0..3).map(|c| (at(shown, 22, c) - at(sent, 21, c)).abs()).max().unwrap()
        };
        assert!((0..20).all(|x| far((x, 2)) < 40), "{format:?}: the colours are others");
        let plain = animation(encoding(format, false), 2).finish(10, Playback::Once, UNENDING).unwrap();
        assert_eq!(recipe::extract(&plain), None);
        for length in 0..video.len() {
            assert!(recipe::extract(&video[..length]).is_none_or(|found| found == RECIPE));
        }
    }
}

#[test]
fn a_video_that_is_not_wanted_any_more_is_given_up_and_what_ffmpeg_says_is_told() {
    if !has_ffmpeg("a_video_that_is_not_wanted_any_more_is_given_up_and_what_ffmpeg_says_is_told") {
        return;
    }
    let canceled = Ending { recipe: None, is_canceled: &|| true };
    let error = animation(encoding(Format::Webm, false), 5).finish(10, Playback::Once, canceled).unwrap_err();
    assert!(error.to_string().contains("canceled"), "{error}");
    // No rate of frames.
    let error = animation(encoding(Format::Mp4, false), 2).finish(0, Playback::Once, UNENDING).unwrap_err();
    assert!(matches!(error, PictureError::VideoEncoder(_)), "{error}");
    let said = error.to_string();
    assert!(said.contains("ffmpeg failed") && said.lines().count() == 1, "{said}");
    let error = picture(0).encode(encoding(Format::Mp4, false)).unwrap_err();
    assert!(matches!(error, PictureError::NotStill));
    let long = Ending { recipe: Some(&"x".repeat(200_000)), is_canceled: &|| false };
    let error = animation(encoding(Format::Mp4, false), 2).finish(10, Playback::Once, long).unwrap_err();
    assert!(error.to_string().contains("recipe"), "{error}");
}
