//! The one place where an error becomes a response. What errors of other modules mean to a client: `error::causes`.
//!
//! Every refusal is an `application/problem+json` document (RFC 9457) that says what is wrong and what is
//! allowed. Internal causes are logged here, once, and never sent.

mod causes;

use std::any::Any;

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tracing::error;

use causes::chain;

use super::problem::{Problem, kind_uri, render};
use crate::{admission::Prediction, clock::Timestamp, jobs::JobState, keys::Scope, objects::ObjectKey};
use reverie_fields::{FieldError, MOST_MISTAKES, cut};

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No route matches the path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path ends with a slash; no route does.
    #[error("there is nothing at this path; remove the trailing slash")]
    TrailingSlash,
    /// The resource named in the path does not exist.
    #[error("there is no {kind} \"{}\"", cut(.name))]
    NotFound {
        /// Kind of resource.
        kind: &'static str,
        /// Name as given.
        name: String,
    },
    /// There is no such layer or channel to show, with what there is.
    #[error("{0}")]
    NoTile(String),
    /// The path supports other methods; `Allow` lists them.
    #[error("this path does not support this method; the Allow header lists the supported ones")]
    MethodNotAllowed,
    /// The body cannot be parsed.
    #[error("{0}")]
    Malformed(String),
    /// The body can be parsed, but its content is invalid.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldError>),
    /// The type of the body or of an image in it is not supported.
    #[error("{0}")]
    UnsupportedType(String),
    /// The body is compressed.
    #[error("Content-Encoding \"{}\" is not supported; send the body unencoded", cut(.0))]
    EncodedBody(String),
    /// Files of unsupported formats, and no other error.
    #[error("{}", summary(.0))]
    UnknownFormat(Vec<FieldError>),
    /// The body is too long.
    #[error("the body is too long; at most {limit} bytes are allowed")]
    TooLarge {
        /// Maximum in bytes.
        limit: usize,
    },
    /// There is more JSON than any valid request needs.
    #[error(
        "{what} is too long; at most {limit} bytes of JSON are allowed, data URIs of pictures not counted"
    )]
    JsonTooLong {
        /// The part that is too long.
        what: &'static str,
        /// Maximum in bytes.
        limit: usize,
    },
    /// The client stopped sending, or sends too slowly.
    #[error("the body arrives too slowly; after {grace} seconds, send at least {least} bytes per second")]
    TooSlow {
        /// Minimum rate in bytes per second.
        least: usize,
        /// Seconds for which a body may be slower.
        grace: u64,
    },
    /// The memory for request bodies is full.
    #[error("too many uploads are in progress; retry in a moment")]
    TooManyUploads,
    /// The request names no host, or its host cannot be read.
    #[error("{0}; send one Host header with the name of the service")]
    BadHost(&'static str),
    /// The server does not accept this host name.
    #[error(
        "the host name \"{}\" is not allowed; the operator can add it to server.allowed_hosts",
        cut(.0)
    )]
    WrongHost(String),
    /// A web page of another origin sends a change.
    #[error(
        "a web page of another origin may not send this request; the operator can allow its origin in server.cors_origins"
    )]
    CrossOrigin,
    /// The request has no key.
    #[error("this request needs a key; send it in a header: Authorization: Bearer rvk_…")]
    KeyMissing,
    /// The request's key opens nothing.
    #[error("{0}")]
    KeyRefused(String),
    /// The request's key does not allow this.
    #[error("the key lacks the scope \"{0}\"")]
    MissingScope(Scope),
    /// Keys are managed on a server that asks for none.
    #[error(
        "this server asks for no keys (auth.mode = \"off\"), so it manages none for clients; use `reverie keys`"
    )]
    NoKeys,
    /// Links cannot be signed.
    #[error(
        "this server signs no links; the operator can set auth.link_secrets, where requests need a key (auth.mode = \"keys\")"
    )]
    NoLinks,
    /// The URL holds a key.
    #[error(
        "the URL holds a key, and may have been logged on its way: revoke that key, and send keys in the header Authorization only"
    )]
    KeyInUrl,
    /// The queue is full.
    #[error("the queue is full: no more than {capacity} may wait")]
    QueueFull {
        /// Capacity of the queue.
        capacity: u32,
        /// Seconds after which to retry.
        retry_after: u64,
    },
    /// The tenant has used up a quota.
    #[error("{detail}")]
    QuotaExceeded {
        /// Which one, and its limit.
        detail: String,
        /// Seconds after which to retry.
        retry_after: u64,
    },
    /// The server cannot take jobs now.
    #[error("{0}")]
    Unavailable(&'static str),
    /// A newer version of the server wrote the job. It runs beside this one, or ran before.
    #[error("job {0} was written by a newer version of the server, which this version cannot read")]
    NewerVersion(String),
    /// The storage has no room for the upload.
    #[error("the server's storage is full")]
    StorageFull,
    /// The job has ended, and the operation needs a job that has not.
    #[error("the job is already {0}")]
    AlreadyFinished(JobState),
    /// Only a failed job can be retried.
    #[error("the job is {0}; only a failed job can be retried")]
    NotFailed(JobState),
    /// The last octave or frame has begun, so no change would show.
    #[error("the last {0} of the dream has begun: nothing is left that could change")]
    NothingLeft(&'static str),
    /// The job is about to be canceled, so no change would show.
    #[error("the job is being canceled: nothing is left that could change")]
    BeingCanceled,
    /// Two different requests have the same `Idempotency-Key`.
    #[error("this Idempotency-Key was already used for a different request; use a new key")]
    KeyReused,
    /// The dream needs more than one job may take.
    #[error("{0}")]
    TooMuchWork(Box<Prediction>),
    /// The dream would be a video, which this server cannot write.
    #[error("{0}")]
    NoVideoEncoder(String),
    /// None of the requested bytes exist.
    #[error("the range begins after the end; the file has {size} bytes")]
    BeyondEnd {
        /// Length of the file.
        size: u64,
    },
    /// There is no result, or none yet.
    #[error("{detail}")]
    NoResult {
        /// Why there is no result.
        detail: String,
        /// Seconds after which to poll again, if that makes sense.
        retry_after: Option<u64>,
    },
    /// The job has no input image.
    #[error("the job has no input image: its dream started from noise")]
    NoInput,
    /// There is no preview, or none yet.
    #[error("the job is {state}: there is no preview {}", when(.state))]
    NoPreview {
        /// State of the job.
        state: JobState,
        /// Seconds after which to poll again, if that makes sense.
        retry_after: Option<u64>,
    },
    /// The result has expired.
    #[error("the job's pictures were erased at {0}; results are kept for a limited time")]
    Gone(Timestamp),
    /// The job's row promises a dream that the store does not have.
    #[error(
        "the dream was rendered, but its file is missing from the store; submit the job again, or tell the operator"
    )]
    ResultLost(ObjectKey),
    /// An internal error.
    #[error("internal error; the server's log has the cause")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whether a preview may still appear.
