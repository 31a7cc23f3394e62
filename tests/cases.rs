//! Pictures that users of image programs complained about, against what reference decoders make of them.
//!
//! A few of them lie in `tests/fixtures/pictures/cases` and are always looked at; all of them where the shared data is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[path = "common/shared.rs"]
mod shared;

use std::{
    fs,
    path::{Path, PathBuf},
};

use reverie_picture::{self as picture, Picture, PictureError, Samples};

/// As the server's default.
const MAX_PIXELS: u64 = 16_000_000;

/// Largest mean difference between a picture and its reference, of 255.
const CLOSE: f64 = 2.0;

/// Kinds that a reference decodes and Reverie does not, with a word of the refusal. `g12`: the reference takes 12 bits
/// for 16. `i32`: the file does not say what stands for white.
const NOT_READ: [(&str, &str); 7] = [
    ("other.jp2", "JPEG 2000"),
    ("other.ppm", "PPM"),
    ("tif_1_tiff_ccitt.tif", "CCITT modified Huffman"),
    ("tif_g12.tif", "12-bit"),
    ("tif_i32.tif", "32-bit samples with a sign"),
    ("tif_lzma.tif", "LZMA"),
    ("tif_zstd.tif", "zstd"),
];

/// Read by builds with the feature `heif` only.
const AVIF: (&str, &str) = ("other.avif", "AVIF (image/avif) is not read by this build");

/// What is to come of a pixel whose numbers mean another colour than sRGB's, each from 0 to 1.
type Conversion = fn([f64; 3]) -> [f64; 3];

/// Where the reference leaves the numbers as they are, and the file says that they are in another colour space: cICP and
/// gAMA.
const CONVERTED: [(&str, Conversion); 2] =
    [("png_cicp_p3.png", display_p3), ("png_gama_linear.png", |linear| linear.map(encode))];

