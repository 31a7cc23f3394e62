//! The scalar that a dream maximises, and its gradient with respect to tiles of the image.

#[cfg(test)]
mod tests;

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use super::{RenderError, exec::Executor, guide::Guide};
use reverie_dream::spec::{Objective, ObjectiveKind};
use reverie_graph::{Network, NodeId, Op, Shape};

/// A spec's objectives, bound to the nodes of a network.
#[derive(Clone)]
pub(super) struct BoundObjective {
    terms: Vec<Term>,
    layers: Vec<NodeId>,
}

struct Term {
    kind: ObjectiveKind,
    weight: f64,
    /// Channels, or the class; all where there are none.
    channels: Vec<i64>,
    /// Whether the layer's classes have to be made to compete first.
    softmax: bool,
    /// [`Self::channels`] on the device.
    index: OnceCell<Tensor>,
    /// What a term that follows a guide image follows, once [`BoundObjective::guided_by`] has been told.
    guide: Option<Guide>,
}

/// What a term measures in a layer.
struct Picked {
    /// The wanted channels. Of a guide: the dot product of each position with the one that it follows, `[P]`.
    values: Tensor,
    /// Of a guide: which position of it that is, `[P]`.
    followed: Option<Tensor>,
}

impl BoundObjective {
    /// Looks the layers up.
    pub(super) fn new(network: &Network, objectives: &[Objective]) -> Result<Self, RenderError> {
        let mut terms = Vec::with_capacity(objectives.len());
        let mut layers = Vec::with_capacity(objectives.len());
        for objective in objectives {
            let layer = network.find(&objective.layer)?;
            layers.push(layer);
            // A layer that is a softmax already holds probabilities.
            let softmax =
                objective.kind == ObjectiveKind::Probability && network.node(layer).op != Op::Softmax;
            let channels = match objective.class {
                Some(class) => vec![i64::from(class)],
                None => objective.channels.iter().map(|&channel| i64::from(channel)).collect(),
            };
            terms.push(Term {
                kind: objective.kind,
                weight: objective.weight,
                channels,
                softmax,
                index: OnceCell::new(),
                guide: None,
            });
        }
        Ok(Self { terms, layers })
    }

    /// Binds the terms that follow a guide image to its activations at [`Self::layers`].
    pub(super) fn guided_by(mut self, activations: &[Tensor]) -> Result<Self, RenderError> {
        for (term, activation) in self.terms.iter_mut().zip(activations) {
            if term.kind.follows_guide() {
                let unit = term.kind == ObjectiveKind::GuideCosine;
                term.guide = Some(Guide::new(&term.competing(activation)?, unit)?);
            }
        }
        Ok(self)
    }

    /// The layers that the network is run for.
    pub(super) fn layers(&self) -> &[NodeId] {
        &self.layers
    }

    /// Image pixels between neighbouring positions of the deepest layer; 1 where no layer has positions.
    pub(super) fn stride(&self, network: &Network) -> i64 {
        network.stride(&self.layers) as i64
    }

    /// Whether the layers can be computed for an image of this size.
    pub(super) fn fits(&self, network: &Network, height: i64, width: i64) -> bool {
        let [height, width] = [height, width].map(|extent| usize::try_from(extent).unwrap_or(0));
        network.shapes(&self.layers, height, width).is_ok()
    }

    /// Weighted sum of all terms for one tile, `[1, 3, H, W]` in 0–255; a scalar tensor. Differentiable by autograd, which
    /// the tests compare [`gradients`] with.
    pub(super) fn score(&self, executor: &Executor, tile: &Tensor) -> Result<Tensor, RenderError> {
        let layers = executor.forward(tile, &self.layers)?;
        let values = self.terms.iter().zip(&layers).map(|(term, layer)| {
            let whole = term.competing(layer)?;
            term.value(&term.picked(&whole)?)
        });
        self.sum(&values.collect::<Result<Vec<_>, _>>()?)
    }

