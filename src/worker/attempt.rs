//! One attempt at a job: fetch the input, render, store the dream. Meanwhile a heartbeat renews the lease.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, warn};

use super::{
    WorkerContext,
    checkpoints::{self, Preview},
    error::AttemptError,
    heartbeat::{Heartbeat, StopReason},
    retry::retry_while_away,
    turns::{Outcome, Pace, Place, Turn},
};
use crate::{
    jobs::{Begun, Finished, Job, JobQueue, JobResult, Lease, QueueError},
    objects::{ObjectError, ObjectKey},
};
use reverie_dream::{
    digest,
    model::Model,
    progress::Progress,
    spec::{Change, DreamSpec, Precision},
};
use reverie_engine::{
    CancelFlag, FinishedOctave, Health, OnBegin, PreviewSink, RenderError, RenderRequest, Rendered, Renderer,
    Unencoded,
};

/// Number of finished octaves that may wait to be stored.
const OCTAVES: usize = 1;

/// Delay before the beginning of an octave is recorded again.
const BEGIN_RETRY: Duration = Duration::from_secs(1);

/// Time between two previews inside an octave.
const PREVIEW_EVERY: Duration = Duration::from_secs(1);

/// An octave or frame that is to begin, and where the schedule is expected.
type Beginning = (Begun, oneshot::Sender<Vec<Change>>);

/// Channels for the reports of a render.
struct Reports {
    beginnings: mpsc::Sender<Beginning>,
    progress: watch::Sender<Option<Progress>>,
    octaves: mpsc::Sender<FinishedOctave>,
    previews: watch::Sender<Option<Preview>>,
}

/// Renders and stores the dream while the heartbeat keeps the lease.
pub(super) async fn attempt(
    context: &WorkerContext,
    place: &Place<'_>,
    job: &Job,
    lease: Lease,
    give_up: &CancellationToken,
    reason: &OnceLock<StopReason>,
) -> Result<Finished, AttemptError> {
    let (progress, seen) = watch::channel(None);
    let flag = CancelFlag::default();
    let heartbeat = Heartbeat {
        queue: &*context.queue,
        lease,
        every: context.lease / 3,
        progress: seen.clone(),
        requests: context.queue.signals().listen(job.id),
        deadline: job.deadline_at,
        give_up,
        flag: flag.clone(),
        stopped: place.stopped.clone(),
        reason,
    };
    let work = async {
        let (octaves, finished) = mpsc::channel(OCTAVES);
        let (beginnings, begins) = mpsc::channel(1);
        let (previews, newest) = watch::channel(None);
        let reports = Reports { beginnings, progress, octaves, previews };
        let checkpoint = checkpoints::resume(&context.objects, job.id).await;
        let kept = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.len() as u64);
        let rendering = render(context, place, job, lease, reports, flag.clone(), checkpoint);
        let (rendered, (), recorded) = tokio::join!(
            rendering,
            checkpoints::keep(&context.queue, &context.objects, lease, finished, newest, kept),
            begin(&*context.queue, lease, begins, &flag)
        );
        recorded?;
        let last = *seen.borrow();
        let finished = store(context, job, lease, encoded(rendered?).await?, last, &flag).await?;
        Ok(finished)
    };
    tokio::select! {
        biased;
        done = work => done,
        () = heartbeat.keep() => Err(AttemptError::LeaseLost),
    }
}

/// Records every octave or frame before it begins, and answers with its schedule, until the render ends. The render waits: what
/// it dreams must be what the row says, so while the store is away nothing begins.
async fn begin(
    queue: &dyn JobQueue,
    lease: Lease,
    mut beginnings: mpsc::Receiver<Beginning>,
    cancel: &CancelFlag,
) -> Result<(), QueueError> {
    while let Some((begun, answer)) = beginnings.recv().await {
        let schedule = loop {
            match queue.begin(lease, begun).await {
                Ok(schedule) => break Some(schedule),
                Err(QueueError::LeaseLost) => break None,
                Err(error) if cancel.is_canceled() => {
                    warn!(%error, "the beginning of an octave could not be recorded before the render was stopped");
                    break None;
                }
                Err(error) if error.is_down() || error.is_full() => {
                    warn!(%error, "the beginning of an octave could not be recorded; trying again");
                }
                // It would not pass: for example, what was asked for is of a newer version, whose workers can take the job.
                Err(error) => {
                    cancel.cancel();
                    return Err(error);
                }
            }
            tokio::time::sleep(BEGIN_RETRY).await;
        };
        match schedule {
            // A render that has ended meanwhile needs no answer.
            Some(schedule) => drop(answer.send(schedule)),
            // Without an answer the render stops.
            None => cancel.cancel(),
        }
    }
    Ok(())
}

