//! The image that a dream starts from.
//!
//! It is needed until the end (octaves take detail from it, results are blended with it), so it stays in the
//! few bits that its file had and becomes floats a band at a time.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    bands::{bands, rows},
    resample::{Rows, resample},
    transfer::upload,
};
use reverie_dream::plan::Span;
use reverie_picture::{Picture, Samples};

/// An image with values 0 to 255.
pub(super) struct Original {
    /// `[1, 3, H, W]`: uint8 values, int16 values (see [`Original::new`]) or floats.
    pixels: Tensor,
}

impl Original {
    /// Moves the colours of a decoded picture to `device`.
    pub(super) fn new(picture: &Picture, device: Device) -> Result<Self, RenderError> {
        let (height, width) = (i64::from(picture.height), i64::from(picture.width));
        let kind = match &picture.rgb {
            Samples::Eight(_) => Kind::Uint8,
            // libtorch has no arithmetic on unsigned 16-bit integers: the signed ones, shifted.
            Samples::Sixteen(_) => Kind::Int16,
        };
        let pixels = Tensor::f_empty([1, 3, height, width], (kind, device))?;
        // Band by band: a copy of a large picture would be the most that is ever held of it.
        for span in bands(height, width) {
            let [from, to] = [span.start, span.start + span.length].map(|row| (row * width * 3) as usize);
            let band = match &picture.rgb {
                Samples::Eight(values) => Tensor::f_from_slice(values.get(from..to).unwrap_or_default())?,
                Samples::Sixteen(values) => {
                    let values = values.get(from..to).unwrap_or_default().iter();
                    let signed: Vec<i16> = values.map(|&value| (value ^ 0x8000) as i16).collect();
                    Tensor::f_from_slice(&signed)?
                }
            };
            rows(&pixels, span)?.f_copy_(&planar(&band, span.length, width, device)?)?;
        }
        Ok(Self { pixels })
    }

    /// A start from noise: 100 plus a random number in [0, 1), from a ChaCha8 stream that no octave uses.
    pub(super) fn noise(seed: u64, height: u32, width: u32, device: Device) -> Result<Self, RenderError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::MAX);
        // The upper 24 bits are as many as a float below 1 holds.
        let mut uniform = || (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let count = height as usize * width as usize * 3;
        let values: Vec<f32> = (0..count).map(|_| 100.0 + uniform()).collect();
        Ok(Self { pixels: planar(&Tensor::f_from_slice(&values)?, height.into(), width.into(), device)? })
    }

    /// Takes floats as they are, `[1, 3, H, W]`.
    pub(super) fn of_floats(pixels: &Tensor) -> Self {
        Self { pixels: pixels.shallow_clone() }
    }

    /// Where the image lies.
    pub(super) fn device(&self) -> Device {
        self.pixels.device()
    }

    /// A copy in float32.
    pub(super) fn to_floats(&self) -> Result<Tensor, RenderError> {
        let (height, width) = self.extent()?;
        self.resized(height, width)
    }

    /// Resampled to `height × width`, float32.
    pub(super) fn resized(&self, height: i64, width: i64) -> Result<Tensor, RenderError> {
        let resized = Tensor::f_empty([1, 3, height, width], (Kind::Float, self.device()))?;
        self.each_band(height, width, |span, band| {
            rows(&resized, span)?.f_copy_(band)?;
            Ok(())
        })?;
        Ok(resized)
    }

    /// The same image at another size, with the values in between that its file had no room for.
    pub(super) fn shrunk(&self, height: i64, width: i64) -> Result<Self, RenderError> {
        Ok(Self { pixels: self.resized(height, width)? })
    }

    /// Resampled to `height × width`, each band of rows in float64.
    pub(super) fn each_band(
        &self,
        height: i64,
        width: i64,
        mut each: impl FnMut(Span, &Tensor) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        if self.extent()? == (height, width) {
            bands(height, width).try_for_each(|span| each(span, &self.rows(span)?))
        } else {
            resample(self, height, width, each)
        }
    }
}

/// `[height, width, 3]` values, flat, as `[1, 3, height, width]` on `device`.
pub(super) fn planar(
    values: &Tensor,
    height: i64,
    width: i64,
    device: Device,
) -> Result<Tensor, RenderError> {
    let interleaved = upload(&values.f_reshape([1, height, width, 3])?, device)?;
    Ok(interleaved.f_permute([0, 3, 1, 2])?.f_contiguous()?)
}

impl Rows for Original {
    fn extent(&self) -> Result<(i64, i64), RenderError> {
        let (_, _, height, width) = self.pixels.size4()?;
        Ok((height, width))
    }

    fn rows(&self, span: Span) -> Result<Tensor, RenderError> {
        let band = rows(&self.pixels, span)?;
        let exact = band.f_to_kind(Kind::Double)?;
        Ok(match band.f_kind()? {
            // 65535 / 257 = 255.
            Kind::Int16 => exact.f_add_scalar(32768.0)?.f_div_scalar(257.0)?,
            _ => exact,
        })
    }
}
