//! Following a guide image: what the dream takes up from another picture.
//!
//! As in the notebook that google/deepdream published in 2015 ("Controlling dreams"). A layer's activations are read as one
//! vector of C channels per position: `x_p` of the dream, `y_m` of the guide. The objective is
//!
//! ```text
//! E = 1/P · Σ_p max_m ⟨x_p, y_m⟩        ∂E/∂x_p = 1/P · y_m(p),  m(p) = argmax_m ⟨x_p, y_m⟩
//! ```
//!
//! The chosen position m(p) counts as constant: it is so almost everywhere, and where two are equal either is a subgradient.
//! The notebook ascends along `y_m(p)` too. The guide's own features never change, so they are computed once per render.
//!
//! With plain dot products the guide's strongest positions win nearly everywhere, since `⟨x, y⟩ = |x| |y| cos(x, y)`. The kind
//! `guide-cosine` therefore divides every `y_m` by its length first: for one `x`, the largest product is then the largest
//! cosine.

use tch::Tensor;

use super::{RenderError, library::copy};
use reverie_dream::plan::{DOTS, MAX_COLUMNS, columns_kept};

/// The features of a guide image at one layer.
pub(super) struct Guide {
    /// `[M, C]`, on the device. Clones share its memory.
    positions: Tensor,
}

impl Guide {
    /// Keeps positions of a guide's `activation`, `[1, C, H, W]` or `[rows, C]`; of length 1 where `unit`.
    pub(super) fn new(activation: &Tensor, unit: bool) -> Result<Self, RenderError> {
        let thinned = match activation.size()[..] {
            [_, _, height, width] => {
                let (rows, columns) = columns_kept(height, width);
                let rows = activation.f_index_select(2, &evenly(height, rows, activation)?)?;
                rows.f_index_select(3, &evenly(width, columns, activation)?)?
            }
            [rows, _] => activation.f_narrow(0, 0, rows.min(MAX_COLUMNS))?,
            _ => return Err(RenderError::Engine("a layer that is neither a map nor rows".into())),
        };
        let positions = by_position(&thinned)?.f_contiguous()?;
        let positions = if unit {
            let squares = positions.f_square()?.f_sum_dim_intlist(&[1i64][..], true, positions.f_kind()?)?;
            // A position without any activation stays without.
            positions.f_div(&squares.f_sqrt()?.f_clamp_min(1e-12)?)?
        } else {
            positions
        };
        Ok(Self { positions })
    }

    /// For each position of `activation`, a map or rows as in [`Self::new`] but of any number of tiles: the largest dot product
    /// with a position of the guide, and which one that is; `[P]` each.
    ///
    /// Differentiable by autograd, which takes the choice as constant too.
    pub(super) fn best(&self, activation: &Tensor) -> Result<(Tensor, Tensor), RenderError> {
        let all = by_position(activation)?;
        let (count, _) = all.size2()?;
        let (kept, _) = self.positions.size2()?;
        let across = self.positions.f_tr()?;
        let (mut values, mut chosen) = (Vec::new(), Vec::new());
        let at_once = (DOTS / kept).max(1);
        let mut first = 0;
        while first < count {
            let length = at_once.min(count - first);
            // In memory of its own: a library may sum in another order where a tile begins at another place of its batch.
            let part = copy(&all.f_narrow(0, first, length)?)?;
            let (value, index) = part.f_matmul(&across)?.f_max_dim(1, false)?;
            values.push(value);
            chosen.push(index);
            first += length;
        }
        Ok((Tensor::f_cat(&values, 0)?, Tensor::f_cat(&chosen, 0)?))
    }

    /// The positions `chosen`, `[P]`, times `factor`, in the shape and layout of the activation that they were chosen for.
    pub(super) fn at(
        &self,
        chosen: &Tensor,
        activation: &Tensor,
        factor: f64,
    ) -> Result<Tensor, RenderError> {
        let rows = self.positions.f_index_select(0, chosen)?.f_mul_scalar(factor)?;
        let [tiles, channels, height, width] = activation.size()[..] else { return Ok(rows) };
        let map = rows.f_reshape([tiles, height, width, channels])?.f_permute([0, 3, 1, 2])?;
        // The backward pass wants it to lie as the activation does.
        let mut laid = activation.f_empty_like()?;
        laid.f_copy_(&map)?;
        Ok(laid)
    }
}

/// Whether it is the same guide at the same layer: one that was computed once, for one render.
impl PartialEq for Guide {
    fn eq(&self, other: &Self) -> bool {
        self.positions.data_ptr() == other.positions.data_ptr()
    }
}

impl Clone for Guide {
    fn clone(&self) -> Self {
        Self { positions: self.positions.shallow_clone() }
    }
}

/// `[N, C, H, W]` as `[N · H · W, C]`; rows as they are.
fn by_position(activation: &Tensor) -> Result<Tensor, RenderError> {
    let [_, channels, _, _] = activation.size()[..] else { return Ok(activation.shallow_clone()) };
    Ok(activation.f_permute([0, 2, 3, 1])?.f_reshape([-1, channels])?)
}

/// `kept` of `count` indices in even steps, where `beside` is.
fn evenly(count: i64, kept: i64, beside: &Tensor) -> Result<Tensor, RenderError> {
    let indices: Vec<i64> = (0..kept).map(|index| (index * 2 + 1) * count / (kept * 2)).collect();
    Ok(Tensor::f_from_slice(&indices)?.f_to_device(beside.device())?)
}
