//! Ascent along waves and decorrelated colours instead of single values: the parametrisation of "Feature Visualization" (Olah,
//! Mordvintsev and Schubert, 2017; their library, lucid), which grows large forms in natural colours out of noise.
//!
//! There an image is a linear map L of its parameters: Fourier coefficients, each scaled by 1/f of its frequency, in colours that
//! are mixed as those of photos are. A step along the gradient by the parameters moves the image along L·Lᵀ·g, where g is the
//! gradient by its values. So the state of a dream stays the image, and the basis is a filter of its gradient: octaves, tiles, masks
//! and checkpoints know nothing of it.
//!
//! lucid climbs with Adam, whose steps are about as long for each coefficient, however small its gradient is; then the image
//! moves by L times a spectrum that is flat. L·Lᵀ would weigh frequencies twice, by 1/f², and leave blurs in grey. So the filter
//! here is L alone, 1/f and the square root of the covariance of colours; both are symmetric and positive, so every step still leads uphill.
//! Waves go on at the opposite edge, as the tiles of a picture with jitter do; an image whose size has large prime factors is
//! continued with zeros until it has none, since transforming 1031×1021 pixels as they are takes more than 5 seconds. What is cut off
//! afterwards is what was added before, so the filter stays symmetric.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    bands::{each, moments},
    original::Original,
    resample::Rows,
};

/// The square root of the covariance of red, green and blue in the photos of ImageNet, scaled to keep grey's brightness. The
/// covariance is the square of lucid's `color_correlation_svd_sqrt`.
const COLORS: [[f64; 3]; 3] = [[0.4772, 0.2889, 0.2137], [0.2889, 0.4291, 0.2931], [0.2137, 0.2931, 0.5024]];

/// Middle of the range of values.
const GREY: f64 = 127.5;

/// Standard deviation of a start from noise: little beside what the first steps add.
const START: f64 = 4.0;

/// The filter of gradients on one device.
pub(super) struct Fourier {
    /// Strengths of the waves of the last size: the size, `[H, W]`, and `[1, 1, H, W / 2 + 1]`. All steps of an octave share them.
    waves: RefCell<Option<([i64; 2], Tensor)>>,
}

impl Fourier {
    pub(super) fn new() -> Self {
        Self { waves: RefCell::default() }
    }

    /// Filters `gradient`, `[1, 3, H, W]`, in place: L·g. Beside it, a third of its size is held, and its spectrum.
    pub(super) fn apply(&self, gradient: &Tensor) -> Result<(), RenderError> {
        let (height, width) = gradient.extent()?;
        let size = [height, width].map(fast);
        let waves = self.waves(size, (gradient.f_kind()?, gradient.device()))?;
        for channel in 0..3 {
            // One after the other: a spectrum is as large as what it is of.
            let mut plane = gradient.f_narrow(1, channel, 1)?;
            let mut spectrum = plane.f_fft_rfft2(&size[..], [2i64, 3], "backward")?;
            drop(spectrum.f_mul_(&waves)?);
            let filtered = spectrum.f_fft_irfft2(&size[..], [2i64, 3], "backward")?;
            drop(spectrum);
            plane.f_copy_(&filtered.f_narrow(2, 0, height)?.f_narrow(3, 0, width)?)?;
        }
        each(gradient, |_, band| mix(band))
    }

    /// How strong each wave is, `[1, 1, H, W / 2 + 1]`: one over its frequency, where the longest along the longer edge has 1; the
    /// mean of the image counts as such a wave.
    fn waves(&self, size: [i64; 2], options: (Kind, Device)) -> Result<Tensor, RenderError> {
        if let Some((known, waves)) = self.waves.borrow().as_ref()
            && *known == size
        {
            return Ok(waves.shallow_clone());
        }
        let [height, width] = size;
        let longest = 1.0 / height.max(width) as f64;
        let down = Tensor::f_fft_fftfreq(height, 1.0, options)?.f_reshape([1, 1, height, 1])?;
        let across = Tensor::f_fft_rfftfreq(width, 1.0, options)?.f_reshape([1, 1, 1, width / 2 + 1])?;
        let frequency = down.f_square()?.f_add(&across.f_square()?)?.f_sqrt()?;
        let waves = frequency.f_clamp_min(longest)?.f_reciprocal()?.f_mul_scalar(longest)?;
        *self.waves.borrow_mut() = Some((size, waves.shallow_clone()));
        Ok(waves)
    }
}

/// The smallest number from `extent` on without prime factors above 7: libtorch transforms lengths with large ones slowly.
fn fast(extent: i64) -> i64 {
    let is_fast = |length: &i64| {
        let rest = [2, 3, 5, 7].into_iter().fold(*length, |mut rest, factor| {
            while rest % factor == 0 {
                rest /= factor;
            }
            rest
        });
        rest == 1
    };
    (extent.max(1)..).find(is_fast).unwrap_or(extent)
}

/// Mixes the colours of `band`, `[1, 3, h, W]`, in place.
fn mix(band: &mut Tensor) -> Result<Tensor, RenderError> {
    let [red, green, blue] = [0, 1, 2].map(|channel| band.f_select(1, channel));
    let planes = [red?, green?, blue?];
    let mixed = COLORS.map(|weights| -> Result<Tensor, RenderError> {
        let mut sum = planes[0].f_mul_scalar(weights[0])?;
        drop(sum.f_add_(&planes[1].f_mul_scalar(weights[1])?)?);
        drop(sum.f_add_(&planes[2].f_mul_scalar(weights[2])?)?);
        Ok(sum)
    });
    let [red, green, blue] = mixed;
    band.f_copy_(&Tensor::f_stack(&[red?, green?, blue?], 1)?)?;
    Ok(band.shallow_clone())
}

