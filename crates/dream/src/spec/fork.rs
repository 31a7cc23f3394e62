//! A fork: another dream that goes on after an octave of one, or after a frame of an animation.
//!
//! It is the first dream with a schedule that changes after that place. So its spec says all of it: rendered from the input,
//! it gives the same bytes, whatever has become of the first dream and of its octaves.

use serde_json::{Map, Value};

use super::{
    DreamSpec,
    request::{InputKind, resolve},
    schedule::{MAX_OCTAVES, steered},
};
use crate::model::Catalogue;
use reverie_fields::{FieldError, Fields};

/// What changes the ascent, from the next octave or frame on.
const ASCENT: [&str; 5] = ["objectives", "step", "total_variation", "l2_decay", "fade"];

/// What becomes of the finished dream; no octave depends on it.
const FILE: [&str; 8] =
    ["format", "quality", "lossless", "recipe", "preserve_colors", "blend", "auto_contrast", "restore_size"];

/// The spec of a dream that is that of `spec` up to the octave or frame `place`, counted from 1, and from the next one on as
/// `written` says: an object with what changes, which stands at `pointer`. What it does not name stays as it was at `place`:
/// what `spec` changes later is left out. `input` came with the first dream.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn forked(
    pointer: &str,
    written: Value,
    spec: &DreamSpec,
    place: u32,
    catalogue: &Catalogue,
    input: InputKind,
) -> Result<DreamSpec, Vec<FieldError>> {
    let mut fields = Fields::new(pointer, written);
    let [ascent, file] = [&ASCENT[..], &FILE[..]].map(|names| taken(&mut fields, names));
    for parameter in DreamSpec::parameters() {
        let hint = format!(
            "cannot change in a fork, as the octaves that stay were dreamed with it; what can is {}, {}",
            ASCENT.join(", "),
            FILE.join(", ")
        );
        fields.misplaced(parameter.name, &hint);
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let unfit = |detail: String| vec![FieldError::new(pointer, detail)];
    let (unit, most) = match spec.motion {
        Some(motion) => ("frame", motion.frames),
        None => ("octave", MAX_OCTAVES),
    };
    if !(1..most).contains(&place) {
        return Err(unfit(format!("a fork after {unit} {place} has nothing left; the last one is {most}")));
    }
    let begun = spec.schedule.iter().filter(|change| change.place() <= place);
    let kept = DreamSpec { schedule: begun.cloned().collect(), ..spec.clone() };
    let mut request = match kept.to_request() {
        Ok(Value::Object(request)) => request,
        Ok(other) => return Err(unfit(format!("a spec is written as {other}"))),
        Err(error) => return Err(unfit(error.to_string())),
    };
    request.extend(file);
    let spec = resolve(pointer, Value::Object(request), catalogue, input)?;
    let Some(model) = catalogue.get(&spec.model).filter(|_| !ascent.is_empty()) else { return Ok(spec) };
    let changed = steered(Value::Object(ascent), &spec, None, place + 1, model);
    let (_, spec) = changed.map_err(|errors| {
        let within =
            |error: FieldError| FieldError { pointer: format!("{pointer}{}", error.pointer), ..error };
        errors.into_iter().map(within).collect::<Vec<_>>()
    })?;
    Ok(spec)
}

/// Those of these members that are there.
fn taken(fields: &mut Fields, names: &[&'static str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), fields.raw(name)?))).collect()
}
