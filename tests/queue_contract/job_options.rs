//! Priorities, deadlines, idempotency keys, lists, and deletion.

use reverie::jobs::{Idempotency, PageStart};

use super::*;

fn priority(priority: i8) -> JobOptions {
    JobOptions { priority, ..JobOptions::default() }
}

fn deadline(seconds: u64) -> JobOptions {
    JobOptions { deadline: Some(Duration::from_secs(seconds)), ..JobOptions::default() }
}

fn keyed(fingerprint: &str) -> NewJob {
    worded(fingerprint, fingerprint)
}

/// A wish by what this version makes of it and by its words.
fn worded(fingerprint: &str, request: &str) -> NewJob {
    let (fingerprint, request) = (fingerprint.into(), request.into());
    let idempotency = Some(Idempotency { key: "key".into(), fingerprint, request });
    NewJob { idempotency, ..NewJob::new(JobId::new(), spec()) }
}

pub async fn priority_is_worth_minutes(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let patient = bench.add_with(priority(-10)).await;
    let plain = bench.add().await;
    let urgent = bench.add_with(priority(10)).await;
    // Ten minutes later a newcomer without request_headers is where the patient one has been all the time.
    bench.pass(Duration::from_secs(600));
    let newcomer = bench.add_with(priority(0)).await;
    let late = bench.add_with(priority(-1)).await;
    let order = [urgent, plain, patient, newcomer, late];
    for (id, place) in order.iter().zip(1..) {
        let job = bench.get(*id).await;
        assert_eq!(job.queue_position, Some(place), "{job:?}");
    }
    // Nothing starves: a job of the highest priority that comes twenty minutes later waits its turn.
    bench.pass(Duration::from_secs(601));
    let last = bench.add_with(priority(10)).await;
    assert_eq!(bench.get(last).await.priority, 10);
    for id in [urgent, plain, patient, newcomer, last, late] {
        assert_eq!(bench.claim().await.job.id, id);
    }
}

pub async fn a_deadline_passes_in_the_queue(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add_with(deadline(90)).await;
    let free = bench.add().await;
    let due = bench.options.clock.now() + Duration::from_secs(90);
    assert_eq!(bench.get(id).await.deadline_at, Some(due));
    bench.pass(Duration::from_millis(89_999));
    assert!(bench.queue.expire_waiting().await.unwrap().is_empty());
    bench.pass(Duration::from_millis(1));
    // Even before anyone has looked, the job is not begun any more.
    assert_eq!(bench.claim().await.job.id, free);
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
    assert_eq!(bench.queue.expire_waiting().await.unwrap(), [id]);
    let job = bench.get(id).await;
    assert_eq!((job.state, job.attempt, job.finished_at), (JobState::Expired, 0, Some(due)));
    assert!(bench.queue.expire_waiting().await.unwrap().is_empty());
}

pub async fn a_deadline_passes_while_running(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add_with(deadline(5)).await;
    let lease = bench.claim().await.lease;
    bench.pass(Duration::from_secs(5));
    // Its worker stops it, and nobody else.
    assert!(bench.queue.expire_waiting().await.unwrap().is_empty());
    let job = bench.queue.expired(lease).await.unwrap();
    assert_eq!((job.id, job.state, job.attempt), (id, JobState::Expired, 1));
    assert!(is_lost(bench.queue.complete(lease, finished(lease)).await));
}

pub async fn a_lost_job_past_its_deadline_is_not_run_again(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add_with(deadline(5)).await;
    bench.claim().await;
    bench.pass(LEASE);
    bench.queue.rescue(Rescue::Expired).await.unwrap();
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
    assert_eq!(bench.queue.expire_waiting().await.unwrap(), [id]);
}

pub async fn a_key_makes_one_job(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    assert_eq!(bench.queue.with_idempotency_key(&Tenant::DEFAULT, "key").await.unwrap(), None);
    let first = keyed("a dream");
    let job = bench.queue.enqueue(first.clone()).await.unwrap();
    assert_eq!(job.id, first.id);
    assert_eq!(bench.queue.with_idempotency_key(&Tenant::DEFAULT, "key").await.unwrap(), Some(job.id));
    let refused = bench.queue.enqueue(keyed("another dream")).await;
    assert!(matches!(refused, Err(QueueError::KeyReused)), "{refused:?}");
    // The same request gets the same job, as it stands, even where there is no place left.
    while bench.queue.enqueue(NewJob::new(JobId::new(), spec())).await.is_ok() {}
    assert_eq!(bench.queue.enqueue(keyed("a dream")).await.unwrap(), bench.get(job.id).await);
    let lease = bench.claim().await.lease;
    assert_eq!(bench.queue.enqueue(keyed("a dream")).await.unwrap().state, JobState::Running);
    bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!(bench.queue.enqueue(keyed("a dream")).await.unwrap().state, JobState::Succeeded);
    // The key goes with the job.
    bench.queue.delete(&Tenant::DEFAULT, job.id).await.unwrap();
    assert_eq!(bench.queue.with_idempotency_key(&Tenant::DEFAULT, "key").await.unwrap(), None);
    assert_ne!(bench.queue.enqueue(keyed("another dream")).await.unwrap().id, job.id);
}

