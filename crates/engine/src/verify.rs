//! The import certificate: runs a model on a reference input and compares every layer and gradient with
//! values that another program computed.
//!
//! A reference is a NumPy `.npz` file of float32 arrays: `input` is `[H, W, 3]` in 0–255; a layer's name
//! holds its activations, `[H, W, C]` or `[features]`; `NAME__every_8th_channel` only the channels 0, 8,
//! 16, …; `l2_LAYER` (or `LAYER_l2`), `mean_LAYER`, `channelN` and `classN_logit`, with or without `grad_`
//! in front, hold the gradient of that objective, `[H, W, 3]`; `score_` in front of one its value. `slope_` in front of one
//! holds its derivatives along the K arrays of `directions`, `[K, H, W, 3]`: what a program can say that evaluates a network,
//! but does not differentiate it. Of directions drawn at random the error of the slopes is on average that of the gradient.
//!
//! A network of ReLUs and max-poolings is differentiable only almost everywhere: where an activation is zero, or
//! two maxima in a window are equal but for rounding, the last digit decides which side's derivative is computed,
//! and one such decision can change a gradient by a per cent. A flat area of a photograph is full of them. So on an
//! input with flat areas a gradient is computed in several kinds of arithmetic (`ARITHMETICS`) and has to meet its
//! tolerance in one of them: a wrong import fails in all. On any other input the arithmetic that renders has to meet it by
//! itself, unless gradients in 64 bits show that a kink decides (`kinks`).

mod kinks;
mod reference;

use std::{path::Path, sync::Arc};

use tch::{Kind, Tensor};

use super::{
    RenderError,
    cuda::GpuKernels,
    device,
    exec::{Executor, Layout, Manner},
    library::Kernels,
    objective::BoundObjective,
    original::planar,
};
use kinks::Neighbours;
use reference::{Entry, Values};
use reverie_dream::{model::Model, spec::Objective};
use reverie_graph::NodeId;

/// Largest allowed `max |Δ| / max |reference|` of an activation, and relative error of a score.
pub const ACTIVATION_TOLERANCE: f64 = 1e-4;
/// Largest allowed `‖Δ‖ / ‖reference‖` of a gradient.
pub const GRADIENT_TOLERANCE: f64 = 1e-3;
/// Smallest allowed cosine between a gradient and its reference.
pub const GRADIENT_COSINE: f64 = 0.9999;

/// Why a reference could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file is no reference.
    #[error("{file}: {problem}")]
    Reference {
        /// The file.
        file: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// The model did not run.
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl From<tch::TchError> for VerifyError {
    fn from(error: tch::TchError) -> Self {
        Self::Render(error.into())
    }
}

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// A layer's output.
    Activation,
    /// The derivative of an objective with respect to the input.
    Gradient,
    /// The derivatives of an objective along some directions.
    Slope,
    /// The value of an objective.
    Score,
}

/// One line of the certificate.
#[derive(Clone, Debug)]
pub struct Check {
    /// Name in the reference.
    pub name: String,
    /// What was compared.
    pub quantity: Quantity,
    /// The error, as the tolerance of its quantity defines it.
    pub error: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// Direction of a gradient against its reference.
    pub cosine: Option<f64>,
    /// The error of the arithmetic that renders, where others were tried, too: of gradients and slopes.
    pub own: Option<Own>,
}

/// The error of the arithmetic that renders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Own {
    /// The error, as that of the whole.
    pub error: f64,
    /// Whether it has to meet the tolerance by itself: the input has no flat areas, and the last digit decides nothing.
    pub counts: bool,
}

impl Check {
    /// Whether the model agrees with the reference here.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
            && self.cosine.is_none_or(|cosine| cosine >= GRADIENT_COSINE)
            && self.own.is_none_or(|own| !own.counts || own.error <= self.tolerance)
    }
}

/// Compares `model` with everything that `reference` holds, in float32.
///
/// # Errors
/// [`VerifyError::Reference`] for an unreadable file or an entry that names neither a layer nor an
/// objective of the model; [`VerifyError::Render`] when the model does not run.
pub fn verify(
    model: &Arc<Model>,
    reference: &Path,
    device: &str,
    kernels: Kernels,
) -> Result<Vec<Check>, VerifyError> {
    let file = reference.display().to_string();
    let refuse = |problem: String| VerifyError::Reference { file: file.clone(), problem };
    let mut entries = reference::read(reference).map_err(refuse)?;
    let input = entries.remove("input").ok_or_else(|| refuse("has no array \"input\"".into()))?;
    let &[height, width, 3] = &input.shape[..] else {
        return Err(refuse(format!("\"input\" has shape {:?}, needs [height, width, 3]", input.shape)));
    };
    let device = device::select(device)?;
    // read() has bounded the number of values, so both extents fit.
    let values = Tensor::f_from_slice(&input.data)?;
    let image = planar(&values, height as i64, width as i64, device)?;
    let directions = entries.remove("directions").map(|values| values.rows(&input.shape)).transpose();
    let directions = directions.map_err(|problem| refuse(format!("\"directions\" {problem}")))?;
    let library = kernels.are_library(device);
    let own = ARITHMETICS[0].executor(model, &image, library, kernels.of_gpu(device))?;
    let flat = is_flat(&input.data, width as usize);
    let subject = Subject { model, image: &image, library, own, flat, directions };
    let mut checks = Vec::with_capacity(entries.len());
    for (name, expected) in entries {
        let check = subject.compare(&name, &expected)?;
        checks.push(check.map_err(|problem| refuse(format!("\"{name}\" {problem}")))?);
    }
    Ok(checks)
}

