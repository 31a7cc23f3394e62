//! Local response normalisation (Krizhevsky et al. 2012), as TensorFlow has it: `y = x · s^−β` with
//! `s = bias + α · Σ x²` over the channels within `radius`.

use super::{
    KernelError, Map, MapMut, ThreadPool, instruction_set::dispatch_autovectorized, map::for_kind,
    value::Value,
};

/// The constants of a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct LrnParams {
    /// Channels on either side that are summed up.
    pub radius: usize,
    /// Keeps the sum from zero.
    pub bias: f32,
    /// The weight of the sum.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
}

impl LrnParams {
    /// The normalised map.
    ///
    /// # Errors
    /// [`KernelError`] unless both maps are dense and of one kind and shape.
    pub fn forward(&self, threads: &ThreadPool, x: Map<'_>, y: MapMut<'_>) -> Result<(), KernelError> {
        let (shape, [.., channels]) = (y.shape(), y.shape());
        for_kind!(y.values, y => {
            let x = x.dense_of("input", shape)?;
            threads.split(y, channels, |first, y| {
                forward(threads.isa(), *self, channels, &x[first * channels..][..y.len()], y);
            });
            Ok(())
        })
    }

    /// The gradient of the input `x`, given that of the output. With `through_relu`, `x` is the output of a ReLU, and
    /// the gradient is that of the ReLU's input.
    ///
    /// # Errors
    /// [`KernelError`] unless all maps are dense and of one kind and shape.
    pub fn backward(
        &self,
        threads: &ThreadPool,
        x: Map<'_>,
        through_relu: bool,
        gradient: Map<'_>,
        back: MapMut<'_>,
    ) -> Result<(), KernelError> {
        let (shape, [.., channels]) = (back.shape(), back.shape());
        for_kind!(back.values, back => {
            let (x, gradient) = (x.dense_of("input", shape)?, gradient.dense_of("gradient", shape)?);
            threads.split(back, channels, |first, back| {
                let part = first * channels..first * channels + back.len();
                let (x, gradient) = (&x[part.clone()], &gradient[part]);
                backward(threads.isa(), *self, channels, through_relu, x, gradient, back);
            });
            Ok(())
        })
    }
}

dispatch_autovectorized! {
    fn forward<V: Value>(params: LrnParams, channels: usize, x: &[V], y: &mut [V]) {
        let mut window = ChannelWindow::new(params.radius, channels);
        let (mut power, mut inverse) = (vec![0.0; channels], vec![0.0; channels]);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for (value, x) in window.values().iter_mut().zip(x) {
                *value = x.to_f32() * x.to_f32();
            }
            power.copy_from_slice(window.sums());
            divisor(params, &mut power, &mut inverse);
            for ((y, x), power) in y.iter_mut().zip(x).zip(&power) {
                *y = V::from_f32(x.to_f32() * power);
            }
        }
    }
}

dispatch_autovectorized! {
    fn backward<V: Value>(
        params: LrnParams,
        channels: usize,
        through_relu: bool,
        x: &[V],
        gradient: &[V],
        back: &mut [V],
    ) {
        let mut window = ChannelWindow::new(params.radius, channels);
        let (mut power, mut inverse) = (vec![0.0; channels], vec![0.0; channels]);
        let factor = 2.0 * params.alpha * params.beta;
        let pixels = x.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for ((x, gradient), back) in pixels.zip(back.chunks_exact_mut(channels)) {
            for (value, x) in window.values().iter_mut().zip(x) {
                *value = x.to_f32() * x.to_f32();
            }
            power.copy_from_slice(window.sums());
            divisor(params, &mut power, &mut inverse);
            // With y = x · p and p = s^−β: ∂/∂x_i = g_i p_i − 2αβ x_i Σ_j g_j x_j p_j / s_j.
            let terms = x.iter().zip(gradient).zip(power.iter().zip(&inverse));
            for (value, ((x, gradient), (power, inverse))) in window.values().iter_mut().zip(terms) {
                *value = gradient.to_f32() * x.to_f32() * power * inverse;
            }
            let terms = x.iter().zip(gradient).zip(power.iter().zip(window.sums()));
            for (back, ((x, gradient), (power, through))) in back.iter_mut().zip(terms) {
                let value = gradient.to_f32() * power - factor * x.to_f32() * through;
                let mask = u32::from(!through_relu | (x.to_f32() > 0.0)).wrapping_neg();
                *back = V::from_f32(f32::from_bits(value.to_bits() & mask));
            }
        }
    }
}

/// `s^−β` in the place of each channel's sum, with `s = bias + α · sum`, and `1 / s`.
#[inline(always)]
fn divisor(params: LrnParams, power: &mut [f32], inverse: &mut [f32]) {
    let LrnParams { bias, alpha, beta, .. } = params;
    // Roots are several times faster than powers, and one division does for both; these exponents are the published
    // networks'.
    if beta == 0.75 {
        for (power, inverse) in power.iter_mut().zip(inverse) {
            let root = (bias + alpha * *power).sqrt();
            *power = 1.0 / (root * root.sqrt());
            *inverse = *power * *power * root;
        }
    } else if beta == 0.5 {
        for (power, inverse) in power.iter_mut().zip(inverse) {
            *power = 1.0 / (bias + alpha * *power).sqrt();
            *inverse = *power * *power;
        }
    } else {
        for (power, inverse) in power.iter_mut().zip(inverse) {
            let sum = bias + alpha * *power;
            *inverse = 1.0 / sum;
            *power = sum.powf(-beta);
        }
    }
}

/// Channels whose neighbours are added up together: so many sums stay in registers.
const BLOCK: usize = 32;

/// Sums over the neighbours of each channel.
struct ChannelWindow {
    radius: usize,
    /// The values, with `radius` zeros on either side.
    padded: Vec<f32>,
    sums: Vec<f32>,
}

impl ChannelWindow {
    fn new(radius: usize, channels: usize) -> Self {
        // No channel has neighbours further away than there are channels.
        let radius = radius.min(channels);
        Self { radius, padded: vec![0.0; channels + 2 * radius], sums: vec![0.0; channels] }
    }

    #[inline(always)]
    fn values(&mut self) -> &mut [f32] {
        let channels = self.sums.len();
        &mut self.padded[self.radius..][..channels]
    }

    #[inline(always)]
    fn sums(&mut self) -> &[f32] {
        let Self { radius, padded, sums } = self;
        let (blocks, rest) = sums.as_chunks_mut::<BLOCK>();
        let last = BLOCK * blocks.len();
        for (index, sums) in blocks.iter_mut().enumerate() {
            let mut block = [0.0; BLOCK];
            for neighbour in 0..=2 * *radius {
                for (sum, value) in block.iter_mut().zip(&padded[BLOCK * index + neighbour..][..BLOCK]) {
                    *sum += value;
                }
            }
            *sums = block;
        }
        for (index, sum) in rest.iter_mut().enumerate() {
            *sum = padded[last + index..][..=2 * *radius].iter().sum();
        }
        sums
    }
}
