//! What a dream changes to while it is made: the schedule of a spec, whether it was sent with it or came while the dream grew (`steering`).
//!
//! A change holds from its place on: an octave, or a frame of an animation, both counted from 1. [`DreamSpec::at`] says what is in
//! force at a place. The planner and the engine both ask it, so that what is priced is what is dreamed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    DreamSpec, Objective,
    kind::{Kind, Number, Objectives},
    objective::read_objectives,
    parameter::{Parameter, defaults_in_words, parameters, settle},
    request::{MOST_DECAY, silent},
};
use crate::model::Model;
use reverie_fields::{FieldError, Fields, note_all};

/// Largest number of changes in a schedule.
pub const MAX_CHANGES: usize = 32;

/// Changes that may come in at the same time: each adds its objectives to those of the others.
const MAX_FADES: usize = 4;

/// Octaves at the most; see [`DreamSpec::octaves`].
pub(super) const MAX_OCTAVES: u32 = 16;

/// Frames at the most; see [`Motion::frames`](super::Motion::frames).
pub(super) const MAX_FRAMES: u32 = 1000;

/// A change of a dream, complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The first octave in which it holds, counted from 1; of single pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub octave: Option<u32>,
    /// The first frame in which it holds, counted from 1; of animations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub frame: Option<u32>,
    /// What is maximised from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub objectives: Option<Vec<Objective>>,
    /// Step length from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub step: Option<f64>,
    /// How strongly each step smooths from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub total_variation: Option<f64>,
    /// How strongly each step draws to grey from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub l2_decay: Option<f64>,
    /// Frames over which it comes in, the first included; one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub fade: Option<u32>,
}

impl Change {
    /// The octave or frame from which on it holds.
    pub fn place(&self) -> u32 {
        self.octave.or(self.frame).unwrap_or(1)
    }

    /// The first octave or frame in which all of it is in force.
    pub fn end(&self) -> u32 {
        self.place().saturating_add(self.fade.unwrap_or(1).max(1) - 1)
    }

    /// The same from `place` on, of an animation or of a single picture.
    pub fn from(self, place: u32, is_animation: bool) -> Self {
        let (octave, frame) = if is_animation { (None, Some(place)) } else { (Some(place), None) };
        Self { octave, frame, ..self }
    }

    /// How much of it is in force at a place that it has reached, up to 1.
    fn share(&self, place: u32) -> f64 {
        let since = (place + 1).saturating_sub(self.place());
        (f64::from(since) / f64::from(self.fade.unwrap_or(1).max(1))).min(1.0)
    }
}

parameters! {
    /// What may change while a dream is made. What is absent stays.
    #[derive(Debug)]
    pub struct WrittenChange, read from (fields) {
        /// What to maximise from there on: the sum of these.
        objectives: Option<Value> {
            read: Objectives,
            settle: |written| written,
        }
        /// Step length from there on, in units of the normalised gradient.
        step: Option<f64> {
            read: Number(0.001, 100.0),
            settle: |written| written,
        }
        /// How strongly each step smooths the picture from there on.
        total_variation: Option<f64> {
            read: Number(0.0, 4.0),
            settle: |written| written,
        }
        /// How strongly each step draws the picture's colours back to grey from there on.
        l2_decay: Option<f64> {
            read: Number(0.0, 4.0),
            settle: |written| written,
        }
        /// Of animations: how many frames it takes to come in. Objectives are cross-faded by their weights and numbers go
        /// evenly, from what was in force before. 1 if absent: at once.
        fade: Option<u32> {
            read: Number(1_u32, MAX_FRAMES),
            settle: |written| written,
        }
    }
}

impl WrittenChange {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}

parameters! {
    /// Where a change of a schedule begins: in a single picture with an octave, in an animation with a frame.
    #[derive(Debug)]
    pub struct WrittenPlace, read from (fields) {
        /// The first octave in which the change holds, counted from 1; of single pictures.
        octave: Option<u32> {
            read: Number(1_u32, MAX_OCTAVES),
            settle: |written| written,
        }
        /// The first frame in which the change holds, counted from 1; of animations.
        frame: Option<u32> {
            read: Number(1_u32, MAX_FRAMES),
            settle: |written| written,
        }
    }
}

