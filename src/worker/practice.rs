//! What a worker of a GPU does while nobody wants anything: it dreams noise whose passes most pictures will have.
//!
//! Libraries plan anew for each number and size of windows that a GPU meets, and that takes longer than a dream of a megapixel.
//! The windows of pictures of all sizes have few ([`Grid::uniform`]), so a worker can be ready for most of them before the first
//! picture comes. Practice is given up for a job ([`spare`]).

use std::collections::HashMap;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{
    Worker,
    attempt::blame,
    error::AttemptError,
    spare::{self, Look, Spared},
    turns::Outcome,
};
use reverie_dream::{
    model::Catalogue,
    plan::{Grid, Plan},
    spec::{self, DreamSpec, InputKind},
};
use reverie_engine::{RenderError, Unencoded};
use reverie_graph::NodeId;

/// Kinds of pass that are practised, the commonest first.
const KINDS: usize = 64;

/// Dreams that may fail, for want of memory as a rule, before there is an end to it.
const FAILURES: u32 = 3;

/// Longer edges of the pictures that are expected.
const EDGES: [u32; 7] = [512, 640, 800, 1024, 1280, 1600, 2048];

/// Their shapes, upright too.
const SHAPES: [[u32; 2]; 5] = [[1, 1], [5, 4], [4, 3], [3, 2], [16, 9]];

/// The first pass of a kind is planned for, the second is recorded.
const STEPS: u32 = 2;

/// What is left to practise; by default nothing.
#[derive(Clone, Default)]
pub(super) struct Practice {
    /// The commonest last.
    left: Vec<DreamSpec>,
    /// Dreams that failed on a device that is well.
    failed: u32,
}

impl Practice {
    /// For the default model.
    pub(super) fn of(catalogue: &Catalogue) -> Self {
        Self { left: dreams(catalogue), failed: 0 }
    }

    /// Practises one dream.
    pub(super) async fn one(&mut self, worker: &Worker) -> Look {
        if worker.load.is_busy() {
            return Look::Nothing;
        }
        let Some(dream) = self.left.pop() else { return Look::Nothing };
        match spare::render(worker, dream.clone()).await {
            Spared::Ended(rendered) => self.ended(worker, dream, rendered).await,
            Spared::Job(rendered, job) => {
                if rendered.is_err() {
                    self.left.push(dream);
                }
                Look::Job(job)
            }
            Spared::Hung => {
                self.left.push(dream);
                Look::Had(Outcome::Sick)
            }
        }
    }

    /// What is left after a dream that ended without a job.
    async fn ended(
        &mut self,
        worker: &Worker,
        dream: DreamSpec,
        rendered: Result<Unencoded, RenderError>,
    ) -> Look {
        match rendered {
            Ok(_) => {
                if self.left.is_empty() {
                    info!(worker = worker.id, "practised the passes of common sizes");
                }
                Look::Had(Outcome::Done)
            }
            Err(RenderError::Canceled) => {
                self.left.push(dream);
                Look::Had(Outcome::Done)
            }
            Err(RenderError::Busy) => {
                self.left.push(dream);
                Look::Nothing
            }
            Err(error) => {
                let blamed = blame(&worker.context, &worker.renderer, error).await;
                if matches!(blamed, AttemptError::Sick(_)) {
                    // It goes on once the device has recovered.
                    self.left.push(dream);
                    return Look::Had(Outcome::Sick);
                }
                warn!(worker = worker.id, error = %blamed, "a pass could not be practised");
                self.failed += 1;
                if self.failed >= FAILURES {
                    warn!(
                        worker = worker.id,
                        "nothing more is practised; the first pictures of each size take longer"
                    );
                    self.left.clear();
                }
                Look::Had(Outcome::Done)
            }
        }
    }
}

/// Dreams of the default model that have the commonest passes, the commonest last.
fn dreams(catalogue: &Catalogue) -> Vec<DreamSpec> {
    let Some(model) = catalogue.get(catalogue.default_id()) else { return Vec::new() };
    // A model in the catalogue has valid defaults; with invalid ones, its jobs would be refused.
    let resolved = |fields: Value, input| spec::resolve("", fields, catalogue, input);
    let Ok(usual) = resolved(json!({ "model": model.id }), InputKind::Image) else { return Vec::new() };
    let layers = usual.objectives.iter().filter_map(|objective| model.network.find(&objective.layer).ok());
    let stride = model.network.stride(&layers.collect::<Vec<NodeId>>()) as i64;
    let grid = Grid::of(&usual, stride).uniform_for(&usual, true);
    // How often a kind of pass comes, and an octave that has it.
    let mut kinds = HashMap::<_, (usize, (i64, i64))>::new();
    for size in sizes() {
        let Ok(plan) = Plan::of(&usual, &model.network, size, u64::MAX) else { continue };
        for (height, width) in plan.octaves {
            for kind in grid.windows(height, width) {
                kinds.entry(kind).or_insert((0, (height, width))).0 += 1;
            }
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_unstable_by_key(|(kind, (often, _))| (std::cmp::Reverse(*often), *kind));
    kinds.truncate(KINDS);
    let noise = |(height, width)| {
        let noise = json!({
            "model": model.id, "noise": { "width": width, "height": height }, "octaves": 1, "iterations": STEPS,
            "format": "jpeg", "recipe": false,
        });
        resolved(noise, InputKind::Nothing { image: "" }).ok()
    };
    kinds.into_iter().rev().filter_map(|(_, (_, size))| noise(size)).collect()
}

/// Heights and widths of the pictures that are expected.
fn sizes() -> impl Iterator<Item = (u32, u32)> {
    EDGES.into_iter().flat_map(|longer| {
        SHAPES.into_iter().flat_map(move |[long, short]| {
            let shorter = longer * short / long;
            let upright = (longer != shorter).then_some((longer, shorter));
            [(shorter, longer)].into_iter().chain(upright)
        })
    })
}
