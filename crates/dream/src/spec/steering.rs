//! Changes that are asked for while a dream is made: how one is read, and how it comes into the schedule.
//!
//! A change gets its place when it is asked for: the octave or frame after the one that has begun, and none before that of a change that
//! was asked for earlier. So the last who asks wins. An attempt that is lost changes nothing of that: the next one, which begins
//! earlier, dreams what the lost one has dreamed, and the change holds from where it was checked for.

use serde_json::Value;

use super::{
    DreamSpec,
    request::{NO_ROOM, fits_its_file},
    schedule::{Change, MAX_CHANGES, change_of, too_many_fades, too_much_decay},
};
use crate::model::Model;
use reverie_fields::{FieldError, Fields};

/// A dream while it is made.
pub struct Underway<'a> {
    /// Its spec, with the schedule as it stands.
    pub spec: &'a DreamSpec,
    /// The schedule that it was sent with.
    pub planned: &'a [Change],
    /// Whether it was sent with a guide image.
    pub has_guide: bool,
    /// What was asked for and has not begun.
    pub waiting: Option<Change>,
}

/// Reads a change without its place, `value`, as it is asked for while a dream is made whose `next` octave or frame is the first that
/// could begin with it; the change with its place, and the spec with it. What `value` does not name of the change that waits stays.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn steered(
    value: Value,
    underway: Underway<'_>,
    next: u32,
    model: &Model,
) -> Result<(Change, DreamSpec), Vec<FieldError>> {
    let Underway { spec, planned, has_guide, waiting } = underway;
    let is_object = value.is_object();
    let mut fields = Fields::new("", value);
    let change = if is_object { change_of(&mut fields, spec, Some(model)) } else { Change::default() };
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let place =
        next.max(spec.last_asked(planned).unwrap_or(1)).max(waiting.as_ref().map_or(1, Change::place));
    let change = waiting.unwrap_or_default().and_then(change).from(place, spec.motion.is_some());
    let steered = DreamSpec { schedule: spec.scheduled(&change, place), ..spec.clone() };
    let follows = change.objectives.iter().flatten().any(|objective| objective.kind.follows_guide());
    let (pointer, detail) = if follows && !has_guide {
        ("/objectives", "follow a guide image, and the job was sent without one".to_owned())
    } else if spec.schedule.len() >= MAX_CHANGES {
        // Even if it falls together with a known one here.
        ("", format!("the dream has changed {MAX_CHANGES} times, which is the most"))
    } else if let Some(detail) = too_many_fades(&steered.schedule) {
        ("/fade", detail)
    } else if let Some(detail) = too_much_decay(&steered) {
        ("/l2_decay", detail)
    } else if !fits_its_file(&steered) {
        ("/objectives", NO_ROOM.to_owned())
    } else {
        return Ok((change, steered));
    };
    Err(vec![FieldError::new(pointer, detail)])
}

impl Change {
    /// This change and then `later`, which has the same place: what `later` does not name stays.
    pub fn and_then(self, later: Self) -> Self {
        Self {
            octave: later.octave.or(self.octave),
            frame: later.frame.or(self.frame),
            objectives: later.objectives.or(self.objectives),
            step: later.step.or(self.step),
            total_variation: later.total_variation.or(self.total_variation),
            l2_decay: later.l2_decay.or(self.l2_decay),
            fade: later.fade.or(self.fade),
        }
    }
}

impl DreamSpec {
    /// The schedule with `change`, which holds from `place` on, whatever was to change there. What changes later still does.
    pub fn scheduled(&self, change: &Change, place: u32) -> Vec<Change> {
        let change = change.clone().from(place, self.motion.is_some());
        let mut schedule = self.schedule.clone();
        match schedule.iter().position(|known| known.place() >= place) {
            Some(index) if schedule[index].place() == place => {
                let known = std::mem::take(&mut schedule[index]);
                schedule[index] = known.and_then(change);
            }
            Some(index) => schedule.insert(index, change),
            None => schedule.push(change),
        }
        schedule
    }

    /// The last place at which something begins that was asked for on the way; `planned` is the schedule that was sent. An attempt that
    /// was lost may have come that far.
    fn last_asked(&self, planned: &[Change]) -> Option<u32> {
        self.schedule.iter().rfind(|change| !planned.contains(change)).map(Change::place)
    }
}
