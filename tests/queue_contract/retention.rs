//! Retention of finished jobs, and the traces that stay with jobs.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub async fn pictures_go_before_their_jobs(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (first, lease) = bench.in_state(JobState::Succeeded).await;
    let end = bench.options.clock.now();
    bench.pass(DAY);
    let (second, _) = bench.in_state(JobState::Failed).await;
    let queue = &bench.queue;
    // Not yet: it ended at that very moment.
    assert!(queue.expire_blobs(end, 10).await.unwrap().is_empty());
    let later = end + Duration::from_millis(1);
    let version = bench.get(first).await.version;
    let given_up = queue.expire_blobs(later, 10).await.unwrap();
    assert_eq!(given_up.len(), 1);
    assert_eq!((given_up[0].id, given_up[0].result), (first, lease.map(|lease| lease.token)));
    let job = bench.get(first).await;
    assert_eq!((job.state, job.erased_at), (JobState::Succeeded, Some(bench.options.clock.now())));
    assert!(job.version > version, "clients are not told");
    // Once is enough.
    assert!(queue.expire_blobs(later, 10).await.unwrap().is_empty());
    bench.pass(DAY);
    let all = queue.ended_before(bench.options.clock.now(), 10).await.unwrap();
    assert_eq!(all.iter().map(|job| job.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(queue.ended_before(bench.options.clock.now(), 1).await.unwrap()[0].id, first);
}

pub async fn only_finished_jobs_are_forgotten(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (finished, _) = bench.in_state(JobState::Canceled).await;
    let (running, _) = bench.in_state(JobState::Running).await;
    let queued = bench.add().await;
    let queue = &bench.queue;
    assert_eq!(queue.oldest_queued().await.unwrap(), Some(bench.options.clock.now()));
    bench.pass(DAY);
    let now = bench.options.clock.now();
    assert_eq!(queue.ended_before(now, 10).await.unwrap().len(), 1);
    assert_eq!(queue.expire_blobs(now, 10).await.unwrap().len(), 1);
    assert_eq!(queue.purge(&[finished, running, queued]).await.unwrap(), 1);
    assert!(matches!(queue.get(&Tenant::DEFAULT, finished).await, Err(QueueError::NotFound(_))));
    assert_eq!(bench.get(running).await.state, JobState::Running);
    assert_eq!(bench.get(queued).await.state, JobState::Queued);
    assert_eq!(queue.purge(&[finished]).await.unwrap(), 0);
    queue.ping().await.unwrap();
}

pub async fn a_trace_stays_with_its_job(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let trace: Option<reverie::telemetry::TraceParent> =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
    assert!(trace.is_some());
    let id = JobId::new();
    bench.queue.enqueue(NewJob { traceparent: trace.clone(), ..NewJob::new(id, spec()) }).await.unwrap();
    let bench = bench.reopened(factory).await;
    assert_eq!(bench.claim().await.job.traceparent, trace);
    assert_eq!(bench.get(id).await.traceparent, trace);
}

pub async fn erased_pictures_are_swept_until_they_are_gone(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (first, lease) = bench.in_state(JobState::Succeeded).await;
    let (second, _) = bench.in_state(JobState::Failed).await;
    let queue = &bench.queue;
    assert!(queue.blobs_to_delete(None, 10).await.unwrap().is_empty(), "nothing was given up yet");
    bench.pass(DAY);
    queue.expire_blobs(bench.options.clock.now(), 10).await.unwrap();
    let bench = bench.reopened(factory).await;
    let queue = &bench.queue;
    let all = queue.blobs_to_delete(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|job| job.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(all[0].result, lease.map(|lease| lease.token));
    assert_eq!(queue.blobs_to_delete(None, 1).await.unwrap()[0].id, first);
    assert_eq!(queue.blobs_to_delete(Some(first), 10).await.unwrap()[0].id, second);
    let version = bench.get(first).await.version;
    queue.blobs_deleted(&[first]).await.unwrap();
    let left = queue.blobs_to_delete(None, 10).await.unwrap();
    assert_eq!(left.iter().map(|job| job.id).collect::<Vec<_>>(), [second]);
    assert_eq!(bench.get(first).await.version, version, "clients see nothing of it");
}

pub async fn chores_are_done_by_one_for_all(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    assert!(bench.queue.take_chore("orphans", DAY).await.unwrap());
    assert!(!other.take_chore("orphans", DAY).await.unwrap());
    assert!(other.take_chore("dusting", DAY).await.unwrap());
    bench.pass(DAY - Duration::from_millis(1));
    assert!(!bench.queue.take_chore("orphans", DAY).await.unwrap());
    bench.pass(Duration::from_millis(1));
    assert!(other.take_chore("orphans", DAY).await.unwrap());
    assert!(!bench.queue.take_chore("orphans", DAY).await.unwrap());
}

pub async fn a_probe_writes_and_disturbs_nobody(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let before = bench.get(id).await;
    for _ in 0..2 {
        bench.queue.probe().await.unwrap();
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(factory.text("SELECT CAST(count(*) AS text) FROM chores").await, "1");
    assert_eq!(bench.get(id).await, before);
}
