//! Changes of a dream on its way: they wait for the next octave, and are a part of the schedule from there on.

use reverie::jobs::Begun;
use reverie_dream::spec::Change;

use super::*;

fn step(step: f64) -> Change {
    Change { step: Some(step), ..Change::default() }
}

fn forecast(seconds: f64) -> Forecast {
    Forecast { seconds, reference_seconds: seconds, memory: 7, megapixel_iterations: 0.5 }
}

fn place(place: u32) -> Begun {
    Begun { place, places: 3 }
}

/// The steps of a schedule by their octaves.
fn steps(schedule: &[Change]) -> Vec<(u32, f64)> {
    schedule.iter().map(|change| (change.octave.unwrap(), change.step.unwrap())).collect()
}

pub async fn a_change_holds_from_the_next_octave_on(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    let before = bench.get(id).await;
    assert_eq!((&before.steering, before.begun), (&None, None));
    let mut changes = bench.queue.signals().follow(id);
    let asked = bench.queue.steer(&before, &step(2.0), forecast(40.0)).await.unwrap().unwrap();
    changes.changed().await;
    assert_eq!((asked.steering.clone(), asked.version), (Some(step(2.0)), before.version + 1));
    assert_eq!(asked.forecast, Some(forecast(40.0)));
    assert!(asked.spec.schedule.is_empty());
    assert_eq!(bench.get(id).await, asked);

    let bench = bench.reopened(factory).await;
    let lease = bench.claim().await.lease;
    assert_eq!(steps(&bench.queue.begin(lease, place(1)).await.unwrap()), [(1, 2.0)]);
    let begun = bench.get(id).await;
    assert_eq!((begun.steering.clone(), begun.begun), (None, Some(place(1))));
    assert_eq!(steps(&begun.spec.schedule), [(1, 2.0)]);
    // Of several before the next octave, the last counts.
    let asked = bench.queue.steer(&begun, &step(3.0), forecast(1.0)).await.unwrap().unwrap();
    bench.queue.steer(&asked, &step(4.0), forecast(1.0)).await.unwrap().unwrap();
    let version = bench.get(id).await.version;
    assert_eq!(steps(&bench.queue.begin(lease, place(2)).await.unwrap()), [(1, 2.0), (2, 4.0)]);
    assert_eq!(bench.get(id).await.version, version + 1);
    // What begins as it was changes nothing that a client sees.
    assert_eq!(steps(&bench.queue.begin(lease, place(3)).await.unwrap()), [(1, 2.0), (2, 4.0)]);
    assert_eq!(bench.get(id).await.version, version + 1);
    let done = bench.queue.complete(lease, finished(lease)).await.unwrap();
    assert_eq!(steps(&done.spec.schedule), [(1, 2.0), (2, 4.0)]);
    // The spec is kept as it was sent.
    let stored = factory.text(&format!("SELECT CAST(spec AS text) FROM jobs WHERE id = '{id}'")).await;
    assert_eq!(stored, serde_json::to_string(&spec()).unwrap());
}

pub async fn a_change_of_a_job_that_went_on_is_not_written(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    let id = bench.add().await;
    let refused =
        async |job: &Job| bench.queue.steer(job, &step(9.0), forecast(1.0)).await.unwrap().is_none();
    let queued = bench.get(id).await;
    let lease = other.claim("elsewhere").await.unwrap().unwrap().lease;
    assert!(refused(&queued).await, "it was claimed");
    let claimed = bench.get(id).await;
    other.begin(lease, place(1)).await.unwrap();
    assert!(refused(&claimed).await, "an octave has begun");
    let begun = bench.get(id).await;
    // Progress is none of it.
    other.heartbeat(lease, Some(progress(0.1))).await.unwrap();
    assert!(other.steer(&begun, &step(2.0), forecast(1.0)).await.unwrap().is_some());
    assert!(refused(&begun).await, "somebody else has changed it");
    let steered = bench.get(id).await;
    assert_eq!(steered.steering, Some(step(2.0)));
    other.cancel(&Tenant::DEFAULT, id).await.unwrap();
    assert!(refused(&steered).await, "it must stop");
    other.complete(lease, finished(lease)).await.unwrap();
    assert!(refused(&steered).await, "it has ended");
    let stranger = Job { tenant: "stranger".parse().unwrap(), ..bench.get(id).await };
    assert!(refused(&stranger).await);
}

pub async fn a_lost_worker_begins_nothing_and_the_next_goes_by_the_schedule(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (id, lease) = bench.in_state(JobState::Running).await;
    let lost = lease.unwrap();
    bench.queue.begin(lost, place(2)).await.unwrap();
    bench.queue.steer(&bench.get(id).await, &step(2.0), forecast(1.0)).await.unwrap().unwrap();
    bench.queue.begin(lost, place(3)).await.unwrap();
    bench.queue.steer(&bench.get(id).await, &step(5.0), forecast(1.0)).await.unwrap().unwrap();
    bench.pass(LEASE);
    bench.queue.rescue(Rescue::Expired).await.unwrap();
    assert!(is_lost(bench.queue.begin(lost, place(3)).await));
    let waiting = bench.get(id).await;
    assert_eq!((waiting.steering.clone(), waiting.begun), (Some(step(5.0)), Some(place(3))));
    // The next worker has a checkpoint of the second octave, and dreams the third again: as it is asked for by now.
    let claim = bench.claim().await;
    assert_eq!((steps(&claim.job.spec.schedule), claim.job.begun), (vec![(3, 2.0)], None));
    assert_eq!(steps(&bench.queue.begin(claim.lease, place(3)).await.unwrap()), [(3, 5.0)]);
}

pub async fn the_last_who_asks_wins_wherever_a_lost_attempt_had_begun(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sent = vec![Change { octave: Some(3), l2_decay: Some(1.0), ..Change::default() }];
    let spec = DreamSpec { schedule: sent.clone(), ..spec() };
    let id = bench.queue.enqueue(NewJob::new(JobId::new(), spec)).await.unwrap().id;
    let lost = bench.claim().await.lease;
    bench.queue.begin(lost, place(2)).await.unwrap();
    let older = Change { total_variation: Some(0.5), ..step(2.0) };
    bench.queue.steer(&bench.get(id).await, &older, forecast(1.0)).await.unwrap().unwrap();
    bench.queue.begin(lost, place(3)).await.unwrap();
    let job = bench.get(id).await;
    assert_eq!((job.spec.schedule.len(), job.spec.schedule[0].step, &job.planned), (1, Some(2.0), &sent));
    bench.queue.release(lost).await.unwrap();
    // Its place is that of the older one.
    let newer = Change { octave: Some(3), l2_decay: Some(0.25), ..step(5.0) };
    bench.queue.steer(&bench.get(id).await, &newer, forecast(1.0)).await.unwrap().unwrap();
    // The next attempt has no checkpoint.
    let claim = bench.claim().await;
    for early in [1, 2] {
        let schedule = bench.queue.begin(claim.lease, place(early)).await.unwrap();
        assert_eq!(schedule, job.spec.schedule);
        assert_eq!(bench.get(id).await.steering.as_ref(), Some(&newer));
    }
    let schedule = bench.queue.begin(claim.lease, place(3)).await.unwrap();
    assert_eq!(schedule, [Change { total_variation: Some(0.5), ..newer }]);
    let job = bench.get(id).await;
    assert_eq!((job.spec.schedule, job.steering), (schedule, None));
}
