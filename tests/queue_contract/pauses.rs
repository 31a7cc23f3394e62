//! Pausing and resuming.

use reverie::jobs::PAUSE_LIFETIME;

use super::*;

/// Everything that a client may ask of a job, in every state, does what the rules say; and what it leads to is announced.
pub async fn pausing_and_resuming_follow_the_rules(factory: &dyn Factory) {
    for state in JobState::ALL {
        for event in [Event::PauseRequested, Event::Resumed, Event::CancelRequested] {
            let bench = Bench::new(factory).await;
            let (id, _) = bench.in_state(state).await;
            let before = bench.get(id).await;
            let mut changes = bench.queue.signals().follow(id);
            let asked = match event {
                Event::PauseRequested => bench.queue.pause(&Tenant::DEFAULT, id).await,
                Event::Resumed => bench.queue.resume(&Tenant::DEFAULT, id).await,
                _ => bench.queue.cancel(&Tenant::DEFAULT, id).await,
            };
            match before.snapshot().next(event, 3) {
                Ok(next) => {
                    let asked = asked.unwrap();
                    assert_eq!(asked.snapshot(), next, "{state} {event:?}");
                    assert_eq!(bench.get(id).await, asked, "{state} {event:?}");
                    if next != before.snapshot() {
                        changes.changed().await;
                        assert_eq!(asked.version, before.version + 1);
                    } else {
                        assert_eq!(asked, before);
                    }
                }
                Err(_) => {
                    let refused = asked.unwrap_err();
                    assert!(matches!(refused, QueueError::Finished(found) if found == state), "{refused}");
                    assert_eq!(bench.get(id).await, before);
                }
            }
            bench.queue.delete(&Tenant::DEFAULT, id).await.unwrap();
        }
    }
}