pub async fn one_key_under_concurrent_requests(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    let mut clients = JoinSet::new();
    for number in 0..16 {
        let queue = if number % 2 == 0 { &bench.queue } else { &other };
        let queue = Arc::clone(queue);
        clients.spawn(async move { queue.enqueue(keyed("a dream")).await.unwrap().id });
    }
    let ids: HashSet<JobId> = clients.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.queue.depth().await.unwrap(), 1);
}

pub async fn jobs_are_listed_page_by_page(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    assert!(bench.queue.list(&Tenant::DEFAULT, None, None, 10).await.unwrap().jobs.is_empty());
    let mut newest_first = Vec::new();
    for state in [JobState::Canceled, JobState::Succeeded, JobState::Canceled] {
        let (id, _) = bench.in_state(state).await;
        newest_first.insert(0, (id, state));
    }
    bench.pass(Duration::from_millis(1));
    for _ in 0..2 {
        newest_first.insert(0, (bench.add().await, JobState::Queued));
    }
    for limit in [1, 2, 4, 5] {
        let (mut seen, mut start) = (Vec::new(), None);
        loop {
            let page = bench.queue.list(&Tenant::DEFAULT, None, start, limit).await.unwrap();
            assert!(page.jobs.len() <= limit as usize);
            seen.extend(page.jobs.iter().map(|job| (job.id, job.state)));
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        assert_eq!(seen, newest_first, "pages of {limit}");
    }
    let canceled = bench.queue.list(&Tenant::DEFAULT, Some(JobState::Canceled), None, 1).await.unwrap();
    assert_eq!(canceled.jobs[0].id, newest_first[2].0);
    assert_eq!(canceled.next, Some(PageStart::after(&canceled.jobs[0])));
    let rest = bench.queue.list(&Tenant::DEFAULT, Some(JobState::Canceled), canceled.next, 1).await.unwrap();
    assert_eq!((rest.jobs[0].id, rest.next), (newest_first[4].0, None));
    // A list shows what a look at the job shows.
    let all = bench.queue.list(&Tenant::DEFAULT, None, None, 10).await.unwrap();
    for job in all.jobs {
        assert_eq!(bench.get(job.id).await, job);
    }
}

pub async fn a_forgotten_job_is_gone(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    for state in JobState::ALL {
        if state == JobState::Queued {
            continue;
        }
        let (id, lease) = bench.in_state(state).await;
        let known = bench.get(id).await;
        assert_eq!(bench.queue.delete(&Tenant::DEFAULT, id).await.unwrap(), known);
        assert!(matches!(bench.queue.get(&Tenant::DEFAULT, id).await, Err(QueueError::NotFound(_))));
        assert!(matches!(bench.queue.delete(&Tenant::DEFAULT, id).await, Err(QueueError::NotFound(_))));
        assert!(is_lost(bench.queue.heartbeat(lease.unwrap(), None).await));
    }
    let id = bench.add().await;
    bench.queue.delete(&Tenant::DEFAULT, id).await.unwrap();
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

pub async fn changes_are_announced(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add_with(deadline(60)).await;
    let mut follower = bench.queue.signals().follow(id);
    let lease = bench.claim().await.lease;
    follower.changed().await;
    bench.queue.heartbeat(lease, Some(progress(0.5))).await.unwrap();
    follower.changed().await;
    bench.queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
    follower.changed().await;
    bench.queue.stopped(lease).await.unwrap();
    follower.changed().await;
    bench.queue.delete(&Tenant::DEFAULT, id).await.unwrap();
    follower.changed().await;

    let overdue = bench.add_with(deadline(60)).await;
    let mut follower = bench.queue.signals().follow(overdue);
    bench.pass(Duration::from_secs(60));
    bench.queue.expire_waiting().await.unwrap();
    follower.changed().await;
}

/// A version with other defaults makes something else of the same words; another client says the same in other words.
pub async fn the_words_or_what_they_mean_are_enough(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let job = bench.queue.enqueue(worded("means", "words")).await.unwrap();
    for again in [worded("means something else now", "words"), worded("means", "other words")] {
        assert_eq!(bench.queue.enqueue(again).await.unwrap().id, job.id);
    }
    let refused = bench.queue.enqueue(worded("something else", "other words")).await;
    assert!(matches!(refused, Err(QueueError::KeyReused)));
    // As a version accepted it that noted no words.
    factory.execute("UPDATE jobs SET request_fingerprint = NULL").await;
    assert_eq!(bench.queue.enqueue(worded("means", "words")).await.unwrap().id, job.id);
    let refused = bench.queue.enqueue(worded("something else", "words")).await;
    assert!(matches!(refused, Err(QueueError::KeyReused)));
}
