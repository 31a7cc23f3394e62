//! Tenants: none sees, changes or hinders what belongs to another; workers serve all of them.

use reverie::jobs::{Idempotency, PageStart};

use super::*;

fn other() -> Tenant {
    "other".parse().unwrap()
}

impl Bench {
    async fn add_for(&self, tenant: &Tenant) -> Job {
        let new = NewJob { tenant: tenant.clone(), ..NewJob::new(JobId::new(), spec()) };
        self.queue.enqueue(new).await.unwrap()
    }
}

fn is_unknown<T>(outcome: Result<T, QueueError>) -> bool {
    matches!(outcome, Err(QueueError::NotFound(_)))
}

pub async fn a_job_of_another_tenant_does_not_exist(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    for state in JobState::ALL {
        let (id, lease) = bench.in_state(state).await;
        let before = bench.get(id).await;
        assert_eq!(before.tenant, Tenant::DEFAULT);
        // Twice, and after its owner has read it: what is remembered is not shown to others either.
        for _ in 0..2 {
            assert!(is_unknown(bench.queue.get(&other(), id).await), "{state}");
        }
        assert!(is_unknown(bench.queue.cancel(&other(), id).await), "{state}");
        assert!(is_unknown(bench.queue.delete(&other(), id).await), "{state}");
        assert!(bench.queue.list(&other(), None, None, 10).await.unwrap().jobs.is_empty());
        assert!(bench.queue.list(&other(), Some(state), None, 10).await.unwrap().jobs.is_empty());
        assert_eq!(bench.get(id).await, before, "{state}: it was changed");
        if let (JobState::Running, Some(lease)) = (state, lease) {
            assert!(!bench.queue.heartbeat(lease, None).await.unwrap().cancel_requested);
        }
        bench.queue.delete(&Tenant::DEFAULT, id).await.unwrap();
    }
}

pub async fn tenants_list_their_own_jobs(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (ours, theirs) = (Tenant::DEFAULT, other());
    let mut expected = [Vec::new(), Vec::new()];
    for number in 0..6 {
        let tenant = if number % 3 == 0 { &theirs } else { &ours };
        let job = bench.add_for(tenant).await;
        expected[usize::from(number % 3 == 0)].insert(0, job.id);
        bench.pass(Duration::from_millis(1));
    }
    for (tenant, expected) in [&ours, &theirs].into_iter().zip(&expected) {
        for state in [None, Some(JobState::Queued)] {
            let (mut seen, mut start) = (Vec::new(), None);
            loop {
                let page = bench.queue.list(tenant, state, start, 1).await.unwrap();
                for job in &page.jobs {
                    assert_eq!(*job, bench.queue.get(tenant, job.id).await.unwrap());
                }
                seen.extend(page.jobs.iter().map(|job| job.id));
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
            assert_eq!(seen, *expected, "{tenant} {state:?}");
        }
    }
    // A place in another tenant's list is a place in time, and shows nothing of it.
    let newest = bench.queue.get(&ours, expected[0][0]).await.unwrap();
    let page = bench.queue.list(&theirs, None, Some(PageStart::after(&newest)), 10).await.unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), expected[1]);
}

pub async fn tenants_choose_their_keys_for_themselves(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let keyed = |tenant: &Tenant, wish: &str| {
        let idempotency =
            Idempotency { key: "key".into(), fingerprint: wish.into(), request: wish.to_owned() };
        NewJob { tenant: tenant.clone(), idempotency: Some(idempotency), ..NewJob::new(JobId::new(), spec()) }
    };
    let ours = bench.queue.enqueue(keyed(&Tenant::DEFAULT, "a dream")).await.unwrap();
    // Neither the same wish nor another one meets the first tenant's job.
    assert_eq!(bench.queue.with_idempotency_key(&other(), "key").await.unwrap(), None);
    let theirs = bench.queue.enqueue(keyed(&other(), "another dream")).await.unwrap();
    assert_ne!(ours.id, theirs.id);
    let third: Tenant = "third".parse().unwrap();
    assert_ne!(bench.queue.enqueue(keyed(&third, "a dream")).await.unwrap().id, ours.id);
    for (tenant, job, wish) in [(Tenant::DEFAULT, ours.id, "a dream"), (other(), theirs.id, "another dream")]
    {
        assert_eq!(bench.queue.with_idempotency_key(&tenant, "key").await.unwrap(), Some(job));
        assert_eq!(bench.queue.enqueue(keyed(&tenant, wish)).await.unwrap().id, job);
        let refused = bench.queue.enqueue(keyed(&tenant, "a third dream")).await;
        assert!(matches!(refused, Err(QueueError::KeyReused)), "{refused:?}");
    }
    // In one commit too.
    let both = tokio::join!(
        bench.queue.enqueue(keyed(&"a".parse().unwrap(), "x")),
        bench.queue.enqueue(keyed(&"b".parse().unwrap(), "x"))
    );
    assert_ne!(both.0.unwrap().id, both.1.unwrap().id);
}

pub async fn workers_serve_all_tenants(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut tenants = Vec::new();
    for name in ["a", "b", "a", "default"] {
        tenants.push(bench.add_for(&name.parse().unwrap()).await.tenant);
        bench.pass(Duration::from_millis(1));
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let claim = bench.claim().await;
        let (tenant, lease) = (claim.job.tenant.clone(), claim.lease);
        assert_eq!(bench.queue.release(lease).await.unwrap().tenant, tenant);
        let lease = bench.claim().await.lease;
        let ended = bench.queue.complete(lease, finished(lease)).await.unwrap();
        claimed.push(ended.tenant.clone());
        assert_eq!(bench.queue.get(&ended.tenant, ended.id).await.unwrap(), ended);
    }
    claimed.sort();
    tenants.sort();
    assert_eq!(claimed, tenants);
    let bench = bench.reopened(factory).await;
    assert_eq!(bench.queue.list(&"a".parse().unwrap(), None, None, 10).await.unwrap().jobs.len(), 2);
}

/// A process of the version before goes on beside this one while an upgrade is rolled out.
pub async fn what_the_version_before_accepts_is_the_default_tenants(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = JobId::new();
    let spec = serde_json::to_string(&spec()).unwrap();
    let now = bench.options.clock.now().as_millis();
    // Its statement, but for the forecast.
    let insert = format!(
        "INSERT INTO jobs (id, state, spec, not_before, created_at, updated_at, priority, deadline_at, idempotency_key,
            fingerprint, traceparent, request_fingerprint)
        VALUES ('{id}', 'queued', '{spec}', {now}, {now}, {now}, 0, NULL, 'key', 'print', NULL, 'words')
        ON CONFLICT (id) DO NOTHING"
    );
    factory.execute(&insert).await;
    assert_eq!(bench.get(id).await.tenant, Tenant::DEFAULT);
    assert!(is_unknown(bench.queue.get(&other(), id).await));
    assert_eq!(bench.queue.with_idempotency_key(&Tenant::DEFAULT, "key").await.unwrap(), Some(id));
    assert_eq!(bench.claim().await.job.id, id);
    // The name of a tenant that this version cannot read is a row that it cannot read.
    factory.execute("UPDATE jobs SET tenant = 'No Name'").await;
    assert!(is_unknown(bench.queue.get(&Tenant::DEFAULT, id).await));
}