/// Decides whether the job or the worker caused a failed render.
pub(super) async fn blame(context: &WorkerContext, renderer: &Renderer, error: RenderError) -> AttemptError {
    if !error.may_be_the_devices() && renderer.health() == Health::Well {
        return error.into();
    }
    let checked = match &context.probe {
        Some(probe) => probe.check(renderer).await,
        // Without a probe, only this error is certainly not the job's fault.
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

/// Renders on the device, when that is free; decides whether the job or the worker caused a failure.
async fn on_device(
    context: &WorkerContext,
    place: &Place<'_>,
    request: RenderRequest,
) -> Result<Unencoded, AttemptError> {
    let turn = place.turn().await?;
    let dreaming = match place.renderer.submit(request) {
        Ok(dreaming) => dreaming,
        Err(error) => return Err(blame_in_turn(context, place, &turn, error).await),
    };
    // The turn lasts as long as the render, also if this attempt is given up before: the lease may be lost.
    let dreaming = tokio::spawn(async move { (dreaming.await, turn) });
    let (outcome, turn) = dreaming.await.map_err(|cut| RenderError::Engine(cut.to_string()))?;
    match outcome.unwrap_or(Err(RenderError::Stopped)) {
        Ok(dreamed) => {
            place.watch.release();
            Ok(dreamed)
        }
        Err(error) => Err(blame_in_turn(context, place, &turn, error).await),
    }
}

/// As [`blame`], before the next job has its turn: none has on a device that was found sick.
async fn blame_in_turn(
    context: &WorkerContext,
    place: &Place<'_>,
    _turn: &Turn,
    error: RenderError,
) -> AttemptError {
    let blamed = blame(context, place.renderer, error).await;
    if matches!(blamed, AttemptError::Sick(_)) {
        place.turns.found(Outcome::Sick);
    }
    blamed
}

/// Decodes the files of a request beside whatever is on a GPU.
async fn decoded(mut request: RenderRequest, max_pixels: u64) -> Result<RenderRequest, RenderError> {
    beside(move || request.decode(max_pixels).map(|()| request)).await
}

/// Encodes a dream beside whatever is on the device.
pub(super) async fn encoded(dreamed: Unencoded) -> Result<Rendered, RenderError> {
    beside(move || dreamed.encode()).await
}

async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RenderError> + Send + 'static,
) -> Result<T, RenderError> {
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    done.unwrap_or_else(|cut| Err(RenderError::Engine(cut.to_string())))
}

/// Fetches the input and renders the dream.
async fn render(
    context: &WorkerContext,
    place: &Place<'_>,
    job: &Job,
    lease: Lease,
    reports: Reports,
    cancel: CancelFlag,
    resume: Option<Bytes>,
) -> Result<Unencoded, AttemptError> {
    let model: Arc<Model> = context
        .catalogue
        .get(&job.spec.model)
        .cloned()
        .ok_or_else(|| AttemptError::ModelGone(job.spec.model.clone()))?;
    let metrics = Arc::clone(&context.metrics);
    let precision = match precision(context, place.renderer, job, lease).await {
        // The device was asked.
        Err(AttemptError::Render(error)) => {
            let turn = place.turn().await?;
            return Err(blame_in_turn(context, place, &turn, error).await);
        }
        precision => precision?,
    };
    let picture = async |wanted: bool, key: ObjectKey| {
        if !wanted {
            return Ok(None);
        }
        retry_while_away(context, &cancel, 0, || context.objects.get(key)).await.map(Some)
    };
    let input = picture(job.spec.noise.is_none(), ObjectKey::Input(job.id)).await?;
    let mask = picture(job.spec.mask.is_some(), ObjectKey::Mask(job.id)).await?;
    // A change on the way may follow it, even if nothing does by now.
    let guide = picture(job.has_guide(), ObjectKey::Guide(job.id)).await?;
    let (lookout, mut pace) = (Arc::clone(&place.watch), Pace::default());
    let on_progress = Box::new(move |now: Progress| {
        metrics.stepped();
        if pace.is_nearly_done(now.fraction) {
            lookout.release();
        }
        // JSON cannot represent a non-finite score.
        if now.score.is_finite() && now.fraction.is_finite() {
            reports.progress.send_replace(Some(now));
        }
    });
    let beginnings = reports.beginnings;
    let on_begin: OnBegin = Box::new(move |number, count| {
        let (answer, schedule) = oneshot::channel();
        let asked = beginnings.blocking_send((Begun { place: number, places: count }, answer));
        asked.ok().and_then(|()| schedule.blocking_recv().ok()).ok_or(RenderError::Canceled)
    });
    let (octaves, previews) = (reports.octaves, reports.previews);
    // If storing is slower than rendering, an octave is skipped: the next one is worth more.
    let on_octave = Box::new(move |finished| drop(octaves.try_send(finished)));
    // Of previews only the newest is of use.
    let on_preview =
        Box::new(move |octave, picture| drop(previews.send_replace(Some(Preview { octave, picture }))));
    let request = RenderRequest {
        input,
        mask,
        guide,
        resume,
        on_begin: Some(on_begin),
        on_progress,
        on_octave: Some(on_octave),
        on_preview: Some(PreviewSink { every: PREVIEW_EVERY, on_preview }),
        cancel,
        ..RenderRequest::alone(model, DreamSpec { precision, ..job.spec.clone() })
    };
    let request = match place.renderer.memory() {
        Some(_) => decoded(request, context.max_pixels).await?,
        // A CPU's renderer does it in memory that its dream takes afterwards.
        None => request,
    };
    on_device(context, place, request).await
}

/// The precision of the job. The meaning of `auto` depends on the machine, and every attempt must give the
/// same bytes, so the first attempt decides for all.
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

/// Stores the dream. It belongs to no job until the job is completed with it.
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
    retry_while_away(context, cancel, image.len(), || put_result(context, lease, image.clone())).await?;
    Ok(Finished { result, render_seconds, progress })
}

/// Puts a dream into the blob store. The task runs to its end even if its caller is dropped. If the lease was
/// lost meanwhile, the task deletes the dream: the code that drops the job may have looked for it before it
/// was there.
async fn put_result(context: &WorkerContext, lease: Lease, image: Bytes) -> Result<(), ObjectError> {
    let (queue, objects) = (Arc::clone(&context.queue), context.objects.clone());
    let storing = async move {
        let key = ObjectKey::result_under(lease);
        objects.put(key, image).await?;
        if matches!(queue.heartbeat(lease, None).await, Err(QueueError::LeaseLost)) {
            objects.delete(key).await?;
        }
        Ok(())
    };
    let stored = tokio::spawn(storing.in_current_span()).await;
    stored.unwrap_or_else(|cut| Err(ObjectError::cut_off(ObjectKey::result_under(lease), cut)))
}
