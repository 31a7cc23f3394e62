//! One job from claim to end: one attempt, its outcome, and the state of the worker afterwards.

use std::sync::OnceLock;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field::Empty, info, info_span};

use super::{WorkerContext, attempt::attempt, error::AttemptError, settle::settle};
use crate::{
    jobs::{Claim, JobState},
    telemetry,
};
use reverie_engine::Renderer;

/// State of the worker after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The worker can take the next job.
    Done,
    /// The device is sick: the worker cannot do any job until it recovers.
    Sick,
    /// The blob store is unreachable or full: the worker cannot do any job until it recovers.
    StoreAway {
        /// Bytes that did not fit; 0 if the store is not full.
        bytes: usize,
    },
}

/// Runs a claimed job to its end.
pub(super) async fn run(
    context: &WorkerContext,
    renderer: &Renderer,
    claim: Claim,
    give_up: &CancellationToken,
) -> Outcome {
    let Claim { job, lease } = claim;
    let span = info_span!("job", job = %job.id, attempt = job.attempt, trace = Empty);
    telemetry::follow(&span, job.traceparent.clone());
    async {
        info!("job started");
        let began = Instant::now();
        let reason = OnceLock::new();
        let attempt = attempt(context, renderer, &job, lease, give_up, &reason).await;
        // Its time says nothing if a checkpoint spared it a part, as after a pause.
        let whole =
            matches!(&attempt, Ok(finished) if finished.progress.is_none_or(|last| last.resumed_from == 0.0));
        let outcome = match attempt {
            Err(AttemptError::Sick(_)) => Outcome::Sick,
            Err(AttemptError::StoreAway { ref error, bytes }) => {
                Outcome::StoreAway { bytes: if error.is_full() { bytes } else { 0 } }
            }
            _ => Outcome::Done,
        };
        let ended = settle(context, &job, lease, attempt, reason.get().copied(), give_up).await;
        if let (Some(ended), 1, Some(forecast)) = (ended, job.attempt, job.forecast)
            && ended.state == JobState::Succeeded
            && whole
            // What was changed on the way took another time than was predicted.
            && ended.spec.schedule == job.spec.schedule
        {
            let seconds = began.elapsed().as_secs_f64();
            context.throughput.learn(&job.spec, forecast.reference_seconds, seconds);
        }
        outcome
    }
    .instrument(span)
    .await
}
