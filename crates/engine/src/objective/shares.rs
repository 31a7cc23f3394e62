//! What part of a whole picture each tile of a batch is.
//!
//! A mean over the positions of a layer is divided by their number. For the derivative of the mean over the whole picture, that
//! of the mean over a tile is multiplied by the tile's share of the positions. On the library path shares are numbers on the
//! device, so that passes over pictures of different sizes are the same work: a GPU records it once, and tiles of several
//! pictures go through it together.

use tch::{Kind, Tensor};

use super::{
    super::{RenderError, exec::Executor},
    TileObjective,
};

/// The shares of the tiles of a batch, by the terms of its objectives.
pub(in super::super) struct Shares {
    /// Of every term, those of all tiles.
    numbers: Vec<Vec<f64>>,
    /// The same, `[N]` float32 each; none but on the library path.
    on_device: Option<Vec<Tensor>>,
}

impl Shares {
    /// Those of `tiles`, `[N, 3, H, W]`, each of which is part of what its objective says.
    pub(in super::super) fn new(
        executor: &Executor,
        tiles: &Tensor,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<Self, RenderError> {
        let numbers = Self::numbers(executor, tiles, tile_objectives)?;
        let upload = |numbers: &Vec<f64>| {
            let shares = Tensor::f_empty([numbers.len() as i64], (Kind::Float, executor.device()))?;
            fill(&shares, numbers)?;
            Ok::<_, RenderError>(shares)
        };
        let on_device = executor.is_library().then(|| numbers.iter().map(upload).collect());
        Ok(Self { on_device: on_device.transpose()?, numbers })
    }

    /// The same as numbers, by term and tile.
    pub(in super::super) fn numbers(
        executor: &Executor,
        tiles: &Tensor,
        tile_objectives: &[TileObjective<'_>],
    ) -> Result<Vec<Vec<f64>>, RenderError> {
        let (_, _, height, width) = tiles.size4()?;
        let mut all: Vec<Vec<f64>> = Vec::new();
        // Tiles of a picture follow one another.
        for run in tile_objectives
            .chunk_by(|one, next| one.whole == next.whole && std::ptr::eq(one.bound, next.bound))
        {
            let TileObjective { bound, whole, .. } = run[0];
            let shares = match whole {
                Some(whole) => {
                    let part = bound.positions(executor.network(), height, width)?;
                    part.into_iter().zip(whole).map(|(part, whole)| part / whole).collect()
                }
                None => vec![1.0; bound.layers().len()],
            };
            all.resize_with(shares.len(), Vec::new);
            for (share, numbers) in shares.into_iter().zip(&mut all) {
                numbers.resize(numbers.len() + run.len(), share);
            }
        }
        Ok(all)
    }

    /// Becomes those of another batch of as many tiles, in the same place on the device.
    pub(in super::super) fn become_those(&mut self, numbers: Vec<Vec<f64>>) -> Result<(), RenderError> {
        if self.numbers == numbers {
            return Ok(());
        }
        // What is on the device is not known if that fails.
        self.numbers.clear();
        for (shares, numbers) in self.on_device.iter().flatten().zip(&numbers) {
            fill(shares, numbers)?;
        }
        self.numbers = numbers;
        Ok(())
    }

    /// By what the derivative of a term at a tile has to be multiplied before [`Self::of`].
    pub(super) fn factor(&self, term: usize, tile: i64) -> f64 {
        match self.on_device {
            Some(_) => 1.0,
            None => self.numbers[term][tile as usize],
        }
    }

    /// The derivatives of a term at all tiles, `[N, C, H, W]` or `[N · rows, C]`, times their shares.
    pub(super) fn of(&self, term: usize, derivatives: Tensor) -> Result<Tensor, RenderError> {
        let Some(shares) = &self.on_device else { return Ok(derivatives) };
        let shares = shares[term].f_to_kind(derivatives.f_kind()?)?;
        let shares = match derivatives.size()[..] {
            [_, _, _, _] => shares.f_view([-1, 1, 1, 1])?,
            [rows, ..] => {
                let tiles = self.numbers[term].len() as i64;
                shares.f_unsqueeze(1)?.f_expand([tiles, rows / tiles.max(1)], false)?.f_reshape([-1, 1])?
            }
            [] => return Ok(derivatives),
        };
        Ok(derivatives.f_mul(&shares)?)
    }

    /// What is on the device, for tests.
    #[cfg(test)]
    pub(in super::super) fn on_device(&self) -> Vec<Vec<f64>> {
        let read = |shares: &Tensor| Vec::try_from(shares.to_kind(Kind::Double)).unwrap();
        self.on_device.iter().flatten().map(read).collect()
    }
}

/// Writes `numbers` to `shares`, `[N]`. They are filled on the device, run by run: a copy from the processor's memory would wait for all
/// that the device has been told to do before.
fn fill(shares: &Tensor, numbers: &[f64]) -> Result<(), RenderError> {
    let mut first = 0;
    for run in numbers.chunk_by(|one, next| one.to_bits() == next.to_bits()) {
        let count = run.len() as i64;
        drop(shares.f_narrow(0, first, count)?.f_fill_(run[0])?);
        first += count;
    }
    Ok(())
}
