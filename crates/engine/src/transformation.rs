//! What the network sees of an image in one step: the image a little larger or smaller, and turned a little, as chance has it.
//!
//! A form that pleases the network only at one size and angle is noise to people; what is climbed over many sizes and angles is not
//! ("Feature Visualization", Olah 2017, calls it transformation robustness). Jitter, which is drawn before it, moves the image
//! besides: see [`tiles`](super::tiles).
//!
//! The image is sampled bilinearly about its centre, and mirrored at its edges. That is a linear map A; the gradient by the values of the
//! image is Aᵀ of the gradient by what the network sees. Aᵀ adds up what each pixel has given away, always in the same
//! order: libtorch's own derivative of its sampler adds atomically on a GPU, and gives other bits each time.
//!
//! On the CPU both run in [kernels of our own](reverie_kernels::Similarity); elsewhere, and on the library path, as operations
//! over the places of all pixels of a band.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use reverie_kernels::ThreadPool;
use tch::{Device, Kind, Tensor};

use super::{
    RenderError,
    bands::{bands, rows},
    kernels::{turned, turned_back},
    resample::Rows,
};
use reverie_dream::{
    plan::Span,
    spec::{DreamSpec, Spot},
};

/// How an image is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transformation {
    /// How many times larger.
    scale: f64,
    /// Clockwise.
    radians: f64,
}

/// The pixels that a band of what is seen is made of: four for each.
struct Corners {
    /// Places in a plane of the image, counted row by row, `[n]` int64.
    places: [Tensor; 4],
    /// How much each counts, `[n]`.
    weights: [Tensor; 4],
}

impl Transformation {
    /// Draws what `spec` wants: scale, then angle, each uniform in its range. None where the spec wants neither, which draws nothing.
    pub(super) fn drawn(spec: &DreamSpec, rng: &mut ChaCha8Rng) -> Option<Self> {
        // From −1 to 1.
        let mut draw = || f64::from(rng.next_u32()) / f64::from(1_u32 << 31) - 1.0;
        let mut within = |most: Option<f64>| {
            let most = most.filter(|most| *most > 0.0)?;
            Some(draw() * most)
        };
        let (scale, angle) = (within(spec.random_scale), within(spec.random_rotation));
        (scale.is_some() || angle.is_some())
            .then(|| Self { scale: 1.0 + scale.unwrap_or(0.0), radians: angle.unwrap_or(0.0).to_radians() })
    }

    /// So many times larger, and so far clockwise.
    pub(super) fn by(scale: f64, radians: f64) -> Self {
        Self { scale, radians }
    }

    /// What is seen of `image`, `[1, C, H, W]`: A·x, of the same size. Without threads for kernels of our own, libtorch's
    /// operations compute it.
    pub(super) fn apply(&self, image: &Tensor, threads: Option<&ThreadPool>) -> Result<Tensor, RenderError> {
        if let Some(threads) = threads
            && let Some(seen) = turned(threads, image, self.scale, self.radians)?
        {
            return Ok(seen);
        }
        let seen = image.f_empty_like()?;
        self.each_band(image, |span, corners, channels| {
            let planes = image.f_reshape([channels, -1])?;
            let mut sum: Option<Tensor> = None;
            for (places, weights) in corners.places.iter().zip(&corners.weights) {
                let mut part = planes.f_index_select(1, places)?;
                drop(part.f_mul_(weights)?);
                sum = Some(match sum {
                    Some(mut sum) => sum.f_add_(&part)?,
                    None => part,
                });
            }
            let mut band = rows(&seen, span)?;
            if let Some(sum) = sum {
                band.f_copy_(&sum.f_reshape(band.size())?)?;
            }
            Ok(())
        })?;
        Ok(seen)
    }

    /// The gradient by the values of an image, given that by what is seen of it, `[1, C, H, W]`: Aᵀ·g. Threads as for
    /// [`Self::apply`].
    pub(super) fn adjoint(
        &self,
        gradient: &Tensor,
        threads: Option<&ThreadPool>,
    ) -> Result<Tensor, RenderError> {
        if let Some(threads) = threads
            && let Some(sum) = turned_back(threads, gradient, self.scale, self.radians)?
        {
            return Ok(sum);
        }
        let sum = gradient.f_zeros_like()?;
        self.each_band(gradient, |span, corners, channels| {
            let mut planes = sum.f_reshape([channels, -1])?;
            let band = rows(gradient, span)?.f_reshape([channels, -1])?;
            for (places, weights) in corners.places.iter().zip(&corners.weights) {
                add_at(&mut planes, places, &band.f_mul(weights)?)?;
            }
            Ok(())
        })?;
        Ok(sum)
    }

