//! What a reference file holds: its arrays, and what their names mean.

use std::{collections::BTreeMap, path::Path};

use tch::{Kind, Tensor};

use reverie_dream::{
    model::Model,
    spec::{Objective, ObjectiveKind},
};
use reverie_graph::NodeId;

/// Values in one array; more is taken for a damaged header.
const MAX_VALUES: u64 = 1 << 28;

/// An array of a reference file.
pub(super) struct Values {
    pub(super) shape: Vec<u64>,
    pub(super) data: Vec<f32>,
}

impl Values {
    /// Several arrays of this shape as the rows of a matrix of float64, or what is wrong with them.
    pub(super) fn rows(self, of: &[u64]) -> Result<Tensor, String> {
        match self.shape.split_first() {
            Some((&count, shape)) if shape == of => {
                let matrix = Tensor::f_from_slice(&self.data)
                    .and_then(|values| values.f_to_kind(Kind::Double)?.f_reshape([count as i64, -1]));
                matrix.map_err(|error| error.to_string())
            }
            _ => Err(format!("has shape {:?}; arrays of the input's, {of:?}, are needed", self.shape)),
        }
    }
}

/// What an array is compared with.
pub(super) enum Entry {
    /// A layer's output, every so many channels.
    Layer(NodeId, i64),
    Score(Objective),
    Gradient(Objective),
    Slope(Objective),
}

impl Entry {
    /// By the array's name; none where the model has no such layer.
    pub(super) fn of(name: &str, model: &Model) -> Option<Self> {
        let (base, every) = selection(name);
        if let Ok(id) = model.network.find(base) {
            return Some(Self::Layer(id, every));
        }
        let of = |name| objective(name, model);
        if let Some(name) = base.strip_prefix("score_") {
            return of(name).map(Self::Score);
        }
        if let Some(name) = base.strip_prefix("slope_") {
            return of(name).map(Self::Slope);
        }
        of(base.strip_prefix("grad_").unwrap_or(base)).map(Self::Gradient)
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
    Some(Objective { channels, class, ..Objective::of_layer(kind, layer) })
}

/// Reads all arrays of an `.npz` file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Values>, String> {
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
