//! Files as people send them, and as attackers do.

use image::{Luma, Rgb, Rgba, RgbaImage};

use super::*;

const LIMIT: u64 = 1_000_000;

fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// 4×2, every pixel different.
fn colours() -> DynamicImage {
    image::RgbImage::from_fn(4, 2, |x, y| Rgb([x as u8 * 60, y as u8 * 100, 200])).into()
}

#[test]
fn every_format_and_colour_type_decodes_to_rgb() {
    let image = colours();
    let expected: Vec<f32> = image.to_rgb8().into_raw().into_iter().map(f32::from).collect();
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        let picture = decode(&file(&image, format), LIMIT).unwrap();
        assert_eq!((picture.width, picture.height, &picture.alpha), (4, 2, &None), "{format:?}");
        assert_eq!(picture.rgb, expected, "{format:?}");
    }
    // 16-bit keeps what 8 bits would round away.
    let deep = image::ImageBuffer::from_pixel(2, 2, Luma([257u16 * 100 + 128]));
    let picture = decode(&file(&DynamicImage::ImageLuma16(deep), ImageFormat::Png), LIMIT).unwrap();
    assert!(picture.rgb.iter().all(|value| (value - 100.498).abs() < 0.01), "{:?}", picture.rgb);
}

#[test]
fn transparency_travels_around_the_dream() {
    let image = RgbaImage::from_fn(3, 2, |x, y| Rgba([10, 20, 30, (x * 100 + y) as u8]));
    let bytes = file(&DynamicImage::ImageRgba8(image.clone()), ImageFormat::Png);
    let picture = decode(&bytes, LIMIT).unwrap();
    let again = image::load_from_memory(&picture.encode(Format::Png, 92).unwrap()).unwrap();
    assert_eq!(again.to_rgba8(), image);
    assert!(
        image::load_from_memory(&picture.encode(Format::Jpeg, 92).unwrap()).unwrap().color().channel_count()
            == 3
    );
}

#[test]
fn the_camera_s_orientation_is_applied() {
    // A minimal EXIF block: big-endian TIFF, one entry, orientation 6 (turn by 90° to the right).
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    encoder.set_exif_metadata(exif).unwrap();
    encoder.write_image(colours().as_bytes(), 4, 2, ExtendedColorType::Rgb8).unwrap();
    let picture = decode(&bytes, LIMIT).unwrap();
    assert_eq!((picture.width, picture.height), (2, 4));
    let header = probe(&bytes, LIMIT).unwrap();
    assert_eq!(header, Header { width: 4, height: 2, media_type: "image/jpeg" });
}

#[test]
fn a_huge_header_is_refused_before_anything_is_decoded() {
    let mut bomb = file(&colours(), ImageFormat::Png);
    bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = probe(&bomb, 16_000_000).unwrap_err();
    assert!(matches!(error, PictureError::TooLarge { width: 60_000, height: 60_000, .. }), "{error}");
    assert!(error.to_string().contains("60000×60000") && error.to_string().contains("16000000"), "{error}");
}

/// The checksum of PNG chunks (ISO 3309), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

#[test]
fn what_is_no_image_or_damaged_is_refused() {
    for bytes in [&b""[..], b"hello", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>"] {
        assert!(matches!(decode(bytes, LIMIT), Err(PictureError::UnknownFormat)));
    }
    let noisy =
        image::RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, y as u8]));
    for (format, _) in FORMATS {
        let whole = file(&noisy.clone().into(), format);
        assert!(decode(&whole, LIMIT).is_ok(), "{format:?}");
        for length in [whole.len() / 3, whole.len() / 2, whole.len() * 4 / 5] {
            let outcome = decode(&whole[..length], LIMIT);
            assert!(matches!(outcome, Err(PictureError::Undecodable { .. })), "{format:?} cut at {length}");
        }
    }
}

#[test]
fn values_are_clipped_when_encoded() {
    let picture = Picture { width: 1, height: 1, rgb: vec![-20.0, 300.0, 99.9], alpha: None };
    let again = decode(&picture.encode(Format::Png, 92).unwrap(), LIMIT).unwrap();
    assert_eq!(again.rgb, [0.0, 255.0, 99.0]);
}

#[test]
fn webp_is_lossless_and_keeps_transparency() {
    let image = RgbaImage::from_fn(9, 5, |x, y| Rgba([x as u8 * 20, y as u8 * 40, 7, 200 - x as u8]));
    let picture = decode(&file(&DynamicImage::ImageRgba8(image.clone()), ImageFormat::Png), LIMIT).unwrap();
    let again = decode(&picture.encode(Format::Webp, 1).unwrap(), LIMIT).unwrap();
    assert_eq!(again, picture);
}

#[test]
fn quality_makes_a_jpeg_smaller() {
    let rgb = (0..64 * 64 * 3).map(|index| (index * 37 % 256) as f32).collect();
    let picture = Picture { width: 64, height: 64, rgb, alpha: None };
    let size = |quality| picture.encode(Format::Jpeg, quality).unwrap().len();
    assert!(size(10) < size(60) && size(60) < size(95));
}

#[test]
fn colour_profiles_are_converted_to_srgb() {
    let encoded = |profile: &ColorProfile, colour: [u8; 3]| {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
        encoder.write_image(&colour.repeat(4), 2, 2, ExtendedColorType::Rgb8).unwrap();
        decode(&bytes, LIMIT).unwrap().rgb[..3].to_vec()
    };
    // Display P3's red lies outside sRGB, its grey is the same grey.
    let p3 = ColorProfile::new_display_p3();
    let orange = encoded(&p3, [200, 100, 50]);
    assert!(orange[0] > 205.0 && orange[2] < 40.0, "{orange:?}");
    for profile in [p3, ColorProfile::new_srgb()] {
        for (value, expected) in encoded(&profile, [120, 120, 120]).into_iter().zip([120.0; 3]) {
            assert!((value - expected).abs() < 0.5, "{value}");
        }
    }
    // A damaged profile is no reason to refuse a picture.
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(vec![7; 200]).unwrap();
    encoder.write_image(&[10, 20, 30], 1, 1, ExtendedColorType::Rgb8).unwrap();
    assert_eq!(decode(&bytes, LIMIT).unwrap().rgb, [10.0, 20.0, 30.0]);
}
