//! The import certificate: runs a model on a reference input and compares every layer and gradient with
//! values that another program computed.
//!
//! A reference is a NumPy `.npz` file of float32 arrays: `input` is `[H, W, 3]` in 0–255; a layer's name
//! holds its activations, `[H, W, C]` or `[features]`; `NAME__every_8th_channel` only the channels 0, 8,
//! 16, …; `l2_LAYER` (or `LAYER_l2`), `mean_LAYER`, `channelN` and `classN_logit`, with or without `grad_`
//! in front, hold the gradient of that objective, `[H, W, 3]`; `score_` in front of one its value.
//!
//! A network of ReLUs and max-poolings is differentiable only almost everywhere: where an activation is zero, or
//! two maxima in a window are equal but for rounding, the last digit decides which side's derivative is computed,
//! and one such decision can change a gradient by a per cent. A flat area of a photograph is full of them. So a
//! gradient is computed in several kinds of arithmetic (`ARITHMETICS`) and has to meet its tolerance in one of
//! them: a wrong import fails in all.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tch::{Kind, Tensor};

use super::{
    RenderError, device,
    exec::{Executor, Layout, Manner},
    library::Kernels,
    objective::BoundObjective,
    original::planar,
};
use reverie_dream::{
    model::Model,
    spec::{Objective, ObjectiveKind},
};
use reverie_graph::NodeId;

/// Largest allowed `max |Δ| / max |reference|` of an activation, and relative error of a score.
pub const ACTIVATION_TOLERANCE: f64 = 1e-4;
/// Largest allowed `‖Δ‖ / ‖reference‖` of a gradient.
pub const GRADIENT_TOLERANCE: f64 = 1e-3;
/// Smallest allowed cosine between a gradient and its reference.
pub const GRADIENT_COSINE: f64 = 0.9999;

/// Values in one array of a reference; more is taken for a damaged header.
const MAX_VALUES: u64 = 1 << 28;

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
}

impl Check {
    /// Whether the model agrees with the reference here.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance && self.cosine.is_none_or(|cosine| cosine >= GRADIENT_COSINE)
    }
}

/// An array of a reference file.
struct Values {
    shape: Vec<u64>,
    data: Vec<f32>,
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
    let mut entries = read(reference).map_err(refuse)?;
    let input = entries.remove("input").ok_or_else(|| refuse("has no array \"input\"".into()))?;
    let &[height, width, 3] = &input.shape[..] else {
        return Err(refuse(format!("\"input\" has shape {:?}, needs [height, width, 3]", input.shape)));
    };
    let device = device::select(device)?;
    // read() has bounded the number of values, so both extents fit.
    let values = Tensor::f_from_slice(&input.data)?;
    let image = planar(&values, height as i64, width as i64, device)?;
    let subject = Subject { model, image: &image, library: kernels.are_library(device) };
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
}