fn when(state: &JobState) -> &'static str {
    if state.is_finished() { "any more" } else { "yet" }
}

/// Summarises a list of errors in one sentence.
fn summary(errors: &[FieldError]) -> String {
    match errors {
        [FieldError { pointer, detail }] if pointer.is_empty() => detail.clone(),
        [FieldError { pointer, detail }] => format!("{pointer}: {detail}"),
        many if many.len() >= MOST_MISTAKES => {
            format!("the request has many errors; \"errors\" lists the first {MOST_MISTAKES}")
        }
        several => format!("the request has {} errors; see \"errors\"", several.len()),
    }
}

impl ApiError {
    /// Wraps an internal cause, which the client does not see.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Status, last part of the problem type, and title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoSuchPath
            | Self::TrailingSlash
            | Self::NotFound { .. }
            | Self::NoInput
            | Self::NoTile(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid request"),
            Self::UnsupportedType(_) | Self::UnknownFormat(_) | Self::EncodedBody(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "Unsupported media type")
            }
            Self::TooLarge { .. } | Self::JsonTooLong { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too long")
            }
            Self::KeyMissing | Self::KeyRefused(_) => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "A valid key is needed")
            }
            Self::MissingScope(_) | Self::NoKeys | Self::NoLinks => {
                (StatusCode::FORBIDDEN, "forbidden", "The key does not allow this")
            }
            Self::KeyInUrl | Self::BadHost(_) => (StatusCode::BAD_REQUEST, "malformed", "Malformed request"),
            Self::WrongHost(_) => (StatusCode::MISDIRECTED_REQUEST, "wrong-host", "Wrong host"),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "cross-origin", "Cross-origin request not allowed"),
            Self::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body arrived too slowly"),
            Self::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue-full", "The queue is full"),
            Self::QuotaExceeded { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "A quota is used up")
            }
            Self::Unavailable(_) | Self::TooManyUploads => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available")
            }
            // A load balancer then tries another server, which may have that version.
            Self::NewerVersion(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "newer-version", "Written by a newer version")
            }
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage-full", "The storage is full"),
            Self::AlreadyFinished(_) => (StatusCode::CONFLICT, "already-finished", "The job has ended"),
            Self::NotFailed(_) => (StatusCode::CONFLICT, "not-failed", "The job has not failed"),
            Self::NothingLeft(_) | Self::BeingCanceled => {
                (StatusCode::CONFLICT, "nothing-left", "Nothing is left to change")
            }
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was already used"),
            Self::TooMuchWork(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "too-much-work",
                "The dream would take too much time or memory",
            ),
            Self::NoVideoEncoder(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "no-video-encoder", "The server writes no such videos")
            }
            Self::BeyondEnd { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "beyond-end", "The range begins after the end")
            }
            Self::NoResult { .. } => (StatusCode::CONFLICT, "no-result", "There is no result"),
            Self::NoPreview { .. } => (StatusCode::CONFLICT, "no-preview", "There is no preview"),
            Self::Gone(_) => (StatusCode::GONE, "gone", "No longer available"),
            Self::ResultLost(_) => (StatusCode::INTERNAL_SERVER_ERROR, "result-lost", "The result is lost"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// The problem as it would be told.
    pub(super) fn problem(&self) -> Problem {
        let (status, name, title) = self.kind();
        Problem {
            kind: kind_uri(name),
            title,
            status: Some(status.as_u16()),
            detail: self.to_string(),
            instance: None,
            errors: Vec::new(),
            prediction: None,
        }
    }

    /// How to ask with a fitting key (RFC 6750, section 3).
    fn challenge(&self) -> Option<String> {
        match self {
            Self::KeyMissing => Some("Bearer realm=\"reverie\"".to_owned()),
            Self::KeyRefused(_) => Some("Bearer realm=\"reverie\", error=\"invalid_token\"".to_owned()),
            Self::MissingScope(scope) => {
                Some(format!("Bearer realm=\"reverie\", error=\"insufficient_scope\", scope=\"{scope}\""))
            }
            _ => None,
        }
    }

    /// Seconds after which the same request may succeed.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after, .. } | Self::QuotaExceeded { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::NoResult { retry_after, .. } | Self::NoPreview { retry_after, .. } => *retry_after,
            Self::Unavailable(_) | Self::TooManyUploads | Self::NewerVersion(_) => Some(5),
            // The operator must make room, or the retention does.
            Self::StorageFull => Some(60),
            _ => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, problem) = (self.kind().0, self.problem());
        let (retry_after, challenge) = (self.retry_after(), self.challenge());
        let size = if let Self::BeyondEnd { size } = self { Some(size) } else { None };
        let encoded = matches!(self, Self::EncodedBody(_));
        let (errors, prediction) = match self {
            Self::Internal(cause) => {
                error!(cause = chain(&*cause), "a request failed with an internal error");
                (Vec::new(), None)
            }
            Self::ResultLost(key) => {
                error!(%key, "a result is missing from the store, although its job has it");
                (Vec::new(), None)
            }
            Self::Invalid(errors) | Self::UnknownFormat(errors) => (errors, None),
            Self::TooMuchWork(prediction) => (Vec::new(), Some(prediction)),
            _ => (Vec::new(), None),
        };
        let problem = Problem { errors, prediction, ..problem };
        let mut response = (status, render(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if encoded {
            // The supported encoding (RFC 9110, section 12.5.3).
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(size) = size
            && let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}"))
        {
            headers.insert(header::CONTENT_RANGE, value);
        }
        // For `problem::name_instance`, which knows the path.
        response.extensions_mut().insert(problem);
        response
    }
}

