//! Waiting, claiming, and keeping a lease.

use super::*;

pub async fn a_job_keeps_what_it_was_given(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = JobId::new();
    let job = bench.queue.enqueue(NewJob::new(id, spec())).await.unwrap();
    assert_eq!((job.id, job.state, job.version, job.attempt), (id, JobState::Queued, 1, 0));
    assert_eq!(job.spec, spec());
    assert_eq!(job.created_at, bench.options.clock.now());
    assert_eq!((job.started_at, job.finished_at, job.queue_position), (None, None, Some(1)));
    assert_eq!(bench.get(id).await, job);
}

pub async fn jobs_are_claimed_in_order(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(bench.add().await);
        bench.pass(Duration::from_millis(1));
    }
    // Within one millisecond the ids decide.
    ids.push(bench.add().await);
    ids.push(bench.add().await);
    for id in ids {
        assert_eq!(bench.claim().await.job.id, id);
    }
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

pub async fn previews_are_noted_by_the_holder_alone(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let lease = bench.claim().await.lease;
    let before = bench.get(id).await;
    assert_eq!(before.preview_octave, None);
    let mut changes = bench.queue.signals().follow(id);
    bench.queue.set_preview(lease, 2, 9).await.unwrap();
    changes.changed().await;
    let after = bench.get(id).await;
    assert_eq!((after.preview_octave, after.version), (Some(2), before.version + 1));
    let lost = Lease { token: uuid::Uuid::new_v4(), ..lease };
    assert!(is_lost(bench.queue.set_preview(lost, 3, 9).await));
    assert_eq!(bench.get(id).await, after);
    // The picture stays where a job goes back into the queue, and so does the word of it.
    bench.queue.release(lease).await.unwrap();
    assert_eq!(bench.get(id).await.preview_octave, Some(2));
}

pub async fn what_another_process_writes_is_seen_at_once(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    let (first, second) = (bench.add().await, bench.add().await);
    for _ in 0..3 {
        assert_eq!(bench.get(second).await.queue_position, Some(2));
        assert_eq!(other.get(&Tenant::DEFAULT, second).await.unwrap(), bench.get(second).await);
    }
    let lease = other.claim("elsewhere").await.unwrap().unwrap().lease;
    assert_eq!(bench.get(first).await.state, JobState::Running);
    assert_eq!(bench.get(second).await.queue_position, Some(1));
    for step in 1..5 {
        let progress = Progress { iteration: step, ..progress(0.5) };
        other.heartbeat(lease, Some(progress)).await.unwrap();
        assert_eq!(bench.get(first).await.progress, Some(progress));
    }
    other.delete(&Tenant::DEFAULT, second).await.unwrap();
    assert!(matches!(bench.queue.get(&Tenant::DEFAULT, second).await, Err(QueueError::NotFound(_))));
}

pub async fn a_newcomer_may_stand_anywhere(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut jobs = Vec::new();
    for priority in [0, 3, -2, 0, 3, 10] {
        let options = JobOptions { priority, ..JobOptions::default() };
        let new = NewJob { options, ..NewJob::new(JobId::new(), spec()) };
        let accepted = bench.queue.enqueue(new).await.unwrap();
        assert_eq!(bench.get(accepted.id).await, accepted);
        jobs.push(accepted.id);
    }
    for (id, place) in jobs.iter().zip([4, 2, 6, 5, 3, 1]) {
        assert_eq!(bench.get(*id).await.queue_position, Some(place));
        assert_eq!(bench.get(*id).await.seconds_ahead, Some((place - 1) as f64 * 10.0));
    }
}

pub async fn forecasts_add_up(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let forecast = |seconds| Forecast {
        seconds,
        reference_seconds: seconds / 2.0,
        memory: 5_000_000_000,
        megapixel_iterations: 0.25,
    };
    let add = async |seconds| {
        let new = NewJob { forecast: Some(forecast(seconds)), ..NewJob::new(JobId::new(), spec()) };
        bench.queue.enqueue(new).await.unwrap()
    };
    assert_eq!(bench.queue.backlog_seconds().await.unwrap(), 0.0);
    let (first, second) = (add(4.0).await, add(2.0).await);
    assert_eq!((first.forecast, first.seconds_ahead), (Some(forecast(4.0)), Some(0.0)));
    assert_eq!(second.seconds_ahead, Some(4.0));
    // One that nothing is known of counts as ten seconds.
    let unknown = bench.add().await;
    assert_eq!(
        (bench.get(unknown).await.forecast, bench.get(unknown).await.seconds_ahead),
        (None, Some(6.0))
    );
    assert_eq!(bench.queue.backlog_seconds().await.unwrap(), 16.0);
    // A job that runs counts with what is left of it.
    let claim = bench.claim().await;
    assert_eq!(
        (claim.job.id, claim.job.forecast, claim.job.seconds_ahead),
        (first.id, Some(forecast(4.0)), None)
    );
    assert_eq!(bench.get(second.id).await.seconds_ahead, Some(4.0));
    bench.queue.heartbeat(claim.lease, Some(progress(0.75))).await.unwrap();
    assert_eq!(bench.get(second.id).await.seconds_ahead, Some(1.0));
    assert_eq!(bench.get(unknown).await.seconds_ahead, Some(3.0));
    assert_eq!(bench.queue.backlog_seconds().await.unwrap(), 13.0);
    assert_eq!(add(1.0).await.seconds_ahead, Some(13.0));
    let ended = bench.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
    assert_eq!((ended.forecast, ended.seconds_ahead), (Some(forecast(4.0)), None));
    assert_eq!(bench.queue.backlog_seconds().await.unwrap(), 13.0);
}

