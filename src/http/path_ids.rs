//! What a path names: a job, a model. Whatever cannot be read, such as bytes that are no text, names nothing, and is
//! answered like every other name that nothing has.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::error::ApiError;
use crate::jobs::JobId;

/// The name in a path such as `/v1/jobs/{id}`, as far as it is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => name,
            // As it was sent: behind "", "v1" and the kind of thing.
            Err(_) => parts.uri.path().split('/').nth(3).unwrap_or_default().to_owned(),
        };
        Ok(Self(name))
    }
}

impl Named {
    /// The job of this name. An id that is no id names no job either.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn job(self) -> Result<JobId, ApiError> {
        self.0.parse().map_err(|_| ApiError::NotFound { kind: "job", name: self.0 })
    }
}
