//! A submission with `from`: goes on after an octave of a job with another dream.
//!
//! A fork is a job of its own: it gets copies of the pictures, and its spec says the whole dream, with a schedule that changes
//! after the octave. So it needs nothing of the first job once it is accepted: the octaves that stay are dreamed again, to the
//! same bytes.

use serde_json::{Value, json};
use tracing::info;

use super::{
    super::{
        error::ApiError, extract::SubmitRequest, input::has_input, pictures::stored_size, request_headers,
        state::AppState,
    },
    accept::Pictures,
    check::{Checked, Terms, check_encoder, predict},
};
use crate::jobs::{Begun, Idempotency, Job, JobId, JobState, NewJob, QueueError};
use reverie_dream::spec::{self, After, DreamSpec, First, InputKind, WrittenPlace};
use reverie_fields::{FieldError, Fields, note, note_all};

/// Where a mistake about the first job is told.
const JOB: &str = "/from/job";

/// Checks a fork as any submission, and reports all errors together.
pub(super) async fn check(
    state: &AppState,
    from: Value,
    request: SubmitRequest,
    terms: Terms,
) -> Result<Checked, ApiError> {
    let SubmitRequest { image, mask, guide, spec, mut errors, .. } = request;
    let Terms { caller, options, webhook, idempotency_key } = terms;
    for (pointer, file) in [("/image", image), ("/mask", mask), ("/guide", guide)] {
        if file.is_some() {
            note(
                &mut errors,
                FieldError::new(pointer, "has no place beside \"from\": a fork has the pictures of its job"),
            );
        }
    }
    let idempotency = match idempotency_key {
        // What is wrong is told first, whatever the key.
        Some(key) if errors.is_empty() => {
            let said = json!({ "from": &from, "spec": &spec });
            let request =
                request_headers::fingerprint(&[None, None, None], &said, &options, webhook.as_ref())?;
            let same = Idempotency { key, fingerprint: request.clone(), request };
            if let Some(job) = state.queue.repeated(&caller.tenant, &same).await? {
                info!(job = %job.id, "a request was repeated");
                return Ok(Checked::Repeated(Box::new(job)));
            }
            Some(same)
        }
        _ => None,
    };
    let origin = Origin::read(from).map_err(|wrong| note_all(&mut errors, wrong));
    let Ok(origin) = origin else { return Err(ApiError::Invalid(errors)) };
    let first = match state.queue.get(&caller.tenant, origin.job).await {
        Ok(first) => first,
        Err(QueueError::NotFound(id)) => {
            note(&mut errors, FieldError::new(JOB, format!("there is no job \"{id}\"")));
            return Err(ApiError::Invalid(errors));
        }
        Err(error) => return Err(error.into()),
    };
    let is_there = origin.check(&first).map_err(|wrong| note(&mut errors, wrong)).is_ok();
    let forked = forked(state, spec, &first, &origin).await?;
    // That nothing is left after a place is told once.
    let of_spec = |wrong: Vec<FieldError>| {
        let told = wrong.into_iter().filter(|error| is_there || error.pointer != "/spec");
        note_all(&mut errors, told);
    };
    let spec = match forked.map_err(of_spec) {
        Ok(spec) if errors.is_empty() => spec,
        _ => return Err(ApiError::Invalid(errors)),
    };
    let pictures = match Pictures::of(state, &first, &spec).await {
        Ok(pictures) => pictures,
        Err(ApiError::Gone(_) | ApiError::NotFound { .. }) => return Err(ApiError::Invalid(vec![erased()])),
        Err(error) => return Err(error),
    };
    check_encoder(&spec).await?;
    let size = match spec.noise {
        Some(noise) => Some((noise.height, noise.width)),
        None => stored_size(state, JOB, pictures.image.as_ref()).await?,
    };
    let size = size.ok_or_else(|| ApiError::internal("the input of a job cannot be read any more"))?;
    let guide = stored_size(state, JOB, pictures.guide.as_ref()).await?;
    let forecast = predict(state, &spec, size, guide).await?;
    info!(from = %first.id, place = origin.place, "a fork is asked for");
    let job = NewJob {
        tenant: caller.tenant,
        options,
        forecast: Some(forecast),
        webhook,
        input_bytes: pictures.bytes(),
        idempotency,
        ..NewJob::new(JobId::new(), spec)
    };
    Ok(Checked::New(pictures, Box::new(job)))
}

/// The job that a fork goes on from, and the last octave or frame that stays.
struct Origin {
    job: JobId,
    place: u32,
    is_frame: bool,
    /// Frames over which the change comes in.
    fade: Option<u32>,
}