    /// [`Self::score`] of several tiles, `[N, 3, H, W]`; `[N]` float64.
    pub(super) fn scores(&self, executor: &Executor, tiles: &Tensor) -> Result<Tensor, RenderError> {
        let _ungraded = tch::no_grad_guard();
        let count = tiles.size4()?.0;
        let layers = executor.forward(tiles, &self.layers)?;
        let values = self.terms.iter().zip(&layers).map(|(term, layer)| {
            let whole = term.competing(layer)?;
            term.values(&term.picked(&whole)?, count)
        });
        Ok(self.sum(&values.collect::<Result<Vec<_>, _>>()?)?.f_to_kind(Kind::Double)?)
    }

    /// Score of one tile and its gradient, as [`gradients`] of a batch of one.
    pub(super) fn gradient(&self, executor: &Executor, tile: &Tensor) -> Result<(f64, Tensor), RenderError> {
        let (scores, gradient) = gradients(executor, tile, &[TileObjective { bound: self, whole: None }])?;
        Ok((scores.f_sum(Kind::Double)?.f_double_value(&[])?, gradient))
    }

    /// Uploads what the terms need to `device`, so that no pass has to.
    pub(super) fn on(self, device: Device) -> Result<Self, RenderError> {
        for term in self.terms.iter().filter(|term| !term.channels.is_empty()) {
            term.index(device)?;
        }
        Ok(self)
    }

    /// Whether `other`, which wants the same layers, is the same function of them.
    fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Term, &Term)| {
            (one.kind, one.weight, &one.channels, one.softmax, &one.guide)
                == (other.kind, other.weight, &other.channels, other.softmax, &other.guide)
        };
        std::ptr::eq(self, other)
            || (self.terms.len() == other.terms.len() && self.terms.iter().zip(&other.terms).all(same))
    }

    /// The weighted sum of the terms' values.
    fn sum(&self, values: &[Tensor]) -> Result<Tensor, RenderError> {
        let mut sum: Option<Tensor> = None;
        for (value, term) in values.iter().zip(&self.terms) {
            let value = value.f_mul_scalar(term.weight)?;
            sum = Some(match sum {
                Some(sum) => sum.f_add(&value)?,
                None => value,
            });
        }
        sum.ok_or_else(|| RenderError::Engine("a spec without objectives".into()))
    }

    /// What each term is a mean over, for an image of this size: the positions of its layer, or the image's pixels
    /// where that has none; classes are sums.
    pub(super) fn positions(
        &self,
        network: &Network,
        height: i64,
        width: i64,
    ) -> Result<Vec<f64>, RenderError> {
        let shapes = network.shapes(&self.layers, height as usize, width as usize)?;
        let of = |(term, layer): (&Term, &NodeId)| match (term.kind, shapes[layer.0]) {
            (ObjectiveKind::Class | ObjectiveKind::Probability, Some(Shape::Map { .. })) => 1.0,
            (_, Some(Shape::Map { height: rows, width: columns, .. })) => (rows * columns) as f64,
            (_, Some(Shape::Rows { .. }) | None) => (height * width) as f64,
        };
        Ok(self.terms.iter().zip(&self.layers).map(of).collect())
    }
}

/// What is climbed at one tile of a batch.
#[derive(Clone, Copy)]
pub(super) struct TileObjective<'a> {
    pub(super) bound: &'a BoundObjective,
    /// [`BoundObjective::positions`] of the image that the tile is part of.
    ///
    /// A mean over the positions of a layer is divided by their number, so its derivative shrinks as the tile grows.
    /// With these the derivative is that of the mean over the whole, so that tiles of different sizes agree.
    pub(super) whole: Option<&'a [f64]>,
}

impl TileObjective<'_> {
    /// Whether `other`, which wants the same layers, climbs the same function.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.whole == other.whole && self.bound.is_same(other.bound)
    }
}

