//! The scalar that a dream maximises, and its gradient with respect to tiles of the image.

mod direction;
mod shares;
mod term;
#[cfg(test)]
mod tests;

use tch::{Device, Kind, Tensor};

pub(super) use self::shares::Shares;
use self::term::Term;
use super::{
    RenderError, error::caught, exec::Executor, guide::Guide, spotlight::Spotlight, tile::Tile,
    transformation::Transformation,
};
use reverie_dream::{
    plan::Strip,
    spec::{Objective, ObjectiveKind},
};
use reverie_graph::{Network, NodeId, Shape};

/// A spec's objectives, bound to the nodes of a network.
#[derive(Clone)]
pub(super) struct BoundObjective {
    terms: Vec<Term>,
    layers: Vec<NodeId>,
}

impl BoundObjective {
    /// Looks the layers up.
    pub(super) fn new(network: &Network, objectives: &[Objective]) -> Result<Self, RenderError> {
        let mut terms = Vec::with_capacity(objectives.len());
        let mut layers = Vec::with_capacity(objectives.len());
        for objective in objectives {
            let layer = network.find(&objective.layer)?;
            layers.push(layer);
            terms.push(Term::new(objective, network, layer));
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

    /// The same for `tiles`, all of one size, of a picture of `[height, width]` pixels that was transformed as `seen` says and then
    /// rolled by `shift` = (x, y): with what counts where in each of them. None where all of it counts alike.
    pub(super) fn lit(
        &self,
        network: &Network,
        tiles: &[Tile],
        [height, width]: [i64; 2],
        shift: (i64, i64),
        seen: Option<&Transformation>,
    ) -> Result<Option<Self>, RenderError> {
        let Some(first) = tiles.first().filter(|_| self.terms.iter().any(|term| term.spot.is_some())) else {
            return Ok(None);
        };
        let [rows, columns] = first.size().map(|extent| usize::try_from(extent).unwrap_or(0));
        let shapes = network.shapes(&self.layers, rows, columns)?;
        let mut lit = self.clone();
        for (term, layer) in lit.terms.iter_mut().zip(&self.layers) {
            let (Some(spot), Some(Shape::Map { height: rows, width: columns, .. })) =
                (&term.spot, shapes[layer.0])
            else {
                continue;
            };
            let spot = seen.map_or(*spot, |seen| seen.spot(spot, height, width));
            let spotlight = Spotlight::new(&spot, height, width);
            let down = tiles.iter().flat_map(|tile| spotlight.rows.of_window(tile.row.window, shift.1, rows));
            let across = tiles
                .iter()
                .flat_map(|tile| spotlight.columns.of_window(tile.column.window, shift.0, columns));
            let (down, across) = (down.collect::<Vec<f64>>(), across.collect::<Vec<f64>>());
            term.light_mean = repeated(&down, first.row, height) * repeated(&across, first.column, width);
            let [down, across] = [Tensor::f_from_slice(&down)?, Tensor::f_from_slice(&across)?];
            let down = down.f_reshape([-1, 1, rows as i64, 1])?;
            term.light = Some(down.f_mul(&across.f_reshape([-1, 1, 1, columns as i64])?)?);
        }
        Ok(Some(lit))
    }

    /// Whether it is of certain tiles, see [`Self::lit`].
    pub(super) fn is_lit(&self) -> bool {
        self.terms.iter().any(|term| term.light.is_some())
    }

    /// The layers that the network is run for.
    pub(super) fn layers(&self) -> &[NodeId] {
        &self.layers
    }

    /// Image pixels between neighbouring positions of the deepest layer; 1 where no layer has positions.
    pub(super) fn stride(&self, network: &Network) -> i64 {
        network.stride(&self.layers) as i64
    }

    /// Whether the layers can be computed for an image of this size; if not, why.
    pub(super) fn check(&self, network: &Network, height: i64, width: i64) -> Result<(), RenderError> {
        let [height, width] = [height, width].map(|extent| usize::try_from(extent).unwrap_or(0));
        network.shapes(&self.layers, height, width)?;
        Ok(())
    }

    /// Weighted sum of all terms for one tile, `[1, 3, H, W]` in 0–255; a scalar tensor. Differentiable by autograd, which
    /// the tests compare [`gradients`] with.
    pub(super) fn score(&self, executor: &Executor, tile: &Tensor) -> Result<Tensor, RenderError> {
        let layers = executor.forward(tile, &self.layers)?;
        let values = self.terms.iter().zip(&layers).map(|(term, layer)| {
            let whole = term.competing(layer)?;
            term.value(&term.picked(&whole, 0, 1)?)
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
            term.values(&term.picked(&whole, 0, count)?, count)
        });
        Ok(self.sum(&values.collect::<Result<Vec<_>, _>>()?)?.f_to_kind(Kind::Double)?)
    }

    /// Score of one tile and its gradient, as [`gradients`] of a batch of one.
    pub(super) fn gradient(&self, executor: &Executor, tile: &Tensor) -> Result<(f64, Tensor), RenderError> {
        let (scores, gradient) =
            gradients(executor, tile, &[TileObjective { bound: self, whole: None, tile: 0 }])?;
        Ok((scores.f_sum(Kind::Double)?.f_double_value(&[])?, gradient))
    }

    /// Uploads what the terms need to `device`, so that no pass has to.
    pub(super) fn on(self, device: Device) -> Result<Self, RenderError> {
        self.terms.iter().try_for_each(|term| term.on(device))?;
        Ok(self)
    }

    /// Whether `other`, which wants the same layers, is the same function of them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.terms.len() == other.terms.len()
                && self.terms.iter().zip(&other.terms).all(|(one, other)| one.is_same(other)))
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
            (kind, Some(Shape::Map { .. })) if kind.is_of_class() => 1.0,
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
    /// Which of the tiles that [`BoundObjective::lit`] was told of it is; of no meaning elsewhere.
    pub(super) tile: usize,
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
    let shares = Shares::new(executor, tiles, tile_objectives)?;
    gradients_by(executor, tiles, tile_objectives, &shares)
}

/// [`gradients`], where the tiles' shares are known. On the library path they are numbers on the device: the work is the same
/// whatever they are, and can be recorded.
pub(super) fn gradients_by(
    executor: &Executor,
    tiles: &Tensor,
    tile_objectives: &[TileObjective<'_>],
    shares: &Shares,
) -> Result<(Tensor, Tensor), RenderError> {
    caught(|| uncaught_gradients(executor, tiles, tile_objectives, shares))
}

fn uncaught_gradients(
    executor: &Executor,
    tiles: &Tensor,
    tile_objectives: &[TileObjective<'_>],
    shares: &Shares,
) -> Result<(Tensor, Tensor), RenderError> {
    let Some(TileObjective { bound: BoundObjective { layers, .. }, .. }) = tile_objectives.first() else {
        return Err(RenderError::Engine("a batch without tiles".into()));
    };
    let tape = executor.forward_with_tape(tiles, layers)?;
    let _ungraded = tch::no_grad_guard();
    let mut scores = Vec::with_capacity(tile_objectives.len());
    let mut seeds: Vec<Vec<Tensor>> = layers.iter().map(|_| Vec::new()).collect();
    let mut first = 0;
    let together = |one: &TileObjective<'_>, next: &TileObjective<'_>| {
        executor.is_library() && one.bound.is_same(next.bound)
    };
    for run in tile_objectives.chunk_by(together) {
        let (TileObjective { bound, tile, .. }, count) = (run[0], run.len() as i64);
        let mut values = Vec::with_capacity(bound.terms.len());
        for (index, (term, layer)) in bound.terms.iter().zip(&tape.activations).enumerate() {
            let rows = layer.size()[0] / tile_objectives.len() as i64;
            let own = layer.f_narrow(0, first * rows, count * rows)?;
            let competing = term.competing(&own)?;
            let picked = term.picked(&competing, tile as i64, count)?;
            values.push(term.values(&picked, count)?);
            let slope = term.weight * shares.factor(index, first);
            seeds[index].push(term.derivative(&competing, &picked, count, slope)?);
        }
        scores.push(bound.sum(&values)?);
        first += count;
    }
    let seeds = seeds.into_iter().enumerate().map(|(index, parts)| shares.of(index, joined(&parts)?));
    let gradient = tape.gradient(seeds.collect::<Result<Vec<_>, _>>()?)?;
    Ok((joined(&scores)?.f_to_kind(Kind::Double)?, gradient))
}

/// The mean of `weights` along a window that is longer than the picture, whose `extent` has weights of 1 in the mean: what is seen
/// twice makes it more or less. 1 for any other window.
fn repeated(weights: &[f64], strip: Strip, extent: i64) -> f64 {
    if strip.window.length > extent { weights.iter().sum::<f64>() / weights.len().max(1) as f64 } else { 1.0 }
}

/// The parts, one after the other; one as it is.
fn joined(parts: &[Tensor]) -> Result<Tensor, RenderError> {
    Ok(match parts {
        [part] => part.shallow_clone(),
        parts => Tensor::f_cat(parts, 0)?,
    })
}
