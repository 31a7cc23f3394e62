//! Files as people send them, and as attackers do.

use std::io::Cursor;

use image::{
    ExtendedColorType, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, Rgba, RgbaImage,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};
use moxcms::ColorProfile;

use super::*;

const LIMIT: u64 = 1_000_000;

const fn encoding(format: Format) -> Encoding {
    Encoding { format, quality: 92, lossless: true }
}

/// As floats, 0 to 255.
fn values(picture: &Picture) -> Vec<f32> {
    match &picture.rgb {
        Samples::Eight(values) => values.iter().map(|&value| value.into()).collect(),
        Samples::Sixteen(values) => values.iter().map(|&value| f32::from(value) / 257.0).collect(),
    }
}

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
    let expected = Samples::Eight(image.to_rgb8().into_raw());
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff] {
        let picture = decode(&file(&image, format), LIMIT).unwrap();
        assert_eq!((picture.width, picture.height, &picture.alpha), (4, 2, &None), "{format:?}");
        assert_eq!(picture.rgb, expected, "{format:?}");
    }
    // 16-bit keeps what 8 bits would round away.
    let deep = image::ImageBuffer::from_pixel(2, 2, Luma([257u16 * 100 + 128]));
    let picture = decode(&file(&DynamicImage::ImageLuma16(deep), ImageFormat::Png), LIMIT).unwrap();
    assert!(values(&picture).iter().all(|value| (value - 100.498).abs() < 0.01), "{:?}", picture.rgb);
}

#[test]
fn transparency_travels_around_the_dream() {
    let image = RgbaImage::from_fn(3, 2, |x, y| Rgba([10, 20, 30, (x * 100 + y) as u8]));
    let bytes = file(&DynamicImage::ImageRgba8(image.clone()), ImageFormat::Png);
    let picture = decode(&bytes, LIMIT).unwrap();
    let again = image::load_from_memory(&picture.encode(encoding(Format::Png)).unwrap()).unwrap();
    assert_eq!(again.to_rgba8(), image);
    assert!(
        image::load_from_memory(&picture.encode(encoding(Format::Jpeg)).unwrap())
            .unwrap()
            .color()
            .channel_count()
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
    assert_eq!(header, Header { width: 2, height: 4, media_type: "image/jpeg" });
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

#[test]
fn what_can_be_decoded_is_verified_and_little_else() {
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];
    for format in formats {
        let whole = file(&colours(), format);
        let header = verify(&whole, LIMIT).unwrap();
        assert_eq!(header, probe(&whole, LIMIT).unwrap());
        // Cut off anywhere, both say the same.
        for length in 0..whole.len() {
            let part = &whole[..length];
            let (verified, decoded) = (verify(part, LIMIT), decode(part, LIMIT));
            assert_eq!(verified.is_ok(), decoded.is_ok(), "{format:?} cut at {length}: {verified:?}");
        }
    }
    // Damaged anywhere, what is refused could not be decoded, and what cannot be decoded says so.
    let made_here = file(
        &image::RgbImage::from_fn(40, 24, |x, y| Rgb([x as u8 * 6, y as u8 * 10, 90])).into(),
        ImageFormat::Jpeg,
    );
    let camera = include_bytes!("../../../tests/fixtures/pictures/camera.jpg").to_vec();
    let progressive = include_bytes!("../../../tests/fixtures/pictures/progressive.jpg").to_vec();
    for whole in [made_here, camera, progressive] {
        assert!(matches!(look(&whole, LIMIT), Ok(Look::Enough(_))), "photos are not decoded to be accepted");
        let mut damaged = Vec::new();
        for at in 0..whole.len() {
            damaged.extend([0x01, 0x10, 0x55, 0xff].map(|bits| {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                damaged
            }));
            damaged.extend([0xc4, 0xd0, 0xd9, 0xda, 0xdc].map(|code| {
                let mut damaged = whole.clone();
                damaged.splice(at..at, [0xff, code]);
                damaged
            }));
        }
        for file in damaged {
            match (verify(&file, LIMIT), decode(&file, LIMIT)) {
                (Err(_), Ok(_)) => panic!("a file that can be decoded is refused"),
                (Ok(_), Err(PictureError::Undecodable { format, .. })) => assert_eq!(format, "JPEG"),
                (Ok(_), Err(other)) => panic!("{other}"),
                (Ok(_), Ok(_)) | (Err(_), Err(_)) => {}
            }
        }
    }
    assert!(matches!(verify(&file(&colours(), ImageFormat::Png), 7), Err(PictureError::TooLarge { .. })));
}

#[test]
fn a_panic_is_the_file_s_fault() {
    let refused = guard::<()>("PNG", || panic!("index out of bounds"));
    let told = refused.unwrap_err();
    assert!(matches!(told, PictureError::Undecodable { format: "PNG", .. }), "{told}");
    assert!(!told.to_string().contains("index"), "{told}");
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
    for bytes in [&b""[..], b"hello", b"\0\0\0\0"] {
        assert!(matches!(decode(bytes, LIMIT), Err(PictureError::UnknownFormat)));
    }
    let media = |brands: &str| {
        let length = char::from(8 + brands.len() as u8);
        format!("\0\0\0{length}ftyp{brands}").into_bytes()
    };
    for (bytes, name) in [
        (b"%PDF-1.7".to_vec(), "PDF"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), "SVG"),
        (b"\n<!DOCTYPE html><html>".to_vec(), "HTML"),
        (b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "JPEG 2000"),
        (b"\xff\x0a\0\0".to_vec(), "JPEG XL"),
        (media("mp42\0\0\0\0isom"), "MP4"),
    ] {
        let refused = decode(&bytes, LIMIT).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, PictureError::Unread(_)), "{name}: {told}");
        assert!(told.contains(name) && told.contains("JPEG, PNG or WebP"), "{name}: {told}");
    }
    // Read where this build can, and then these are too short.
    for (brands, name) in [
        ("avif\0\0\0\0mif1miaf", "AVIF"),
        ("mif1\0\0\0\0avifmiaf", "AVIF"),
        ("heic\0\0\0\0", "HEIC"),
        ("heis\0\0\0\0", "HEIC"),
        ("msf1\0\0\0\0hevc", "HEIC"),
        ("mp42\0\0\0\0mif1heic", "HEIC"),
    ] {
        let refused = decode(&media(brands), LIMIT).unwrap_err();
        assert_eq!(matches!(refused, PictureError::NotBuilt { .. }), !cfg!(feature = "heif"), "{refused}");
        assert!(refused.to_string().contains(name), "{name}: {refused}");
    }
    let noisy =
        image::RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, y as u8]));
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ];
    for format in formats {
        let whole = file(&noisy.clone().into(), format);
        assert!(decode(&whole, LIMIT).is_ok(), "{format:?}");
        for length in [whole.len() / 3, whole.len() / 2, whole.len() * 4 / 5] {
            let outcome = decode(&whole[..length], LIMIT);
            assert!(matches!(outcome, Err(PictureError::Undecodable { .. })), "{format:?} cut at {length}");
        }
    }
}

