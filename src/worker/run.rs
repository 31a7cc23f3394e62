//! One job from top to bottom: fetch the input, render, store the dream, and say so in the queue.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, field::Empty, info, info_span, warn};

use super::{
    WorkerContext,
    insist::insist,
    lease::{Keeper, StopReason},
    octaves,
};
use crate::{
    digest,
    jobs::{Claim, FailureKind, Finished, Job, JobError, JobResult, JobState, Lease, QueueError},
    models::Model,
    objects::{ObjectError, ObjectKey},
    render::{CancelFlag, FinishedOctave, Progress, RenderError, RenderRequest, Rendered, Renderer},
    telemetry,
};

/// How often the end of a job is written again where the store fails, a second apart. Beyond that the lease
/// runs out and the job is done once more.
const SETTLE_TRIES: u32 = 10;

/// Finished octaves that may wait to be stored.
const OCTAVES: usize = 1;

/// What is left of the worker after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Done,
    /// The render thread has ended: no job can be done here any more.
    RendererGone,
    /// The blob store cannot be reached: no job can be done until it can.
    StoreAway,
}

/// Why an attempt ended without a dream. What to do about it is part of each.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// No job can be blamed for this, so it costs none an attempt.
    #[error("the blob store is away: {0}")]
    StoreAway(ObjectError),
    #[error("model \"{0}\" is not in the catalogue any more")]
    ModelGone(String),
    #[error("the lease is lost")]
    LeaseLost,
}

impl AttemptError {
    /// Whether another attempt must end in the same way.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Render(error) => error.is_permanent(),
            Self::Object(error) => matches!(error, ObjectError::NotFound(_)),
            Self::ModelGone(_) => true,
            Self::StoreAway(_) | Self::LeaseLost => false,
        }
    }

    /// In words for the job's owner.
    fn to_job_error(&self) -> JobError {
        match self {
            Self::Render(error) if error.is_permanent() => {
                JobError { kind: FailureKind::RenderFailed, detail: error.to_string() }
            }
            Self::ModelGone(_) => JobError { kind: FailureKind::RenderFailed, detail: self.to_string() },
            _ => JobError {
                kind: FailureKind::Internal,
                detail: "the service could not render this job; its log has the cause".into(),
            },
        }
    }
}

/// Sees a claimed job through.
pub(super) async fn run(
    context: &WorkerContext,
    renderer: &Renderer,
    claim: Claim,
    give_up: &CancellationToken,
) -> Outcome {
    let Claim { job, lease } = claim;
    let span = info_span!("job", job = %job.id, attempt = job.attempt, trace = Empty);
    telemetry::follow(&span, job.traceparent);
    async {
        info!("job started");
        let began = Instant::now();
        let reason = OnceLock::new();
        let attempt = attempt(context, renderer, &job, lease, give_up, &reason).await;
        let outcome = match attempt {
            Err(AttemptError::Render(RenderError::Stopped)) => Outcome::RendererGone,
            Err(AttemptError::StoreAway(_)) => Outcome::StoreAway,
            _ => Outcome::Done,
        };
        let ended = settle(context, lease, attempt, reason.get().copied()).await;
        // A later attempt may have begun in the middle.
        if let (Some(JobState::Succeeded), 1, Some(forecast)) = (ended, job.attempt, job.forecast) {
            let seconds = began.elapsed().as_secs_f64();
            context.pace.learn(&job.spec, forecast.reference_seconds, seconds);
        }
        outcome
    }
    .instrument(span)
    .await
}

/// Where a render reports to.
struct Reports {
    progress: watch::Sender<Option<Progress>>,
    octaves: mpsc::Sender<FinishedOctave>,
}

/// Makes and stores the dream while the keeper keeps the job.
async fn attempt(
    context: &WorkerContext,
    renderer: &Renderer,
    job: &Job,
    lease: Lease,
    give_up: &CancellationToken,
    reason: &OnceLock<StopReason>,
) -> Result<Finished, AttemptError> {
    let (progress, seen) = watch::channel(None);
    let flag = CancelFlag::default();
    let keeper = Keeper {
        queue: &*context.queue,
        lease,
        every: context.lease / 3,
        progress: seen.clone(),
        canceled: context.queue.signals().listen(job.id),
        deadline: job.deadline_at,
        give_up,
        flag: flag.clone(),
        reason,
    };
    let work = async {
        let (octaves, finished) = mpsc::channel(OCTAVES);
        let rendering = render(context, renderer, job, Reports { progress, octaves }, flag.clone());
        let (rendered, ()) =
            tokio::join!(rendering, octaves::keep(&*context.queue, &context.objects, lease, finished));
        let rendered = rendered?;
        let last = *seen.borrow();
        let finished = store(context, job, lease, rendered, last, &flag).await?;
        Ok(finished)
    };
    tokio::select! {
        biased;
        done = work => done,
        () = keeper.keep() => Err(AttemptError::LeaseLost),
    }
}