impl Subject<'_> {
    /// One entry; the inner error says what is wrong with the entry itself.
    fn compare(&self, name: &str, expected: &Values) -> Result<Result<Check, String>, VerifyError> {
        let (base, every) = selection(name);
        if let Ok(id) = self.model.network.find(base) {
            return self.activation(name, id, every, expected);
        }
        let (objective_name, is_score) = match base.strip_prefix("score_") {
            Some(rest) => (rest, true),
            None => (base.strip_prefix("grad_").unwrap_or(base), false),
        };
        match (objective(objective_name, self.model), is_score) {
            (Some(objective), true) => self.score(name, &objective, expected),
            (Some(objective), false) => self.gradient(name, &objective, expected),
            (None, _) => Ok(Err("names neither a layer nor an objective of this model".into())),
        }
    }

    fn executor(&self, Arithmetic { layout, kind, .. }: Arithmetic) -> Result<Executor, RenderError> {
        let manner = Manner { kind, layout, library_only: self.library, tf32: false };
        Executor::with_manner(Arc::clone(self.model), self.image.device(), manner)
    }

    fn activation(
        &self,
        name: &str,
        id: NodeId,
        every: i64,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let layer = self.executor(ARITHMETICS[0])?.forward(self.image, &[id])?.pop();
        let layer = layer.ok_or_else(|| RenderError::Engine("no activation".into()))?;
        let layer = if layer.dim() == 4 { layer.f_permute([0, 2, 3, 1])? } else { layer };
        Ok(difference(&layer.f_slice(-1, 0, None, every)?, expected)?.map(|errors| Check {
            name: name.to_owned(),
            quantity: Quantity::Activation,
            error: errors.max_ratio,
            tolerance: ACTIVATION_TOLERANCE,
            cosine: None,
        }))
    }

    fn score(
        &self,
        name: &str,
        objective: &Objective,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let executor = self.executor(ARITHMETICS[0])?;
        let bound = BoundObjective::new(executor.network(), std::slice::from_ref(objective))?;
        let score = bound.score(&executor, self.image)?.f_double_value(&[])?;
        let &[reference] = &expected.data[..] else {
            return Ok(Err(format!("has shape {:?}; a score is one number", expected.shape)));
        };
        let reference = f64::from(reference);
        let error = (score - reference).abs() / reference.abs().max(f64::MIN_POSITIVE);
        let (quantity, tolerance) = (Quantity::Score, ACTIVATION_TOLERANCE);
        Ok(Ok(Check { name: name.to_owned(), quantity, error, tolerance, cosine: None }))
    }

    /// The best of [`ARITHMETICS`].
    fn gradient(
        &self,
        name: &str,
        objective: &Objective,
        expected: &Values,
    ) -> Result<Result<Check, String>, VerifyError> {
        let mut best: Option<Check> = None;
        for arithmetic in ARITHMETICS {
            let executor = self.executor(arithmetic)?;
            let bound = BoundObjective::new(executor.network(), std::slice::from_ref(objective))?;
            let gradient = arithmetic.run(|| bound.gradient(&executor, self.image));
            let gradient = gradient?.1.f_permute([0, 2, 3, 1])?;
            let errors = match difference(&gradient, expected)? {
                Ok(errors) => errors,
                Err(problem) => return Ok(Err(problem)),
            };
            let check = Check {
                name: name.to_owned(),
                quantity: Quantity::Gradient,
                error: errors.norm_ratio,
                tolerance: GRADIENT_TOLERANCE,
                cosine: Some(errors.cosine),
            };
            if best.as_ref().is_none_or(|best| check.error < best.error) {
                best = Some(check);
            }
            if best.as_ref().is_some_and(Check::passed) {
                break;
            }
        }
        Ok(best.ok_or_else(|| "was not computed".into()))
    }
}

/// Splits `NAME__every_8th_channel` into the name and 8: such an entry holds channels 0, 8, 16, …
fn selection(name: &str) -> (&str, i64) {
    let parsed = name.rsplit_once("__every_").and_then(|(base, rest)| {
        let every = rest.strip_suffix("th_channel")?.parse().ok()?;
        (every > 0).then_some((base, every))
    });
    parsed.unwrap_or((name, 1))
}

/// The objective behind a name such as `l2_mixed4c`, `block10_l2`, `channel139` or `class291_logit`.
fn objective(name: &str, model: &Model) -> Option<Objective> {
    let known = |layer: &str| model.network.find(layer).is_ok().then(|| layer.to_owned());
    let number = |text: &str| text.parse::<u32>().ok();
    let (kind, layer, channels, class) = if let Some(channel) = name.strip_prefix("channel").and_then(number)
    {
        (ObjectiveKind::Mean, model.channel_layer.clone(), vec![channel], None)
    } else if let Some(class) =
        name.strip_prefix("class").and_then(|rest| number(rest.strip_suffix("_logit")?))
    {
        (ObjectiveKind::Class, model.class_layer.clone()?, Vec::new(), Some(class))
    } else if let Some(layer) = name.strip_prefix("l2_").or_else(|| name.strip_suffix("_l2")).and_then(known)
    {
        (ObjectiveKind::L2, layer, Vec::new(), None)
    } else {
        (ObjectiveKind::Mean, name.strip_prefix("mean_").and_then(known)?, Vec::new(), None)
    };
    Some(Objective { kind, layer, channels, class, weight: 1.0 })
}

/// How far two arrays are apart.
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

/// Reads all arrays of an `.npz` file.
fn read(path: &Path) -> Result<BTreeMap<String, Values>, String> {
    let mut archive = npyz::npz::NpzArchive::open(path).map_err(|error| error.to_string())?;
    let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    let mut arrays = BTreeMap::new();
    for name in names {
        let in_array = |problem: String| format!("array \"{name}\": {problem}");
        let array = archive.by_name(&name).map_err(|error| in_array(error.to_string()))?;
        let array = array.ok_or_else(|| in_array("is missing".into()))?;
        if array.order() != npyz::Order::C {
            return Err(in_array("is stored in Fortran order; C order is needed".into()));
        }
        let shape = array.shape().to_vec();
        let count = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        if count.is_none_or(|count| count == 0 || count > MAX_VALUES) {
            return Err(in_array(format!("has shape {shape:?}; 1 to {MAX_VALUES} values are allowed")));
        }
        let data = array.into_vec::<f32>().map_err(|error| in_array(error.to_string()))?;
        arrays.insert(name, Values { shape, data });
    }
    Ok(arrays)
}
