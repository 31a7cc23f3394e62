//! Why an attempt at a job ends without a dream, and what follows from it.

use crate::{
    jobs::{FailureKind, JobError, QueueError},
    objects::ObjectError,
};
use reverie_engine::RenderError;

/// Why an attempt ended without a dream. What to do about it is part of each.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Before anything was rendered.
    #[error(transparent)]
    Queue(QueueError),
    /// No job can be blamed for this, so it costs none an attempt.
    #[error("the blob store is away: {error}")]
    StoreAway { error: ObjectError, bytes: usize },
    /// The worker cannot render anything, so the job is not to blame either.
    #[error("the worker is sick: {0}")]
    Sick(RenderError),
    #[error("model \"{0}\" is not in the catalogue any more")]
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
    /// Whether another attempt must end in the same way.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Render(error) => error.is_permanent(),
            Self::Object(error) => matches!(error, ObjectError::NotFound(_)),
            Self::ModelGone(_) => true,
            Self::Queue(_) | Self::StoreAway { .. } | Self::Sick(_) | Self::LeaseLost => false,
        }
    }

    /// In words for the job's owner.
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
