//! Why an attempt ends without a dream, and what the worker does about it.

use crate::{
    jobs::{FailureKind, JobError, QueueError},
    objects::ObjectError,
};
use reverie_engine::RenderError;

/// Why an attempt ended without a dream. The comments say what to do about each.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Nothing was rendered yet: the job returns to the queue.
    #[error(transparent)]
    Queue(QueueError),
    /// Not the job's fault, so it costs no attempt.
    #[error("the blob store is unavailable: {error}")]
    StoreAway { error: ObjectError, bytes: usize },
    /// The worker cannot render anything. Not the job's fault either.
    #[error("the worker is sick: {0}")]
    Sick(RenderError),
    /// The device was found sick, or the process began to stop, before the job's turn came: the job returns to the queue.
    #[error("the worker could not begin the dream")]
    NotBegun,
    #[error("model \"{0}\" is no longer in the catalogue")]
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
    /// Whether every retry would fail in the same way.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Render(error) => error.is_permanent(),
            Self::Object(error) => matches!(error, ObjectError::NotFound(_)),
            Self::ModelGone(_) => true,
            Self::Queue(_) | Self::StoreAway { .. } | Self::Sick(_) | Self::NotBegun | Self::LeaseLost => {
                false
            }
        }
    }

    /// The error in words for the client.
    pub(super) fn to_job_error(&self) -> JobError {
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
