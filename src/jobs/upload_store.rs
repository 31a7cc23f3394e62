//! Uploads: pictures that clients send ahead of their jobs. Their interface, statements and rows, once for both databases.
//!
//! The row is there before the picture, and counts among what its tenant stores with the length that was announced. It is deleted after
//! the picture, some time after it has expired. Any number of jobs may use an upload until then; each keeps a copy of its own.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    QueueError, TenantOptions,
    row::{self, Columns},
};
use crate::{clock::Timestamp, keys::Tenant};

/// How long an upload may be sent and used.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Most uploads of a tenant that have not expired.
pub const MOST_UPLOADS: u32 = 1000;

/// Id of an upload: a UUIDv7 (RFC 9562).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(Uuid);

impl UploadId {
    /// Makes a new id.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for UploadId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for UploadId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Most bytes that it may have.
    pub bytes: u64,
    /// Until when it may be sent and used.
    pub expires_at: Timestamp,
}

/// The uploads of all tenants.
#[async_trait]
pub trait UploadStore: Send + Sync + 'static {
    /// Adds an upload of at most `bytes` bytes.
    ///
    /// # Errors
    /// [`QueueError::TenantUploads`] and [`QueueError::TenantBytes`] if the tenant has used up its part.
    async fn add_upload(&self, tenant: &Tenant, bytes: u64) -> Result<Upload, QueueError>;

    /// Returns a tenant's upload that has not expired.
    ///
    /// # Errors
    /// [`QueueError::NoUpload`].
    async fn find_upload(&self, tenant: &Tenant, id: UploadId) -> Result<Upload, QueueError>;

    /// Lists at most `limit` uploads that have expired, oldest first.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn expired_uploads(&self, limit: u32) -> Result<Vec<UploadId>, QueueError>;

    /// Deletes an upload; its picture must be gone. A missing one is not an error.
    ///
    /// # Errors
    /// Only when the store fails.
    async fn delete_upload(&self, id: UploadId) -> Result<(), QueueError>;
}

macro_rules! add_upload {
    ($now:literal) => {
        concat!(
            "INSERT INTO uploads (id, tenant, bytes, created_at, expires_at) VALUES ($1, $2, $3, ",
            $now,
            ", ",
            $now,
            " + $4) RETURNING id, tenant, bytes, expires_at"
        )
    };
}

macro_rules! find_upload {
    ($now:literal) => {
        concat!(
            "SELECT id, tenant, bytes, expires_at FROM uploads WHERE id = $1 AND tenant = $2 AND expires_at > ",
            $now
        )
    };
}

macro_rules! expired_uploads {
    ($now:literal) => {
        concat!("SELECT id FROM uploads WHERE expires_at <= ", $now, " ORDER BY expires_at, id LIMIT $2")
    };
}

macro_rules! uploads_of {
    ($now:literal) => {
        concat!("SELECT count(*) FROM uploads WHERE tenant = $1 AND expires_at > ", $now)
    };
}

pub(super) const DELETE_UPLOAD: &str = "DELETE FROM uploads WHERE id = $1";

/// Why a tenant with so many uploads and stored bytes may not have another one.
pub(super) fn refusal(uploads: i64, used: u64, more: u64, options: &TenantOptions) -> Option<QueueError> {
    if uploads >= i64::from(MOST_UPLOADS) {
        return Some(QueueError::TenantUploads { limit: MOST_UPLOADS });
    }
    let limit = options.stored_bytes?;
    (used.saturating_add(more) > limit).then_some(QueueError::TenantBytes { limit, used, more })
}

/// Reads an upload from its row.
pub(super) fn upload(row: &impl Columns) -> Result<Upload, QueueError> {
    Ok(Upload {
        id: upload_id(row)?,
        tenant: row::tenant(row)?,
        bytes: row.integer("bytes")?.unwrap_or_default().unsigned_abs(),
        expires_at: Timestamp::from_millis(row.integer("expires_at")?.unwrap_or_default()),
    })
}

/// Reads the id of an upload.
pub(super) fn upload_id(row: &impl Columns) -> Result<UploadId, QueueError> {
    let text = row.text("id")?.unwrap_or_default();
    let corrupt =
        |error: uuid::Error| QueueError::Corrupt { id: text.to_owned(), problem: error.to_string() };
    text.parse().map_err(corrupt)
}

pub(super) use {add_upload, expired_uploads, find_upload, uploads_of};
