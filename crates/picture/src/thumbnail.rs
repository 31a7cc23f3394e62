//! Small pictures of large ones, for lists.

use image::{RgbImage, imageops};

use super::{Encoding, Format, Picture, PictureError, Samples};

/// Lossy WebP of middling quality: a list shows dozens.
const ENCODING: Encoding = Encoding { format: Format::Webp, quality: 80, lossless: false };

impl Picture {
    /// A WebP file whose longer edge has at most `edge` pixels; transparency is left out.
    ///
    /// # Errors
    /// [`PictureError::Encode`].
    pub fn thumbnail(&self, edge: u32) -> Result<Vec<u8>, PictureError> {
        let (width, height) = (self.width, self.height);
        let longer = width.max(height).max(1);
        let short = |n: u32| u64::from(n) * u64::from(edge) / u64::from(longer);
        let (small_width, small_height) = match longer <= edge {
            true => (width, height),
            false => (short(width).max(1) as u32, short(height).max(1) as u32),
        };
        let whole = RgbImage::from_raw(width, height, self.bytes().into_owned())
            .ok_or_else(|| PictureError::Encode("the picture has fewer samples than pixels".into()))?;
        let small = imageops::thumbnail(&whole, small_width, small_height);
        let small = Picture {
            width: small_width,
            height: small_height,
            rgb: Samples::Eight(small.into_raw()),
            alpha: None,
        };
        small.encode(ENCODING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_has_the_shape_and_the_colours_of_its_picture() {
        for (width, height, expected) in
            [(1000, 500, (320, 160)), (10, 4000, (1, 320)), (64, 48, (64, 48)), (1, 1, (1, 1))]
        {
            let rgb = [200u8, 40, 90].repeat(width as usize * height as usize);
            let picture = Picture { width, height, rgb: Samples::Eight(rgb), alpha: None };
            let file = picture.thumbnail(320).unwrap();
            let small = super::super::decode(&file, u64::MAX).unwrap();
            assert_eq!((small.width, small.height), expected);
            let Samples::Eight(pixels) = small.rgb else { panic!("eight bits") };
            assert!(pixels[0].abs_diff(200) < 8 && pixels[1].abs_diff(40) < 8 && pixels[2].abs_diff(90) < 8);
        }
    }
}
