//! Problem documents (RFC 9457): how a refusal, or the failure of a job, is put into words for clients.
//!
//! What is refused and with which status is the matter of [`super::error`].

use axum::{body::Body, extract::Request, http::header, middleware::Next, response::Response};
use serde::Serialize;

use crate::admission::Prediction;
use crate::jobs::{Job, JobError, JobState};
use reverie_fields::FieldError;

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; the same for ever.
    #[schema(format = Uri)]
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// HTTP status; absent where the problem is part of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// This occurrence in words.
    pub detail: String,
    /// Path of the request; absent where the problem is part of a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Everything that is wrong with the request's content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What the job would take, where that is the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Box<Prediction>>,
}

impl Problem {
    /// Why a job ended without a dream, as part of the job: there is no status, since it answers no request. Whoever
    /// canceled it knows why.
    pub fn of_job(job: &Job) -> Option<Self> {
        use crate::jobs::FailureKind::{AttemptsExhausted, Internal, RenderFailed};
        let (name, title, detail) = match (&job.error, job.state) {
            (Some(JobError { kind, detail }), _) => {
                let (name, title) = match kind {
                    RenderFailed => ("render-failed", "The dream cannot be rendered"),
                    Internal => ("internal", "Internal error"),
                    AttemptsExhausted => ("attempts-exhausted", "The job was cut off too often"),
                };
                (name, title, detail.clone())
            }
            (None, JobState::Expired) => {
                let detail =
                    "the job was not finished by its deadline; give it more time, or a higher priority";
                ("deadline-passed", "The deadline has passed", detail.to_owned())
            }
            (None, _) => return None,
        };
        let (errors, prediction) = (Vec::new(), None);
        Some(Self { kind: kind_uri(name), title, status: None, detail, instance: None, errors, prediction })
    }
}

/// The type of a problem, from its last part.
pub(super) fn kind_uri(name: &str) -> String {
    format!("urn:reverie:problem:{name}")
}

/// The document as JSON: it is made of strings and numbers, so there is nothing that JSON could refuse.
pub(super) fn render(problem: &Problem) -> String {
    serde_json::to_string(problem).unwrap_or_default()
}

/// Middleware: fills in the path that a problem occurred at, which no handler need know.
pub async fn name_instance(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.instance = Some(path);
        let body = render(&problem);
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        *response.body_mut() = Body::from(body);
    }
    response
}