pub async fn positions_count_from_the_front(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let ids = [bench.add().await, bench.add().await, bench.add().await];
    for (id, place) in ids.iter().zip(1..) {
        assert_eq!(bench.get(*id).await.queue_position, Some(place));
    }
    bench.claim().await;
    for (id, place) in ids.iter().zip([None, Some(1), Some(2)]) {
        assert_eq!(bench.get(*id).await.queue_position, place);
    }
}

pub async fn two_claimers_never_get_the_same_job(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    // Two stores on the same data, as two processes would have.
    let other = factory.open(bench.options.clone()).await;
    for _ in 0..CAPACITY {
        bench.add().await;
    }
    let mut claimers = JoinSet::new();
    for number in 0..8 {
        let queue = if number % 2 == 0 { &bench.queue } else { &other };
        let queue = Arc::clone(queue);
        claimers.spawn(async move {
            let mut claimed = Vec::new();
            while let Some(claim) = queue.claim("worker").await.unwrap() {
                claimed.push(claim.job.id);
            }
            claimed
        });
    }
    let claimed = claimers.join_all().await.concat();
    assert_eq!(claimed.len(), CAPACITY as usize);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), claimed.len());
}

pub async fn the_bound_holds_under_concurrent_enqueues(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    let mut clients = JoinSet::new();
    for number in 0..4 * CAPACITY {
        let queue = if number % 2 == 0 { &bench.queue } else { &other };
        let queue = Arc::clone(queue);
        clients.spawn(async move {
            match queue.enqueue(NewJob::new(JobId::new(), spec())).await {
                Ok(_) => 1,
                Err(QueueError::Full { capacity: CAPACITY }) => 0,
                Err(error) => panic!("{error}"),
            }
        });
    }
    let accepted: u32 = clients.join_all().await.iter().sum();
    assert_eq!(accepted, CAPACITY);
    assert_eq!(bench.queue.depth().await.unwrap(), u64::from(CAPACITY));
    assert!(!bench.queue.has_room().await.unwrap());
    bench.claim().await;
    assert!(bench.queue.has_room().await.unwrap());
    // A claimed job leaves its place to another.
    bench.claim().await;
    bench.add().await;
}

pub async fn a_claim_does_what_the_rules_say(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let before = bench.get(id).await;
    bench.pass(Duration::from_secs(2));
    let claim = bench.claim().await;
    assert_eq!(claim.job.snapshot(), before.snapshot().next(Event::Claimed, 3).unwrap());
    assert_eq!(claim.job.started_at, Some(bench.options.clock.now()));
    assert_eq!(claim.lease.job, id);
    assert_eq!(bench.get(id).await, claim.job);
}

pub async fn beats_keep_the_lease_and_show_progress(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let lease = bench.claim().await.lease;
    for _ in 0..4 {
        bench.pass(LEASE / 2);
        assert!(!bench.queue.heartbeat(lease, None).await.unwrap().cancel_requested);
        assert!(bench.queue.rescue(Rescue::Expired).await.unwrap().is_empty());
    }
    bench.queue.heartbeat(lease, Some(progress(0.25))).await.unwrap();
    // A heartbeat without progress leaves the last one in place.
    bench.queue.heartbeat(lease, None).await.unwrap();
    assert_eq!(bench.get(id).await.progress, Some(progress(0.25)));
}

pub async fn a_dream_ends_the_job(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let lease = bench.claim().await.lease;
    bench.pass(Duration::from_secs(3));
    let job = bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!((job.state, job.finished_at), (JobState::Succeeded, Some(bench.options.clock.now())));
    assert_eq!(job.result, Some(finished(lease).result));
    assert_eq!((job.render_seconds, job.progress), (Some(2.5), Some(progress(1.0))));
    assert_eq!(bench.get(id).await, job);
}

pub async fn versions_grow_with_visible_changes_only(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let lease = bench.claim().await.lease;
    assert_eq!(bench.get(id).await.version, 2);
    bench.queue.heartbeat(lease, None).await.unwrap();
    assert_eq!(bench.get(id).await.version, 2);
    bench.queue.heartbeat(lease, Some(progress(0.5))).await.unwrap();
    assert_eq!(bench.get(id).await.version, 3);
    bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!(bench.get(id).await.version, 4);
}

pub async fn a_lost_lease_writes_nothing(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let lost = bench.claim().await.lease;
    bench.pass(LEASE);
    assert_eq!(bench.queue.rescue(Rescue::Expired).await.unwrap().len(), 1);
    let holder = bench.claim().await.lease;
    let before = bench.get(id).await;
    assert!(is_lost(bench.queue.heartbeat(lost, Some(progress(0.9))).await));
    assert!(is_lost(bench.queue.complete(lost, finished(lost)).await));
    assert!(is_lost(bench.queue.fail(lost, broken(), true).await));
    assert!(is_lost(bench.queue.release(lost).await));
    assert!(is_lost(bench.queue.stopped(lost).await));
    assert!(is_lost(bench.queue.expired(lost).await));
    assert_eq!(bench.get(id).await, before);
    bench.queue.complete(holder, finished(holder)).await.unwrap();
    // Nor does anyone write to a finished job.
    assert!(is_lost(bench.queue.heartbeat(holder, None).await));
    assert!(is_lost(bench.queue.complete(holder, finished(holder)).await));
}