/// Scores of `tiles`, `[N, 3, H, W]` in 0–255, as `[N]` float64 on the device, and their gradients, `[N, 3, H, W]` float32.
/// There is one objective per tile, all over the same layers. Except on the library path, a tile's results do not depend
/// on what else is in the batch.
///
/// The derivatives of the terms are written out rather than left to autograd, which takes longer to set up than they take
/// to compute. On the library path tiles with the same objective are measured together: there an operation costs more than
/// what it computes.
pub(super) fn gradients(
    executor: &Executor,
    tiles: &Tensor,
    tile_objectives: &[TileObjective<'_>],
) -> Result<(Tensor, Tensor), RenderError> {
    let Some(TileObjective { bound: BoundObjective { layers, .. }, .. }) = tile_objectives.first() else {
        return Err(RenderError::Engine("a batch without tiles".into()));
    };
    let (_, _, height, width) = tiles.size4()?;
    let tape = executor.forward_with_tape(tiles, layers)?;
    let _ungraded = tch::no_grad_guard();
    let mut scores = Vec::with_capacity(tile_objectives.len());
    let mut seeds: Vec<Vec<Tensor>> = layers.iter().map(|_| Vec::new()).collect();
    let mut first = 0;
    for run in tile_objectives.chunk_by(|one, next| executor.is_library() && one.is_same(next)) {
        let (TileObjective { bound, whole }, count) = (run[0], run.len() as i64);
        let shares = match whole {
            Some(whole) => {
                let part = bound.positions(executor.network(), height, width)?;
                part.into_iter().zip(whole).map(|(part, whole)| part / whole).collect()
            }
            None => vec![1.0; bound.terms.len()],
        };
        let mut values = Vec::with_capacity(bound.terms.len());
        for (index, (term, layer)) in bound.terms.iter().zip(&tape.activations).enumerate() {
            let rows = layer.size()[0] / tile_objectives.len() as i64;
            let own = layer.f_narrow(0, first * rows, count * rows)?;
            let competing = term.competing(&own)?;
            let picked = term.picked(&competing)?;
            values.push(term.values(&picked, count)?);
            seeds[index].push(term.derivative(&competing, &picked, count, term.weight * shares[index])?);
        }
        scores.push(bound.sum(&values)?);
        first += count;
    }
    let seeds = seeds.into_iter().map(|parts| joined(&parts)).collect::<Result<Vec<_>, _>>()?;
    let gradient = tape.gradient(seeds)?;
    Ok((joined(&scores)?.f_to_kind(Kind::Double)?, gradient))
}

/// The parts, one after the other; one as it is.
fn joined(parts: &[Tensor]) -> Result<Tensor, RenderError> {
    Ok(match parts {
        [part] => part.shallow_clone(),
        parts => Tensor::f_cat(parts, 0)?,
    })
}

impl Term {
    /// The activation in float32 or better, its classes made to compete where that is wanted.
    fn competing(&self, activation: &Tensor) -> Result<Tensor, RenderError> {
        // Sums over a layer need more digits than bfloat16 has.
        let exact = match activation.f_kind()? {
            Kind::BFloat16 => activation.f_to_kind(Kind::Float)?,
            _ => activation.shallow_clone(),
        };
        Ok(if self.softmax { exact.f_softmax(1, None::<Kind>)? } else { exact })
    }

    /// What is measured of a layer.
    fn picked(&self, competing: &Tensor) -> Result<Picked, RenderError> {
        if self.kind.follows_guide() {
            let (values, followed) = self.guide()?.best(competing)?;
            return Ok(Picked { values, followed: Some(followed) });
        }
        let values = if self.channels.is_empty() {
            competing.shallow_clone()
        } else {
            competing.f_index_select(1, self.index(competing.device())?)?
        };
        Ok(Picked { values, followed: None })
    }

    fn guide(&self) -> Result<&Guide, RenderError> {
        self.guide.as_ref().ok_or(RenderError::NoGuide)
    }

    /// [`Self::channels`] on the device; uploaded once.
    fn index(&self, device: Device) -> Result<&Tensor, RenderError> {
        if let Some(index) = self.index.get().filter(|index| index.device() == device) {
            return Ok(index);
        }
        let index = Tensor::f_from_slice(&self.channels)?.f_to_device(device)?;
        Ok(self.index.get_or_init(|| index))
    }

    /// The term's value for one tile, without its weight; a scalar.
    fn value(&self, Picked { values: picked, .. }: &Picked) -> Result<Tensor, RenderError> {
        Ok(match self.kind {
            ObjectiveKind::Mean | ObjectiveKind::Guide | ObjectiveKind::GuideCosine => {
                picked.f_mean(None::<Kind>)?
            }
            ObjectiveKind::L2 => picked.f_square()?.f_mean(None::<Kind>)?,
            ObjectiveKind::Class | ObjectiveKind::Probability => picked.f_sum(None::<Kind>)?,
        })
    }

    /// [`Self::value`] of each of so many tiles, `[tiles]`.
    fn values(&self, measured: &Picked, tiles: i64) -> Result<Tensor, RenderError> {
        if tiles == 1 {
            return Ok(self.value(measured)?.f_reshape([1])?);
        }
        let picked = &measured.values;
        let (picked, all) = match picked.dim() {
            4 => (picked.shallow_clone(), &[1i64, 2, 3][..]),
            // Several rows, or positions, may be of one tile.
            _ => (picked.f_reshape([tiles, -1])?, &[1i64][..]),
        };
        Ok(match self.kind {
            ObjectiveKind::Mean | ObjectiveKind::Guide | ObjectiveKind::GuideCosine => {
                picked.f_mean_dim(all, false, None::<Kind>)?
            }
            ObjectiveKind::L2 => picked.f_square()?.f_mean_dim(all, false, None::<Kind>)?,
            ObjectiveKind::Class | ObjectiveKind::Probability => {
                picked.f_sum_dim_intlist(all, false, None::<Kind>)?
            }
        })
    }

    /// The derivative of `slope ·` [`Self::value`] with respect to the activations of so many tiles, given what
    /// [`Self::competing`] and [`Self::picked`] made of them:
    /// `slope / n` of a mean over n values, `2 · slope · x / n` of that of squares, `slope` of a sum; nothing for channels
    /// that were not picked; of a guide `slope / n` times the positions that are followed. Before a softmax y, `Σ_k slope · y_k · (δ_jk − y_j)` over the picked classes k.
    fn derivative(
        &self,
        competing: &Tensor,
        Picked { values: picked, followed }: &Picked,
        tiles: i64,
        slope: f64,
    ) -> Result<Tensor, RenderError> {
        let count = picked.numel() as i64 / tiles;
        let each = match competing.f_kind()? {
            Kind::Double => slope / count as f64,
            // As autograd rounds it.
            _ => f64::from(slope as f32 / count as f32),
        };
        if let Some(followed) = followed {
            return self.guide()?.at(followed, competing, each);
        }
        let of_picked = match self.kind {
            ObjectiveKind::Mean | ObjectiveKind::Guide | ObjectiveKind::GuideCosine => {
                picked.f_full_like(each)?
            }
            ObjectiveKind::L2 => picked.f_mul_scalar(2.0 * each)?,
            ObjectiveKind::Class | ObjectiveKind::Probability => picked.f_full_like(slope)?,
        };
        let of_all = if self.channels.is_empty() {
            of_picked
        } else {
            let index = self.index(competing.device())?;
            competing.f_zeros_like()?.f_index_add_(1, index, &of_picked)?
        };
        if !self.softmax {
            return Ok(of_all);
        }
        Ok(Tensor::f_internal_softmax_backward_data(&of_all, competing, 1, competing.f_kind()?)?)
    }
}

impl Clone for Term {
    fn clone(&self) -> Self {
        let Self { kind, weight, ref channels, softmax, ref index, ref guide } = *self;
        let known = OnceCell::new();
        if let Some(index) = index.get() {
            // The cell is empty, so this sets it.
            let _ = known.set(index.shallow_clone());
        }
        Self { kind, weight, channels: channels.clone(), softmax, index: known, guide: guide.clone() }
    }
}