    /// Where a place of an image of this size, and how far it reaches, is in what is seen of it; at the edge where it is beyond.
    pub(super) fn spot(&self, spot: &Spot, height: i64, width: i64) -> Spot {
        let (height, width) = (height as f64, width as f64);
        let (sine, cosine) = self.radians.sin_cos();
        let (x, y) = ((spot.x - 0.5) * width, (spot.y - 0.5) * height);
        let [x, y] = [x * cosine - y * sine, x * sine + y * cosine].map(|place| place * self.scale);
        Spot {
            x: (x / width + 0.5).clamp(0.0, 1.0),
            y: (y / height + 0.5).clamp(0.0, 1.0),
            radius: spot.radius * self.scale,
        }
    }

    /// Hands over the corners of each band of what is seen of an image like `image`, and its number of channels.
    fn each_band(
        &self,
        image: &Tensor,
        mut each: impl FnMut(Span, &Corners, i64) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        let (_, channels, _, _) = image.size4()?;
        let (height, width) = image.extent()?;
        // Those of a processor on every device: a pixel takes a hundred bytes and more on its way.
        for span in bands(height, width) {
            each(span, &self.corners(image, span)?, channels)?;
        }
        Ok(())
    }

    /// Those of the rows `span` of what is seen of an image like `image`.
    fn corners(&self, image: &Tensor, span: Span) -> Result<Corners, RenderError> {
        let (height, width) = image.extent()?;
        let (kind, device) = (image.f_kind()?, image.device());
        let (sine, cosine) = self.radians.sin_cos();
        // Centres of pixels, counted from the image's centre.
        let centres = |start: i64, length: i64, extent: i64| {
            let from = start as f64 + 0.5 - extent as f64 / 2.0;
            Tensor::f_arange_start(from, from + length as f64 - 0.25, (Kind::Double, device))
        };
        let x = centres(0, width, width)?.f_reshape([1, width])?;
        let y = centres(span.start, span.length, height)?.f_reshape([span.length, 1])?;
        // Where each pixel comes from, turned and scaled back; then counted from the first pixel.
        let along = |by_x: f64, by_y: f64, extent: i64| -> Result<Tensor, RenderError> {
            let from = x.f_mul_scalar(by_x / self.scale)?.f_add(&y.f_mul_scalar(by_y / self.scale)?)?;
            Ok(from.f_add_scalar(extent as f64 / 2.0 - 0.5)?.f_reshape([-1])?)
        };
        let (x, y) = (along(cosine, sine, width)?, along(-sine, cosine, height)?);
        // The pixel before and the one behind along each axis, and the share of the latter.
        let (left, top) = (x.f_floor()?, y.f_floor()?);
        let [right_share, lower_share] =
            [(&x, &left), (&y, &top)].map(|(at, before)| -> Result<[Tensor; 2], RenderError> {
                let behind = at.f_sub(before)?;
                let before = behind.f_neg()?.f_add_scalar(1.0)?;
                Ok([before, behind])
            });
        let (across, down) = (right_share?, lower_share?);
        let columns = [mirrored(&left, width)?, mirrored(&left.f_add_scalar(1.0)?, width)?];
        let first = [mirrored(&top, height)?, mirrored(&top.f_add_scalar(1.0)?, height)?];
        let [upper, lower] = first.map(|row| row.f_mul_scalar(width));
        let lines = [upper?, lower?];
        let corner = |row: usize, column: usize| -> Result<(Tensor, Tensor), RenderError> {
            Ok((lines[row].f_add(&columns[column])?, down[row].f_mul(&across[column])?.f_to_kind(kind)?))
        };
        let (upper_left, upper_right) = (corner(0, 0)?, corner(0, 1)?);
        let (lower_left, lower_right) = (corner(1, 0)?, corner(1, 1)?);
        Ok(Corners {
            places: [upper_left.0, upper_right.0, lower_left.0, lower_right.0],
            weights: [upper_left.1, upper_right.1, lower_left.1, lower_right.1],
        })
    }
}

