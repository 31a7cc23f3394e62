//! A direction of a layer's channels, as lucid's objective `direction`: the dot product of each position with it, times a
//! power of their cosine.
//!
//! ```text
//! f(x) = s · k^p    s = ⟨x, v⟩    c = s / ((|x| + ε)(|v| + ε))    k = max(c, 0.1)
//! ∂f/∂x = k^p · v + [c > 0.1] · s · p · k^(p−1) · ∂c/∂x
//! ∂c/∂x = v / ((|x| + ε)(|v| + ε)) − c · x / (|x| (|x| + ε))
//! ```
//!
//! The floor under the cosine keeps a gradient where an activation has nothing of the direction yet. Without a power, f is a
//! weighted sum of channels.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use super::super::RenderError;
use reverie_dream::spec::Objective;

/// What keeps the cosine of nothing finite.
const EPSILON: f64 = 1e-4;

/// The smallest cosine that counts.
const FLOOR: f64 = 0.1;

/// Where an objective of kind `direction` leads.
pub(super) struct Direction {
    /// One for each channel of the layer.
    weights: Vec<f64>,
    power: f64,
    /// [`Self::weights`] on the device.
    vector: OnceCell<Tensor>,
}

/// What f and its derivative are made of; `[N, 1, H, W]` each, or `[rows, 1]`.
struct Parts {
    dot: Tensor,
    length: Tensor,
    cosine: Tensor,
    /// The cosine, 0.1 at least.
    floored: Tensor,
}

impl Direction {
    /// That of `objective`, in a layer of so many channels.
    pub(super) fn of(objective: &Objective, channels: usize) -> Self {
        let mut weights = vec![0.0; channels];
        for (&channel, &weight) in &objective.direction {
            if let Some(slot) = weights.get_mut(channel as usize) {
                *slot = weight;
            }
        }
        let power = f64::from(objective.cosine_power.unwrap_or(0));
        Self { weights, power, vector: OnceCell::new() }
    }

    /// The direction beside `activation`: one number for each channel, along its second axis.
    fn beside(&self, activation: &Tensor) -> Result<Tensor, RenderError> {
        let vector = self.on(activation.device())?.f_to_kind(activation.f_kind()?)?;
        Ok(match activation.dim() {
            4 => vector.f_reshape([1, -1, 1, 1])?,
            _ => vector.f_reshape([1, -1])?,
        })
    }

    /// Uploads it; once.
    pub(super) fn on(&self, device: Device) -> Result<&Tensor, RenderError> {
        if let Some(vector) = self.vector.get().filter(|vector| vector.device() == device) {
            return Ok(vector);
        }
        let vector = Tensor::f_from_slice(&self.weights)?.f_to_device(device)?;
        Ok(self.vector.get_or_init(|| vector))
    }

    fn parts(&self, x: &Tensor, vector: &Tensor) -> Result<Parts, RenderError> {
        let over_channels = |values: Tensor| values.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>);
        let dot = over_channels(x.f_mul(vector)?)?;
        let length = over_channels(x.f_square()?)?.f_sqrt()?;
        let norm = self.weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt() + EPSILON;
        let cosine = dot.f_div(&length.f_add_scalar(EPSILON)?.f_mul_scalar(norm)?)?;
        let floored = cosine.f_clamp_min(FLOOR)?;
        Ok(Parts { dot, length, cosine, floored })
    }

    /// f of every position of an activation, `[N, C, H, W]` or `[rows, C]`.
    pub(super) fn values(&self, x: &Tensor) -> Result<Tensor, RenderError> {
        let vector = self.beside(x)?;
        if self.power == 0.0 {
            return Ok(x.f_mul(&vector)?.f_sum_dim_intlist(&[1i64][..], true, None::<Kind>)?);
        }
        let Parts { dot, floored, .. } = self.parts(x, &vector)?;
        Ok(dot.f_mul(&floored.f_pow_tensor_scalar(self.power)?)?)
    }

    /// Its derivative, times `slope`: a number for each position, `[N, 1, H, W]`, or for all alike, a scalar.
    pub(super) fn derivative(&self, x: &Tensor, slope: &Tensor) -> Result<Tensor, RenderError> {
        let vector = self.beside(x)?;
        let mut derivative = x.f_empty_like()?;
        if self.power == 0.0 {
            derivative.f_copy_(&vector.f_mul(slope)?)?;
            return Ok(derivative);
        }
        let Parts { dot, length, cosine, floored } = self.parts(x, &vector)?;
        let norm = self.weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt() + EPSILON;
        let above = cosine.f_gt(FLOOR)?.f_to_kind(dot.f_kind()?)?;
        let turning = floored.f_pow_tensor_scalar(self.power - 1.0)?.f_mul_scalar(self.power)?;
        let turning = turning.f_mul(&dot)?.f_mul(&above)?;
        let reach = length.f_add_scalar(EPSILON)?;
        let along = turning.f_div(&reach.f_mul_scalar(norm)?)?;
        let along = along.f_add(&floored.f_pow_tensor_scalar(self.power)?)?.f_mul(slope)?;
        // A position without any activation has no direction to turn.
        let back = turning.f_mul(&cosine)?.f_div(&length.f_clamp_min(1e-12)?.f_mul(&reach)?)?.f_mul(slope)?;
        derivative.f_copy_(&x.f_mul(&back.f_neg()?)?.f_add(&vector.f_mul(&along)?)?)?;
        Ok(derivative)
    }
}

impl PartialEq for Direction {
    fn eq(&self, other: &Self) -> bool {
        (&self.weights, self.power) == (&other.weights, other.power)
    }
}

impl Clone for Direction {
    fn clone(&self) -> Self {
        let vector = OnceCell::new();
        if let Some(known) = self.vector.get() {
            // The cell is empty, so this sets it.
            let _ = vector.set(known.shallow_clone());
        }
        Self { weights: self.weights.clone(), power: self.power, vector }
    }
}