/// Fetches the input and has the dream rendered.
async fn render(
    context: &WorkerContext,
    renderer: &Renderer,
    job: &Job,
    reports: Reports,
    cancel: CancelFlag,
) -> Result<Rendered, AttemptError> {
    let model: Arc<Model> = context
        .catalogue
        .get(&job.spec.model)
        .cloned()
        .ok_or_else(|| AttemptError::ModelGone(job.spec.model.clone()))?;
    let metrics = Arc::clone(&context.metrics);
    let input = match job.spec.noise {
        Some(_) => None,
        None => Some(insist(context, &cancel, || context.objects.get(ObjectKey::Input(job.id))).await?),
    };
    let mask = match job.spec.mask {
        Some(_) => Some(insist(context, &cancel, || context.objects.get(ObjectKey::Mask(job.id))).await?),
        None => None,
    };
    let on_progress = Box::new(move |now: Progress| {
        metrics.stepped();
        // JSON has no way to write a score that is not finite.
        if now.score.is_finite() && now.fraction.is_finite() {
            reports.progress.send_replace(Some(now));
        }
    });
    let octaves = reports.octaves;
    // Where storing is slower than dreaming, an octave is left out: the next one is worth more.
    let on_octave = Box::new(move |finished| drop(octaves.try_send(finished)));
    let request = RenderRequest {
        model,
        spec: job.spec.clone(),
        input,
        mask,
        resume: octaves::resume(&context.objects, job.id).await,
        on_progress,
        on_octave: Some(on_octave),
        cancel,
    };
    let outcome = renderer.submit(request)?.await;
    Ok(outcome.unwrap_or(Err(RenderError::Stopped))?)
}

/// Stores the dream; it belongs to nobody until the job is completed with it.
async fn store(
    context: &WorkerContext,
    job: &Job,
    lease: Lease,
    rendered: Rendered,
    progress: Option<Progress>,
    cancel: &CancelFlag,
) -> Result<Finished, AttemptError> {
    let Rendered { image, width, height, score, notes, render_seconds, .. } = rendered;
    let result = JobResult {
        lease: lease.token,
        media_type: job.spec.format.media_type().into(),
        width,
        height,
        score,
        size: image.len() as u64,
        sha256: digest::sha256(&image),
        notes,
    };
    let image = Bytes::from(image);
    insist(context, cancel, || context.objects.put(ObjectKey::result_under(lease), image.clone())).await?;
    Ok(Finished { result, render_seconds, progress })
}

/// Writes how the attempt ended; where the store fails, again and again while the lease lasts.
async fn settle(
    context: &WorkerContext,
    lease: Lease,
    attempt: Result<Finished, AttemptError>,
    reason: Option<StopReason>,
) -> Option<JobState> {
    if matches!(attempt, Err(AttemptError::LeaseLost)) {
        warn!("the lease is lost; the job is dropped");
        discard(context, lease).await;
        return None;
    }
    for tried in 0..SETTLE_TRIES {
        let written = match write_end(context, lease, &attempt, reason).await {
            // An earlier write may have been done, and only its answer was lost.
            Err(QueueError::LeaseLost) if tried > 0 => kept(context, lease).await,
            written => written,
        };
        match written {
            Ok(job) => {
                if job.state.is_finished() {
                    octaves::forget(&context.objects, job.id).await;
                }
                report(&job, &attempt);
                context.metrics.ended(&job);
                return Some(job.state);
            }
            Err(QueueError::LeaseLost) => {
                warn!("the lease was lost before the end was written; the job is dropped");
                discard(context, lease).await;
                return None;
            }
            Err(error) => {
                warn!(%error, "the end of the job could not be written; it is tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    error!("the end of the job could not be written; it runs again when its lease is over");
    None
}

/// The job, where it has ended with the dream that was stored under this lease.
async fn kept(context: &WorkerContext, lease: Lease) -> Result<Job, QueueError> {
    let job = context.queue.get(lease.job).await.map_err(|error| match error {
        QueueError::NotFound(_) => QueueError::LeaseLost,
        error => error,
    })?;
    let own = job.result.as_ref().is_some_and(|result| result.lease == lease.token);
    if own { Ok(job) } else { Err(QueueError::LeaseLost) }
}

/// One write, chosen by how the attempt ended.
async fn write_end(
    context: &WorkerContext,
    lease: Lease,
    attempt: &Result<Finished, AttemptError>,
    reason: Option<StopReason>,
) -> Result<Job, QueueError> {
    let queue = &context.queue;
    match (attempt, reason) {
        (Ok(finished), _) => queue.complete(lease, finished.clone()).await,
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Stopping)) => {
            queue.release(lease).await
        }
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Canceled)) => {
            queue.stopped(lease).await
        }
        (Err(AttemptError::Render(RenderError::Canceled)), Some(StopReason::Expired)) => {
            queue.expired(lease).await
        }
        (Err(AttemptError::StoreAway(_)), _) => queue.release(lease).await,
        (Err(error), _) => queue.fail(lease, error.to_job_error(), !error.is_permanent()).await,
    }
}

/// One line per ended attempt; the only place where the cause of a failure is logged.
fn report(job: &Job, attempt: &Result<Finished, AttemptError>) {
    let state = job.state;
    match attempt {
        Ok(finished) => info!(%state, render_seconds = finished.render_seconds, "job ended"),
        Err(AttemptError::Render(RenderError::Canceled)) => info!(%state, "job stopped"),
        Err(cause) if state == JobState::Failed => error!(%state, %cause, "job failed"),
        Err(cause) => warn!(%state, %cause, "attempt failed"),
    }
}

/// Deletes what this attempt may have stored. Nobody else's dream has that name.
async fn discard(context: &WorkerContext, lease: Lease) {
    if let Err(error) = context.objects.delete(ObjectKey::result_under(lease)).await {
        warn!(%error, "an orphan dream stays in the store");
    }
}