impl WrittenPlace {
    /// Takes it from the members of an object; mistakes are noted there.
    pub fn take(fields: &mut Fields) -> Self {
        Self::read(fields)
    }

    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}

/// Reads the schedule of `spec`, whose other members are read.
pub(super) fn read_schedule(
    pointer: &str,
    value: Option<Value>,
    spec: &DreamSpec,
    model: Option<&Model>,
) -> Result<Vec<Change>, Vec<FieldError>> {
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MAX_CHANGES => list,
        Some(_) => {
            return Err(vec![FieldError::new(
                pointer,
                format!("must be an array of at most {MAX_CHANGES} changes"),
            )]);
        }
    };
    let mut errors = Vec::new();
    let mut changes: Vec<Change> = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let is_object = value.is_object();
        let mut fields = Fields::new(&format!("{pointer}/{index}"), value);
        if !is_object {
            note_all(&mut errors, fields.finish());
            continue;
        }
        let given = ["octave", "frame"].iter().any(|name| fields.peek(name).is_some());
        let WrittenPlace { octave, frame } = WrittenPlace::read(&mut fields);
        let (name, place, other) = match &spec.motion {
            Some(_) => (
                "frame",
                frame,
                octave.map(|_| ("octave", "is for single pictures; an animation changes at a \"frame\"")),
            ),
            None => (
                "octave",
                octave,
                frame.map(|_| ("frame", "is for animations; a single picture changes at an \"octave\"")),
            ),
        };
        if let Some((name, detail)) = other {
            fields.error(name, detail);
        }
        if !given {
            fields.error(name, "is needed: where the change begins, counted from 1");
        }
        if let (Some(frame), Some(motion)) = (frame, &spec.motion)
            && frame > motion.frames
        {
            fields.error("frame", format!("{frame} is not among the {} frames", motion.frames));
        }
        let place = place.unwrap_or(1);
        if changes.last().is_some_and(|before| before.place() >= place) && octave.or(frame).is_some() {
            fields.error(name, "must be greater than that of the change before");
        }
        let change = change_of(&mut fields, spec, model).from(place, spec.motion.is_some());
        note_all(&mut errors, fields.finish());
        changes.push(change);
    }
    if errors.is_empty()
        && let Some(detail) = too_many_fades(&changes)
    {
        errors.push(FieldError::new(pointer, detail));
    }
    if errors.is_empty() { Ok(changes) } else { Err(errors) }
}

/// What is wrong where too many changes come in at the same time.
pub(super) fn too_many_fades(schedule: &[Change]) -> Option<String> {
    let crowded = schedule.iter().find(|change| {
        let beside = |other: &&Change| other.place() < change.place() && other.end() > change.place();
        schedule.iter().filter(beside).count() >= MAX_FADES
    })?;
    Some(format!(
        "at frame {}, more than {MAX_FADES} changes come in at the same time; make \"fade\" shorter",
        crowded.place()
    ))
}

/// The change in `fields` without its place; mistakes are noted there.
pub(super) fn change_of(fields: &mut Fields, spec: &DreamSpec, model: Option<&Model>) -> Change {
    let changes = ["objectives", "step", "total_variation", "l2_decay"];
    let says_nothing = !changes.iter().any(|name| fields.peek(name).is_some());
    let WrittenChange { objectives, step, total_variation, l2_decay, fade } = WrittenChange::read(fields);
    if says_nothing {
        fields.error(
            "objectives",
            "is needed, or \"step\", \"total_variation\" or \"l2_decay\": a change has to change something",
        );
    }
    if fade.is_some() && spec.motion.is_none() {
        fields.error("fade", "is for animations: a single picture changes between two octaves");
    }
    let objectives = objectives.and_then(|written| {
        let read = read_objectives(&fields.at("objectives"), Some(written), model);
        read.map_err(|errors| fields.extend(errors)).ok()
    });
    let fade = fade.filter(|fade| *fade > 1);
    Change { octave: None, frame: None, objectives, step, total_variation, l2_decay, fade }
}

