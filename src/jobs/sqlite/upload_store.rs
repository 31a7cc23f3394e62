//! Uploads in SQLite.

use async_trait::async_trait;

use super::SqliteQueue;
use crate::{
    jobs::{
        QueueError, UPLOAD_LIFETIME, Upload, UploadId, UploadStore,
        transition::millis,
        upload_store::{
            DELETE_UPLOAD, add_upload, expired_uploads, find_upload, refusal, upload, upload_id, uploads_of,
        },
        usage::{STORED, stored},
    },
    keys::Tenant,
};

const UPLOADS_OF: &str = uploads_of!("$2");
const ADD: &str = add_upload!("$5");
const FIND: &str = find_upload!("$3");
const EXPIRED: &str = expired_uploads!("$1");

#[async_trait]
impl UploadStore for SqliteQueue {
    async fn add_upload(&self, tenant: &Tenant, bytes: u64) -> Result<Upload, QueueError> {
        let mut transaction = self.writer.begin().await?;
        let uploads = sqlx::query_scalar(UPLOADS_OF)
            .bind(tenant.as_str())
            .bind(self.now().as_millis())
            .fetch_one(&mut *transaction)
            .await?;
        let used = sqlx::query(STORED).bind(tenant.as_str()).fetch_optional(&mut *transaction).await?;
        if let Some(refusal) = refusal(uploads, stored(used.as_ref())?, bytes, &self.options.tenants) {
            return Err(refusal);
        }
        let added = sqlx::query(ADD)
            .bind(UploadId::new().to_string())
            .bind(tenant.as_str())
            .bind(bytes as i64)
            .bind(millis(UPLOAD_LIFETIME))
            .bind(self.now().as_millis());
        let added = upload(&added.fetch_one(&mut *transaction).await?)?;
        self.writer.commit(transaction).await?;
        Ok(added)
    }

    async fn find_upload(&self, tenant: &Tenant, id: UploadId) -> Result<Upload, QueueError> {
        let found = sqlx::query(FIND).bind(id.to_string()).bind(tenant.as_str()).bind(self.now().as_millis());
        upload(&found.fetch_optional(&self.readers).await?.ok_or(QueueError::NoUpload(id))?)
    }

    async fn expired_uploads(&self, limit: u32) -> Result<Vec<UploadId>, QueueError> {
        let expired = sqlx::query(EXPIRED).bind(self.now().as_millis()).bind(i64::from(limit));
        expired.fetch_all(&self.readers).await?.iter().map(upload_id).collect()
    }

    async fn delete_upload(&self, id: UploadId) -> Result<(), QueueError> {
        let mut transaction = self.writer.begin().await?;
        sqlx::query(DELETE_UPLOAD).bind(id.to_string()).execute(&mut *transaction).await?;
        self.writer.commit(transaction).await
    }
}