#[test]
fn lossless_webp_keeps_colours_and_transparency() {
    let image = RgbaImage::from_fn(9, 5, |x, y| Rgba([x as u8 * 20, y as u8 * 40, 7, 200 - x as u8]));
    let picture = decode(&file(&DynamicImage::ImageRgba8(image.clone()), ImageFormat::Png), LIMIT).unwrap();
    let again = decode(&picture.encode(encoding(Format::Webp)).unwrap(), LIMIT).unwrap();
    assert_eq!(again, picture);
}

/// A photo-like picture: smooth, with some grain.
fn photo(alpha: Option<Vec<u8>>) -> Picture {
    let value = |index: u32| (index / 40 + index % 3 * 20 + index * 7919 % 13) as u8;
    Picture { width: 64, height: 48, rgb: Samples::Eight((0..64 * 48 * 3).map(value).collect()), alpha }
}

#[test]
fn quality_trades_size_for_likeness() {
    let picture = photo(None);
    for format in [Format::Jpeg, Format::Webp] {
        let measure = |quality| {
            let file = picture.encode(Encoding { format, quality, lossless: false }).unwrap();
            let again = decode(&file, LIMIT).unwrap();
            let difference =
                values(&again).iter().zip(values(&picture)).map(|(a, b)| (a - b).abs()).sum::<f32>();
            (file.len(), difference / (64.0 * 48.0 * 3.0))
        };
        let [low, middle, high] = [10, 60, 95].map(measure);
        assert!(low.0 < middle.0 && middle.0 < high.0, "{format:?}: {low:?} {middle:?} {high:?}");
        assert!(
            low.1 > middle.1 && middle.1 > high.1 && high.1 < 7.0,
            "{format:?}: {low:?} {middle:?} {high:?}"
        );
    }
}

