//! Local response normalisation (Krizhevsky et al. 2012), as TensorFlow has it: `y = x · s^−β` with
//! `s = bias + α · Σ x²` over the channels within `radius`.

use tch::{Kind, Tensor};

use super::{super::RenderError, Half, Team, Value, empty, extent_of, values, values_mut, vectorised};

/// The constants of a normalisation.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Response {
    pub(in super::super) radius: usize,
    pub(in super::super) bias: f32,
    pub(in super::super) alpha: f32,
    pub(in super::super) beta: f32,
}

/// What the way back looks at, besides the gradient.
pub(in super::super) struct Normalised {
    pub(in super::super) x: Tensor,
    /// Whether `x` comes from a rectifier that nobody else reads. Then the way back is through both.
    pub(in super::super) rectified: bool,
}

impl Response {
    /// The normalised map, where the loops can run over `x`.
    pub(in super::super) fn forward(&self, team: &Team, x: &Tensor) -> Result<Option<Tensor>, RenderError> {
        match x.f_kind()? {
            Kind::BFloat16 => self.forward_of::<Half>(team, x),
            _ => self.forward_of::<f32>(team, x),
        }
    }

    fn forward_of<V: Value>(&self, team: &Team, x: &Tensor) -> Result<Option<Tensor>, RenderError> {
        let Some(extent) = extent_of::<V>(x) else { return Ok(None) };
        let [.., channels] = extent;
        let mut y = empty::<V>(extent)?;
        let from = values::<V>(x);
        team.over(values_mut(&mut y), channels, |first, y| {
            forward(*self, channels, &from[first * channels..][..y.len()], y);
        });
        Ok(Some(y))
    }

    /// The gradient of the input, given that of the output, where the loops can run over both.
    pub(in super::super) fn backward(
        &self,
        team: &Team,
        normalised: &Normalised,
        gradient: &Tensor,
    ) -> Result<Option<Tensor>, RenderError> {
        match gradient.f_kind()? {
            Kind::BFloat16 => self.backward_of::<Half>(team, normalised, gradient),
            _ => self.backward_of::<f32>(team, normalised, gradient),
        }
    }

    fn backward_of<V: Value>(
        &self,
        team: &Team,
        Normalised { x, rectified }: &Normalised,
        gradient: &Tensor,
    ) -> Result<Option<Tensor>, RenderError> {
        let Some(extent) = extent_of::<V>(x).filter(|_| extent_of::<V>(gradient).is_some()) else {
            return Ok(None);
        };
        let [.., channels] = extent;
        let mut back = empty::<V>(extent)?;
        let (x, gradient) = (values::<V>(x), values::<V>(gradient));
        team.over(values_mut(&mut back), channels, |first, back| {
            let part = first * channels..first * channels + back.len();
            backward(*self, channels, *rectified, &x[part.clone()], &gradient[part], back);
        });
        Ok(Some(back))
    }
}

vectorised! {
    fn forward<V: Value>(response: Response, channels: usize, x: &[V], y: &mut [V]) {
        let mut band = Band::new(response.radius, channels);
        let (mut power, mut inverse) = (vec![0.0; channels], vec![0.0; channels]);
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for (value, x) in band.values().iter_mut().zip(x) {
                *value = x.wide() * x.wide();
            }
            power.copy_from_slice(band.sums());
            divisor(response, &mut power, &mut inverse);
            for ((y, x), power) in y.iter_mut().zip(x).zip(&power) {
                *y = V::nearest(x.wide() * power);
            }
        }
    }
}

vectorised! {
    fn backward<V: Value>(
        response: Response,
        channels: usize,
        rectified: bool,
        x: &[V],
        gradient: &[V],
        back: &mut [V],
    ) {
        let mut band = Band::new(response.radius, channels);
        let (mut power, mut inverse) = (vec![0.0; channels], vec![0.0; channels]);
        let factor = 2.0 * response.alpha * response.beta;
        let pixels = x.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for ((x, gradient), back) in pixels.zip(back.chunks_exact_mut(channels)) {
            for (value, x) in band.values().iter_mut().zip(x) {
                *value = x.wide() * x.wide();
            }
            power.copy_from_slice(band.sums());
            divisor(response, &mut power, &mut inverse);
            // With y = x · p and p = s^−β: ∂/∂x_i = g_i p_i − 2αβ x_i Σ_j g_j x_j p_j / s_j.
            let terms = x.iter().zip(gradient).zip(power.iter().zip(&inverse));
            for (value, ((x, gradient), (power, inverse))) in band.values().iter_mut().zip(terms) {
                *value = gradient.wide() * x.wide() * power * inverse;
            }
            let terms = x.iter().zip(gradient).zip(power.iter().zip(band.sums()));
            for (back, ((x, gradient), (power, through))) in back.iter_mut().zip(terms) {
                let value = gradient.wide() * power - factor * x.wide() * through;
                let mask = u32::from(!rectified | (x.wide() > 0.0)).wrapping_neg();
                *back = V::nearest(f32::from_bits(value.to_bits() & mask));
            }
        }
    }
}

/// `s^−β` in the place of each channel's sum, with `s = bias + α · sum`, and `1 / s`.
#[inline(always)]
fn divisor(response: Response, power: &mut [f32], inverse: &mut [f32]) {
    let Response { bias, alpha, beta, .. } = response;
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
struct Band {
    radius: usize,
    /// The values, with `radius` zeros on either side.
    padded: Vec<f32>,
    sums: Vec<f32>,
}

impl Band {
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
