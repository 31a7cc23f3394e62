//! The scalar that a dream climbs, and its gradient with respect to a tile of the image.

use tch::{Kind, Tensor};

use super::{RenderError, exec::Executor};
use crate::{
    graph::{NodeId, Op, Shape},
    spec::{Objective, ObjectiveKind},
};

/// A spec's objectives, bound to the nodes of a network.
pub(super) struct Goal {
    terms: Vec<Term>,
    layers: Vec<NodeId>,
}

struct Term {
    kind: ObjectiveKind,
    weight: f64,
    /// Channels or the class, `[n]` int64 on the device; `None` means all channels.
    channels: Option<Tensor>,
    /// Whether the layer's classes have to be made to compete first.
    softmax: bool,
}

impl Goal {
    /// Looks the layers up and moves the channel lists to the image's device.
    pub(super) fn new(
        executor: &Executor,
        objectives: &[Objective],
        device: tch::Device,
    ) -> Result<Self, RenderError> {
        let mut terms = Vec::with_capacity(objectives.len());
        let mut layers = Vec::with_capacity(objectives.len());
        for objective in objectives {
            let layer = executor.network().find(&objective.layer)?;
            layers.push(layer);
            // A layer that is a softmax already holds probabilities.
            let softmax = objective.kind == ObjectiveKind::Probability
                && executor.network().node(layer).op != Op::Softmax;
            let wanted: Vec<i64> = match objective.class {
                Some(class) => vec![i64::from(class)],
                None => objective.channels.iter().map(|&channel| i64::from(channel)).collect(),
            };
            let channels = if wanted.is_empty() {
                None
            } else {
                Some(Tensor::f_from_slice(&wanted)?.f_to_device(device)?)
            };
            terms.push(Term { kind: objective.kind, weight: objective.weight, channels, softmax });
        }
        Ok(Self { terms, layers })
    }

    /// Image pixels between neighbouring positions of the deepest layer; 1 where no layer has positions.
    pub(super) fn stride(&self, executor: &Executor) -> i64 {
        executor.network().stride(&self.layers) as i64
    }

    /// Whether the layers can be computed for an image of this size.
    pub(super) fn fits(&self, executor: &Executor, height: i64, width: i64) -> bool {
        let [height, width] = [height, width].map(|extent| usize::try_from(extent).unwrap_or(0));
        executor.network().shapes(&self.layers, height, width).is_ok()
    }

    /// Weighted sum of all terms for one tile, `[1, 3, H, W]` in 0–255; a scalar tensor.
    pub(super) fn score(&self, executor: &Executor, tile: &Tensor) -> Result<Tensor, RenderError> {
        let values = self.values(&executor.forward(tile, &self.layers)?)?;
        self.sum(&values, self.terms.iter().map(|term| term.weight))
    }

    /// Score of one tile and its gradient, `[1, 3, H, W]` float32.
    ///
    /// A mean over the positions of a layer is divided by their number, so its derivative shrinks as the tile grows.
    /// Where the tile is part of a `whole` image (its [`Self::positions`]), the derivative is that of the mean over
    /// the whole, so that tiles of different sizes agree.
    pub(super) fn gradient(
        &self,
        executor: &Executor,
        tile: &Tensor,
        whole: Option<&[f64]>,
    ) -> Result<(f64, Tensor), RenderError> {
        let tape = executor.record(tile, &self.layers)?;
        // Autograd differentiates the terms themselves, which are small; from there the executor goes on.
        let leaves = tape.activations.iter().map(|layer| Ok(layer.f_detach()?.f_set_requires_grad(true)?));
        let leaves = leaves.collect::<Result<Vec<Tensor>, RenderError>>()?;
        let values = self.values(&leaves)?;
        let score = self.sum(&values, self.terms.iter().map(|term| term.weight))?;
        let climbed = match whole {
            Some(whole) => {
                let (_, _, height, width) = tile.size4()?;
                let part = self.positions(executor, height, width)?;
                let shares = part.into_iter().zip(whole).map(|(part, whole)| part / whole);
                self.sum(&values, self.terms.iter().zip(shares).map(|(term, share)| term.weight * share))?
            }
            None => score.shallow_clone(),
        };
        let seeds = Tensor::f_run_backward(&[&climbed], &leaves, false, false)?;
        Ok((score.f_double_value(&[])?, tape.gradient(seeds)?))
    }

    /// The value of each term, scalars.
    fn values(&self, activations: &[Tensor]) -> Result<Vec<Tensor>, RenderError> {
        self.terms.iter().zip(activations).map(|(term, activation)| term.value(activation)).collect()
    }

    fn sum(&self, values: &[Tensor], weights: impl Iterator<Item = f64>) -> Result<Tensor, RenderError> {
        let mut sum: Option<Tensor> = None;
        for (value, weight) in values.iter().zip(weights) {
            let value = value.f_mul_scalar(weight)?;
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
        executor: &Executor,
        height: i64,
        width: i64,
    ) -> Result<Vec<f64>, RenderError> {
        let shapes = executor.network().shapes(&self.layers, height as usize, width as usize)?;
        let of = |(term, layer): (&Term, &NodeId)| match (term.kind, shapes[layer.0]) {
            (ObjectiveKind::Class | ObjectiveKind::Probability, Some(Shape::Map { .. })) => 1.0,
            (_, Some(Shape::Map { height: rows, width: columns, .. })) => (rows * columns) as f64,
            (_, Some(Shape::Rows { .. }) | None) => (height * width) as f64,
        };
        Ok(self.terms.iter().zip(&self.layers).map(of).collect())
    }
}

impl Term {
    /// A scalar in float32 or better.
    fn value(&self, activation: &Tensor) -> Result<Tensor, RenderError> {
        // Sums over a layer need more digits than bfloat16 has.
        let exact = match activation.f_kind()? {
            Kind::BFloat16 => activation.f_to_kind(Kind::Float)?,
            _ => activation.shallow_clone(),
        };
        let competing = if self.softmax { exact.f_softmax(1, None::<Kind>)? } else { exact };
        let picked = match &self.channels {
            Some(channels) => competing.f_index_select(1, channels)?,
            None => competing,
        };
        Ok(match self.kind {
            ObjectiveKind::Mean => picked.f_mean(None::<Kind>)?,
            ObjectiveKind::L2 => picked.f_square()?.f_mean(None::<Kind>)?,
            ObjectiveKind::Class | ObjectiveKind::Probability => picked.f_sum(None::<Kind>)?,
        })
    }
}
