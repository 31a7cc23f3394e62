//! `POST /v1/jobs`: submits a dream.
//!
//! Cheap checks come first, and nearly every error is found before the job is accepted: of a JPEG the segments are checked,
//! every other image is decoded, so a truncated file is refused now instead of failing minutes later. Then the input is
//! stored, and only then the row, so no job is ever without its input.

mod accept;
mod check;
mod fork;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tracing::{Instrument, Span};

use super::{
    boundary,
    client_address::ClientAddress,
    contract::{
        EXAMPLE_IMAGE, Internal, Invalid, Malformed, NotFound, QueueFull, StorageFull, SubmitForm,
        SubmitJson, TooLarge, TooSlow, Unavailable, UnsupportedType,
    },
    error::ApiError,
    extract,
    request_headers::JobHeaders,
    state::AppState,
    view::{self, JobView},
    wait::{self, Preference},
};
pub(super) use accept::{Pictures, accept};
pub(super) use check::{Checked, predict};

use crate::{auth::Caller, jobs::QueueError, keys::Tenant, telemetry, worker};
use accept::Accepted;
use reverie_fields::{FieldError, MOST_MISTAKES, pointer};

/// Submit a dream
///
/// The server checks the image before it accepts the job, and an accepted job survives a restart of the
/// server. The parts of a form may come in any order. With `Prefer: wait=n` the response comes as soon as the
/// job ends, and after n seconds otherwise. With an `Idempotency-Key` the request can be repeated without
/// creating another job. With `Content-Digest` or `Repr-Digest` (RFC 9530; SHA-256, SHA-512) a body that was changed on its way
/// is refused with 400. With `from` the dream of another job is forked: its octaves stay up to one, and the rest is dreamed
/// with another spec.
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
    let checked = check::check(state, caller, request, request_headers).await?;
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