/// An order of summation and its precision.
#[derive(Clone, Copy)]
pub(super) struct Arithmetic {
    pub(super) layout: Layout,
    /// One thread instead of all: the work is split elsewhere.
    pub(super) single: bool,
    pub(super) kind: Kind,
}

/// What is tried for a gradient, the renderer's own arithmetic first.
pub(super) const ARITHMETICS: [Arithmetic; 7] = [
    Arithmetic { layout: Layout::ChannelsLast, single: false, kind: Kind::Float },
    Arithmetic { layout: Layout::Separate, single: false, kind: Kind::Float },
    Arithmetic { layout: Layout::Contiguous, single: false, kind: Kind::Float },
    Arithmetic { layout: Layout::ChannelsLast, single: true, kind: Kind::Float },
    Arithmetic { layout: Layout::Separate, single: true, kind: Kind::Float },
    Arithmetic { layout: Layout::Contiguous, single: true, kind: Kind::Float },
    Arithmetic { layout: Layout::Contiguous, single: false, kind: Kind::Double },
];

impl Arithmetic {
    fn executor(
        self,
        model: &Arc<Model>,
        image: &Tensor,
        library: bool,
        gpu: Option<GpuKernels>,
    ) -> Result<Executor, RenderError> {
        let Self { layout, kind, .. } = self;
        let manner = Manner { kind, layout, library_only: library, tf32: false, gpu };
        Executor::with_manner(Arc::clone(model), image.device(), manner)
    }

    /// Runs `work` with the threads of this arithmetic.
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let threads = tch::get_num_threads();
        tch::set_num_threads(if self.single { 1 } else { threads });
        let done = work();
        tch::set_num_threads(threads);
        done
    }
}

/// What is compared with a reference.
struct Subject<'a> {
    model: &'a Arc<Model>,
    image: &'a Tensor,
    library: bool,
    /// In the arithmetic that renders.
    own: Executor,
    /// Whether the image has flat areas.
    flat: bool,
    /// `[K, H · W · 3]`, where the reference has directions.
    directions: Option<Tensor>,
}

