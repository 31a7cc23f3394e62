//! What the files of a tenant take: counted as they come and go, and bounded.

use super::*;

fn lab() -> Tenant {
    "lab".parse().unwrap()
}

impl Bench {
    async fn add_files(&self, bytes: u64) -> Result<Job, QueueError> {
        let new = NewJob { tenant: lab(), input_bytes: bytes, ..NewJob::new(JobId::new(), spec()) };
        self.queue.enqueue(new).await
    }

    async fn stored(&self) -> u64 {
        assert_eq!(self.queue.stored_bytes(&Tenant::DEFAULT).await.unwrap(), 0);
        self.queue.stored_bytes(&lab()).await.unwrap()
    }
}

pub async fn what_a_tenant_stores_is_counted_until_it_is_deleted(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let queue = &bench.queue;
    assert_eq!(bench.stored().await, 0);
    let first = bench.add_files(1000).await.unwrap().id;
    assert_eq!(bench.stored().await, 1000);
    // The same job once more, as after a lost answer, is the same job.
    let again = NewJob { tenant: lab(), input_bytes: 1000, ..NewJob::new(first, spec()) };
    queue.enqueue(again).await.unwrap();
    assert_eq!(bench.stored().await, 1000);
    let lease = bench.claim().await.lease;
    for (octave, bytes) in [(1, 300), (2, 500), (3, 200)] {
        queue.set_preview(lease, octave, bytes).await.unwrap();
        assert_eq!(bench.stored().await, 1000 + bytes);
    }
    // A checkpoint waits with its job, and goes when that ends.
    queue.release(lease).await.unwrap();
    assert_eq!(bench.stored().await, 1200);
    let lease = bench.claim().await.lease;
    queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!(bench.stored().await, 1012);
    // Jobs that end without a dream keep their inputs.
    let canceled = bench.add_files(50).await.unwrap().id;
    queue.cancel(&lab(), canceled).await.unwrap();
    bench.add_files(7).await.unwrap();
    queue.fail(bench.claim().await.lease, broken(), false).await.unwrap();
    assert_eq!(bench.stored().await, 1069);
    // What is erased counts until it is deleted.
    bench.pass(Duration::from_secs(60));
    let erased = queue.expire_blobs(bench.options.clock.now(), 10).await.unwrap();
    assert_eq!((erased.len(), bench.stored().await), (3, 1069));
    queue.blobs_deleted(&[first, canceled]).await.unwrap();
    assert_eq!(bench.stored().await, 7);
    let ids: Vec<JobId> = erased.iter().map(|job| job.id).collect();
    assert_eq!(queue.purge(&ids).await.unwrap(), 3);
    assert_eq!(bench.stored().await, 0);
    // A job that its tenant erases, whatever it does at that time.
    let waiting = bench.add_files(20).await.unwrap().id;
    let lease = bench.claim().await.lease;
    queue.set_preview(lease, 1, 5).await.unwrap();
    queue.delete(&lab(), waiting).await.unwrap();
    assert_eq!(bench.stored().await, 0);
}

pub async fn one_tenant_stores_within_its_bound(factory: &dyn Factory) {
    let mut options = Bench::options();
    options.tenants.stored_bytes = Some(1000);
    let bench = Bench::with(factory, options).await;
    let refused = bench.add_files(1001).await;
    assert!(
        matches!(refused, Err(QueueError::TenantBytes { limit: 1000, used: 0, more: 1001 })),
        "{refused:?}"
    );
    let first = bench.add_files(600).await.unwrap().id;
    assert!(matches!(bench.add_files(401).await, Err(QueueError::TenantBytes { used: 600, .. })));
    let asked = |bytes| NewJob { tenant: lab(), input_bytes: bytes, ..NewJob::new(JobId::new(), spec()) };
    assert!(matches!(
        bench.queue.refusal(&asked(401)).await.unwrap(),
        Some(QueueError::TenantBytes { more: 401, .. })
    ));
    assert!(bench.queue.refusal(&asked(400)).await.unwrap().is_none());
    bench.add_files(400).await.unwrap();
    // What workers store counts too, and is stored whatever the bound.
    let lease = bench.claim().await.lease;
    bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert!(matches!(bench.add_files(0).await, Err(QueueError::TenantBytes { used: 1012, .. })));
    // Others have their own part.
    let other = NewJob { input_bytes: 1000, ..NewJob::new(JobId::new(), spec()) };
    bench.queue.enqueue(other).await.unwrap();
    bench.queue.delete(&lab(), first).await.unwrap();
    bench.add_files(600).await.unwrap();
}

/// Commits of many tenants' jobs, their ends and the retention, all at once: none waits for another for ever.
pub async fn counting_for_many_tenants_never_locks_up(factory: &dyn Factory) {
    let options = QueueOptions { capacity: 10_000, ..Bench::options() };
    let bench = Bench::with(factory, options).await;
    let mut clients = JoinSet::new();
    for number in 0..120 {
        let (queue, clock) = (Arc::clone(&bench.queue), bench.options.clock.clone());
        clients.spawn(async move {
            let tenant: Tenant = format!("t{}", number * 7 % 10).parse().unwrap();
            let new = NewJob { tenant, input_bytes: 10, ..NewJob::new(JobId::new(), spec()) };
            queue.enqueue(new).await.unwrap();
            let claim = queue.claim("worker").await.unwrap();
            if let Some(Claim { lease, .. }) = claim {
                queue.complete(lease, finished(lease)).await.unwrap();
            }
            let erased = queue.expire_blobs(clock.now() + Duration::from_secs(1), 20).await.unwrap();
            let ids: Vec<JobId> = erased.iter().map(|job| job.id).collect();
            queue.blobs_deleted(&ids).await.unwrap();
        });
    }
    clients.join_all().await;
    while let Some(claim) = bench.queue.claim("worker").await.unwrap() {
        bench.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
    }
    let late = bench.options.clock.now() + Duration::from_secs(1);
    let left: Vec<JobId> =
        bench.queue.expire_blobs(late, 1000).await.unwrap().iter().map(|job| job.id).collect();
    bench.queue.blobs_deleted(&left).await.unwrap();
    for number in 0..10 {
        let tenant: Tenant = format!("t{number}").parse().unwrap();
        assert_eq!(bench.queue.stored_bytes(&tenant).await.unwrap(), 0, "{tenant}");
    }
}
