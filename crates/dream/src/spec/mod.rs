//! What to dream: the one description shared by the command line, the API, stored jobs and the renderer.
//!
//! A [`DreamSpec`] is always complete: presets and the model's defaults have been filled in by
//! [`resolve`]. The same spec, input, model and device kind give the same bytes.
//!
//! Each parameter is defined once, in `dream_spec.rs`. The definition makes the field, the reader and checker of
//! requests, and a row of the table [`DreamSpec::parameters`], from which the contract (`schema.rs`), the command line's
//! options and the README are made.
//!
//! A stored spec may come from a newer version: members that are not known here are ignored, and stay where they are
//! stored. Requests are read by [`resolve`], which refuses them.

mod choices;
mod color;
mod dream_spec;
mod fork;
mod formula;
mod kind;
mod motion;
mod objective;
mod parameter;
mod preset;
mod request;
mod schedule;
mod schema;
mod spot;
mod steering;
#[cfg(test)]
mod tests;
mod values;

pub use choices::{
    Normalization, ObjectiveKind, OctaveMode, Parametrization, Pick, Precision, Preset, Tiling,
};
pub use color::{Color, NotAColor};
pub use dream_spec::{DreamSpec, MAX_SEED, Masking, Noise};
pub use fork::{After, First, forked};
pub use formula::{FormulaError, FormulaTerm, parse_formula};
pub use motion::Motion;
pub use objective::{Objective, WrittenObjective, resolve_objectives};
pub use parameter::{CommandOption, OptionForm, Parameter, Shape};
pub use request::{GuideSent, InputKind, misses_guide, resolve, resolve_with_guide};
pub use reverie_picture::{Encoding, Format, Playback};
pub use schedule::{Change, MAX_CHANGES, WrittenChange, WrittenPlace};
pub use schema::{ChangeRequest, ObjectiveRequest, SpecRequest, SteeringRequest};
pub use spot::Spot;
pub use steering::{Underway, steered};
pub use values::{Count, Share, WrittenClass};

/// The first member of the spec `written` that this version does not know, if there is one. `read` is what this version
/// has read of it. For callers that must not ignore an unknown member, such as a replay.
pub fn unknown_member(written: &serde_json::Value, read: &DreamSpec) -> Option<String> {
    use serde_json::Value;
    fn unknown(written: &Value, known: &Value) -> Option<String> {
        match (written, known) {
            (Value::Object(written), Value::Object(known)) => {
                written.iter().find_map(|(name, value)| match known.get(name) {
                    Some(known) => unknown(value, known),
                    // A spec is written without its empty members.
                    None if value.is_null() || value.as_array().is_some_and(Vec::is_empty) => None,
                    None => Some(name.clone()),
                })
            }
            (Value::Array(written), Value::Array(known)) => {
                written.iter().zip(known).find_map(|(written, known)| unknown(written, known))
            }
            _ => None,
        }
    }
    unknown(written, &serde_json::to_value(read).ok()?)
}
