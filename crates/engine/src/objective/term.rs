//! One term of an objective: what it measures in its layer, and its derivative by the activations.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use super::{
    super::{RenderError, guide::Guide},
    direction::Direction,
};
use reverie_dream::spec::{Objective, ObjectiveKind, Spot};
use reverie_graph::{Network, NodeId, Op};

/// One objective of a spec, bound to a network.
pub(super) struct Term {
    pub(super) kind: ObjectiveKind,
    pub(super) weight: f64,
    /// Channels, or the class; all where there are none.
    channels: Vec<i64>,
    /// Whether the layer's classes have to be made to compete first.
    softmax: bool,
    /// [`Self::channels`] on the device.
    index: OnceCell<Tensor>,
    /// What a term that follows a guide image follows, once [`BoundObjective::guided_by`](super::BoundObjective::guided_by) has been told.
    pub(super) guide: Option<Guide>,
    /// Where a term of kind `direction` leads.
    direction: Option<Direction>,
    /// Where in the picture the term counts; everywhere where there is none.
    pub(super) spot: Option<Spot>,
    /// How much it counts at each position of the tiles that [`BoundObjective::lit`](super::BoundObjective::lit) was told of: `[N, 1, H, W]` float64.
    pub(super) light: Option<Tensor>,
    /// Mean of [`Self::light`] over a window that sees parts of the picture more than once; 1 over any other.
    pub(super) light_mean: f64,
}

/// What a term measures in a layer.
pub(super) struct Picked {
    /// The wanted channels. Of a guide: the dot product of each position with the one that it follows, `[P]`. Of a direction:
    /// what each position has of it, `[N, 1, H, W]` or `[rows, 1]`.
    values: Tensor,
    /// How much each position counts, `[N, 1, H, W]`; all alike where there is none.
    light: Option<Tensor>,
    /// Of a guide: which position of it that is, `[P]`.
    followed: Option<Tensor>,
}

impl Term {
    /// That of `objective`, at its `layer`.
    pub(super) fn new(objective: &Objective, network: &Network, layer: NodeId) -> Self {
        // A layer that is a softmax already holds probabilities.
        let softmax = objective.kind == ObjectiveKind::Probability && network.node(layer).op != Op::Softmax;
        let channels = match objective.class {
            Some(class) => vec![i64::from(class)],
            None => objective.channels.iter().map(|&channel| i64::from(channel)).collect(),
        };
        let direction = (objective.kind == ObjectiveKind::Direction)
            .then(|| Direction::of(objective, network.channels(layer)));
        Self {
            kind: objective.kind,
            weight: objective.weight,
            channels,
            softmax,
            index: OnceCell::new(),
            guide: None,
            direction,
            spot: objective.at,
            light: None,
            light_mean: 1.0,
        }
    }

    /// Uploads what it needs to `device`, so that no pass has to.
    pub(super) fn on(&self, device: Device) -> Result<(), RenderError> {
        if !self.channels.is_empty() {
            self.index(device)?;
        }
        if let Some(direction) = &self.direction {
            direction.on(device)?;
        }
        Ok(())
    }

