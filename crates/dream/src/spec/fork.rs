//! A fork: another dream that goes on after an octave of one, or after a frame of an animation.
//!
//! It is the first dream with a schedule that changes after that place. So its spec says all of it: rendered from the input,
//! it gives the same bytes, whatever has become of the first dream and of its octaves.

use serde_json::{Map, Value};

use super::{
    Count, DreamSpec,
    request::{InputKind, find_look, resolve},
    schedule::{MAX_FRAMES, MAX_OCTAVES},
    steering::{Underway, steered},
};
use crate::model::{Catalogue, Model};
use reverie_fields::{FieldError, Fields};

/// What changes the ascent, from the next octave or frame on.
const ASCENT: [&str; 4] = ["objectives", "step", "total_variation", "l2_decay"];

/// What becomes of the finished dream; no octave depends on it.
const FILE: [&str; 8] =
    ["format", "quality", "lossless", "recipe", "preserve_colors", "blend", "auto_contrast", "restore_size"];

/// The dream that a fork goes on from.
#[derive(Clone, Copy, Debug)]
pub struct First<'a> {
    /// Its spec.
    pub spec: &'a DreamSpec,
    /// What came with it.
    pub input: InputKind,
    /// Whether there is a guide image, whatever follows it.
    pub has_guide: bool,
}

/// Where a fork leaves the first dream.
#[derive(Clone, Copy, Debug)]
pub struct After {
    /// The last octave that stays, counted from 1; of an animation, the last frame.
    pub place: u32,
    /// Of animations: frames over which the change comes in; at once if absent.
    pub fade: Option<u32>,
}

impl After {
    /// Takes the frames over which the change comes in from the members of an object; a mistake is noted there.
    pub fn take_fade(fields: &mut Fields) -> Option<u32> {
        fields.number("fade", 1, MAX_FRAMES)
    }
}

/// The spec of a dream that is `first` up to a place, and from the next one on as `written` says: an object with what changes,
/// which stands at `pointer`. What it does not name stays as it was there: what `first` changes later is left out. Of a look it
/// takes what may change. A mistake in the fade is told at `fade` of that object.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn forked(
    pointer: &str,
    written: Value,
    first: First<'_>,
    after: After,
    catalogue: &Catalogue,
) -> Result<DreamSpec, Vec<FieldError>> {
    let First { spec, input, has_guide } = first;
    let After { place, fade } = after;
    let mut fields = Fields::new(pointer, written);
    if let Some(look) = fields.name("look") {
        fill_in(&mut fields, &look, catalogue.get(&spec.model).map(|model| &**model));
    }
    let [mut ascent, file] = [&ASCENT[..], &FILE[..]].map(|names| taken(&mut fields, names));
    let hint =
        format!("cannot change in a fork; what can is look, {}, {}", ASCENT.join(", "), FILE.join(", "));
    for parameter in DreamSpec::parameters() {
        fields.misplaced(parameter.name, &hint);
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let unfit = |detail: String| vec![FieldError::new(pointer, detail)];
    let (unit, most) = match spec.motion {
        Some(motion) => ("frame", motion.frames),
        None => (
            "octave",
            match spec.octaves {
                Count::Of(octaves) => octaves,
                // How many there are, the picture decides.
                Count::Auto => MAX_OCTAVES,
            },
        ),
    };
    let most = most.saturating_sub(1);
    let mut errors = Vec::new();
    if !(1..=most).contains(&place) {
        let last = most + 1;
        errors.extend(unfit(format!("a fork after {unit} {place} has nothing left; the last one is {last}")));
    }
    let place = place.clamp(1, most.max(1));
    let begun = spec.schedule.iter().filter(|change| change.place() <= place);
    let kept = DreamSpec { schedule: begun.cloned().collect(), ..spec.clone() };
    let mut request = match kept.to_request() {
        Ok(Value::Object(request)) => request,
        Ok(other) => return Err(unfit(format!("a spec is written as {other}"))),
        Err(error) => return Err(unfit(error.to_string())),
    };
    request.extend(file);
    if let Some(fade) = fade {
        ascent.insert("fade".to_owned(), fade.into());
    }
    let within = |error: FieldError| FieldError { pointer: format!("{pointer}{}", error.pointer), ..error };
    let forked = resolve(pointer, Value::Object(request), catalogue, input).and_then(|spec| {
        let Some(model) = catalogue.get(&spec.model).filter(|_| !ascent.is_empty()) else { return Ok(spec) };
        // What was to change later is gone by now, whoever had asked for it.
        let underway = Underway { spec: &spec, planned: &[], has_guide, waiting: None };
        let changed = steered(Value::Object(ascent), underway, place + 1, model);
        let (_, spec) = changed.map_err(|wrong| wrong.into_iter().map(within).collect::<Vec<_>>())?;
        Ok(spec)
    });
    match forked {
        Ok(spec) if errors.is_empty() => Ok(spec),
        Ok(_) => Err(errors),
        Err(wrong) => Err([errors, wrong].concat()),
    }
}

/// Adds what a look says of what may change.
fn fill_in(fields: &mut Fields, wanted: &str, model: Option<&Model>) {
    let Some(model) = model else { return };
    match find_look(model, wanted) {
        Ok(look) => {
            let open = |name: &&String| ASCENT.iter().chain(&FILE).any(|open| open == name);
            for (name, value) in look.spec.iter().filter(|(name, _)| open(name)) {
                fields.fill(name, value.clone());
            }
        }
        Err(detail) => fields.error("look", detail),
    }
}

/// Those of these members that are there.
fn taken(fields: &mut Fields, names: &[&'static str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), fields.raw(name)?))).collect()
}