/// Whole numbers as pixels of an axis of `extent` pixels, int64: what is beyond an edge is the mirror image of what is before it.
fn mirrored(at: &Tensor, extent: i64) -> Result<Tensor, RenderError> {
    let there_and_back = at.f_to_kind(Kind::Int64)?.f_remainder(2 * extent)?;
    let back = there_and_back.f_neg()?.f_add_scalar(2 * extent - 1)?;
    Ok(there_and_back.f_minimum(&back)?)
}

/// Adds `values`, `[C, n]`, to `planes`, `[C, H · W]`, at `places`, `[n]`, in an order that is the same each time.
fn add_at(planes: &mut Tensor, places: &Tensor, values: &Tensor) -> Result<(), RenderError> {
    if planes.device() == Device::Cpu {
        add_by_planes(planes, places, values)
    } else {
        // There scattering adds atomically, as chance has it.
        add_by_places(planes, places, values)
    }
}

/// [`add_at`] where a thread has whole planes, and goes through each from the first value to the last.
fn add_by_planes(planes: &mut Tensor, places: &Tensor, values: &Tensor) -> Result<(), RenderError> {
    let places = places.f_expand(values.size(), false)?;
    drop(planes.f_scatter_add_(1, &places, values)?);
    Ok(())
}

/// [`add_at`] where the device sorts the places first.
fn add_by_places(planes: &mut Tensor, places: &Tensor, values: &Tensor) -> Result<(), RenderError> {
    drop(planes.f_index_put_(&[None, Some(places)], values, true)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;
    use reverie_dream::spec::{Motion, Preset};

    use super::*;
    use crate::{kernels::thread_pool, motion::moved};

    const SEEN: Transformation = Transformation { scale: 1.1, radians: 0.2 };
    const SMALLER: Transformation = Transformation { scale: 0.6, radians: -0.7 };

    fn random(height: i64, width: i64, kind: Kind) -> Tensor {
        Tensor::rand([1, 3, height, width], (kind, Device::Cpu)) * 255.0
    }

    #[test]
    fn what_is_seen_is_zoomed_and_turned_as_a_moving_picture_is() {
        tch::manual_seed(41);
        let still: Motion = serde_json::from_value(serde_json::json!({
            "frames": 2, "zoom": 1.0, "rotate": 0.0, "shift_x": 0.0, "shift_y": 0.0, "iterations": 1, "fps": 10,
            "playback": "repeat",
        }))
        .unwrap();
        for seen in [SEEN, SMALLER] {
            let motion = Motion { zoom: seen.scale, rotate: seen.radians.to_degrees(), ..still };
            for (height, width) in [(60, 90), (31, 17), (1, 5), (1, 1)] {
                let image = random(height, width, Kind::Float);
                let expected = moved(&image, &motion).unwrap();
                let worst = (seen.apply(&image, None).unwrap() - expected).abs().max().double_value(&[]);
                // The sampler takes places in float32.
                assert!(worst < 0.1, "{height}×{width}: {worst}");
            }
        }
    }

    #[test]
    fn the_adjoint_is_that_of_the_map() {
        tch::manual_seed(42);
        // The last is cut into two bands.
        for (height, width) in [(1, 1), (1, 6), (7, 1), (23, 40), (64, 64), (900, 800)] {
            for seen in [SEEN, SMALLER] {
                let [x, y] = [0, 1].map(|_| random(height, width, Kind::Double) - 100.0);
                let there = (seen.apply(&x, None).unwrap() * &y).sum(Kind::Double).double_value(&[]);
                let back = (&x * seen.adjoint(&y, None).unwrap()).sum(Kind::Double).double_value(&[]);
                assert!(
                    (there - back).abs() < 1e-9 * there.abs().max(1.0),
                    "{height}×{width}: {there}, {back}"
                );
            }
        }
    }

    #[test]
    fn the_order_of_a_gpu_adds_up_to_the_same() {
        tch::manual_seed(43);
        let places = Tensor::randint(50, [400], (Kind::Int64, Device::Cpu));
        let values = Tensor::rand([3, 400], (Kind::Double, Device::Cpu));
        let [mut one, mut other] = [0, 1].map(|_| Tensor::zeros([3, 50], (Kind::Double, Device::Cpu)));
        add_by_planes(&mut one, &places, &values).unwrap();
        add_by_places(&mut other, &places, &values).unwrap();
        assert!((&one - other).abs().max().double_value(&[]) < 1e-12);
        let total = (one.sum(Kind::Double) - values.sum(Kind::Double)).double_value(&[]);
        assert!(total.abs() < 1e-9);
    }

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        tch::manual_seed(44);
        let gradient = random(300, 400, Kind::Float) - 127.0;
        let threads = tch::get_num_threads();
        let both = [1, 3].map(|count| {
            tch::set_num_threads(count);
            let pool = thread_pool();
            [None, Some(&pool)].map(|pool| SEEN.adjoint(&SEEN.apply(&gradient, pool).unwrap(), pool).unwrap())
        });
        tch::set_num_threads(threads);
        let [one, three] = both;
        assert_eq!(one, three);
    }

    #[test]
    fn kernels_and_operations_give_the_same() {
        tch::manual_seed(45);
        let threads = thread_pool();
        for (height, width) in [(1, 1), (1, 6), (7, 1), (61, 90), (900, 800)] {
            for seen in [SEEN, SMALLER] {
                let image = random(height, width, Kind::Float) - 127.0;
                let [kernel, operations] =
                    [Some(&threads), None].map(|threads| seen.apply(&image, threads).unwrap());
                assert_eq!(kernel, operations, "{height}×{width}");
                // Summed in another order.
                let [kernel, operations] =
                    [Some(&threads), None].map(|threads| seen.adjoint(&image, threads).unwrap());
                let worst = (&kernel - &operations).abs().max().double_value(&[]);
                assert!(
                    worst <= 1e-4 * operations.abs().max().double_value(&[]),
                    "{height}×{width}: {worst}"
                );
            }
        }
        // Other layouts are for libtorch.
        let columns = random(8, 9, Kind::Float).transpose(2, 3);
        assert_eq!(
            SEEN.apply(&columns, Some(&threads)).unwrap(),
            SEEN.apply(&columns.contiguous(), None).unwrap()
        );
    }

    #[test]
    fn a_place_moves_along_with_the_image() {
        let (height, width) = (120, 200);
        for seen in [SEEN, SMALLER] {
            let image = Tensor::zeros([1, 3, height, width], (Kind::Float, Device::Cpu));
            let _ = image.narrow(2, 40, 3).narrow(3, 90, 3).fill_(255.0);
            let spot = Spot { x: 91.5 / 200.0, y: 41.5 / 120.0, radius: 0.1 };
            let found = seen.spot(&spot, height, width);
            assert!((found.radius - 0.1 * seen.scale).abs() < 1e-12);
            let at = [(found.y * 120.0) as i64, (found.x * 200.0) as i64];
            let bright = seen.apply(&image, None).unwrap().double_value(&[0, 0, at[0], at[1]]);
            assert!(bright > 100.0, "{found:?}: {bright}");
        }
        let corner = SEEN.spot(&Spot { x: 0.0, y: 1.0, radius: 0.1 }, height, width);
        assert!(corner.x == 0.0 && (0.5..=1.0).contains(&corner.y), "{corner:?}");
    }

    #[test]
    fn draws_stay_in_their_range_and_nothing_is_drawn_for_nothing() {
        let plain = DreamSpec::of_preset(Preset::Deepdream);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        assert_eq!(Transformation::drawn(&plain, &mut rng), None);
        let zero = DreamSpec { random_scale: Some(0.0), random_rotation: Some(0.0), ..plain.clone() };
        assert_eq!(Transformation::drawn(&zero, &mut rng), None);
        assert_eq!(rng.next_u32(), ChaCha8Rng::seed_from_u64(5).next_u32());
        let both = DreamSpec { random_scale: Some(0.1), random_rotation: Some(5.0), ..plain.clone() };
        let drawn: Vec<_> = (0..200).map(|_| Transformation::drawn(&both, &mut rng).unwrap()).collect();
        assert!(drawn.iter().all(|one| (0.9..=1.1).contains(&one.scale)));
        assert!(drawn.iter().all(|one| one.radians.to_degrees().abs() <= 5.0));
        let mean = |of: fn(&Transformation) -> f64| drawn.iter().map(of).sum::<f64>() / 200.0;
        assert!((mean(|one| one.scale) - 1.0).abs() < 0.015 && mean(|one| one.radians).abs() < 0.015);
        let turned = DreamSpec { random_rotation: Some(5.0), ..plain };
        assert_eq!(Transformation::drawn(&turned, &mut rng).unwrap().scale, 1.0);
    }
}
