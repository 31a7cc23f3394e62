//! Ids in paths: of a job, of an upload, of a model, of an API key. A name that cannot be read, for example bytes that are not text, is
//! treated like any other unknown name.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::error::ApiError;
use crate::{
    jobs::{JobId, UploadId},
    keys::KeyId,
};

/// The id in a path such as `/v1/jobs/{id}`, as far as it is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => name,
            // As sent: after the kind of resource.
            Err(_) => {
                let path = parts.uri.path();
                let below = path.strip_prefix("/v1/operations").or_else(|| path.strip_prefix("/v1"));
                below.unwrap_or(path).split('/').nth(2).unwrap_or_default().to_owned()
            }
        };
        Ok(Self(name))
    }
}

impl Named {
    /// The job with this id. An invalid id is unknown too.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn job(self) -> Result<JobId, ApiError> {
        self.0.parse().map_err(|_| ApiError::NotFound { kind: "job", name: self.0 })
    }

    /// The upload with this id. An invalid id is unknown too.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn upload(self) -> Result<UploadId, ApiError> {
        self.0.parse().map_err(|_| ApiError::NotFound { kind: "upload", name: self.0 })
    }

    /// The API key with this id. An invalid id is unknown too.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn key(self) -> Result<KeyId, ApiError> {
        self.0.parse().map_err(|_| ApiError::NotFound { kind: "key", name: self.0 })
    }
}
