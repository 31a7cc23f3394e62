//! Uploads in PostgreSQL.

use async_trait::async_trait;

use super::{PostgresQueue, in_time};
use crate::{
    jobs::{
        QueueError, UPLOAD_LIFETIME, Upload, UploadId, UploadStore,
        transition::millis,
        upload_store::{
            DELETE_UPLOAD, add_upload, expired_uploads, find_upload, refusal, upload, upload_id, uploads_of,
        },
        usage::stored,
    },
    keys::Tenant,
};

const UPLOADS_OF: &str = uploads_of!("reverie_now($2)");
const ADD: &str = add_upload!("reverie_now($5)");
const FIND: &str = find_upload!("reverie_now($3)");
const EXPIRED: &str = expired_uploads!("reverie_now($1)");

/// What the tenant stores; locks the row, so that uploads that are added at the same time count for each other.
const STORED: &str = "INSERT INTO stored AS kept (tenant, bytes) VALUES ($1, 0)
    ON CONFLICT (tenant) DO UPDATE SET bytes = kept.bytes RETURNING bytes";

#[async_trait]
impl UploadStore for PostgresQueue {
    async fn add_upload(&self, tenant: &Tenant, bytes: u64) -> Result<Upload, QueueError> {
        let adding = async {
            let mut transaction = self.pool.begin().await?;
            let used = sqlx::query(STORED).bind(tenant.as_str()).fetch_one(&mut *transaction).await?;
            let uploads = sqlx::query_scalar(UPLOADS_OF).bind(tenant.as_str()).bind(self.now());
            let uploads = uploads.fetch_one(&mut *transaction).await?;
            let added = sqlx::query(ADD)
                .bind(UploadId::new().to_string())
                .bind(tenant.as_str())
                .bind(bytes as i64)
                .bind(millis(UPLOAD_LIFETIME))
                .bind(self.now());
            let added = added.fetch_one(&mut *transaction).await?;
            Ok::<_, sqlx::Error>((used, uploads, added, transaction))
        };
        let (used, uploads, added, transaction) = in_time(adding).await?;
        // The dropped transaction rolls back.
        if let Some(refusal) = refusal(uploads, stored(Some(&used))?, bytes, &self.options.tenants) {
            return Err(refusal);
        }
        in_time(transaction.commit()).await?;
        upload(&added)
    }

    async fn find_upload(&self, tenant: &Tenant, id: UploadId) -> Result<Upload, QueueError> {
        let found = sqlx::query(FIND).bind(id.to_string()).bind(tenant.as_str()).bind(self.now());
        upload(&in_time(found.fetch_optional(&self.pool)).await?.ok_or(QueueError::NoUpload(id))?)
    }

    async fn expired_uploads(&self, limit: u32) -> Result<Vec<UploadId>, QueueError> {
        let expired = sqlx::query(EXPIRED).bind(self.now()).bind(i64::from(limit));
        expired.fetch_all(&self.pool).await?.iter().map(upload_id).collect()
    }

    async fn delete_upload(&self, id: UploadId) -> Result<(), QueueError> {
        sqlx::query(DELETE_UPLOAD).bind(id.to_string()).execute(&self.pool).await?;
        Ok(())
    }
}
