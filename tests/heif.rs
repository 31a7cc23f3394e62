//! HEIC and AVIF as phones send them, against what other decoders make of them, and as attackers do.
//!
//! The files and what is expected of them are made by `tests/fixtures/make_heif.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

#[cfg(not(feature = "heif"))]
#[test]
fn builds_without_heif_have_nothing_to_test() {
    // `make test` switches the feature on where libheif is.
    assert!(std::env::var_os("CI").is_none(), "continuous integration tests with --features heif");
    eprintln!("skipped: HEIC and AVIF: the feature heif is off");
}

#[cfg(feature = "heif")]
mod on {
    use std::{fs, path::PathBuf};

    use reverie_picture::{self as picture, Look, Picture, PictureError, Samples};

    /// As the server's default.
    const MAX_PIXELS: u64 = 16_000_000;

    /// Largest mean difference from the other decoder, of 255: they round and interpolate colours each in their way.
    const CLOSE: f64 = 1.5;

    /// Files, and whether their samples stay deeper than 8 bits or become so by a conversion of colours.
    const FILES: [(&str, bool); 17] = [
        ("plain.heic", false),
        ("plain.avif", false),
        ("grey.heic", false),
        ("grey.avif", false),
        ("alpha.heic", false),
        ("alpha.avif", false),
        ("premultiplied.avif", false),
        ("turned.heic", false),
        ("turned.avif", false),
        ("grid.heic", false),
        ("film.avif", false),
        ("deep10.heic", true),
        ("deep10.avif", true),
        ("deep12.avif", true),
        ("p3.heic", true),
        ("p3.avif", true),
        ("nclx_p3.avif", true),
    ];

