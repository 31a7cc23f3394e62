//! `POST /v1/jobs`: submits a dream.
//!
//! Cheap checks come first, and nearly every error is found before the job is accepted: of a JPEG the segments are checked,
//! every other image is decoded, so a truncated file is refused now instead of failing minutes later. Then the input is
//! stored, and only then the row, so no job is ever without its input.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use tracing::{Instrument, Span, error, info};

use super::{
    boundary,
    client_address::ClientAddress,
    contract::{
        EXAMPLE_IMAGE, Internal, Invalid, Malformed, NotFound, QueueFull, StorageFull, SubmitForm,
        SubmitJson, TooLarge, TooSlow, Unavailable, UnsupportedType,
    },
    error::ApiError,
    extract::{self, SubmitRequest},
    fetch,
    pictures::size_of,
    request_headers::{self, JobHeaders},
    state::AppState,
    uploads::Share,
    view::{self, JobView},
    wait::{self, Preference},
};
use crate::{
    auth::Caller,
    jobs::{Forecast, Idempotency, Job, JobId, JobOptions, NewJob, QueueError, Webhook},
    keys::Tenant,
    objects::ObjectKey,
    telemetry, worker,
};
use reverie_dream::spec::{self, DreamSpec, GuideSent, InputKind};
use reverie_fields::{FieldError, MOST_MISTAKES, note, note_all, pointer};
use reverie_picture as picture;

