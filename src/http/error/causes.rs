//! What errors of other modules mean to a client. Internal causes are logged here, once.

use tracing::{error, warn};

use super::ApiError;
use crate::{admission::Refusal, jobs::QueueError, objects::ObjectError};
use reverie_fields::FieldError;
use reverie_picture::PictureError;

impl ApiError {
    /// A full disk. Logged like any internal cause: the operator must act.
    fn full_storage(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = chain(cause), "the storage is full");
        Self::StorageFull
    }

    /// An unavailable store. Logged like any internal cause.
    fn storage_down(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = chain(cause), "the storage is unavailable");
        Self::Unavailable("the server's storage is unavailable")
    }

    /// Converts the refusal of an image; `pointer` locates the image in the request.
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
            PictureError::NoVideoEncoder { .. } => Self::NoVideoEncoder(error.to_string()),
            PictureError::VideoEncoder(_)
            | PictureError::Encode(_)
            | PictureError::NotAnimated
            | PictureError::NotStill => Self::internal(error),
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
            error @ (QueueError::TenantFull { .. } | QueueError::TenantSeconds { .. }) => {
                Self::QuotaExceeded { detail: error.to_string(), retry_after: 5 }
            }
            // Room is made by the tenant, or by the retention, which counts in days.
            error @ QueueError::TenantBytes { .. } => {
                Self::QuotaExceeded { detail: error.to_string(), retry_after: 60 }
            }
            error @ QueueError::TenantUploads { .. } => {
                Self::QuotaExceeded { detail: error.to_string(), retry_after: 60 }
            }
            QueueError::NoUpload(id) => Self::NotFound { kind: "upload", name: id.to_string() },
            QueueError::NoKey(id) => Self::NotFound { kind: "key", name: id.to_string() },
            QueueError::Finished(state) => Self::AlreadyFinished(state),
            QueueError::KeyReused => Self::KeyReused,
            QueueError::Corrupt { id, problem } => {
                warn!(job = id, problem, "this version cannot read a job");
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
            // Waiting does not bring back a missing image.
            error @ ObjectError::NotFound(_) => Self::internal(error),
            error => Self::storage_down(&error),
        }
    }
}

/// An error with its chain of causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Many errors already include the text of their cause.
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::{http::HeaderValue, response::IntoResponse};

    use super::*;
    use crate::jobs::{JobId, JobState};

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
