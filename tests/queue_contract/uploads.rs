//! Uploads: a tenant's own, counted and bounded, until they expire.

use reverie::jobs::{MOST_UPLOADS, UPLOAD_LIFETIME, UploadId};

use super::*;

pub async fn an_upload_is_its_tenants_until_it_expires(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (lab, other): (Tenant, Tenant) = ("lab".parse().unwrap(), "other".parse().unwrap());
    let upload = bench.queue.add_upload(&lab, 500).await.unwrap();
    assert_eq!((&upload.tenant, upload.bytes), (&lab, 500));
    assert_eq!(upload.expires_at, bench.options.clock.now() + UPLOAD_LIFETIME);
    let bench = bench.reopened(factory).await;
    let queue = &bench.queue;
    assert_eq!(queue.find_upload(&lab, upload.id).await.unwrap(), upload);
    let is_unknown = |outcome| matches!(outcome, Err(QueueError::NoUpload(_)));
    assert!(is_unknown(queue.find_upload(&other, upload.id).await));
    assert!(is_unknown(queue.find_upload(&lab, UploadId::new()).await));
    assert_eq!(queue.stored_bytes(&lab).await.unwrap(), 500);
    bench.pass(UPLOAD_LIFETIME - Duration::from_millis(1));
    assert!(queue.expired_uploads(10).await.unwrap().is_empty());
    let younger = queue.add_upload(&other, 7).await.unwrap();
    bench.pass(Duration::from_millis(1));
    assert!(is_unknown(queue.find_upload(&lab, upload.id).await));
    // It counts until it is deleted.
    assert_eq!(queue.expired_uploads(10).await.unwrap(), [upload.id]);
    assert_eq!(queue.stored_bytes(&lab).await.unwrap(), 500);
    for _ in 0..2 {
        queue.delete_upload(upload.id).await.unwrap();
        assert_eq!(queue.stored_bytes(&lab).await.unwrap(), 0);
    }
    assert_eq!(queue.find_upload(&other, younger.id).await.unwrap(), younger);
    assert_eq!(queue.stored_bytes(&other).await.unwrap(), 7);
}

pub async fn one_tenant_sends_ahead_within_its_bounds(factory: &dyn Factory) {
    let mut options = Bench::options();
    options.tenants.stored_bytes = Some(1000);
    let bench = Bench::with(factory, options).await;
    let (lab, queue) = ("lab".parse::<Tenant>().unwrap(), &bench.queue);
    let upload = queue.add_upload(&lab, 600).await.unwrap();
    let refused = queue.add_upload(&lab, 401).await;
    assert!(
        matches!(refused, Err(QueueError::TenantBytes { limit: 1000, used: 600, more: 401 })),
        "{refused:?}"
    );
    // Jobs and uploads share the bound.
    let job = NewJob { tenant: lab.clone(), input_bytes: 401, ..NewJob::new(JobId::new(), spec()) };
    assert!(matches!(queue.enqueue(job).await, Err(QueueError::TenantBytes { used: 600, .. })));
    queue.add_upload(&Tenant::DEFAULT, 1000).await.unwrap();
    queue.delete_upload(upload.id).await.unwrap();
    for _ in 0..MOST_UPLOADS {
        queue.add_upload(&lab, 1).await.unwrap();
    }
    let refused = queue.add_upload(&lab, 0).await;
    assert!(matches!(refused, Err(QueueError::TenantUploads { limit: MOST_UPLOADS })), "{refused:?}");
}
