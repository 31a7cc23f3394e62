//! The one place where an error becomes a response.
//!
//! Every refusal is an `application/problem+json` document (RFC 9457) that says what was wrong and what is
//! allowed. Causes inside the service are logged here, once, and never sent.

use std::any::Any;

use axum::{
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tracing::{error, warn};

use super::problem::{Problem, kind_uri, render};
use crate::{
    admission::{Prediction, Refusal},
    clock::Timestamp,
    jobs::{JobState, QueueError},
    objects::{ObjectError, ObjectKey},
};
use reverie_fields::{FieldError, MOST_MISTAKES, cut};
use reverie_picture::PictureError;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The path leads nowhere.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path ends with a slash; nothing is at any such path.
    #[error("there is nothing at this path; leave out the slash at its end")]
    TrailingSlash,
    /// There is no such thing as was named in the path.
    #[error("there is no {kind} \"{}\"", cut(.name))]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// As given.
        name: String,
    },
    /// The path has other methods; `Allow` lists them.
    #[error("this path does not take this method; see the Allow header")]
    MethodNotAllowed,
    /// The body cannot be taken apart.
    #[error("{0}")]
    Malformed(String),
    /// The body is whole, and its content is wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldError>),
    /// The body or the image in it is of a type that is not read.
    #[error("{0}")]
    UnsupportedType(String),
    /// The body is compressed.
    #[error("a body with Content-Encoding \"{}\" is not read here; send it as it is", cut(.0))]
    EncodedBody(String),
    /// Files that are of no format that is read, and nothing else that is wrong.
    #[error("{}", summary(.0))]
    UnknownFormat(Vec<FieldError>),
    /// The body is too long.
    #[error("the body is too long; at most {limit} bytes are allowed")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// There is more JSON than any request needs.
    #[error(
        "{what} is too long; at most {limit} bytes of JSON are allowed, data URIs of pictures not counted"
    )]
    JsonTooLong {
        /// Where it stood.
        what: &'static str,
        /// Bytes allowed.
        limit: usize,
    },
    /// The client stopped sending, or sends too slowly.
    #[error("the body comes too slowly; after {grace} seconds, send at least {least} bytes per second")]
    TooSlow {
        /// Bytes per second.
        least: usize,
        /// Seconds for which a body may be slower.
        grace: u64,
    },
    /// The memory for request bodies is taken.
    #[error("too many uploads are under way; send the request again in a moment")]
    TooManyUploads,
    /// The request does not say for which host it is, or says it in no way that can be read.
    #[error("{0}; send one Host header with the name of the service")]
    BadHost(&'static str),
    /// The service does not answer to this name.
    #[error(
        "this service does not answer to the host name \"{}\"; its operator lists names in server.allowed_hosts",
        cut(.0)
    )]
    WrongHost(String),
    /// A web page of another origin asks for a change.
    #[error(
        "web pages of other origins may not do this; the operator of the service lists those that may in server.cors_origins"
    )]
    CrossOrigin,
    /// No place in the queue.
    #[error("the queue is full: {capacity} jobs are waiting")]
    QueueFull {
        /// Number of places.
        capacity: u32,
        /// Seconds after which to try again.
        retry_after: u64,
    },
    /// The service cannot take jobs now.
    #[error("{0}")]
    Unavailable(&'static str),
    /// A newer version of the service, which works beside this one or did so before, has written the job.
    #[error("job {0} was written by a newer version of the service, and this one cannot read it")]
    NewerVersion(String),
    /// There is no room for what was sent.
    #[error("there is no room in the storage of the service now")]
    StorageFull,
    /// The job has ended; what was asked is for jobs that have not.
    #[error("the job is already {0}")]
    AlreadyFinished(JobState),
    /// The same `Idempotency-Key` came with two different requests.
    #[error("this Idempotency-Key was used before, for a request with another content; take a new one")]
    KeyReused,
    /// The dream would take more than one job may.
    #[error("{0}")]
    TooMuchWork(Box<Prediction>),
    /// No byte that was asked for is there.
    #[error("the range begins behind the end; there are {size} bytes")]
    BeyondEnd {
        /// Length of the whole.
        size: u64,
    },
    /// There is no result, or none yet.
    #[error("{detail}")]
    NoResult {
        /// What stands in the way.
        detail: String,
        /// Seconds after which to look again, where that makes sense.
        retry_after: Option<u64>,
    },
    /// There is no preview, or none yet.
    #[error("the job is {state}: there is no preview {}", when(.state))]
    NoPreview {
        /// Where the job stands.
        state: JobState,
        /// Seconds after which to look again, where that makes sense.
        retry_after: Option<u64>,
    },
    /// There was a result, and its time is over.
    #[error("the job's pictures were erased at {0}; results are kept for a limited time")]
    Gone(Timestamp),
    /// A dream that its job's row promises is not in the store.
    #[error(
        "the dream was made and is not in the store any more; ask for it again, or tell whoever runs the service"
    )]
    ResultLost(ObjectKey),
    /// Something is broken on our side.
    #[error("something went wrong inside the service; its log has the cause")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Whether a preview may still come.
