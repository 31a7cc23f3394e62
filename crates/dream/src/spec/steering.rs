//! Changes that are asked for while a dream is made: how one is read, and how it comes into the schedule. Of two that name the same, the
//! one that was asked for last wins, wherever either begins.

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
    /// What was asked for and has no place yet.
    pub waiting: Option<Change>,
}

/// Reads a change without its place, `value`, as it is asked for while a dream is made; the change, and the spec with it from
/// `place` on. What `value` does not name of the change that waits stays.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn steered(
    value: Value,
    underway: Underway<'_>,
    place: u32,
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
    let change = match waiting {
        Some(waiting) => waiting.and_then(change),
        None => change,
    };
    let steered = DreamSpec { schedule: spec.scheduled(planned, &change, place), ..spec.clone() };
    let follows = change.objectives.iter().flatten().any(|objective| objective.kind.follows_guide());
    let (pointer, detail) = if follows && !has_guide {
        ("/objectives", "follow a guide image, and the job was sent without one".to_owned())
    } else if spec.schedule.len() >= MAX_CHANGES {
        // Even if it fell together with a known one here: after a lost attempt it may be taken up at another place.
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

    /// What is left of this change where `newer`, which begins before it, was asked for after it: what both name is as `planned`,
    /// the change that was sent for this place, has it. `None` if nothing is left.
    fn giving_way(self, newer: &Self, planned: Option<&Self>) -> Option<Self> {
        fn left<T: Clone>(newer: Option<&T>, own: Option<T>, planned: Option<&T>) -> Option<T> {
            if newer.is_some() { planned.cloned() } else { own }
        }
        let nothing = Self::default();
        let planned = planned.unwrap_or(&nothing);
        let fade = self.fade;
        let kept = Self {
            objectives: left(newer.objectives.as_ref(), self.objectives, planned.objectives.as_ref()),
            step: left(newer.step.as_ref(), self.step, planned.step.as_ref()),
            total_variation: left(
                newer.total_variation.as_ref(),
                self.total_variation,
                planned.total_variation.as_ref(),
            ),
            l2_decay: left(newer.l2_decay.as_ref(), self.l2_decay, planned.l2_decay.as_ref()),
            fade: planned.fade,
            ..self
        };
        let is_planned = kept == Self { octave: kept.octave, frame: kept.frame, ..planned.clone() };
        let kept = if is_planned { kept } else { Self { fade, ..kept } };
        kept.changes_something().then_some(kept)
    }

    /// Whether it names anything beside where and how it comes.
    fn changes_something(&self) -> bool {
        let numbers = [self.step, self.total_variation, self.l2_decay];
        self.objectives.is_some() || numbers.iter().any(Option::is_some)
    }
}

impl DreamSpec {
    /// The schedule with `change`, which was asked for last and holds from `place` on, whatever was to change there. What `planned`,
    /// the schedule that was sent, changes later it still does. But what was asked for earlier and began later, in an attempt that
    /// was lost, gives way: the last who asks wins.
    pub fn scheduled(&self, planned: &[Change], change: &Change, place: u32) -> Vec<Change> {
        let change = change.clone().from(place, self.motion.is_some());
        let (mut schedule, later): (Vec<_>, Vec<_>) =
            self.schedule.iter().cloned().partition(|known| known.place() <= place);
        let there = schedule.pop_if(|known| known.place() == place).unwrap_or_default();
        let later = later.into_iter().filter_map(|known| {
            let planned = planned.iter().find(|planned| planned.place() == known.place());
            known.giving_way(&change, planned)
        });
        let later: Vec<_> = later.collect();
        schedule.push(there.and_then(change));
        schedule.extend(later);
        schedule
    }
}
