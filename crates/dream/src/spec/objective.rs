//! What a dream maximises: the objectives of a spec, read from a request and checked against the model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ObjectiveKind, Pick, Spot, WrittenClass,
    kind::{ClassOf, Kind, Name, Number, Numbers, Object, Weights, one_of},
    parameter::{Parameter, defaults_in_words, formula, of_type, parameters, repeats, settle, takes},
    request::{read_object, silent},
};
use crate::model::Model;
use reverie_fields::{FieldError, Fields, note_all};

/// Largest number of objectives in a spec. A longer list is a mistake.
pub(super) const MAX_OBJECTIVES: usize = 16;

/// Largest channel or class that a request may name. No layer has so many.
pub(super) const MAX_INDEX: u32 = i32::MAX.unsigned_abs();

/// Largest number of channels that the picture or chance chooses: the result names them all.
const MAX_PICKED: u32 = 256;

/// Largest number of channels in a direction: the recipe in the result names them all.
pub(super) const MAX_WEIGHTS: usize = 256;

/// Largest weight of a channel in a direction.
const MAX_WEIGHT: f64 = 1000.0;

/// Power of the cosine in a direction, where a request names none.
const COSINE_POWER: u32 = 1;

/// One term of the sum that the dream maximises, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// What is measured.
    pub kind: ObjectiveKind,
    /// Where: a layer of the model.
    pub layer: String,
    /// Which channels, sorted and unique; empty means all. Always empty for classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<u32>,
    /// Which class, counted from 0; only for [`ObjectiveKind::Class`] and [`ObjectiveKind::Probability`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// Factor in the sum; negative values minimise.
    pub weight: f64,
    /// Which channels, where the picture or chance decides; then [`Self::channels`] is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
    /// How many of them; only with [`Self::pick`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where in the picture; everywhere alike where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Spot>,
    /// Weights of channels; only for [`ObjectiveKind::Direction`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub direction: BTreeMap<u32, f64>,
    /// Power of the cosine; only for [`ObjectiveKind::Direction`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine_power: Option<u32>,
}

impl Objective {
    /// That of a layer, of all its channels, with weight 1.
    pub fn of_layer(kind: ObjectiveKind, layer: impl Into<String>) -> Self {
        Self {
            kind,
            layer: layer.into(),
            channels: Vec::new(),
            class: None,
            weight: 1.0,
            pick: None,
            count: None,
            at: None,
            direction: BTreeMap::new(),
            cosine_power: None,
        }
    }
}

parameters! {
    /// One objective as a request writes it; [`Objective`] is what the model makes of it.
    #[derive(Debug)]
    pub struct WrittenObjective, read from (fields) {
        /// What is measured in the layer. If absent: `class` if a class is given, `direction` if a direction is, `mean` if
        /// channels are or are picked, else `l2`. Those of a guide need the image `guide` beside the spec.
        kind: Option<ObjectiveKind> {
            read: one_of::<ObjectiveKind>(),
            settle: |kind| kind,
            option: formula("OBJECTIVE").named("objective").help(
                "What is measured in --layer: mean, l2, class, probability, guide or guide-cosine; or a sum of terms: see below",
            ),
        }
        /// The layer that is measured. If absent, the model's default layer, or its layer of classes.
        layer: Option<String> {
            read: Name,
            settle: |layer| layer,
            option: takes("LAYER"),
        }
        /// The channels of the layer that are measured; all if there are none.
        channels: Vec<u32> {
            read: Numbers(0, MAX_INDEX),
            default: Vec::new(),
            option: repeats("C").named("channel").help("Only this channel of the layer; can be repeated"),
        }
        /// The class: its number, counted from 0, or its name.
        class: Option<WrittenClass> {
            read: ClassOf(0, MAX_INDEX),
            settle: |class| class,
            option: takes("CLASS"),
        }
        /// Factor in the sum, not 0; negative values minimise.
        weight: f64 {
            read: Number(-1000.0, 1000.0),
            default: 1.0,
        }
        /// Measures channels that the picture or chance decides: its strongest or weakest, or random ones. A note of the
        /// result names them. Of objectives of kind `mean` and `l2`, in place of `channels`.
        pick: Option<Pick> {
            read: one_of::<Pick>(),
            settle: |pick| pick,
        }
        /// How many channels `pick` finds; 1 if absent.
        count: Option<u32> {
            read: Number(1_u32, MAX_PICKED),
            settle: |count| count,
        }
        /// Counts only near a place of the picture, where a form grows; of objectives of kind `mean`, `l2` and `direction`,
        /// in layers that have positions.
        at: Option<Spot> {
            read: Object("SpotRequest", Spot::parameters),
            settle: |written| written.map(|value| read_object(fields, "at", value, Spot::read)),
        }
        /// Weights of at most 256 channels by their numbers, such as `{"21": 1, "43": -0.5}`: the direction of objectives of kind
        /// `direction`.
        direction: BTreeMap<u32, f64> {
            read: Weights(MAX_INDEX, MAX_WEIGHT),
            default: BTreeMap::new(),
        }
        /// How much the form of the activation counts beside its strength, for objectives of kind `direction`: the power of
        /// the cosine between the two, 1 if absent. 0 leaves a weighted sum of channels.
        cosine_power: Option<u32> {
            read: Number(0_u32, 8),
            settle: |power| power,
        }
    }
}