/// The start from `noise` whose waves and colours are as those of photos, about middle grey.
pub(super) fn start(noise: &Original) -> Result<Original, RenderError> {
    let image = noise.to_floats()?;
    let (mean, _) = moments(&image)?;
    each(&image, |_, band| Ok(band.f_sub_scalar_(mean)?))?;
    Fourier::new().apply(&image)?;
    let (mean, deviation) = moments(&image)?;
    each(&image, |_, band| {
        let mut centred = band.f_sub_scalar_(mean)?;
        Ok(centred.f_mul_scalar_(START / deviation.max(1e-10))?.f_add_scalar_(GREY)?)
    })?;
    Ok(Original::of_floats(&image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(height: i64, width: i64, kind: Kind) -> Tensor {
        Tensor::randn([1, 3, height, width], (kind, Device::Cpu))
    }

    fn filtered(image: &Tensor) -> Tensor {
        let filtered = image.copy();
        Fourier::new().apply(&filtered).unwrap();
        filtered
    }

    #[test]
    fn the_filter_is_symmetric_and_leads_uphill() {
        tch::manual_seed(51);
        for (height, width) in [(1, 1), (1, 2), (5, 1), (16, 24), (31, 17), (120, 97)] {
            let [x, y] = [0, 1].map(|_| random(height, width, Kind::Double));
            let product = |one: &Tensor, other: &Tensor| (one * other).sum(Kind::Double).double_value(&[]);
            let (one, other) = (product(&filtered(&x), &y), product(&x, &filtered(&y)));
            assert!((one - other).abs() < 1e-9 * one.abs().max(1.0), "{height}×{width}: {one}, {other}");
            assert!(product(&x, &filtered(&x)) > 0.0, "{height}×{width}");
        }
    }

    #[test]
    fn a_wave_comes_back_as_strong_as_it_is_long_in_mixed_colours() {
        let (height, width) = (20, 60);
        let x = Tensor::arange(width, (Kind::Double, Device::Cpu)).view([1, 1, 1, width]);
        let y = Tensor::arange(height, (Kind::Double, Device::Cpu)).view([1, 1, height, 1]);
        // Waves along the width and the height, and the strength of each: the longest wave is as long as the longer edge.
        for ([across, down], strength) in
            [([0, 0], 1.0), ([1, 0], 1.0), ([3, 0], 1.0 / 3.0), ([0, 1], 1.0 / 3.0), ([4, 1], 0.2)]
        {
            let turn = 2.0 * std::f64::consts::PI;
            let phase = &x * (turn * f64::from(across) / width as f64)
                + &y * (turn * f64::from(down) / height as f64);
            let wave = (phase + 0.3).cos();
            let red = Tensor::cat(&[wave.copy(), wave.zeros_like(), wave.zeros_like()], 1);
            let mixed = Tensor::cat(&COLORS.map(|weights| &wave * (weights[0] * strength)), 1);
            let worst = (filtered(&red) - mixed).abs().max().double_value(&[]);
            assert!(worst < 1e-12, "{across}, {down}: {worst}");
        }
    }

    #[test]
    fn lengths_have_no_large_prime_factors() {
        let found = [1, 11, 224, 313, 1021, 1031, 4096].map(fast);
        assert_eq!(found, [1, 12, 224, 315, 1024, 1050, 4096]);
    }

    #[test]
    fn colours_are_the_square_root_of_their_covariance() {
        // lucid's matrix, which maps independent values to colours: its product with its transpose is the covariance.
        let basis = [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]];
        let product = |one: &dyn Fn(usize, usize) -> f64, i: usize, j: usize| {
            (0..3).map(|k| one(i, k) * one(j, k)).sum::<f64>()
        };
        let covariance = |i, j| product(&|i, k| basis[i][k], i, j);
        let own = |i, j| product(&|i, k| COLORS[i][k], i, j);
        let scale = own(0, 0) / covariance(0, 0);
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            assert!((own(i, j) / scale - covariance(i, j)).abs() < 2e-4, "{i}, {j}");
            assert_eq!(COLORS[i][j], COLORS[j][i]);
        }
    }

    #[test]
    fn filters_do_not_depend_on_the_number_of_threads() {
        tch::manual_seed(52);
        let threads = tch::get_num_threads();
        for (height, width) in [(256, 320), (313, 439)] {
            let image = random(height, width, Kind::Float);
            let [one, three] = [1, 3].map(|count| {
                tch::set_num_threads(count);
                filtered(&image)
            });
            tch::set_num_threads(threads);
            assert_eq!(one, three, "{height}×{width}");
        }
    }

    #[test]
    fn a_start_has_long_waves_about_grey_and_follows_from_the_seed() {
        let start = |seed| {
            let noise = Original::noise(seed, 60, 80, Device::Cpu).unwrap();
            start(&noise).unwrap().to_floats().unwrap()
        };
        let image = start(3);
        let (mean, deviation) = moments(&image).unwrap();
        assert!((mean - GREY).abs() < 1e-3 && (deviation - START).abs() < 1e-3, "{mean}, {deviation}");
        let apart = (image.narrow(3, 1, 79) - image.narrow(3, 0, 79)).square().mean(Kind::Double);
        // White noise would have 2 · START².
        assert!(apart.double_value(&[]) < START * START);
        assert_eq!(image, start(3));
        assert_ne!(image, start(4));
    }
}
