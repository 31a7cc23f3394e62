//! Whether the last digit decides a gradient: computed in 64 bits, for images that differ by less than rounding does in 32.
//!
//! Where the gradient in 64 bits changes by much of itself for a change of each pixel by a millionth of its range, a unit of the network is
//! so near to its kink that arithmetic in 32 bits may compute either side's derivative, and so may the program that made the
//! reference. Both are right, and one says nothing of the other.

use tch::{Kind, Tensor};

use super::{Executor, Layout, Manner, Objective, RenderError, Subject};
use crate::objective::BoundObjective;

/// Change of a pixel, of 0 to 255.
const NUDGE: f64 = 2.5e-4;

/// Patterns of such changes, each with both signs.
const PATTERNS: u64 = 4;

/// Part of an error that a change of the gradient has to reach to explain it.
const SHARE: f64 = 0.25;

/// Gradients in 64 bits, `[1, 3, H, W]`.
pub(super) struct Neighbours {
    /// Of images beside the image.
    pub(super) gradients: Vec<Tensor>,
    /// The largest distance of one of them to that of the image itself, of its norm.
    change: f64,
}

impl Neighbours {
    pub(super) fn of(subject: &Subject<'_>, objective: &Objective) -> Result<Self, RenderError> {
        let manner = Manner {
            kind: Kind::Double,
            layout: Layout::Contiguous,
            library_only: subject.library,
            tf32: false,
            gpu: None,
        };
        let executor = Executor::with_manner(subject.model.clone(), subject.image.device(), manner)?;
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(objective))?;
        let image = subject.image.f_to_kind(Kind::Double)?;
        let gradient = |image: &Tensor| Ok::<_, RenderError>(bound.gradient(&executor, image)?.1);
        let (first, mut gradients, mut change) = (gradient(&image)?, Vec::new(), 0.0f64);
        let length = first.f_norm()?.f_double_value(&[])?;
        for pattern in 0..PATTERNS {
            let nudge = signs(&image, pattern)?.f_mul_scalar(NUDGE)?;
            for sign in [1.0, -1.0] {
                let near = gradient(&image.f_add(&nudge.f_mul_scalar(sign)?)?)?;
                change = change.max(near.f_sub(&first)?.f_norm()?.f_double_value(&[])? / length);
                gradients.push(near);
            }
        }
        Ok(Self { gradients, change })
    }

    /// Whether an error of a gradient in 32 bits, of its norm, is one of a kink.
    pub(super) fn explain(&self, error: f64) -> bool {
        self.change >= SHARE * error
    }
}

/// −1 and 1 in an order that looks random, in the shape of `like`.
fn signs(like: &Tensor, pattern: u64) -> Result<Tensor, RenderError> {
    let sign = |index: u64| {
        // SplitMix64's last steps.
        let x = (index + 1).wrapping_add(pattern << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if (x ^ (x >> 27)) >> 63 == 0 { -1.0 } else { 1.0 }
    };
    let values: Vec<f64> = (0..like.numel() as u64).map(sign).collect();
    Ok(Tensor::f_from_slice(&values)?.f_reshape(like.size())?.f_to_device(like.device())?)
}