/// sRGB's transfer function (IEC 61966-2-1).
fn encode(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

fn linear(encoded: f64) -> f64 {
    if encoded <= 0.040_45 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
}

/// Display P3 has sRGB's white and transfer function, and wider primaries.
fn display_p3(pixel: [f64; 3]) -> [f64; 3] {
    const TO_SRGB: [[f64; 3]; 3] =
        [[1.224_94, -0.224_94, 0.0], [-0.042_06, 1.042_06, 0.0], [-0.019_64, -0.078_64, 1.098_28]];
    let linear = pixel.map(linear);
    TO_SRGB.map(|row| {
        let sum: f64 = row.iter().zip(linear).map(|(factor, value)| factor * value).sum();
        encode(sum.clamp(0.0, 1.0))
    })
}

/// What no decoder reads, and what has to be in the refusal.
const REFUSED: [(&str, &str); 16] = [
    ("bmp_huge.bmp", "60000×60000"),
    ("gif_frame_zero_h.gif", "no frame"),
    ("gif_huge_frame_small_screen.gif", "11000×11000"),
    ("jpg_half.jpg", "cut off"),
    ("other_brand_heic.heic", "HEIC"),
    ("other_brand_heim.heic", "HEIC"),
    ("other_brand_jp2.heic", "HEIC"),
    ("other_brand_mp42.heic", "HEIC"),
    ("other_brand_msf1.heic", "HEIC"),
    ("other_heic_seq.bin", "HEIC"),
    ("other_html.jpg", "HTML"),
    ("other_pdf.pdf", "PDF"),
    ("tif_half.tif", "TIFF"),
    ("tif_jpeg_rgb.tif", "a part is missing"),
    ("tif_u32_rgb.tif", "32-bit samples"),
    ("tif_rgbf32_255.tif", "floating-point"),
];

fn decode(file: &[u8]) -> Result<Picture, PictureError> {
    let decoded = picture::decode(file, MAX_PIXELS);
    // What is accepted can be rendered, and what can be rendered is accepted.
    assert_eq!(picture::verify(file, MAX_PIXELS).is_ok(), decoded.is_ok(), "{decoded:?}");
    decoded
}

/// Mean difference over what the reference shows, of 255.
fn difference(picture: &Picture, reference: &image::RgbaImage) -> f64 {
    if (picture.width, picture.height) != reference.dimensions() {
        return f64::INFINITY;
    }
    let values: Vec<f64> = match &picture.rgb {
        Samples::Eight(values) => values.iter().map(|&value| value.into()).collect(),
        Samples::Sixteen(values) => values.iter().map(|&value| f64::from(value) / 257.0).collect(),
    };
    let shown = values.chunks_exact(3).zip(reference.pixels()).filter(|(_, pixel)| pixel.0[3] > 0);
    let differences: Vec<f64> = shown
        .flat_map(|(values, pixel)| [0, 1, 2].map(|index| (values[index] - f64::from(pixel.0[index])).abs()))
        .collect();
    differences.iter().sum::<f64>() / differences.len().max(1) as f64
}

fn reference(path: &Path) -> image::RgbaImage {
    image::open(path).unwrap().into_rgba8()
}

#[test]
fn every_case_is_close_or_refused_by_name() {
    let Some(folder) = shared::shared("every_case_is_close_or_refused_by_name", "cases/images") else {
        return;
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file() && path.extension().is_none_or(|extension| extension != "tsv"));
    files.sort();
    assert!(files.len() > 90, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = folder.join("expected").join(format!("{name}.png"));
        let absent = (!cfg!(feature = "heif")).then_some(&AVIF);
        let known = NOT_READ.iter().chain(&REFUSED).chain(absent).find(|(refused, _)| *refused == name);
        match (decode(&fs::read(&path).unwrap()), known) {
            (Err(refusal), Some((_, word))) if refusal.to_string().contains(word) => {}
            (Err(refusal), _) if expected.exists() || known.is_some() => {
                wrong.push(format!("{name}: {refusal}"))
            }
            (Ok(picture), None) if expected.exists() => {
                let mut expected = reference(&expected);
                if let Some((_, convert)) = CONVERTED.iter().find(|(converted, _)| *converted == name) {
                    for pixel in expected.pixels_mut() {
                        let [red, green, blue, alpha] = pixel.0;
                        let [red, green, blue] =
                            convert([red, green, blue].map(|value| f64::from(value) / 255.0))
                                .map(|value| (value * 255.0).round() as u8);
                        pixel.0 = [red, green, blue, alpha];
                    }
                }
                let difference = difference(&picture, &expected);
                if difference > CLOSE {
                    wrong.push(format!("{name}: differs by {difference:.1}"));
                }
            }
            (Ok(_), Some(_)) => wrong.push(format!("{name}: decoded, and listed as refused")),
            // Without a reference there is nothing to compare with.
            (Ok(_) | Err(_), None) => {}
            (Err(_), Some(_)) => unreachable!(),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_most_telling_cases_are_close_or_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/cases");
    let close = [
        ("bmp8_planes0.bmp", "bmp8.png"),
        ("exif_o6_long.jpg", "turned.png"),
        ("gif_sicle_flat_7.gif", "flat.png"),
        ("jpg_arith.jpg", "photo.png"),
        ("jpg_nonint_420.jpg", "photo.png"),
        ("jpg_nonint_420_cbcry.jpg", "photo.png"),
        ("jpg_no_eoi_zeros.jpg", "photo.png"),
        ("jpg_rst_missing.jpg", "photo.png"),
        ("jpg_sample_chroma_larger.jpg", "photo.png"),
        ("tif_ycbcr_jpeg_q.tif", "photo.png"),
        ("webp_flag_exif_missing.webp", "photo.png"),
    ];
    for (name, expected) in close {
        let picture =
            decode(&fs::read(folder.join(name)).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference = difference(&picture, &reference(&folder.join(expected)));
        // One reference for several ways to lose a little.
        assert!(difference < 4.0, "{name} differs by {difference:.1}");
    }
    for (name, word) in [("jpg_half.jpg", "cut off"), ("other_brand_mp42.heic", "HEIC")] {
        let refusal = decode(&fs::read(folder.join(name)).unwrap()).unwrap_err().to_string();
        assert!(refusal.contains(word), "{name}: {refusal}");
    }
    let avif = decode(&fs::read(folder.join(AVIF.0)).unwrap());
    match cfg!(feature = "heif") {
        true => assert!(avif.is_ok(), "{avif:?}"),
        false => assert!(avif.unwrap_err().to_string().contains(AVIF.1)),
    }
}
