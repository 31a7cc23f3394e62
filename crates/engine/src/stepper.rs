//! One gradient step: the gradient is led along waves where the spec wants that, it is normalised, what holds the dream back is taken from it, the mask weighs it, and it is
//! added to the image.

use std::cell::{Cell, RefCell};

use reverie_kernels::ThreadPool;
use tch::{Kind, Tensor};

use super::{
    RenderError,
    bands::{each, moments, rows, sum, total},
    fourier::Fourier,
    kernels::{add_scaled, sum_abs, thread_pool},
    laplacian::Laplacian,
    mask::OctaveMask,
    penalty::{Penalty, Unit},
    tiles::TiledGradient,
};
use reverie_dream::spec::{DreamSpec, Normalization};

/// Moves an image along a gradient.
pub(super) struct Stepper {
    normalization: Normalization,
    step: f64,
    levels: u32,
    laplacian: Laplacian,
    fourier: Option<Fourier>,
    penalty: Option<Penalty>,
    threads: ThreadPool,
    library: bool,
    /// Whether a step is known to have changed the image.
    pub(super) moved: Cell<bool>,
    /// On the library path, as long as that is not known: the magnitude of all steps, a scalar on the device.
    magnitude: RefCell<Option<Tensor>>,
}

impl Stepper {
    pub(super) fn new(
        spec: &DreamSpec,
        device: tch::Device,
        tiled: &TiledGradient<'_>,
    ) -> Result<Self, RenderError> {
        let library = tiled.is_library();
        let laplacian = Laplacian::new(device, library, tiled.gpu_kernels())?;
        Ok(Self {
            normalization: spec.normalization,
            step: spec.step,
            levels: spec.laplacian_levels,
            laplacian,
            fourier: spec.is_fourier().then(Fourier::new),
            penalty: Penalty::of(spec),
            threads: thread_pool(),
            library,
            moved: Cell::new(false),
            magnitude: RefCell::default(),
        })
    }

    /// Adds the normalised `gradient`, which is of no use any more afterwards, to `image`.
    pub(super) fn step(
        &self,
        image: &Tensor,
        gradient: &Tensor,
        mask: Option<&OctaveMask>,
    ) -> Result<(), RenderError> {
        if let Some(fourier) = &self.fourier {
            fourier.apply(gradient)?;
        }
        if self.library {
            return self.step_on_device(image, gradient, mask);
        }
        let factor = match self.normalization {
            Normalization::MeanAbs => {
                let total = match sum_abs(&self.threads, gradient) {
                    Some(total) => total,
                    None => sum(gradient, |band| Ok(band.f_abs()?.f_sum(Kind::Double)?))?,
                };
                self.step / (total / gradient.numel() as f64 + 1e-7)
            }
            Normalization::Std => {
                let (_, deviation) = moments(gradient)?;
                self.step / (deviation + 1e-8)
            }
            Normalization::Laplacian => {
                self.laplacian.normalize(gradient, self.levels)?;
                self.step
            }
        };
        if let Some(penalty) = &self.penalty {
            penalty.apply(image, gradient, &Unit::Number(self.step / factor))?;
        }
        if let Some(mask) = mask {
            mask.apply(gradient)?;
        }
        // Mostly the first step settles this, so it costs one pass in the whole dream. What is not a number is not zero.
        if !self.moved.get() && sum(gradient, |band| Ok(band.f_abs()?.f_sum(Kind::Double)?))? != 0.0 {
            self.moved.set(true);
        }
        if add_scaled(&self.threads, image, gradient, factor as f32)? {
            return Ok(());
        }
        each(image, |span, band| Ok(band.f_add_(&rows(gradient, span)?.f_mul_scalar_(factor)?)?))
    }
}

impl Stepper {
    /// [`Self::step`] with libtorch's operations, and with factors that stay on the device: reading one would wait for
    /// everything that the device has yet to do.
    fn step_on_device(
        &self,
        image: &Tensor,
        gradient: &Tensor,
        mask: Option<&OctaveMask>,
    ) -> Result<(), RenderError> {
        let count = gradient.numel() as f64;
        let mean = |sum: Tensor| sum.f_div_scalar(count);
        let divisor = match self.normalization {
            Normalization::MeanAbs => {
                let magnitudes = total(gradient, |band| Ok(band.f_abs()?.f_sum(Kind::Double)?))?;
                Some(mean(magnitudes)?.f_add_scalar(1e-7)?)
            }
            Normalization::Std => {
                let middle = mean(total(gradient, |band| Ok(band.f_sum(Kind::Double)?))?)?;
                let middle = middle.f_to_kind(Kind::Float)?;
                let squares =
                    total(gradient, |band| Ok(band.f_sub(&middle)?.f_square()?.f_sum(Kind::Double)?))?;
                Some(mean(squares)?.f_sqrt()?.f_add_scalar(1e-8)?)
            }
            Normalization::Laplacian => {
                self.laplacian.normalize(gradient, self.levels)?;
                None
            }
        };
        if let Some(penalty) = &self.penalty {
            let unit = divisor.as_ref().map_or(Unit::Number(1.0), Unit::Tensor);
            penalty.apply(image, gradient, &unit)?;
        }
        if let Some(mask) = mask {
            mask.apply(gradient)?;
        }
        if !self.moved.get() {
            let step = total(gradient, |band| Ok(band.f_abs()?.f_sum(Kind::Double)?))?;
            let magnitude = match self.magnitude.take() {
                Some(before) => step.f_add(&before)?,
                None => step,
            };
            self.magnitude.replace(Some(magnitude));
        }
        let factor = match divisor {
            Some(divisor) => divisor.f_reciprocal()?.f_mul_scalar(self.step)?.f_to_kind(Kind::Float)?,
            None => Tensor::f_full([], self.step, (Kind::Float, gradient.device()))?,
        };
        each(image, |span, band| Ok(band.f_addcmul_(&rows(gradient, span)?, &factor)?))
    }

    /// Reads what the device knows of changes, where the image is waited for anyway.
    pub(super) fn settle(&self) -> Result<(), RenderError> {
        if let Some(magnitude) = self.magnitude.take() {
            // NaN is not zero.
            self.moved.set(self.moved.get() || magnitude.f_double_value(&[])? != 0.0);
        }
        Ok(())
    }
}
