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
        self.fitted(edge, edge)?.encode(ENCODING)
    }

    /// The same picture, with at most so many pixels in width and height; transparency is left out.
    ///
    /// # Errors
    /// [`PictureError::Encode`] where there are fewer samples than pixels.
    pub fn fitted(&self, max_width: u32, max_height: u32) -> Result<Self, PictureError> {
        let (width, height) = (self.width, self.height);
        let whole = RgbImage::from_raw(width, height, self.bytes().into_owned())
            .ok_or_else(|| PictureError::Encode("the picture has fewer samples than pixels".into()))?;
        // The edge that is further beyond its limit decides.
        let wide = u64::from(width) * u64::from(max_height) >= u64::from(height) * u64::from(max_width);
        let (most, edge) = if wide { (max_width, width) } else { (max_height, height) };
        let short = |n: u32| (u64::from(n) * u64::from(most) / u64::from(edge.max(1))).max(1) as u32;
        let small = match edge > most {
            true => imageops::thumbnail(&whole, short(width), short(height)),
            false => whole,
        };
        let (width, height) = small.dimensions();
        Ok(Self { width, height, rgb: Samples::Eight(small.into_raw()), alpha: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_fitted_into_a_frame() {
        for (width, height, expected) in
            [(1000, 500, (200, 100)), (500, 1000, (50, 100)), (300, 100, (300, 100)), (9, 400, (2, 100))]
        {
            let rgb = Samples::Eight(vec![7; width as usize * height as usize * 3]);
            let small = Picture { width, height, rgb, alpha: None }.fitted(300, 100).unwrap();
            assert_eq!((small.width, small.height), expected, "{width}×{height}");
        }
    }

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