fn when(state: &JobState) -> &'static str {
    if state.is_finished() { "any more" } else { "yet" }
}

/// What the 422 of a list of mistakes says in one sentence.
fn summary(errors: &[FieldError]) -> String {
    match errors {
        [FieldError { pointer, detail }] if pointer.is_empty() => detail.clone(),
        [FieldError { pointer, detail }] => format!("{pointer}: {detail}"),
        many if many.len() >= MOST_MISTAKES => {
            format!("many things are wrong; \"errors\" lists the first {MOST_MISTAKES}")
        }
        several => format!("{} things are wrong; see \"errors\"", several.len()),
    }
}

impl ApiError {
    /// Wraps a cause that is nobody's business.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// A disk that is full. Logged like any other cause inside the service: somebody has to act.
    fn full_storage(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = chain(cause), "the storage is full");
        Self::StorageFull
    }

    /// A store that does not answer. Logged like any other cause inside the service.
    fn storage_down(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = chain(cause), "the storage cannot be reached");
        Self::Unavailable("the storage of the service cannot be reached now")
    }

    /// What a picture that was refused means to the client. `pointer` is where it stood.
    pub fn from_picture(pointer: &str, error: PictureError) -> Self {
        match error {
            PictureError::UnknownFormat
            | PictureError::Unread(_)
            | PictureError::NotBuilt { .. }
            | PictureError::Unsupported { .. } => {
                Self::UnknownFormat(vec![FieldError::new(pointer, error.to_string())])
            }
            PictureError::TooLarge { .. }
            | PictureError::Empty
            | PictureError::Undecodable { .. }
            | PictureError::MaskSize { .. }
            | PictureError::EdgeTooLong { .. } => {
                Self::Invalid(vec![FieldError::new(pointer, error.to_string())])
            }
            PictureError::Encode(_) => Self::internal(error),
        }
    }

    /// Status, last part of the problem type, and title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoSuchPath | Self::TrailingSlash | Self::NotFound { .. } => {
                (StatusCode::NOT_FOUND, "not-found", "Not found")
            }
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is wrong"),
            Self::UnsupportedType(_) | Self::UnknownFormat(_) | Self::EncodedBody(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-type", "Unsupported media type")
            }
            Self::TooLarge { .. } | Self::JsonTooLong { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too long")
            }
            Self::BadHost(_) => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::WrongHost(_) => (StatusCode::MISDIRECTED_REQUEST, "wrong-host", "Wrong host"),
            Self::CrossOrigin => (StatusCode::FORBIDDEN, "cross-origin", "Not allowed across origins"),
            Self::TooSlow { .. } => {
                (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not come in time")
            }
            Self::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue-full", "The queue is full"),
            Self::Unavailable(_) | Self::TooManyUploads => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available")
            }
            // A balancer asks another server then, which may be of that version.
            Self::NewerVersion(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "newer-version", "Written by a newer version")
            }
            Self::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "storage-full", "The storage is full"),
            Self::AlreadyFinished(_) => (StatusCode::CONFLICT, "already-finished", "The job has ended"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used before"),
            Self::TooMuchWork(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "too-much-work", "The dream would take too much")
            }
            Self::BeyondEnd { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "beyond-end", "The range begins behind the end")
            }
            Self::NoResult { .. } => (StatusCode::CONFLICT, "no-result", "There is no result"),
            Self::NoPreview { .. } => (StatusCode::CONFLICT, "no-preview", "There is no preview"),
            Self::Gone(_) => (StatusCode::GONE, "gone", "No longer there"),
            Self::ResultLost(_) => (StatusCode::INTERNAL_SERVER_ERROR, "result-lost", "The result is lost"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// Seconds after which the same request may fare better.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after, .. } => Some(*retry_after),
            Self::NoResult { retry_after, .. } | Self::NoPreview { retry_after, .. } => *retry_after,
            Self::Unavailable(_) | Self::TooManyUploads | Self::NewerVersion(_) => Some(5),
            // Someone has to make room, or the retention does.
            Self::StorageFull => Some(60),
            _ => None,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(mistake) => Self::Invalid(vec![mistake]),
            Refusal::TooMuchWork(prediction) => Self::TooMuchWork(prediction),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NotFound(id) => Self::NotFound { kind: "job", name: id.to_string() },
            QueueError::Finished(state) => Self::AlreadyFinished(state),
            QueueError::KeyReused => Self::KeyReused,
            QueueError::Corrupt { id, problem } => {
                warn!(job = id, problem, "a job cannot be read by this version");
                Self::NewerVersion(id)
            }
            error if error.is_full() => Self::full_storage(&error),
            error if error.is_down() => Self::storage_down(&error),
            error => Self::internal(error),
        }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            error if error.is_full() => Self::full_storage(&error),
            // A picture that should be there and is not is no matter of waiting.
            error @ ObjectError::NotFound(_) => Self::internal(error),
            error => Self::storage_down(&error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind();
        let detail = self.to_string();
        let retry_after = self.retry_after();
        let size = if let Self::BeyondEnd { size } = self { Some(size) } else { None };
        let encoded = matches!(self, Self::EncodedBody(_));
        let (errors, prediction) = match self {
            Self::Internal(cause) => {
                error!(cause = chain(&*cause), "a request failed inside the service");
                (Vec::new(), None)
            }
            Self::ResultLost(key) => {
                error!(%key, "a result is not in the store, and its job says that it is");
                (Vec::new(), None)
            }
            Self::Invalid(errors) | Self::UnknownFormat(errors) => (errors, None),
            Self::TooMuchWork(prediction) => (Vec::new(), Some(prediction)),
            _ => (Vec::new(), None),
        };
        let problem = Problem {
            kind: kind_uri(name),
            title,
            status: Some(status.as_u16()),
            detail,
            instance: None,
            errors,
            prediction,
        };
        let mut response = (status, render(&problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if encoded {
            // What would be read (RFC 9110, section 12.5.3).
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

/// An error with everything behind it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Many errors repeat their cause already.
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

/// A handler panicked: a mistake in the code, which costs this one request.
pub fn from_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    ApiError::internal(format!("a handler panicked: {}", text.unwrap_or("no message"))).into_response()
}

/// For paths that nothing is at.
pub async fn no_such_path(uri: Uri) -> ApiError {
    if uri.path().len() > 1 && uri.path().ends_with('/') {
        ApiError::TrailingSlash
    } else {
        ApiError::NoSuchPath
    }
}

/// For methods that a path does not take.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;
    use crate::jobs::JobId;

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
        assert_eq!(problem["detail"], "2 things are wrong; see \"errors\"");
    }

    #[test]
    fn store_errors_keep_their_meaning() {
        let missing = ApiError::from(QueueError::NotFound(JobId::new())).into_response();
        assert_eq!(missing.status(), 404);
        let finished = ApiError::from(QueueError::Finished(JobState::Failed)).into_response();
        assert_eq!(finished.status(), 409);
        let closed = ApiError::from(QueueError::Store(sqlx::Error::PoolClosed)).into_response();
        assert_eq!(
            (closed.status().as_u16(), &closed.headers()["retry-after"]),
            (503, &HeaderValue::from(5))
        );
        let mistake = ApiError::from(QueueError::Store(sqlx::Error::RowNotFound)).into_response();
        assert_eq!(mistake.status(), 500);
        let newer = QueueError::Corrupt { id: "1".into(), problem: "secret".into() };
        assert_eq!(ApiError::from(newer).into_response().status(), 503);
        let full = ApiError::QueueFull { capacity: 1, retry_after: 7 }.into_response();
        assert_eq!((full.status().as_u16(), &full.headers()["retry-after"]), (429, &HeaderValue::from(7)));
    }
}
