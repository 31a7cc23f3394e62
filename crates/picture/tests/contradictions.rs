//! Files whose parts contradict each other, or stand where they mean nothing: refused before they are decoded, or shown
//! as the sound part says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

use std::io::Cursor;

use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Rgb,
    codecs::{jpeg::JpegEncoder, webp::WebPEncoder},
};
use moxcms::ColorProfile;
use reverie_picture::{Look, Samples, decode, look, verify};

const LIMIT: u64 = 1_000_000;

/// Far from grey, so that another colour space shows.
const COLOUR: [u8; 3] = [200, 100, 50];

const EDGE: u32 = 16;

fn file(format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = DynamicImage::from(image::RgbImage::from_pixel(EDGE, EDGE, Rgb(COLOUR)));
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// The first pixel, 0 to 255.
fn pixel(file: &[u8]) -> [f32; 3] {
    let values: Vec<f32> = match decode(file, LIMIT).unwrap().rgb {
        Samples::Eight(values) => values[..3].iter().map(|&value| value.into()).collect(),
        Samples::Sixteen(values) => values[..3].iter().map(|&value| f32::from(value) / 257.0).collect(),
    };
    [values[0], values[1], values[2]]
}

fn is_near(found: [f32; 3], expected: [f32; 3]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 4.0)
}

/// Where the segment of a JPEG with this marker begins, and where it ends.
fn segment(file: &[u8], marker: u8) -> (usize, usize) {
    let at = file.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    (at, at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]])))
}

fn refused(file: &[u8], reason: &str) {
    // Neither at a look, nor where all is decoded.
    for refusal in
        [look(file, LIMIT).unwrap_err(), verify(file, LIMIT).unwrap_err(), decode(file, LIMIT).unwrap_err()]
    {
        assert!(refusal.to_string().contains(reason), "{refusal}");
    }
}

#[test]
fn photos_without_a_table_or_a_scan_are_refused_at_a_look() {
    let whole = file(ImageFormat::Jpeg);
    assert!(matches!(look(&whole, LIMIT), Ok(Look::Enough(_))));
    let mut without_tables = whole.clone();
    while without_tables.windows(2).any(|pair| pair == [0xff, 0xdb]) {
        let (start, end) = segment(&without_tables, 0xdb);
        without_tables.drain(start..end);
    }
    refused(&without_tables, "a table of quantisation is missing");
    // The scan has one of three components.
    let (start, end) = segment(&whole, 0xda);
    let scan = [0xff, 0xda, 0, 8, 1, whole[start + 5], whole[start + 6], 0, 63, 0];
    refused(&[&whole[..start], &scan, &whole[end..]].concat(), "the scan of a component is missing");
}

#[test]
fn profiles_larger_than_any_real_one_are_left_aside() {
    let encoded = |profile: &[u8]| {
        let image = COLOUR.repeat((EDGE * EDGE) as usize);
        let (mut jpeg, mut webp) = (Vec::new(), Vec::new());
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 100);
        encoder.set_icc_profile(profile.to_vec()).unwrap();
        encoder.write_image(&image, EDGE, EDGE, ExtendedColorType::Rgb8).unwrap();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_icc_profile(profile.to_vec()).unwrap();
        encoder.write_image(&image, EDGE, EDGE, ExtendedColorType::Rgb8).unwrap();
        [jpeg, webp]
    };
    let sound = ColorProfile::new_display_p3().encode().unwrap();
    for file in encoded(&sound) {
        assert!(!is_near(pixel(&file), COLOUR.map(f32::from)), "the profile says nothing");
    }
    // The same profile, and nothing behind it up to more than 4 MiB.
    for file in encoded(&[&sound[..], &vec![0; 4 << 20]].concat()) {
        assert!(is_near(pixel(&file), COLOUR.map(f32::from)), "{:?}", pixel(&file));
    }
}

#[test]
fn colours_of_a_png_are_said_before_its_pixels_and_can_be_divided_by() {
    let whole = file(ImageFormat::Png);
    let place = |name: &[u8; 4]| whole.windows(4).position(|window| window == name).unwrap() - 4;
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let named = [name, data].concat();
        [&(data.len() as u32).to_be_bytes()[..], &named, &crc32fast::hash(&named).to_be_bytes()].concat()
    };
    let with = |at: usize, chunks: &[u8]| [&whole[..at], chunks, &whole[at..]].concat();
    let linear = chunk(b"gAMA", &100_000u32.to_be_bytes());
    let expected = COLOUR.map(f32::from);
    assert!(!is_near(pixel(&with(place(b"IDAT"), &linear)), expected), "the gamma says nothing");
    assert!(is_near(pixel(&with(place(b"IEND"), &linear)), expected), "it was said behind the pixels");
    // Primaries without height, as a file of zeros has them.
    let points = chunk(b"cHRM", &[0; 32]);
    let flat = with(place(b"IDAT"), &[linear, points].concat());
    assert!(is_near(pixel(&flat), expected), "{:?}", pixel(&flat));
}
