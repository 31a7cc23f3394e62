//! Problem documents (RFC 9457): the body of a refusal, and the error of a failed job.
//!
//! [`super::error`] decides what is refused and with which status.

use axum::{body::Body, extract::Request, http::header, middleware::Next, response::Response};
use serde::Serialize;

use super::auth::shown_path;
use crate::admission::Prediction;
use crate::jobs::{Job, JobError, JobState};
use reverie_fields::FieldError;

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; never changes.
    #[schema(format = Uri)]
    #[serde(rename = "type")]
    pub kind: String,
    /// Title of the kind.
    pub title: &'static str,
    /// HTTP status; absent if the problem is part of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Description of this occurrence.
    pub detail: String,
    /// Path of the request; absent if the problem is part of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// All errors in the request's content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Predicted cost of the job, if that is the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Box<Prediction>>,
}

impl Problem {
    /// Why a job ended without a dream, as part of the job. It has no status, since it answers no request. A
    /// canceled job needs no problem: the client that canceled it knows why.
    pub fn of_job(job: &Job) -> Option<Self> {
        use crate::jobs::FailureKind::{AttemptsExhausted, Internal, RenderFailed};
        let (name, title, detail) = match (&job.error, job.state) {
            (Some(JobError { kind, detail }), _) => {
                let (name, title) = match kind {
                    RenderFailed => ("render-failed", "The dream cannot be rendered"),
                    Internal => ("internal", "Internal error"),
                    AttemptsExhausted => ("attempts-exhausted", "The job was interrupted too often"),
                };
                (name, title, detail.clone())
            }
            (None, JobState::Expired) => {
                let detail = match job.deadline_at {
                    Some(_) => {
                        "the job was not finished by its deadline; give it more time, or a higher priority"
                    }
                    None => "the job was paused for seven days, after which a job expires",
                };
                ("deadline-passed", "The deadline has passed", detail.to_owned())
            }
            (None, _) => return None,
        };
        let (errors, prediction) = (Vec::new(), None);
        Some(Self { kind: kind_uri(name), title, status: None, detail, instance: None, errors, prediction })
    }
}

/// The type URI of a problem, from its last part.
pub(super) fn kind_uri(name: &str) -> String {
    format!("urn:reverie:problem:{name}")
}

/// The document as JSON. It contains only strings and numbers, so it can always be serialised.
pub(super) fn render(problem: &Problem) -> String {
    serde_json::to_string(problem).unwrap_or_default()
}

/// Middleware: fills in the path of the request, so no handler needs to know it.
pub async fn name_instance(request: Request, next: Next) -> Response {
    let path = shown_path(request.uri()).to_owned();
    let mut response = next.run(request).await;
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.instance = Some(path);
        let body = render(&problem);
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        *response.body_mut() = Body::from(body);
    }
    response
}