    /// Whether `other`, of the same layer, is the same function of it. What is lit is of tiles of its own.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let unlit = self.light.is_none() && other.light.is_none();
        unlit
            && (self.kind, self.weight, self.softmax, self.spot)
                == (other.kind, other.weight, other.softmax, other.spot)
            && (&self.channels, &self.guide, &self.direction)
                == (&other.channels, &other.guide, &other.direction)
    }

    /// The activation in float32 or better, its classes made to compete where that is wanted.
    pub(super) fn competing(&self, activation: &Tensor) -> Result<Tensor, RenderError> {
        // Sums over a layer need more digits than bfloat16 has.
        let exact = match activation.f_kind()? {
            Kind::BFloat16 => activation.f_to_kind(Kind::Float)?,
            _ => activation.shallow_clone(),
        };
        Ok(if self.softmax { exact.f_softmax(1, None::<Kind>)? } else { exact })
    }

    /// What is measured of a layer: of `count` tiles from `tile` on.
    pub(super) fn picked(&self, competing: &Tensor, tile: i64, count: i64) -> Result<Picked, RenderError> {
        if self.kind.follows_guide() {
            let (values, followed) = self.guide()?.best(competing)?;
            return Ok(Picked { values, light: None, followed: Some(followed) });
        }
        let values = match &self.direction {
            Some(direction) => direction.values(competing)?,
            None if self.channels.is_empty() => competing.shallow_clone(),
            None => competing.f_index_select(1, self.index(competing.device())?)?,
        };
        let on = |light: &Tensor| {
            let own = light.f_narrow(0, tile, count)?;
            own.f_to_kind(values.f_kind()?)?.f_to_device(values.device())
        };
        let light = self.light.as_ref().map(on).transpose()?;
        Ok(Picked { values, light, followed: None })
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

    /// What the term is a mean or a sum over.
    fn measured(&self, picked: &Picked) -> Result<Tensor, RenderError> {
        let values = match self.kind {
            ObjectiveKind::L2 => picked.values.f_square()?,
            _ => picked.values.shallow_clone(),
        };
        Ok(match &picked.light {
            Some(light) => values.f_mul(&light.f_div_scalar(self.light_mean)?)?,
            None => values,
        })
    }

    /// The term's value for one tile, without its weight; a scalar.
    pub(super) fn value(&self, picked: &Picked) -> Result<Tensor, RenderError> {
        let measured = self.measured(picked)?;
        Ok(if self.kind.is_of_class() {
            measured.f_sum(None::<Kind>)?
        } else {
            measured.f_mean(None::<Kind>)?
        })
    }

    /// [`Self::value`] of each of so many tiles, `[tiles]`.
    pub(super) fn values(&self, picked: &Picked, tiles: i64) -> Result<Tensor, RenderError> {
        if tiles == 1 {
            return Ok(self.value(picked)?.f_reshape([1])?);
        }
        let measured = self.measured(picked)?;
        let (measured, all) = match measured.dim() {
            4 => (measured, &[1i64, 2, 3][..]),
            // Several rows, or positions, may be of one tile.
            _ => (measured.f_reshape([tiles, -1])?, &[1i64][..]),
        };
        Ok(if self.kind.is_of_class() {
            measured.f_sum_dim_intlist(all, false, None::<Kind>)?
        } else {
            measured.f_mean_dim(all, false, None::<Kind>)?
        })
    }

    /// The derivative of `slope ·` [`Self::value`] (times [`Self::light_mean`]: a pixel that is seen twice is climbed once) with respect to the activations of so many tiles, given what
    /// [`Self::competing`] and [`Self::picked`] made of them:
    /// `slope / n` of a mean over n values, `2 · slope · x / n` of that of squares, `slope` of a sum; nothing for channels
    /// that were not picked; of a guide `slope / n` times the positions that are followed; of a direction what [`Direction`] says;
    /// each times how much its position counts. Before a softmax y, `Σ_k slope · y_k · (δ_jk − y_j)` over the picked classes k.
    pub(super) fn derivative(
        &self,
        competing: &Tensor,
        Picked { values: picked, light, followed }: &Picked,
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
        if let Some(direction) = &self.direction {
            let each = match light {
                Some(light) => light.f_mul_scalar(each)?,
                None => Tensor::f_full([], each, (competing.f_kind()?, competing.device()))?,
            };
            return direction.derivative(competing, &each);
        }
        let of_picked = match self.kind {
            ObjectiveKind::L2 => picked.f_mul_scalar(2.0 * each)?,
            kind => picked.f_full_like(if kind.is_of_class() { slope } else { each })?,
        };
        let of_picked = match light {
            Some(light) => of_picked.f_mul(light)?,
            None => of_picked,
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
        let index = OnceCell::new();
        if let Some(known) = self.index.get() {
            // The cell is empty, so this sets it.
            let _ = index.set(known.shallow_clone());
        }
        Self {
            index,
            channels: self.channels.clone(),
            guide: self.guide.clone(),
            direction: self.direction.clone(),
            light: self.light.as_ref().map(Tensor::shallow_clone),
            ..*self
        }
    }
}