impl Origin {
    fn read(from: Value) -> Result<Self, Vec<FieldError>> {
        let is_object = from.is_object();
        let mut fields = Fields::new("/from", from);
        let is_text = fields.peek("job").is_none_or(Value::is_string);
        let job = fields.text("job").and_then(|id| id.parse().ok());
        if is_object && is_text && job.is_none() {
            fields.error("job", "is needed: the id of the job to go on from, a UUID");
        }
        let given = ["octave", "frame"].iter().filter(|name| fields.peek(name).is_some()).count();
        let WrittenPlace { octave, frame } = WrittenPlace::take(&mut fields);
        let fade = After::take_fade(&mut fields);
        if is_object && given != 1 {
            let detail =
                "one is needed, \"octave\" or of an animation \"frame\": the last that stays, counted from 1";
            fields.error("octave", detail);
        }
        let errors = fields.finish();
        match (job, octave.or(frame)) {
            (Some(job), Some(place)) if errors.is_empty() => {
                Ok(Self { job, place, is_frame: frame.is_some(), fade })
            }
            _ => Err(errors),
        }
    }

    /// Checks that the first job has come so far, and not to its end there.
    fn check(&self, first: &Job) -> Result<(), FieldError> {
        let (name, other) =
            if first.spec.motion.is_some() { ("frame", "octave") } else { ("octave", "frame") };
        let wrong = |name: &str, detail: String| Err(FieldError::new(format!("/from/{name}"), detail));
        if self.is_frame != first.spec.motion.is_some() {
            let what = if self.is_frame { "a single picture" } else { "an animation" };
            return wrong(other, format!("that job dreams {what}: name the last \"{name}\" that stays"));
        }
        if first.erased_at.is_some() {
            return Err(erased());
        }
        let (finished, places) = dreamed(first);
        if places == 0 && first.state == JobState::Succeeded {
            let detail = format!(
                "that job was finished by an earlier version, which did not count its {name}s: send its spec anew"
            );
            return wrong(name, detail);
        }
        if finished == 0 {
            return wrong(name, format!("that job is {} and has not finished its first {name}", first.state));
        }
        let most = finished.min(places.saturating_sub(1));
        if self.place <= most {
            return Ok(());
        }
        if most == 0 {
            return wrong(name, format!("that job has one {name}: after it, nothing is left to dream"));
        }
        wrong(
            name,
            format!(
                "{} is not allowed; give a whole number from 1 to {most}: that job has {places} {name}s, of which {finished} are finished",
                self.place
            ),
        )
    }
}

/// How many octaves or frames of a job are finished, and how many it has.
fn dreamed(job: &Job) -> (u32, u32) {
    let of_progress = job.progress.map(|progress| match progress.frames {
        Some(frames) => Begun { place: progress.frame.unwrap_or(1), places: frames },
        None => Begun { place: progress.octave, places: progress.octaves },
    });
    // Jobs of earlier versions have the progress alone.
    let Some(Begun { place, places }) = job.begun.or(of_progress) else { return (0, 0) };
    let finished = if job.state == JobState::Succeeded { places } else { place.saturating_sub(1) };
    (finished, places)
}

/// The spec of a job with the precision that it computes with, which `auto` need not mean again.
fn resolved(job: &Job) -> DreamSpec {
    DreamSpec { precision: job.precision.unwrap_or(job.spec.precision), ..job.spec.clone() }
}

/// The spec of the fork.
async fn forked(
    state: &AppState,
    written: Value,
    first: &Job,
    origin: &Origin,
) -> Result<Result<DreamSpec, Vec<FieldError>>, ApiError> {
    let (spec, catalogue) = (resolved(first), state.catalogue.clone());
    let input = match (has_input(first), spec.mask) {
        (false, _) => InputKind::Nothing { image: JOB },
        (true, None) => InputKind::Image,
        (true, Some(_)) => InputKind::Masked,
    };
    let has_guide = first.has_guide();
    let after = After { place: origin.place, fade: origin.fade };
    let forking = move || {
        let first = First { spec: &spec, input, has_guide };
        spec::forked("/spec", written, first, after, &catalogue)
    };
    let forked = tokio::task::spawn_blocking(forking).await.map_err(ApiError::internal)?;
    // It is not said in the spec.
    let elsewhere = |error: FieldError| match &*error.pointer {
        "/spec/fade" if after.fade.is_some() => FieldError::new("/from/fade", error.detail),
        _ => error,
    };
    Ok(forked.map_err(|errors| errors.into_iter().map(elsewhere).collect()))
}

fn erased() -> FieldError {
    FieldError::new(JOB, "that job's pictures are erased: a fork needs them")
}