/// Submit a dream
///
/// The server checks the image before it accepts the job, and an accepted job survives a restart of the
/// server. The parts of a form may come in any order. With `Prefer: wait=n` the response comes as soon as the
/// job ends, and after n seconds otherwise. With an `Idempotency-Key` the request can be repeated without
/// creating another job. With `Content-Digest` or `Repr-Digest` (RFC 9530; SHA-256, SHA-512) a body that was changed on its way
/// is refused with 400.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "submitJob",
    tag = "jobs",
    params(
        ("Prefer" = String, Header, description = "`wait=n`: wait up to n seconds, at most 60, for the job to end.", example = "wait=30"),
        ("Idempotency-Key" = String, Header, pattern = r#"^("[!#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$"#,
            description = "Chosen by the client, such as a UUID; 1 to 255 visible characters, in quotes or not. The same key with the same request returns the same job, as long as the job is kept.", example = "0198c0de-5a7e-4000-8000-00000000beef"),
        ("Cancel-After" = String, Header, pattern = "^([1-9][0-9]{0,4}s?|[1-9][0-9]{0,3}m|[1-9][0-9]?h([1-9][0-9]?m)?)$",
            description = "Seconds, or a duration with units, such as `90`, `90s`, `5m` or `1h30m`: the job expires if it has not finished by then. The server also reads other ways to write whole seconds up to 7 days, such as `7d` or `1h 30min`. If `deadline_seconds` is given too, the earlier deadline counts.", example = "1h30m"),
    ),
    request_body(content(
        (SubmitForm = "multipart/form-data", example = json!({
            "spec": { "preset": "multiscale", "noise": { "width": 64, "height": 64 }, "iterations": 2 },
            "priority": 1,
        })),
        (SubmitJson = "application/json", example = json!({
            "image": EXAMPLE_IMAGE,
            "spec": { "objectives": [{ "kind": "l2", "layer": "block2" }], "octaves": 2, "iterations": 2, "seed": 7 },
        })),
    )),
    responses(
        (status = 200, description = "The job ended within the requested wait, or had already ended when the request was repeated.", body = JobView, headers(
            ("Location" = String, description = "Path of the job."),
            ("Idempotent-Replayed" = String, description = "`true` if the job belongs to an earlier request with the same key."),
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Preference-Applied" = String, description = "The applied wait, such as `wait=10`."),
        )),
        (status = 202, description = "Accepted, by this request or by an earlier one with the same key.", body = JobView, headers(
            ("Location" = String, description = "Path of the job."),
            ("Idempotent-Replayed" = String, description = "`true` if the job belongs to an earlier request with the same key."),
            ("Retry-After" = u64, description = "Seconds after which to poll again."),
            ("ETag" = String, description = "Entity tag of the job's current version."),
            ("Preference-Applied" = String, description = "The applied wait, such as `wait=10`; only after a `Prefer`."),
        )),
        (status = 400, response = Malformed),
        (status = 404, response = NotFound),
        (status = 408, response = TooSlow),
        (status = 413, response = TooLarge),
        (status = 415, response = UnsupportedType),
        (status = 422, response = Invalid),
        (status = 429, response = QueueFull),
        (status = 500, response = Internal),
        (status = 503, response = Unavailable),
        (status = 507, response = StorageFull),
    )
)]
pub async fn submit(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (parts, checked) = receive(&state, request).await?;
    let preference = Preference::of(&parts.headers);
    let accepted = match checked {
        Checked::Repeated(job) => Accepted { job: *job, replayed: true },
        Checked::New(pictures, mut job) => {
            job.traceparent = telemetry::of_request(&Span::current(), &parts.headers);
            // If the client disconnects now, no input may stay behind without a job. So this part runs to its end in
            // a task of its own.
            let accepting = tokio::spawn(accept(state.clone(), pictures, *job).in_current_span());
            accepting.await.map_err(ApiError::internal)??
        }
    };
    let Accepted { mut job, replayed } = accepted;
    if let Some(preference) = preference {
        job = wait::until_finished(&state, &job.tenant, job.id, preference).await?;
    }
    // 202 says that the client must poll.
    let over = job.state.is_finished() && (preference.is_some() || replayed);
    let status = if over { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = view::show(&state, status, &job);
    let location = HeaderValue::from_str(&format!("{}{}", state.public_url(), view::path(job.id)))
        .map_err(ApiError::internal)?;
    response.headers_mut().insert(header::LOCATION, location);
    if replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    wait::mark_applied(&mut response, preference);
    Ok(response)
}

/// Reads and checks a submission; the head of the request, and what it asks for.
pub(super) async fn receive(state: &AppState, request: Request) -> Result<(Parts, Checked), ApiError> {
    let (mut parts, body) = request.into_parts();
    boundary::quote(&mut parts.headers);
    let caller = Caller::from_request_parts(&mut parts, state).await?;
    let client = parts.extensions.get::<ClientAddress>().map(|ClientAddress(address)| *address);
    let limits = state.body_limits(client);
    let request_headers = match check_early(state, &caller.tenant, &parts).await {
        Ok(request_headers) => request_headers,
        Err(refusal) => {
            extract::discard(&parts.headers, body, limits.body);
            return Err(refusal);
        }
    };
    let request = extract::read_submit_request(&parts.headers, body, &limits).await?;
    let checked = check(state, caller, request, request_headers).await?;
    Ok((parts, checked))
}

/// Checks whether to read the upload at all. A request whose Idempotency-Key is known needs no free place in the queue.
async fn check_early(state: &AppState, tenant: &Tenant, request: &Parts) -> Result<JobHeaders, ApiError> {
    if state.is_draining() {
        return Err(ApiError::Unavailable("the server is stopping and accepts no new jobs"));
    }
    let query = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
    let unknown = query.map(|(name, _)| {
        FieldError::new(
            pointer("", &name),
            "unknown parameter; send options in the body (priority, deadline_seconds, webhook) or as headers (Prefer, \
             Idempotency-Key, Cancel-After)",
        )
    });
    let unknown: Vec<FieldError> = unknown.take(MOST_MISTAKES).collect();
    if !unknown.is_empty() {
        return Err(ApiError::Invalid(unknown));
    }
    let request_headers = JobHeaders::of(&request.headers)?;
    let capacity = state.config.queue.capacity;
    if state.queue.has_room().await? {
        return Ok(request_headers);
    }
    // Check the key after the capacity: the job that took the last place may come from the same request, sent
    // twice at once.
    match &request_headers.idempotency_key {
        Some(key) if state.queue.with_idempotency_key(tenant, key).await?.is_some() => Ok(request_headers),
        _ => Err(full(state, capacity).await?),
    }
}

/// The refusal for a full queue, with the predicted time until the queued jobs are done.
async fn full(state: &AppState, capacity: u32) -> Result<ApiError, QueueError> {
    Ok(ApiError::QueueFull { capacity, retry_after: retry_after(state).await? })
}

/// The refusal of a job by the queue, with the time after which there may be room.
pub(super) async fn refused(state: &AppState, error: QueueError) -> Result<ApiError, QueueError> {
    Ok(match error {
        QueueError::Full { capacity } => full(state, capacity).await?,
        QueueError::TenantFull { .. } | QueueError::TenantSeconds { .. } => {
            let (detail, retry_after) = (error.to_string(), retry_after(state).await?);
            ApiError::QuotaExceeded { detail, retry_after }
        }
        other => other.into(),
    })
}

/// Predicted seconds until the queued jobs are done.
async fn retry_after(state: &AppState) -> Result<u64, QueueError> {
    let backlog = state.queue.backlog_seconds().await?;
    Ok(worker::retry_after(backlog, state.workers_in_cluster()))
}

/// The files of a job.
pub(super) struct Pictures {
    pub image: Option<Bytes>,
    pub mask: Option<Bytes>,
    pub guide: Option<Bytes>,
    /// The memory that the files of a request take.
    share: Option<Share>,
}

impl Pictures {
    /// Files that no request brought.
    pub fn stored(image: Option<Bytes>, mask: Option<Bytes>, guide: Option<Bytes>) -> Self {
        Self { image, mask, guide, share: None }
    }
}

/// A request that is right.
pub(super) enum Checked {
    /// It is to be accepted.
    New(Pictures, Box<NewJob>),
    /// It came before: what it gives by URL need not be fetched again, and may be gone.
    Repeated(Box<Job>),
}

/// Validates the spec and the images, and reports all errors together. Pictures by URL are fetched where all else is right.
async fn check(
    state: &AppState,
    Caller { tenant, max_priority, .. }: Caller,
    request: SubmitRequest,
    request_headers: JobHeaders,
) -> Result<Checked, ApiError> {
    let SubmitRequest { mut image, mut mask, mut guide, spec, mut options, webhook, mut errors, mut share } =
        request;
    // The earlier of two deadlines counts.
    options.deadline = options.deadline.into_iter().chain(request_headers.deadline).min();
    if let Some(bound) = max_priority.filter(|bound| options.priority > *bound) {
        let problem = format!("must be at most {bound}, the largest priority of this key");
        note(&mut errors, FieldError::new("/priority", problem));
    }
    let given = [image.clone(), mask.clone(), guide.clone()];
    let webhook = webhook.check(state, &tenant, &mut errors);
    // A file that could not be unpacked has its own error, and does not count as missing.
    let sent =
        |file: &Option<Bytes>, pointer| file.is_some() || errors.iter().any(|error| error.pointer == pointer);
    let start = match (sent(&image, "/image"), sent(&mask, "/mask")) {
        (true, false) => InputKind::Image,
        (true, true) => InputKind::Masked,
        (false, _) => InputKind::Nothing { image: "/image" },
    };
    let guide_sent = GuideSent { pointer: "/guide", sent: sent(&guide, "/guide") };
    let sent_spec = request_headers.idempotency_key.as_ref().map(|_| spec.clone());
    let catalogue = Arc::clone(&state.catalogue);
    let resolve = move || spec::resolve_with_guide("/spec", spec, &catalogue, start, Some(guide_sent));
    let resolving = tokio::task::spawn_blocking(resolve);
    let spec = resolving.await.map_err(ApiError::internal)?;
    let spec = spec.map_err(|wrong| note_all(&mut errors, wrong));
    let mut idempotency = None;
    if given.iter().any(|file| fetch::is_elsewhere(file.as_ref())) {
        if let Ok(spec) = &spec
            && errors.is_empty()
        {
            if let Some(idempotency_key) = &request_headers.idempotency_key {
                let same =
                    fingerprints(idempotency_key, &given, sent_spec.clone(), spec, options, webhook.clone())
                        .await?;
                if let Some(job) = state.queue.repeated(&tenant, &same).await? {
                    info!(job = %job.id, "a request was repeated");
                    return Ok(Checked::Repeated(Box::new(job)));
                }
                idempotency = Some(same);
            }
            for (pointer, file) in [("/image", &mut image), ("/mask", &mut mask), ("/guide", &mut guide)] {
                fetch::resolve(state, &tenant, pointer, file, &mut share, &mut errors).await?;
            }
        }
        [&mut image, &mut mask, &mut guide].into_iter().for_each(fetch::leave_out);
    }
    let mut unknown = Vec::new();
    let size = size_of(state, "/image", image.as_ref(), &mut errors, &mut unknown).await?;
    let mask_size = size_of(state, "/mask", mask.as_ref(), &mut errors, &mut unknown).await?;
    let guide_size = size_of(state, "/guide", guide.as_ref(), &mut errors, &mut unknown).await?;
    match (size, mask_size) {
        (Some((height, width)), Some((mask_height, mask_width))) => {
            let covers = picture::check_mask((mask_width, mask_height), (width, height));
            if let Err(error) = covers {
                note(&mut errors, FieldError::new("/mask", error.to_string()));
            }
        }
        (None, Some(_)) if given[0].is_none() => {
            note(&mut errors, FieldError::new("/mask", "needs an image of the same size; none was sent"));
        }
        _ => {}
    }
    let spec = match spec {
        Ok(spec) if errors.is_empty() && unknown.is_empty() => spec,
        Ok(_) if errors.is_empty() => return Err(ApiError::UnknownFormat(unknown)),
        _ => {
            note_all(&mut errors, unknown);
            return Err(ApiError::Invalid(errors));
        }
    };
    if spec.format.is_video() {
        // The first time it asks the program what it can.
        let format = spec.format;
        let looking = tokio::task::spawn_blocking(move || picture::can_write(format));
        let found = looking.await.map_err(ApiError::internal)?;
        found.map_err(|error| ApiError::from_picture("/spec/format", error))?;
    }
    let size = size.or(spec.noise.map(|noise| (noise.height, noise.width)));
    let size = size.ok_or_else(|| ApiError::internal("the spec has neither an image nor a noise size"))?;
    let forecast = match &request_headers.idempotency_key {
        // It was admitted when it was first sent.
        Some(key) if state.queue.with_idempotency_key(&tenant, key).await?.is_some() => None,
        _ => Some(predict(state, &spec, size, guide_size).await?),
    };
    let files = [&image, &mask, &guide].into_iter().flatten();
    let input_bytes = files.map(|file| file.len() as u64).sum();
    let mut job =
        NewJob { tenant, options, forecast, webhook, input_bytes, ..NewJob::new(JobId::new(), spec) };
    job.idempotency = match (idempotency, &request_headers.idempotency_key) {
        (None, Some(key)) => {
            Some(fingerprints(key, &given, sent_spec, &job.spec, options, job.webhook.clone()).await?)
        }
        (known, _) => known,
    };
    Ok(Checked::New(Pictures { image, mask, guide, share }, Box::new(job)))
}

/// The key of a request with the hashes of what it asks for. A picture by URL counts as its URL.
async fn fingerprints(
    idempotency_key: &str,
    given: &[Option<Bytes>; 3],
    sent: Option<Value>,
    spec: &DreamSpec,
    options: JobOptions,
    webhook: Option<Webhook>,
) -> Result<Idempotency, ApiError> {
    let (files, spec) = (given.clone(), spec.clone());
    let hashing = tokio::task::spawn_blocking(move || {
        let request = request_headers::fingerprint(&files, &sent, &options, webhook.as_ref())?;
        let resolved = request_headers::fingerprint(&files, &spec, &options, webhook.as_ref())?;
        Ok::<_, ApiError>((resolved, request))
    });
    let (fingerprint, request) = hashing.await.map_err(ApiError::internal)??;
    Ok(Idempotency { key: idempotency_key.to_owned(), fingerprint, request })
}

/// The outcome of a submission.
pub(super) struct Accepted {
    pub job: Job,
    /// Whether the job belongs to an earlier request with the same key.
    replayed: bool,
}

/// Stores the pictures, then the row.
pub(super) async fn accept(state: AppState, pictures: Pictures, job: NewJob) -> Result<Accepted, ApiError> {
    let id = job.id;
    let Pictures { image, mask, guide, share: _share } = pictures;
    let files = [(ObjectKey::Input(id), image), (ObjectKey::Mask(id), mask), (ObjectKey::Guide(id), guide)];
    let mut stored = Vec::new();
    for (object, file) in files {
        if let Some(file) = file {
            stored.push(object);
            state.objects.put(object, file).await?;
        }
    }
    let accepted = state.queue.enqueue(job).await;
    if accepted.as_ref().is_ok_and(|job| job.id == id) {
        info!(job = %id, "job accepted");
        return Ok(Accepted { job: accepted?, replayed: false });
    }
    // If it is unknown whether the job was accepted, it may have been: an extra picture merely takes space.
    let accepted = match accepted {
        Err(error) if error.is_down() => return Err(error.into()),
        other => other,
    };
    // The pictures are useless: the job is refused, or exists already.
    for object in stored {
        if let Err(error) = state.objects.delete(object).await {
            error!(%error, "the input of a job that was not accepted could not be deleted");
        }
    }
    let known = match accepted {
        Err(error) => return Err(refused(&state, error).await?),
        Ok(known) => known,
    };
    info!(job = %known.id, "a request was repeated");
    Ok(Accepted { job: known, replayed: true })
}

/// Predicts the cost of a dream, and refuses one that would fail or take too much.
pub(super) async fn predict(
    state: &AppState,
    spec: &DreamSpec,
    size: (u32, u32),
    guide: Option<(u32, u32)>,
) -> Result<Forecast, ApiError> {
    let model = state.catalogue.get(&spec.model).cloned();
    let model = model.ok_or_else(|| ApiError::internal(format!("model {} is gone", spec.model)))?;
    let (admission, throughput, spec) = (state.admission(), Arc::clone(&state.throughput), spec.clone());
    let check = move || admission.check(&throughput, &model, &spec, size, guide);
    let checking = tokio::task::spawn_blocking(check);
    Ok(checking.await.map_err(ApiError::internal)??)
}
