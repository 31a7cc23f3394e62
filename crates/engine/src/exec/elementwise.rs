//! Operations that treat each value by itself, and products: forward and backward, on libtorch's operations.
//!
//! ReLU and ReLU6 are elsewhere: they are fused into what is beside them, and have kernels.

use tch::{Kind, Tensor};

use super::{super::RenderError, forward::SavedForBackward};
use reverie_graph::Op;

/// The value of an activation function and what it saves; none for another operation.
pub(super) fn activation(op: &Op, x: &Tensor) -> Result<Option<(Tensor, SavedForBackward)>, RenderError> {
    let by_output = |y: Tensor| (y.shallow_clone(), SavedForBackward::Output(y));
    let by_input = |y: Tensor| (y, SavedForBackward::Values(x.shallow_clone()));
    Ok(Some(match op {
        // tch's function has no slope. Of x itself the backward pass is the function: x, or slope · x where x is not positive.
        Op::LeakyRelu { slope } => by_output(x.f_leaky_relu_backward(x, f64::from(*slope), false)?),
        Op::Clip { low, high } => {
            let [low, high] = bounds(*low, *high, x.f_kind()?);
            by_output(x.f_clamp(low, high)?)
        }
        Op::Sigmoid => by_output(x.f_sigmoid()?),
        Op::Softmax => by_output(x.f_softmax(1, None::<Kind>)?),
        Op::Swish => by_input(x.f_silu()?),
        Op::HardSwish => by_input(x.f_hardswish()?),
        _ => return Ok(None),
    }))
}

/// The gradient of the input of an activation function, given that of the output; none for another operation.
pub(super) fn activation_backward(
    op: &Op,
    saved: &SavedForBackward,
    gradient: &Tensor,
) -> Result<Option<Tensor>, RenderError> {
    Ok(Some(match (op, saved) {
        // The output is positive where the input is, as the slope is not negative.
        (Op::LeakyRelu { slope }, SavedForBackward::Output(y)) => {
            y.f_leaky_relu_backward(gradient, f64::from(*slope), true)?
        }
        (Op::Clip { low, high }, SavedForBackward::Output(y)) => {
            let [low, high] = bounds(*low, *high, y.f_kind()?);
            y.f_hardtanh_backward(gradient, low, high)?
        }
        (Op::Sigmoid, SavedForBackward::Output(y)) => Tensor::f_sigmoid_backward(gradient, y)?,
        (Op::Softmax, SavedForBackward::Output(y)) => {
            Tensor::f_internal_softmax_backward_data(gradient, y, 1, y.f_kind()?)?
        }
        (Op::Swish, SavedForBackward::Values(x)) => x.f_silu_backward(gradient)?,
        (Op::HardSwish, SavedForBackward::Values(x)) => x.f_hardswish_backward(gradient)?,
        _ => return Ok(None),
    }))
}

/// Bounds as values of this kind have them, so that a value at a bound is known by it.
fn bounds(low: f32, high: f32, kind: Kind) -> [f64; 2] {
    let rounded = |bound: f32| {
        // To nearest, ties to even.
        let bits = bound.to_bits();
        f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    };
    let as_kind = |bound: f32| match kind {
        Kind::BFloat16 if bound.is_finite() => rounded(bound),
        _ => bound,
    };
    [low, high].map(|bound| f64::from(as_kind(bound)))
}

/// `scale · x + bias`, in the memory of `x` if that is `owned`.
pub(super) fn scaled(
    mut x: Tensor,
    owned: bool,
    scale: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, RenderError> {
    let mut y = if owned { x.f_mul_(scale)? } else { x.f_mul(scale)? };
    Ok(match bias {
        Some(bias) => y.f_add_(bias)?,
        None => y,
    })
}

/// The gradients of two factors, given that of their product; of a gate of one position it is a sum over all positions.
pub(super) fn product_backward(
    gradient: &Tensor,
    [left, right]: &[Tensor; 2],
) -> Result<Vec<Tensor>, RenderError> {
    let of = |factor: &Tensor, other: &Tensor| -> Result<Tensor, RenderError> {
        let part = gradient.f_mul(other)?;
        if factor.size() == part.size() {
            return Ok(part);
        }
        // Image by image: what a tile gives must not depend on what else is in the batch.
        let images = (0..part.size4()?.0).map(|image| {
            Ok(part.f_narrow(0, image, 1)?.f_sum_dim_intlist(&[2i64, 3][..], true, None::<Kind>)?)
        });
        Ok(Tensor::f_cat(&images.collect::<Result<Vec<_>, RenderError>>()?, 0)?)
    };
    Ok(vec![of(left, right)?, of(right, left)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_as_values_are() {
        for bound in [6.0, 0.1, -0.3, 1e-3, 255.5, f32::INFINITY, f32::NEG_INFINITY] {
            let [low, high] = bounds(bound, bound, Kind::BFloat16);
            let expected = Tensor::from(bound).to_kind(Kind::BFloat16).double_value(&[]);
            assert_eq!((low, high), (expected, expected));
            assert_eq!(bounds(bound, bound, Kind::Float), [f64::from(bound); 2]);
        }
    }
}