#[test]
fn lossy_webp_keeps_transparency() {
    let alpha: Vec<u8> = (0..64 * 48).map(|index| (index % 251) as u8).collect();
    let picture = photo(Some(alpha.clone()));
    let file = picture.encode(Encoding { format: Format::Webp, quality: 80, lossless: false }).unwrap();
    assert_eq!(decode(&file, LIMIT).unwrap().alpha, Some(alpha));
}

#[test]
fn a_file_format_that_is_too_small_says_so() {
    let picture = Picture { width: 17_000, height: 1, rgb: Samples::Eight(vec![9; 51_000]), alpha: None };
    let error = picture.encode(encoding(Format::Webp)).unwrap_err().to_string();
    assert!(error.contains("16383") && error.contains("17000×1"), "{error}");
    assert!(picture.encode(encoding(Format::Jpeg)).is_ok());
}

#[test]
fn masks_are_brightness_where_there_is_opacity() {
    let mask =
        |image: image::GrayAlphaImage| decode_mask(&file(&image.into(), ImageFormat::Png), LIMIT).unwrap();
    let shades = image::GrayAlphaImage::from_fn(3, 1, |x, _| {
        LumaA([[200, 100, 0], [255, 51, 0]].map(|of| of[x as usize]))
    });
    assert_eq!(mask(shades), Mask { width: 3, height: 1, values: vec![200, 20, 0] });
    // One colour cut out of nothing: the shape is what counts, whichever colour it is.
    let shape = image::GrayAlphaImage::from_fn(3, 1, |x, _| LumaA([0, [255, 51, 0][x as usize]]));
    assert_eq!(mask(shape).values, [255, 51, 0]);
    // An opaque black is black.
    assert_eq!(mask(image::GrayAlphaImage::from_pixel(2, 1, LumaA([0, 255]))).values, [0, 0]);
    let white = image::RgbImage::from_pixel(2, 1, Rgb([255; 3]));
    assert_eq!(decode_mask(&file(&white.into(), ImageFormat::Png), LIMIT).unwrap().values, [255, 255]);
}

#[test]
fn files_from_other_programs_decode_as_they_should() {
    // Made by tests/fixtures/make_pictures.py with Pillow. Left half red, right half blue.
    for (name, bytes) in [
        ("cmyk.jpg", &include_bytes!("../../../tests/fixtures/pictures/cmyk.jpg")[..]),
        ("palette.png", include_bytes!("../../../tests/fixtures/pictures/palette.png")),
        ("animated.gif", include_bytes!("../../../tests/fixtures/pictures/animated.gif")),
        ("animated.webp", include_bytes!("../../../tests/fixtures/pictures/animated.webp")),
        ("animated.png", include_bytes!("../../../tests/fixtures/pictures/animated.png")),
        ("progressive.jpg", include_bytes!("../../../tests/fixtures/pictures/progressive.jpg")),
    ] {
        verify(bytes, LIMIT).unwrap_or_else(|error| panic!("{name}: {error}"));
        let picture = decode(bytes, LIMIT).unwrap();
        assert_eq!((picture.width, picture.height), (32, 16), "{name}");
        let values = values(&picture);
        let pixel = |x: usize, y: usize| &values[(y * 32 + x) * 3..][..3];
        for (x, expected) in [(4, [220.0, 30.0, 40.0]), (28, [20.0, 60.0, 200.0])] {
            let close = pixel(x, 8).iter().zip(expected).all(|(value, wanted)| (value - wanted).abs() < 12.0);
            assert!(close, "{name} at {x}: {:?}", pixel(x, 8));
        }
    }
}

#[test]
fn colour_profiles_are_converted_to_srgb() {
    let encoded = |profile: &ColorProfile, colour: [u8; 3]| {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
        encoder.write_image(&colour.repeat(4), 2, 2, ExtendedColorType::Rgb8).unwrap();
        values(&decode(&bytes, LIMIT).unwrap())[..3].to_vec()
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
    assert_eq!(values(&decode(&bytes, LIMIT).unwrap()), [10.0, 20.0, 30.0]);
}
