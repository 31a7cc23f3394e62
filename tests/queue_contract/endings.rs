//! How attempts and jobs end, and what remains afterwards.

use super::*;

pub async fn a_failure_is_retried_after_a_rest(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    for attempt in 1..=3 {
        let claim = bench.claim().await;
        assert_eq!((claim.job.attempt, claim.job.progress), (attempt, None));
        bench.queue.heartbeat(claim.lease, Some(progress(0.5))).await.unwrap();
        bench.queue.fail(claim.lease, broken(), true).await.unwrap();
        let rests = bench.queue.claim("worker").await.unwrap().is_none();
        assert!(rests, "attempt {attempt} was followed by another at once");
        bench.pass(Duration::from_secs(60));
    }
    let job = bench.get(id).await;
    assert_eq!((job.state, job.attempt, job.error), (JobState::Failed, 3, Some(broken())));
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

pub async fn a_permanent_failure_is_final(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (id, _) = bench.in_state(JobState::Failed).await;
    let job = bench.get(id).await;
    assert_eq!((job.state, job.attempt, job.error), (JobState::Failed, 1, Some(broken())));
    assert!(job.finished_at.is_some());
}

pub async fn a_released_job_keeps_its_attempts(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    for _ in 0..5 {
        let claim = bench.claim().await;
        assert_eq!((claim.job.id, claim.job.attempt), (id, 1));
        let job = bench.queue.release(claim.lease).await.unwrap();
        assert_eq!((job.state, job.attempt, job.started_at), (JobState::Queued, 0, None));
    }
}

pub async fn an_expired_lease_gives_the_job_to_another(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    bench.claim().await;
    bench.pass(LEASE - Duration::from_millis(1));
    assert!(bench.queue.rescue(Rescue::Expired).await.unwrap().is_empty());
    bench.pass(Duration::from_millis(1));
    let rescued = bench.queue.rescue(Rescue::Expired).await.unwrap();
    assert_eq!((rescued[0].id, rescued[0].snapshot.state), (id, JobState::Queued));
    assert_eq!(bench.claim().await.job.attempt, 2);
}

pub async fn a_job_that_kills_its_workers_fails(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    for _ in 0..3 {
        bench.claim().await;
        bench.pass(LEASE);
        bench.queue.rescue(Rescue::Expired).await.unwrap();
    }
    let job = bench.get(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Failed, 3));
    assert_eq!(job.error, Some(JobError::attempts_exhausted(3)));
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

pub async fn cancel_in_every_state(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    for state in [JobState::Succeeded, JobState::Failed, JobState::Expired] {
        let (id, _) = bench.in_state(state).await;
        let refused = bench.queue.cancel(&Tenant::DEFAULT, id).await;
        assert!(matches!(refused, Err(QueueError::Finished(found)) if found == state), "{refused:?}");
    }
    let (id, _) = bench.in_state(JobState::Canceled).await;
    assert_eq!(bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap().state, JobState::Canceled);

    let (id, _) = bench.in_state(JobState::Queued).await;
    let canceled = bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
    assert_eq!((canceled.state, canceled.started_at), (JobState::Canceled, None));
    assert!(canceled.finished_at.is_some());
    assert_eq!(bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap(), canceled);
    assert!(bench.queue.claim("worker").await.unwrap().is_none());

    let (id, lease) = bench.in_state(JobState::Running).await;
    let lease = lease.unwrap();
    let heard = bench.queue.signals().listen(id);
    let asked = bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
    assert_eq!((asked.state, asked.cancel_requested), (JobState::Running, true));
    assert_eq!(bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap(), asked);
    heard.canceled().await;
    assert!(bench.queue.heartbeat(lease, None).await.unwrap().cancel_requested);
    assert_eq!(bench.queue.stopped(lease).await.unwrap().state, JobState::Canceled);
}

pub async fn a_canceled_job_whose_worker_is_lost_is_canceled(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (id, _) = bench.in_state(JobState::Running).await;
    bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
    bench.pass(LEASE);
    bench.queue.rescue(Rescue::Expired).await.unwrap();
    let job = bench.get(id).await;
    assert_eq!((job.state, job.error), (JobState::Canceled, None));
}

pub async fn everything_survives_a_restart(factory: &dyn Factory) {
    let mut bench = Bench::new(factory).await;
    let mut jobs = Vec::new();
    for state in [
        JobState::Succeeded,
        JobState::Failed,
        JobState::Canceled,
        JobState::Expired,
        JobState::Paused,
        JobState::Running,
    ] {
        let (id, _) = bench.in_state(state).await;
        jobs.push(bench.get(id).await);
    }
    let waiting = bench.add().await;
    jobs.push(bench.get(waiting).await);
    bench = bench.reopened(factory).await;
    for job in &jobs {
        assert_eq!(&bench.get(job.id).await, job);
    }
    // The only process on this store starts: what was running belongs to nobody.
    let rescued = bench.queue.rescue(Rescue::All).await.unwrap();
    assert_eq!(rescued.len(), 1);
    let next = bench.claim().await.job;
    assert_eq!((next.id, next.attempt), (jobs[5].id, 2));
    assert_eq!(bench.claim().await.job.id, waiting);
}

pub async fn jobs_are_counted(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    assert_eq!(bench.queue.counts().await.unwrap(), Counts::default());
    for _ in 0..2 {
        bench.add().await;
        let lease = bench.claim().await.lease;
        bench.queue.complete(lease, finished(lease)).await.unwrap();
    }
    bench.in_state(JobState::Failed).await;
    bench.in_state(JobState::Canceled).await;
    bench.in_state(JobState::Expired).await;
    bench.in_state(JobState::Running).await;
    bench.in_state(JobState::Paused).await;
    bench.add().await;
    let expected =
        Counts { queued: 1, running: 1, paused: 1, succeeded: 2, failed: 1, canceled: 1, expired: 1 };
    assert_eq!(bench.queue.counts().await.unwrap(), expected);
    // A paused job has no place in the queue.
    assert_eq!(bench.queue.depth().await.unwrap(), 1);
}

pub async fn unknown_jobs_are_not_found(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = JobId::new();
    assert!(
        matches!(bench.queue.get(&Tenant::DEFAULT, id).await, Err(QueueError::NotFound(found)) if found == id)
    );
    assert!(matches!(bench.queue.cancel(&Tenant::DEFAULT, id).await, Err(QueueError::NotFound(_))));
}

pub async fn work_is_announced(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    bench.add().await;
    bench.queue.signals().work().await;
    let lease = bench.claim().await.lease;
    bench.queue.release(lease).await.unwrap();
    bench.queue.signals().work().await;
}

pub async fn a_spared_job_keeps_its_attempts_and_is_counted(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    for spared in 0..3 {
        let claim = bench.claim().await;
        assert_eq!((claim.job.attempt, claim.job.spared), (1, spared));
        let job = bench.queue.spare(claim.lease).await.unwrap();
        assert_eq!((job.state, job.attempt, job.spared), (JobState::Queued, 0, spared + 1));
    }
    // Nothing else counts.
    let claim = bench.claim().await;
    assert_eq!(bench.queue.release(claim.lease).await.unwrap().spared, 3);
    assert!(is_lost(bench.queue.spare(claim.lease).await));
    assert_eq!(bench.get(id).await.spared, 3);
}

pub async fn what_a_job_computes_with_is_decided_once(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    assert_eq!(bench.get(id).await.precision, None);
    let lease = bench.claim().await.lease;
    assert_eq!(bench.queue.decide_precision(lease, Precision::Bf16).await.unwrap(), Precision::Bf16);
    bench.queue.release(lease).await.unwrap();
    assert!(is_lost(bench.queue.decide_precision(lease, Precision::Fp32).await));
    // The next worker's machine would have it otherwise.
    let claim = bench.claim().await;
    assert_eq!(claim.job.precision, Some(Precision::Bf16));
    assert_eq!(bench.queue.decide_precision(claim.lease, Precision::Fp32).await.unwrap(), Precision::Bf16);
}