    fn folder() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/heif")
    }

    fn file(name: &str) -> Vec<u8> {
        fs::read(folder().join(name)).unwrap()
    }

    fn decode(file: &[u8]) -> Result<Picture, PictureError> {
        let decoded = picture::decode(file, MAX_PIXELS);
        // What is accepted can be rendered, and what can be rendered is accepted.
        assert_eq!(picture::verify(file, MAX_PIXELS).is_ok(), decoded.is_ok(), "{decoded:?}");
        decoded
    }

    /// Of 255.
    fn values(picture: &Picture) -> Vec<f64> {
        match &picture.rgb {
            Samples::Eight(values) => values.iter().map(|&value| value.into()).collect(),
            Samples::Sixteen(values) => values.iter().map(|&value| f64::from(value) / 257.0).collect(),
        }
    }

    #[test]
    fn files_are_as_other_decoders_see_them() {
        let mut wrong = Vec::new();
        for (name, deep) in FILES {
            let bytes = file(name);
            let picture = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let expected = image::open(folder().join(format!("{name}.png"))).unwrap();
            assert_eq!((picture.width, picture.height), (expected.width(), expected.height()), "{name}");
            let header = picture::probe(&bytes, MAX_PIXELS).unwrap();
            assert_eq!((header.width, header.height), (picture.width, picture.height), "{name}");
            assert_eq!(header.media_type, format!("image/{}", name.rsplit_once('.').unwrap().1));
            assert_eq!(matches!(picture.rgb, Samples::Sixteen(_)), deep, "{name}");
            assert_eq!(picture.alpha.is_some(), expected.color().has_alpha(), "{name}");
            let expected = expected.into_rgba8();
            let (mut sum, mut count) = (0.0, 0);
            for (values, pixel) in values(&picture).chunks_exact(3).zip(expected.pixels()) {
                // Of nearly clear pixels that were multiplied with their opacity little is left.
                if pixel.0[3] > 32 {
                    sum += (0..3).map(|at| (values[at] - f64::from(pixel.0[at])).abs()).sum::<f64>();
                    count += 3;
                }
            }
            let difference = sum / f64::from(count);
            println!("{name}: differs by {difference:.2}");
            if difference > CLOSE {
                wrong.push(format!("{name} differs by {difference:.2}"));
            }
            if let Some(alpha) = &picture.alpha {
                let off =
                    alpha.iter().zip(expected.pixels()).map(|(&is, pixel)| is.abs_diff(pixel.0[3])).max();
                assert!(off <= Some(2), "{name}: opacity is off by {off:?}");
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // The conversion is no small matter: unconverted, P3 is not close.
        let (p3, plain) = (decode(&file("p3.heic")).unwrap(), decode(&file("plain.heic")).unwrap());
        let apart = values(&p3).iter().zip(values(&plain)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart > 10.0, "{apart}");
    }

    #[test]
    fn deep_files_keep_what_eight_bits_would_round_away() {
        for name in ["deep10.heic", "deep10.avif", "deep12.avif"] {
            let picture = decode(&file(name)).unwrap();
            let Samples::Sixteen(mut samples) = picture.rgb else { panic!("{name}") };
            samples.sort_unstable();
            samples.dedup();
            assert!(samples.len() > 300, "{name}: {} levels", samples.len());
        }
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for (name, _) in FILES {
            let whole = file(name);
            for length in [40, whole.len() / 3, whole.len() / 2, whole.len() * 4 / 5, whole.len() - 1] {
                let error = decode(&whole[..length]).unwrap_err();
                assert!(matches!(error, PictureError::Undecodable { .. }), "{name} cut at {length}: {error}");
            }
        }
    }

    /// Where a box's name stands.
    fn find(file: &[u8], name: &[u8]) -> usize {
        file.windows(name.len()).position(|window| window == name).unwrap()
    }

    /// A file that says another size.
    fn resized(name: &str, width: u32, height: u32) -> Vec<u8> {
        let mut file = file(name);
        let at = find(&file, b"ispe") + 8;
        file[at..at + 4].copy_from_slice(&width.to_be_bytes());
        file[at + 4..at + 8].copy_from_slice(&height.to_be_bytes());
        file
    }

    fn refused(file: &[u8], word: &str) {
        let error = decode(file).map(|picture| (picture.width, picture.height)).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
        assert!(!matches!(picture::look(file, MAX_PIXELS), Ok(Look::Enough(_))));
    }

    #[test]
    fn sizes_are_believed_where_they_are_checked() {
        for name in ["plain.heic", "plain.avif"] {
            refused(&resized(name, 60_000, 60_000), "60000×60000");
            // The other way round: a small box around a large picture.
            refused(&resized(name, 16, 16), "larger than it says");
            refused(&resized(name, 96, 0), "no pixels");
        }
        // One of these sizes is believed by the decoder, and it is not the one that shows.
        refused(&resized("plain.heic", 200, 200), "another size");
    }

    #[test]
    fn grids_are_made_of_pictures_and_of_no_more_than_show() {
        let grid = file("grid.heic");
        let at = find(&grid, b"dimg");
        let from = [grid[at + 4], grid[at + 5]];
        let tiles = usize::from(grid[at + 7]);
        assert_eq!(tiles, 6);
        let mut of_itself = grid.clone();
        (0..tiles).for_each(|tile| of_itself[at + 8 + 2 * tile..][..2].copy_from_slice(&from));
        refused(&of_itself, "grid of grids");
        // Rows and columns less one, width, height.
        let said = find(&grid, &[0, 0, 1, 2, 0, 150, 0, 100]);
        let mut wide = grid.clone();
        wide[said + 4] = 0xff;
        refused(&wide, "contradicts itself");
        let mut many = grid;
        many[said + 2] = 200;
        refused(&many, "contradicts itself");
    }

    #[test]
    fn many_more_pixels_than_show_are_not_decoded() {
        let mut grid = file("12mp.heic");
        let header = picture::probe(&grid, MAX_PIXELS).unwrap();
        let in_box = [header.width.to_be_bytes(), header.height.to_be_bytes()].concat();
        let (width, height) = (header.width as u16, header.height as u16);
        let in_grid = [width.to_be_bytes(), height.to_be_bytes()].concat();
        // Twelve megapixels of tiles, of which it says that 64×64 show.
        for (said, small) in [(in_box, vec![0, 0, 0, 64, 0, 0, 0, 64]), (in_grid, vec![0, 64, 0, 64])] {
            let at = find(&grid, &said);
            grid[at..at + small.len()].copy_from_slice(&small);
        }
        refused(&grid, "many more pixels than it shows");
    }

    /// The place of a 32-bit number behind `from`.
    fn number(file: &[u8], from: usize, number: usize) -> usize {
        from + find(&file[from..], &(number as u32).to_be_bytes())
    }

    #[test]
    fn an_item_is_one_picture_and_no_longer_than_the_file() {
        for name in ["plain.heic", "plain.avif"] {
            let whole = file(name);
            let start = find(&whole, b"mdat") + 4;
            let length = whole.len() - start;
            let place = number(&whole, find(&whole, b"iloc"), length);
            let with_length = |mut file: Vec<u8>, length: usize| {
                file[place..place + 4].copy_from_slice(&(length as u32).to_be_bytes());
                file[start - 8..start - 4].copy_from_slice(&(length as u32 + 8).to_be_bytes());
                file
            };
            let film = [&whole[..], &whole[start..].repeat(9)].concat();
            refused(&with_length(film, 10 * length), "several pictures");
            let mut long = whole.clone();
            long[place..place + 4].copy_from_slice(&i32::MAX.to_be_bytes());
            refused(&long, "larger than the file");
        }
    }

    #[test]
    fn damage_anywhere_is_refused_or_harmless() {
        for name in ["plain.heic", "alpha.avif", "grid.heic"] {
            let whole = file(name);
            let head = find(&whole, b"mdat");
            for at in 12..whole.len() {
                // Every byte around the pictures, some of those in them.
                if at > head && at % 7 != 0 {
                    continue;
                }
                for bits in [0x01, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] ^= bits;
                    // Neither a crash nor a picture of another size than was announced.
                    let Ok(picture) = picture::decode(&damaged, MAX_PIXELS) else { continue };
                    let header = picture::probe(&damaged, MAX_PIXELS).unwrap();
                    assert_eq!(
                        (header.width, header.height),
                        (picture.width, picture.height),
                        "{name} at {at}"
                    );
                }
            }
        }
    }
}