/// What is wrong where a step would go beyond grey somewhere in the schedule of `spec`.
pub(super) fn too_much_decay(spec: &DreamSpec) -> Option<String> {
    let last = spec.motion.map_or(MAX_OCTAVES, |motion| motion.frames);
    let places = if spec.schedule.is_empty() { 1..=1 } else { 1..=last };
    let numbers = places.map(|place| {
        let step = spec.number_at(place, spec.step, |change| change.step);
        (step, spec.number_at(place, spec.l2_decay, |change| change.l2_decay))
    });
    let (step, decay) = numbers.into_iter().find(|(step, decay)| step * decay > MOST_DECAY)?;
    Some(format!(
        "{decay} is too much for step {step}: a step would go beyond grey; step times l2_decay is at most {MOST_DECAY}"
    ))
}

impl DreamSpec {
    /// The spec that is in force in an octave, or a frame of an animation, counted from 1: without a schedule. Its objectives
    /// may be more than a request may have, where they are cross-faded.
    pub fn at(&self, place: u32) -> Cow<'_, Self> {
        if self.schedule.is_empty() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            objectives: self.objectives_at(place),
            step: self.number_at(place, self.step, |change| change.step),
            total_variation: self.number_at(place, self.total_variation, |change| change.total_variation),
            l2_decay: self.number_at(place, self.l2_decay, |change| change.l2_decay),
            schedule: Vec::new(),
            ..self.clone()
        })
    }

    /// All objectives, whenever they are in force: those of the spec itself first.
    pub fn all_objectives(&self) -> impl Iterator<Item = &Objective> {
        let later = self.schedule.iter().filter_map(|change| change.objectives.as_ref()).flatten();
        self.objectives.iter().chain(later)
    }

    /// A number at a place: `start`, changed by those changes that name it.
    fn number_at(&self, place: u32, start: f64, named: impl Fn(&Change) -> Option<f64> + Copy) -> f64 {
        let mut place = place;
        let mut parts = Vec::new();
        // From the newest change backwards, as long as the one before is still in force beside it.
        for change in self.schedule.iter().rev() {
            let Some(value) = named(change).filter(|_| change.place() <= place) else { continue };
            let share = change.share(place);
            parts.push((share, value));
            if share >= 1.0 {
                break;
            }
            place = change.place() - 1;
        }
        let complete = parts.pop_if(|(share, _)| *share >= 1.0).map_or(start, |(_, value)| value);
        parts.iter().rev().fold(complete, |before, (share, value)| before + (value - before) * share)
    }

    /// The objectives at a place, as [`Self::number_at`].
    fn objectives_at(&self, place: u32) -> Vec<Objective> {
        let mut place = place;
        let mut parts = Vec::new();
        for change in self.schedule.iter().rev() {
            let Some(objectives) = change.objectives.as_ref().filter(|_| change.place() <= place) else {
                continue;
            };
            let share = change.share(place);
            parts.push((share, objectives));
            if share >= 1.0 {
                break;
            }
            place = change.place() - 1;
        }
        let complete =
            parts.pop_if(|(share, _)| *share >= 1.0).map_or(&self.objectives, |(_, objectives)| objectives);
        parts
            .iter()
            .rev()
            .fold(complete.clone(), |before, (share, objectives)| faded(&before, objectives, *share))
    }
}

/// The objectives between `before` and `after`, of which `share` is in force: all of both, by their weights.
fn faded(before: &[Objective], after: &[Objective], share: f64) -> Vec<Objective> {
    let weighted = |objective: &Objective, share: f64| Objective {
        weight: objective.weight * share,
        ..objective.clone()
    };
    let mut both: Vec<Objective> = before.iter().map(|one| weighted(one, 1.0 - share)).collect();
    // Weights apart.
    let mut alike: Vec<Objective> =
        before.iter().map(|one| Objective { weight: 1.0, ..one.clone() }).collect();
    for objective in after.iter().map(|one| weighted(one, share)) {
        let like = Objective { weight: 1.0, ..objective.clone() };
        match alike.iter().position(|known| *known == like) {
            Some(index) => both[index].weight += objective.weight,
            None => {
                alike.push(like);
                both.push(objective);
            }
        }
    }
    both
}