impl WrittenObjective {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}

/// Reads the list of objectives for `model`; absent means the model's default.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn resolve_objectives(
    pointer: &str,
    value: Option<Value>,
    model: &Model,
) -> Result<Vec<Objective>, Vec<FieldError>> {
    read_objectives(pointer, value, Some(model))
}

/// As [`resolve_objectives`]. Without a model, it checks what needs none.
pub(super) fn read_objectives(
    pointer: &str,
    value: Option<Value>,
    model: Option<&Model>,
) -> Result<Vec<Objective>, Vec<FieldError>> {
    let list = match value {
        None => return Ok(model.map(Model::default_objective).into_iter().collect()),
        Some(Value::Array(list)) if (1..=MAX_OBJECTIVES).contains(&list.len()) => list,
        Some(_) => {
            let detail = format!("must be an array of 1 to {MAX_OBJECTIVES} objectives");
            return Err(vec![FieldError::new(pointer, detail)]);
        }
    };
    let mut objectives = Vec::with_capacity(list.len());
    let mut errors = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let mut fields = Fields::new(&format!("{pointer}/{index}"), value);
        let objective = read_objective(&mut fields, model);
        note_all(&mut errors, fields.finish());
        objectives.push(objective);
    }
    if errors.is_empty() { Ok(objectives) } else { Err(errors) }
}

/// One objective; what is wrong with it is noted in `fields`.
fn read_objective(fields: &mut Fields, model: Option<&Model>) -> Objective {
    let written = WrittenObjective::read(fields);
    let kind = written.kind.unwrap_or_else(|| default_kind(&written));
    let WrittenObjective { layer, channels, class, weight, pick, count, at, direction, cosine_power, .. } =
        written;
    let layer = layer.or_else(|| default_layer(fields, kind, model?)).unwrap_or_default();
    let class = class.map(|class| class_number(fields, class, kind, &layer, model));
    let layer = layer_by_its_own_name(layer, model);
    if count.is_some() && pick.is_none() {
        fields.error("count", "says how many channels \"pick\" finds, which is absent");
    }
    let count = pick.map(|_| count.unwrap_or(1));
    if cosine_power.is_some() && kind != ObjectiveKind::Direction {
        fields.error("cosine_power", "belongs to objectives of kind \"direction\" only");
    }
    let cosine_power = (kind == ObjectiveKind::Direction).then(|| cosine_power.unwrap_or(COSINE_POWER));
    let mut objective =
        Objective { kind, layer, channels, class, weight, pick, count, at, direction, cosine_power };
    objective.channels.sort_unstable();
    objective.channels.dedup();
    check_objective(fields, &objective);
    match model {
        Some(model) if !objective.layer.is_empty() => check_against(fields, &objective, model),
        Some(_) => {}
        None if kind.is_of_class() && objective.class.is_none() => fields.error("class", "is needed"),
        None => {}
    }
    objective
}

/// The kind of an objective that names none. A class is maximised by `class`, single channels by their mean, as in the
/// article, a whole layer by its [`ObjectiveKind::L2`].
fn default_kind(written: &WrittenObjective) -> ObjectiveKind {
    if written.class.is_some() {
        ObjectiveKind::Class
    } else if !written.direction.is_empty() {
        ObjectiveKind::Direction
    } else if !written.channels.is_empty() || written.pick.is_some() {
        ObjectiveKind::Mean
    } else {
        ObjectiveKind::L2
    }
}

/// The number of a class. A name that is not understood is noted in `fields`, unless another mistake is; then it does not
/// matter which number stands for it.
fn class_number(
    fields: &mut Fields,
    class: WrittenClass,
    kind: ObjectiveKind,
    layer: &str,
    model: Option<&Model>,
) -> u32 {
    let name = match class {
        WrittenClass::Number(number) => return number,
        WrittenClass::Name(name) => name,
    };
    let model = model.filter(|model| kind.is_of_class() && model.network.find(layer).is_ok());
    let found = model.map_or(Ok(0), |model| model.class_named(&name, layer));
    found.unwrap_or_else(|unknown| {
        fields.error("class", unknown.to_string());
        0
    })
}

