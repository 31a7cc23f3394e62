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
    jobs::{Claim, FailureKind, Finished, Job, JobError, JobResult, JobState, Lease, QueueError},
    objects::{ObjectError, ObjectKey},
    telemetry,
};
use reverie_dream::digest;
use reverie_dream::{
    model::Model,
    spec::{DreamSpec, Precision},
};
use reverie_engine::{CancelFlag, FinishedOctave, Progress, RenderError, RenderRequest, Rendered, Renderer};

/// How often the end of a job is written again where the store refuses it, a second apart. Beyond that the lease
/// runs out and the job is done once more.
const SETTLE_TRIES: u32 = 10;

/// So often a job goes back with its attempt because its worker was found sick after it. Each of these workers was well
/// when it took the job, so beyond that the job is what makes them sick, and its attempts count.
const MAX_SPARED: u32 = 3;

/// Finished octaves that may wait to be stored.
const OCTAVES: usize = 1;

/// What is left of the worker after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Done,
    /// The device is sick: no job can be done until it is well.
    Sick,
    /// The blob store cannot be reached, or has no room for so many bytes: no job can be done until that is over.
    StoreAway {
        /// 0 where room is not the matter.
        bytes: usize,
    },
}

/// Why an attempt ended without a dream. What to do about it is part of each.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Before anything was rendered.
    #[error(transparent)]
    Queue(QueueError),
    /// No job can be blamed for this, so it costs none an attempt.
    #[error("the blob store is away: {error}")]
    StoreAway { error: ObjectError, bytes: usize },
    /// The worker cannot render anything, so the job is not to blame either.
    #[error("the worker is sick: {0}")]
    Sick(RenderError),
    #[error("model \"{0}\" is not in the catalogue any more")]
    ModelGone(String),
    #[error("the lease is lost")]
    LeaseLost,
}

impl From<QueueError> for AttemptError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::LeaseLost => Self::LeaseLost,
            error => Self::Queue(error),
        }
    }
}

impl AttemptError {
    /// Whether another attempt must end in the same way.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Render(error) => error.is_permanent(),
            Self::Object(error) => matches!(error, ObjectError::NotFound(_)),
            Self::ModelGone(_) => true,
            Self::Queue(_) | Self::StoreAway { .. } | Self::Sick(_) | Self::LeaseLost => false,
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
            Err(AttemptError::Sick(_)) => Outcome::Sick,
            Err(AttemptError::StoreAway { ref error, bytes }) => {
                Outcome::StoreAway { bytes: if error.is_full() { bytes } else { 0 } }
            }
            _ => Outcome::Done,
        };
        let ended = settle(context, &job, lease, attempt, reason.get().copied(), give_up).await;
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
        let rendering = render(context, renderer, job, lease, Reports { progress, octaves }, flag.clone());
        let (rendered, ()) =
            tokio::join!(rendering, octaves::keep(&context.queue, &context.objects, lease, finished));
        let rendered = match rendered {
            Err(AttemptError::Render(error)) => return Err(blame(context, renderer, error).await),
            rendered => rendered?,
        };
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

/// Finds out whose fault it is that a render failed.
async fn blame(context: &WorkerContext, renderer: &Renderer, error: RenderError) -> AttemptError {
    if !error.may_be_the_devices() {
        return error.into();
    }
    let checked = match &context.probe {
        Some(probe) => probe.check(renderer).await,
        // Without one there is only what cannot be a job's fault.
        None if matches!(error, RenderError::Stopped) => return AttemptError::Sick(error),
        None => Ok(()),
    };
    match checked {
        Ok(()) => error.into(),
        Err(sick) => {
            error!(%error, %sick, "the device is sick");
            AttemptError::Sick(error)
        }
    }
}

/// Fetches the input and has the dream rendered.
async fn render(
    context: &WorkerContext,
    renderer: &Renderer,
    job: &Job,
    lease: Lease,
    reports: Reports,
    cancel: CancelFlag,
) -> Result<Rendered, AttemptError> {
    let model: Arc<Model> = context
        .catalogue
        .get(&job.spec.model)
        .cloned()
        .ok_or_else(|| AttemptError::ModelGone(job.spec.model.clone()))?;
    let metrics = Arc::clone(&context.metrics);
    let precision = precision(context, renderer, job, lease).await?;
    let input = match job.spec.noise {
        Some(_) => None,
        None => Some(insist(context, &cancel, 0, || context.objects.get(ObjectKey::Input(job.id))).await?),
    };
    let mask = match job.spec.mask {
        Some(_) => Some(insist(context, &cancel, 0, || context.objects.get(ObjectKey::Mask(job.id))).await?),
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
        spec: DreamSpec { precision, ..job.spec.clone() },
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

/// What the job computes with. What `auto` means depends on the machine, and every attempt has to give the same bytes:
/// so the first one decides for all.
async fn precision(
    context: &WorkerContext,
    renderer: &Renderer,
    job: &Job,
    lease: Lease,
) -> Result<Precision, AttemptError> {
    match (job.spec.precision, job.precision) {
        (Precision::Auto, Some(decided)) => Ok(decided),
        (Precision::Auto, None) => {
            let renderer = renderer.clone();
            let here = tokio::task::spawn_blocking(move || renderer.precision(Precision::Auto)).await;
            let here = here.map_err(|cut| RenderError::Engine(cut.to_string()))??;
            Ok(context.queue.decide_precision(lease, here).await?)
        }
        (named, _) => Ok(named),
    }
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
    insist(context, cancel, image.len(), || put_result(context, lease, image.clone())).await?;
    Ok(Finished { result, render_seconds, progress })
}

/// Puts a dream into the store, to the end even where nobody waits for it any more. Where the lease is lost meanwhile, it
/// is deleted: whoever drops the job may have looked for it before it was there.
async fn put_result(context: &WorkerContext, lease: Lease, image: Bytes) -> Result<(), ObjectError> {
    let (queue, objects) = (Arc::clone(&context.queue), context.objects.clone());
    let storing = async move {
        let key = ObjectKey::result_under(lease);
        objects.put(key, image).await?;
        if matches!(queue.beat(lease, None).await, Err(QueueError::LeaseLost)) {
            objects.delete(key).await?;
        }
        Ok(())
    };
    let stored = tokio::spawn(storing.in_current_span()).await;
    stored.unwrap_or_else(|cut| Err(ObjectError::cut_off(ObjectKey::result_under(lease), cut)))
}

/// Writes how the attempt ended; where the store fails, again and again. One that is away or full is waited for: nobody
/// else can take the job meanwhile, and it would cost it an attempt that it had done.
async fn settle(
    context: &WorkerContext,
    before: &Job,
    lease: Lease,
    attempt: Result<Finished, AttemptError>,
    reason: Option<StopReason>,
    give_up: &CancellationToken,
) -> Option<JobState> {
    if matches!(attempt, Err(AttemptError::LeaseLost)) {
        warn!("the lease is lost; the job is dropped");
        discard(context, lease).await;
        return None;
    }
    let mut tried = 0;
    loop {
        let written = match write_end(context, before, lease, &attempt, reason).await {
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
                let passing = error.is_down() || error.is_full();
                tried += 1;
                if tried >= SETTLE_TRIES && (!passing || give_up.is_cancelled()) {
                    break;
                }
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
    before: &Job,
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
        (Err(AttemptError::StoreAway { .. } | AttemptError::Queue(_)), _) => queue.release(lease).await,
        (Err(AttemptError::Sick(_)), _) if before.spared < MAX_SPARED => queue.spare(lease).await,
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