pub async fn a_pause_takes_the_job_out_of_the_queue_and_keeps_its_place(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (first, second, third) = (bench.add().await, bench.add().await, bench.add().await);
    let paused = bench.queue.pause(&Tenant::DEFAULT, first).await.unwrap();
    assert_eq!((paused.state, paused.queue_position), (JobState::Paused, None));
    assert_eq!(bench.get(second).await.queue_position, Some(1));
    assert_eq!(bench.queue.backlog_seconds().await.unwrap(), 20.0);
    let listed = bench.queue.list(&Tenant::DEFAULT, Some(JobState::Paused), None, 10).await.unwrap();
    assert_eq!(listed.jobs, [paused]);
    assert_eq!(bench.claim().await.job.id, second);
    // Back, it stands where its age has it.
    let bench = bench.reopened(factory).await;
    let resumed = bench.queue.resume(&Tenant::DEFAULT, first).await.unwrap();
    assert_eq!((resumed.state, resumed.queue_position), (JobState::Queued, Some(1)));
    bench.queue.signals().work().await;
    assert_eq!(bench.claim().await.job.id, first);
    assert_eq!(bench.claim().await.job.id, third);
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

pub async fn a_running_job_is_paused_whatever_becomes_of_its_worker(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    // Asked through another process, as a client of a replica does; its worker hears of it.
    let other = factory.open(bench.options.clone()).await;
    let (id, lease) = bench.in_state(JobState::Running).await;
    let lease = lease.unwrap();
    let listener = bench.queue.signals().listen(id);
    let asked = bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    assert_eq!((asked.state, asked.pause_requested), (JobState::Running, true));
    listener.asked().await;
    let reply = bench.queue.heartbeat(lease, Some(progress(0.5))).await.unwrap();
    assert_eq!((reply.cancel_requested, reply.pause_requested), (false, true));
    assert!(other.heartbeat(lease, None).await.unwrap().pause_requested);
    let paused = bench.queue.paused(lease).await.unwrap();
    assert_eq!((paused.state, paused.attempt, paused.pause_requested), (JobState::Paused, 0, false));
    assert_eq!(paused.progress, Some(progress(0.5)), "what was reached is still shown");
    assert!(is_lost(bench.queue.paused(lease).await));
    // Resumed it begins anew, with the progress of its new attempt.
    assert_eq!(other.resume(&Tenant::DEFAULT, id).await.unwrap().progress, None);

    // Taken back in time, the pause stops nothing; a moment later, the job goes on from the queue.
    let lease = bench.claim().await.lease;
    bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    assert_eq!(other.resume(&Tenant::DEFAULT, id).await.unwrap().state, JobState::Running);
    assert!(!bench.queue.heartbeat(lease, None).await.unwrap().pause_requested);
    assert_eq!(bench.queue.paused(lease).await.unwrap().state, JobState::Queued);

    // A worker that is stopping, is lost, or fails.
    let lease = bench.claim().await.lease;
    bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    assert_eq!(bench.queue.release(lease).await.unwrap().state, JobState::Paused);
    bench.queue.resume(&Tenant::DEFAULT, id).await.unwrap();
    bench.claim().await;
    bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    bench.pass(LEASE);
    let rescued = bench.queue.rescue(Rescue::Expired).await.unwrap();
    assert_eq!((rescued[0].snapshot.state, rescued[0].snapshot.attempt), (JobState::Paused, 1));
    bench.queue.resume(&Tenant::DEFAULT, id).await.unwrap();
    let lease = bench.claim().await.lease;
    bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    let failed = bench.queue.fail(lease, broken(), true).await.unwrap();
    assert_eq!((failed.state, failed.attempt), (JobState::Paused, 2));
    assert!(bench.queue.claim("worker").await.unwrap().is_none());

    // A dream that is there is there.
    bench.queue.resume(&Tenant::DEFAULT, id).await.unwrap();
    let lease = bench.claim().await.lease;
    bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    let done = bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!((done.state, done.pause_requested), (JobState::Succeeded, false));
}

pub async fn a_pause_ends_at_the_deadline_or_after_a_week(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let deadline = JobOptions { deadline: Some(Duration::from_secs(100)), ..JobOptions::default() };
    let (hurried, patient) = (bench.add_with(deadline).await, bench.add().await);
    for id in [hurried, patient] {
        bench.queue.pause(&Tenant::DEFAULT, id).await.unwrap();
    }
    bench.pass(Duration::from_secs(99));
    assert!(bench.queue.expire_waiting().await.unwrap().is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.queue.expire_waiting().await.unwrap(), [hurried]);
    assert_eq!(bench.get(hurried).await.state, JobState::Expired);
    // Another pause, another week.
    bench.queue.resume(&Tenant::DEFAULT, patient).await.unwrap();
    bench.queue.pause(&Tenant::DEFAULT, patient).await.unwrap();
    bench.pass(PAUSE_LIFETIME - Duration::from_millis(1));
    assert!(bench.queue.expire_waiting().await.unwrap().is_empty());
    // What is kept for finished jobs only does not touch a paused one.
    let now = bench.options.clock.now();
    assert!(bench.queue.ended_before(now, 10).await.unwrap().iter().all(|ended| ended.id == hurried));
    assert_eq!(bench.queue.purge(&[patient]).await.unwrap(), 0);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.queue.expire_waiting().await.unwrap(), [patient]);
    assert_eq!(bench.get(patient).await.state, JobState::Expired);
}

pub async fn paused_jobs_count_towards_the_bounds(factory: &dyn Factory) {
    let tenants = TenantOptions { capacity: Some(2), running: Some(1), ..TenantOptions::default() };
    let bench = Bench::with(factory, QueueOptions { tenants, ..Bench::options() }).await;
    let add = async |tenant: &str| {
        let new = NewJob { tenant: tenant.parse().unwrap(), ..NewJob::new(JobId::new(), spec()) };
        bench.queue.enqueue(new).await.map(|job| job.id)
    };
    let lab: Tenant = "lab".parse().unwrap();
    for _ in 0..2 {
        let id = add("lab").await.unwrap();
        bench.queue.pause(&lab, id).await.unwrap();
    }
    assert!(matches!(add("lab").await, Err(QueueError::TenantFull { capacity: 2 })));
    // The places of the queue are for those who wait: nobody takes them from others by pausing.
    for number in 0..CAPACITY {
        add(&format!("tenant-{}", number / 2)).await.unwrap();
    }
    assert!(!bench.queue.has_room().await.unwrap());
    assert!(matches!(add("late").await, Err(QueueError::Full { capacity: CAPACITY })));
    // They are not at work: another of the tenant's jobs may be.
    let listed = bench.queue.list(&lab, Some(JobState::Paused), None, 1).await.unwrap();
    bench.queue.resume(&lab, listed.jobs[0].id).await.unwrap();
    let mut claimed = Vec::new();
    while let Some(claim) = bench.queue.claim("worker").await.unwrap() {
        claimed.push(claim.job.tenant);
    }
    assert!(claimed.contains(&lab), "{claimed:?}");
}
