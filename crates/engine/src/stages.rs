//! What is maximised where: the schedule of a dream, bound to the network as its octaves or frames begin.
//!
//! The channels that the picture picks are found for each change as for the dream itself: on the picture in the size of the first
//! octave, before any step. So they follow from the request, and an attempt that goes on after a checkpoint finds the same ones.

use tch::{Device, Tensor};

use super::{
    CancelFlag, OnBegin, RenderError, batch::GradientSource, engine::choose_channels, input::Input,
    objective::BoundObjective,
};
use reverie_dream::spec::{Change, DreamSpec, Objective};
use reverie_graph::NodeId;

/// What is in force from an octave or frame on.
#[derive(Clone)]
pub(super) struct Stage {
    /// The spec that is in force, without a schedule.
    pub(super) spec: DreamSpec,
    /// Its objectives.
    pub(super) bound: BoundObjective,
}

/// What is needed to bind objectives for a dream.
pub(super) struct Binder<'a> {
    pub(super) source: &'a dyn GradientSource,
    pub(super) input: &'a Input,
    /// The guide image, `[1, 3, h, w]`, where one is followed at any time.
    pub(super) guide: Option<Tensor>,
    pub(super) device: Device,
    pub(super) max_pixels: u64,
    pub(super) cancel: &'a CancelFlag,
}

impl Binder<'_> {
    /// The objectives of `spec` with the channels that the picture or chance decides, and what there is to say of those.
    pub(super) fn settled(&self, spec: &DreamSpec) -> Result<(Vec<Objective>, Vec<String>), RenderError> {
        choose_channels(self.source, spec, self.input, self.max_pixels, self.cancel)
    }

    /// Binds objectives whose channels are settled.
    pub(super) fn bound(&self, objectives: &[Objective]) -> Result<BoundObjective, RenderError> {
        let bound = BoundObjective::new(self.source.network(), objectives)?.on(self.device)?;
        match &self.guide {
            Some(guide) if objectives.iter().any(|objective| objective.kind.follows_guide()) => {
                let features = features(self.source, guide.shallow_clone(), bound.layers())?;
                bound.guided_by(&features)
            }
            _ => Ok(bound),
        }
    }
}

/// Activations of a guide image, `[1, 3, h, w]`, at `layers`.
fn features(
    source: &dyn GradientSource,
    guide: Tensor,
    layers: &[NodeId],
) -> Result<Vec<Tensor>, RenderError> {
    source.features(guide, layers).map_err(|error| match error {
        RenderError::Shape(small) => RenderError::GuideShape(small),
        error => error,
    })
}

/// A change as it was asked for, with its objectives as the picture settles them, and what there is to say of those.
struct Settled {
    asked: Change,
    change: Change,
    notes: Vec<String>,
}

/// The stages of a dream, one after the other.
pub(super) struct Stages<'a> {
    binder: Binder<'a>,
    /// The spec with settled objectives, without a schedule.
    start: DreamSpec,
    schedule: Vec<Settled>,
    on_begin: Option<&'a mut OnBegin>,
    /// What is in force; as the dream begins where there is none.
    current: Option<Stage>,
}

impl<'a> Stages<'a> {
    /// Those of `spec`, whose objectives are settled as `objectives`.
    ///
    /// # Errors
    /// When the channels of a change cannot be found.
    pub(super) fn new(
        binder: Binder<'a>,
        spec: &DreamSpec,
        objectives: Vec<Objective>,
        on_begin: Option<&'a mut OnBegin>,
    ) -> Result<Self, RenderError> {
        let start = DreamSpec { objectives, schedule: Vec::new(), ..spec.clone() };
        let mut stages = Self { binder, start, schedule: Vec::new(), on_begin, current: None };
        stages.follow(spec.schedule.clone())?;
        Ok(stages)
    }

    /// The dream begins anew, with what its spec says.
    pub(super) fn restart(&mut self) {
        self.current = None;
    }

    /// An octave or frame, counted from 1, of so many begins: what is in force from it on, if that is something else than
    /// before.
    ///
    /// # Errors
    /// What binding the objectives says, and [`OnBegin`].
    pub(super) fn begin(&mut self, place: u32, of: u32) -> Result<Option<Stage>, RenderError> {
        if let Some(on_begin) = &mut self.on_begin {
            let schedule = on_begin(place, of)?;
            self.follow(schedule)?;
        }
        if self.schedule.is_empty() && self.current.is_none() {
            return Ok(None);
        }
        let schedule = self.schedule.iter().map(|settled| settled.change.clone()).collect();
        let now = DreamSpec { schedule, ..self.start.clone() }.at(place).into_owned();
        let before = self.current.as_ref().map_or(&self.start, |stage| &stage.spec);
        if now == *before {
            return Ok(None);
        }
        let bound = match &self.current {
            Some(stage) if stage.spec.objectives == now.objectives => stage.bound.clone(),
            _ => self.binder.bound(&now.objectives)?,
        };
        self.current = Some(Stage { spec: now, bound });
        Ok(self.current.clone())
    }

    /// The schedule as it was asked for, as far as it is known.
    pub(super) fn asked(&self) -> Vec<Change> {
        self.schedule.iter().map(|settled| settled.asked.clone()).collect()
    }

    /// What is in force at the end, if it is something else than at the beginning.
    pub(super) fn last(&self) -> Option<&Stage> {
        self.current.as_ref()
    }

    /// The schedule as it was asked for, and what there is to say of its objectives.
    pub(super) fn into_schedule(self) -> (Vec<Change>, Vec<String>) {
        let (mut schedule, mut notes) = (Vec::new(), Vec::new());
        for Settled { asked, notes: own, .. } in self.schedule {
            schedule.push(asked);
            notes.extend(own);
        }
        (schedule, notes)
    }

    /// Takes a schedule up; what is known of it stays as it was settled.
    fn follow(&mut self, schedule: Vec<Change>) -> Result<(), RenderError> {
        if schedule.iter().eq(self.schedule.iter().map(|settled| &settled.asked)) {
            return Ok(());
        }
        let mut known = std::mem::take(&mut self.schedule);
        for asked in schedule {
            let settled = match known.iter().position(|settled| settled.asked == asked) {
                Some(index) => known.swap_remove(index),
                None => self.settle(asked)?,
            };
            self.schedule.push(settled);
        }
        Ok(())
    }

    fn settle(&self, asked: Change) -> Result<Settled, RenderError> {
        let Some(objectives) = asked.objectives.clone() else {
            return Ok(Settled { change: asked.clone(), asked, notes: Vec::new() });
        };
        let (objectives, notes) = self.binder.settled(&DreamSpec { objectives, ..self.start.clone() })?;
        let unit = if asked.frame.is_some() { "frame" } else { "octave" };
        let notes =
            notes.into_iter().map(|note| format!("from {unit} {} on, {note}", asked.place())).collect();
        Ok(Settled { change: Change { objectives: Some(objectives), ..asked.clone() }, asked, notes })
    }
}