/// A handler panicked: a bug that fails this one request.
pub fn from_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no message"))).into_response()
}

/// Handles paths without a route.
pub async fn no_such_path(uri: Uri) -> ApiError {
    if uri.path().len() > 1 && uri.path().ends_with('/') {
        ApiError::TrailingSlash
    } else {
        ApiError::NoSuchPath
    }
}

/// Handles unsupported methods.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn body(response: Response) -> serde_json::Value {
        let bytes = to_bytes(response.into_body(), 10_000).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn internal_causes_stay_inside() {
        let response = ApiError::internal("the password is swordfish").into_response();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem = body(response).await;
        assert_eq!(problem["type"], "urn:reverie:problem:internal");
        assert!(!problem.to_string().contains("swordfish"));
        let panicked = from_panic(Box::new("the password is swordfish"));
        assert!(!body(panicked).await.to_string().contains("swordfish"));
    }

    #[tokio::test]
    async fn every_mistake_is_listed() {
        let errors = vec![FieldError::new("/spec/a", "wrong"), FieldError::new("/spec/b", "too")];
        let problem = body(ApiError::Invalid(errors).into_response()).await;
        assert_eq!(problem["status"], 422);
        assert_eq!(problem["errors"][1]["pointer"], "/spec/b");
        assert_eq!(problem["detail"], "the request has 2 errors; see \"errors\"");
    }
}
