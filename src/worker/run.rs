//! One job from claim to end: one attempt, and its outcome.

use std::sync::OnceLock;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field::Empty, info, info_span};

use super::{
    WorkerContext,
    attempt::attempt,
    error::AttemptError,
    settle::settle,
    turns::{Outcome, Place},
};
use crate::{
    jobs::{Claim, JobState},
    telemetry,
};

/// Runs a claimed job to its end.
pub(super) async fn run(
    context: &WorkerContext,
    place: &Place<'_>,
    claim: Claim,
    give_up: &CancellationToken,
) {
    let Claim { job, lease } = claim;
    let span = info_span!("job", job = %job.id, attempt = job.attempt, trace = Empty);
    telemetry::follow(&span, job.traceparent.clone());
    async {
        info!("job started");
        let began = Instant::now();
        let reason = OnceLock::new();
        let attempt = attempt(context, place, &job, lease, give_up, &reason).await;
        // Its time says nothing if a checkpoint spared it a part, as after a pause.
        let whole =
            matches!(&attempt, Ok(finished) if finished.progress.is_none_or(|last| last.resumed_from == 0.0));
        // Before anybody else looks for work.
        if let Err(AttemptError::StoreAway { error, bytes }) = &attempt {
            place.turns.found(Outcome::StoreAway { bytes: if error.is_full() { *bytes } else { 0 } });
        }
        place.watch.release();
        let ended = settle(context, &job, lease, attempt, reason.get().copied(), give_up).await;
        if let (Some(ended), 1, Some(forecast)) = (ended, job.attempt, job.forecast)
            && ended.state == JobState::Succeeded
            && whole
            // What was changed on the way took another time than was predicted.
            && ended.spec.schedule == job.spec.schedule
        {
            // Storing it is part of it, although the next dream may have begun.
            let waited = place.waited.get().copied().unwrap_or_default();
            let seconds = began.elapsed().saturating_sub(waited).as_secs_f64();
            context.throughput.learn(&job.spec, forecast.reference_seconds, seconds);
        }
    }
    .instrument(span)
    .await
}