/// The layer of an objective that names none. A model without such a layer is noted in `fields`.
fn default_layer(fields: &mut Fields, kind: ObjectiveKind, model: &Model) -> Option<String> {
    if !kind.is_of_class() {
        return Some(model.default_objective().layer);
    }
    if model.class_layer.is_none() {
        let detail = format!("model \"{}\" has no class layer; name one in \"layer\"", model.id);
        fields.error("kind", detail);
    }
    model.class_layer.clone()
}

/// The name that a layer has in the model's file, for an alias; so equal dreams have equal specs. What is no layer is as it was.
fn layer_by_its_own_name(layer: String, model: Option<&Model>) -> String {
    let found = model.and_then(|model| model.network.own_name(&layer).ok().map(str::to_owned));
    found.unwrap_or(layer)
}

/// Checks what needs no model.
fn check_objective(fields: &mut Fields, objective: &Objective) {
    if objective.weight == 0.0 {
        fields.error("weight", "must not be 0");
    }
    if objective.class.is_some() && !objective.kind.is_of_class() {
        fields.error("class", "belongs to objectives of kind \"class\" and \"probability\" only");
    }
    if !objective.kind.is_of_channels() && !objective.channels.is_empty() {
        fields.error("channels", "belong to objectives of kind \"mean\" and \"l2\" only");
    }
    if !objective.kind.is_of_channels() && objective.pick.is_some() {
        fields.error("pick", "belongs to objectives of kind \"mean\" and \"l2\" only");
    }
    if objective.pick.is_some() && !objective.channels.is_empty() {
        fields.error("pick", "finds the channels by itself; leave out \"channels\", or \"pick\"");
    }
    let is_direction = objective.kind == ObjectiveKind::Direction;
    if objective.at.is_some() && !objective.kind.is_of_channels() && !is_direction {
        fields.error("at", "belongs to objectives of kind \"mean\", \"l2\" and \"direction\" only");
    }
    if !objective.direction.is_empty() && !is_direction {
        fields.error("direction", "belongs to objectives of kind \"direction\" only");
    }
    let weights = objective.direction.len();
    if weights > MAX_WEIGHTS {
        fields.error("direction", format!("has {weights} channels; at most {MAX_WEIGHTS} are allowed"));
    }
    if is_direction && !objective.direction.values().any(|weight| *weight != 0.0) {
        let detail = "is needed: weights of channels, one of them not 0, such as {\"21\": 1, \"43\": -0.5}";
        fields.error("direction", detail);
    }
}

/// Checks that the model has the layer, the channels and the class.
fn check_against(fields: &mut Fields, objective: &Objective, model: &Model) {
    let layer = &objective.layer;
    let width = match model.network.find(layer) {
        Ok(id) => model.network.channels(id) as u32,
        Err(unknown) => {
            fields.error("layer", format!("model \"{}\": {unknown}", model.id));
            return;
        }
    };
    let last = width - 1;
    match objective.class.filter(|_| objective.kind.is_of_class()) {
        None if objective.kind.is_of_class() => {
            fields.error("class", format!("is needed; layer \"{layer}\" has classes 0 to {last}"));
        }
        Some(class) if class >= width => {
            let detail = format!("{class} is not in layer \"{layer}\", which has classes 0 to {last}");
            fields.error("class", detail);
        }
        _ => {}
    }
    let outside = |channel: &&u32| **channel >= width;
    let channels = ("channels", objective.channels.iter().find(outside));
    for (name, channel) in [channels, ("direction", objective.direction.keys().find(outside))] {
        if let Some(channel) = channel {
            let detail = format!("{channel} is not in layer \"{layer}\", which has channels 0 to {last}");
            fields.error(name, detail);
        }
    }
    if let Some(count) = objective.count.filter(|&count| count > width) {
        let detail = format!("{count} channels are not in layer \"{layer}\", which has {width}");
        fields.error("count", detail);
    }
    let is_map = model.network.find(layer).is_ok_and(|id| model.network.is_map(id));
    let may_have_place = objective.kind.is_of_channels() || objective.kind == ObjectiveKind::Direction;
    if objective.at.is_some() && may_have_place && !is_map {
        fields.error("at", format!("layer \"{layer}\" has no positions; name another in \"layer\""));
    }
}
