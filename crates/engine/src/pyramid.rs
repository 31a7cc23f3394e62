//! Octaves: the way from one scale at which an image is dreamed to the next. The scales are decided in
//! [`reverie_dream::plan`].

use tch::Tensor;

use super::{
    RenderError,
    bands::rows,
    checkpoint::Checkpoint,
    library::copy,
    original::Original,
    resample::{Rows, resample, resize},
};
use reverie_dream::plan::Span;

/// The way from the coarsest octave to the finest.
pub(super) struct Octaves<'a> {
    original: &'a Original,
    /// Height and width of each octave, coarsest first.
    sizes: Vec<(i64, i64)>,
    /// The original at the size of each octave but the last, where detail is carried; each goes when its
    /// octave has been dreamed.
    coarser: Option<Vec<Option<Tensor>>>,
}

impl<'a> Octaves<'a> {
    /// Octaves that end at the size of `original`. What has been dreamed in one is carried to the next: the
    /// difference to the original is enlarged and added to the original there. That is the article's
    /// `resize(dream) + detail` with `detail = original − resize(coarser original)`, since resizing is linear,
    /// and without a dream the original comes back to the last bit.
    pub(super) fn carry_detail(original: &'a Original, sizes: Vec<(i64, i64)>) -> Result<Self, RenderError> {
        let mut coarser: Vec<Option<Tensor>> = Vec::with_capacity(sizes.len());
        for &(height, width) in sizes.iter().rev().skip(1) {
            coarser.push(Some(match coarser.last() {
                Some(Some(finer)) => resize(finer, height, width)?,
                _ => original.resized(height, width)?,
            }));
        }
        coarser.reverse();
        Ok(Self { original, sizes, coarser: Some(coarser) })
    }

    /// Octaves that start from `original` and grow.
    pub(super) fn enlarge(original: &'a Original, sizes: Vec<(i64, i64)>) -> Self {
        Self { original, sizes, coarser: None }
    }

    /// Height and width of each octave, coarsest first.
    pub(super) fn sizes(&self) -> &[(i64, i64)] {
        &self.sizes
    }

    /// Whether a checkpoint is one of these octaves, and not the last.
    pub(super) fn holds(&self, checkpoint: &Checkpoint) -> bool {
        let size = checkpoint.image.size4().map(|(_, _, height, width)| (height, width));
        let index = checkpoint.octave as usize;
        index + 1 < self.sizes.len() && size.is_ok_and(|size| size == self.sizes[index])
    }

    /// The start of the coarsest octave, a tensor of its own.
    pub(super) fn base(&self) -> Result<Tensor, RenderError> {
        match self.coarser.as_ref().and_then(|coarser| coarser.first()) {
            Some(Some(base)) => Ok(copy(base)?),
            _ => self.original.to_floats(),
        }
    }

    /// The start of octave `index` (from 1), given the dreamed octave before it.
    pub(super) fn advance(&mut self, index: usize, dreamed: Tensor) -> Result<Tensor, RenderError> {
        let missing = || RenderError::Engine(format!("there is no octave {index}"));
        let &(height, width) = self.sizes.get(index).ok_or_else(missing)?;
        let Some(coarser) = &mut self.coarser else { return resize(&dreamed, height, width) };
        let start = match coarser.get_mut(index) {
            Some(same) => copy(same.as_ref().ok_or_else(missing)?)?,
            None => self.original.to_floats()?,
        };
        let before = coarser.get_mut(index - 1).and_then(Option::take).ok_or_else(missing)?;
        resample(&Change { from: &before, to: &dreamed }, height, width, |span, change| {
            drop(rows(&start, span)?.f_add_(change)?);
            Ok(())
        })?;
        Ok(start)
    }
}

/// What a dream has changed.
pub(super) struct Change<'a> {
    pub(super) from: &'a dyn Rows,
    pub(super) to: &'a Tensor,
}

impl Rows for Change<'_> {
    fn extent(&self) -> Result<(i64, i64), RenderError> {
        self.to.extent()
    }

    fn rows(&self, span: Span) -> Result<Tensor, RenderError> {
        Ok(self.to.rows(span)?.f_sub_(&self.from.rows(span)?)?)
    }
}