impl Subject<'_> {
    /// One entry; the inner error says what is wrong with the entry itself.
    fn compare(&self, name: &str, expected: &Values) -> Result<Result<Check, String>, VerifyError> {
        match Entry::of(name, self.model) {
            Some(Entry::Layer(id, every)) => self.activation(name, id, every, expected),
            Some(Entry::Score(objective)) => self.score(name, &objective, expected),
            Some(Entry::Gradient(objective)) => self.gradient(name, &objective, None, expected),
            Some(Entry::Slope(objective)) => match &self.directions {
                Some(directions) => self.gradient(name, &objective, Some(directions), expected),
                None => Ok(Err("is a slope; the reference has no array \"directions\"".into())),
            },
            None => Ok(Err("names neither a layer nor an objective of this model".into())),
        }
    }

    fn activation(
        &self,
        name: &str,
        id: NodeId,
        every: i64,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let layer = self.own.forward(self.image, &[id])?.pop();
        let layer = layer.ok_or_else(|| RenderError::Engine("no activation".into()))?;
        let layer = if layer.dim() == 4 { layer.f_permute([0, 2, 3, 1])? } else { layer };
        Ok(difference(&layer.f_slice(-1, 0, None, every)?, expected)?.map(|errors| Check {
            name: name.to_owned(),
            quantity: Quantity::Activation,
            error: errors.max_ratio,
            tolerance: ACTIVATION_TOLERANCE,
            cosine: None,
            own: None,
        }))
    }

    fn score(
        &self,
        name: &str,
        objective: &Objective,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let bound = BoundObjective::new(self.own.network(), std::slice::from_ref(objective))?;
        let score = bound.score(&self.own, self.image)?.f_double_value(&[])?;
        let &[reference] = &expected.data[..] else {
            return Ok(Err(format!("has shape {:?}; a score is one number", expected.shape)));
        };
        let reference = f64::from(reference);
        let error = (score - reference).abs() / reference.abs().max(f64::MIN_POSITIVE);
        let (quantity, tolerance) = (Quantity::Score, ACTIVATION_TOLERANCE);
        Ok(Ok(Check { name: name.to_owned(), quantity, error, tolerance, cosine: None, own: None }))
    }

    /// The arithmetic that renders, or where that does not count alone, the best of [`ARITHMETICS`] and of 64 bits beside the image; of
    /// a gradient the slopes along `directions`, where there are some.
    fn gradient(
        &self,
        name: &str,
        objective: &Objective,
        directions: Option<&Tensor>,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let quantity = if directions.is_some() { Quantity::Slope } else { Quantity::Gradient };
        let bound = BoundObjective::new(&self.model.network, std::slice::from_ref(objective))?;
        let compare = |gradient: &Tensor| {
            let mut found = gradient.f_permute([0, 2, 3, 1])?;
            if let Some(directions) = directions {
                let gradient =
                    found.f_to_device(tch::Device::Cpu)?.f_reshape([-1])?.f_to_kind(Kind::Double)?;
                found = directions.f_mv(&gradient)?;
            }
            difference(&found, expected)
        };
        let mut best = match compare(&ARITHMETICS[0].run(|| bound.gradient(&self.own, self.image))?.1)? {
            Ok(errors) => errors,
            Err(problem) => return Ok(Err(problem)),
        };
        let mut own = Own { error: best.norm_ratio, counts: !self.flat };
        let mut take = |gradient: &Tensor| -> Result<bool, VerifyError> {
            best =
                compare(gradient)?.ok().filter(|errors| errors.norm_ratio < best.norm_ratio).unwrap_or(best);
            Ok(best.norm_ratio <= GRADIENT_TOLERANCE
                && (directions.is_some() || best.cosine >= GRADIENT_COSINE))
        };
        if own.error > GRADIENT_TOLERANCE {
            // Flat areas are full of kinks: there it is known without a look in 64 bits.
            let neighbours = if self.flat { None } else { Some(Neighbours::of(self, objective)?) };
            own.counts &= !neighbours.as_ref().is_some_and(|near| near.explain(own.error));
            // The others cannot help where this one counts.
            if !own.counts {
                let others = ARITHMETICS.iter().skip(1).map(|arithmetic| {
                    let executor = arithmetic.executor(self.model, self.image, self.library, None)?;
                    Ok::<_, RenderError>(arithmetic.run(|| bound.gradient(&executor, self.image))?.1)
                });
                let near = neighbours.into_iter().flat_map(|neighbours| neighbours.gradients).map(Ok);
                for gradient in others.chain(near) {
                    if take(&gradient?)? {
                        break;
                    }
                }
            }
        }
        Ok(Ok(Check {
            name: name.to_owned(),
            quantity,
            error: best.norm_ratio,
            tolerance: GRADIENT_TOLERANCE,
            cosine: directions.is_none().then_some(best.cosine),
            own: Some(own),
        }))
    }
}

/// Whether more than a thousandth of the pixels, `[H, W, 3]`, are as the one to the right, the one below and the one between.
fn is_flat(pixels: &[f32], width: usize) -> bool {
    let row = 3 * width;
    let rows = pixels.chunks_exact(row.max(1));
    let pairs = rows.clone().zip(rows.skip(1));
    let flat = |[here, right, below, between]: [&[f32]; 4]| here == right && here == below && here == between;
    let flat: usize = pairs
        .map(|(upper, lower)| {
            let (upper, lower) = (upper.as_chunks::<3>().0, lower.as_chunks::<3>().0);
            let squares = upper.windows(2).zip(lower.windows(2));
            squares.filter(|(above, below)| flat([&above[0], &above[1], &below[0], &below[1]])).count()
        })
        .sum();
    flat * 3000 > pixels.len()
}

/// How far two arrays are apart.
#[derive(Clone, Copy)]
struct Errors {
    max_ratio: f64,
    norm_ratio: f64,
    cosine: f64,
}

/// Compares a tensor with a reference; a leading extent of 1 may be missing there.
fn difference(actual: &Tensor, expected: &Values) -> Result<Result<Errors, String>, VerifyError> {
    let shape: Vec<u64> = actual.size().iter().map(|&extent| extent as u64).collect();
    let squeezed = shape.strip_prefix(&[1]).unwrap_or(&shape);
    if expected.shape != shape && expected.shape != squeezed {
        return Ok(Err(format!("has shape {:?}; the model's is {squeezed:?}", expected.shape)));
    }
    let actual =
        actual.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_reshape([-1])?.f_to_kind(Kind::Double)?;
    let expected = Tensor::f_from_slice(&expected.data)?.f_to_kind(Kind::Double)?;
    let difference = actual.f_sub(&expected)?;
    let value = |tensor: Tensor| tensor.f_double_value(&[]);
    let [norm, expected_norm] = [value(actual.f_norm()?)?, value(expected.f_norm()?)?];
    Ok(Ok(Errors {
        max_ratio: value(difference.f_abs()?.f_max()?)? / value(expected.f_abs()?.f_max()?)?,
        norm_ratio: value(difference.f_norm()?)? / expected_norm,
        cosine: value(actual.f_dot(&expected)?)? / (norm * expected_norm),
    }))
}
