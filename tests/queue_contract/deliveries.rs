//! Webhooks: the end of a job is told by a row in its commit, which one process at a time delivers.

use reverie::jobs::{Crowded, DeliveryAttempt, DeliveryOutcome, DeliveryState, MOST_ATTEMPTS, Webhook};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// All final states.
fn ends() -> Vec<JobState> {
    JobState::ALL.into_iter().filter(|state| state.is_finished()).collect()
}

fn outcome(state: DeliveryState, retry_after: Duration, failures: u32) -> DeliveryOutcome {
    let attempt = DeliveryAttempt { at: 7, status: Some(500), error: None, milliseconds: 3 };
    DeliveryOutcome { state, retry_after, failures, attempt }
}

impl Bench {
    /// A job that tells a receiver of these ends.
    async fn add_told(&self, receiver: &str, events: Vec<JobState>) -> JobId {
        let url = format!("https://{receiver}/hook?token=1");
        let webhook = Webhook { url, receiver: format!("https://{receiver}"), events };
        let new = NewJob { webhook: Some(webhook), ..NewJob::new(JobId::new(), spec()) };
        self.queue.enqueue(new).await.unwrap().id
    }

    /// A job whose end is to be told to a receiver.
    async fn ended(&self, receiver: &str) -> JobId {
        let id = self.add_told(receiver, ends()).await;
        self.queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
        id
    }

    async fn told(&self, id: JobId) -> Vec<reverie::jobs::Delivery> {
        self.queue.deliveries(&Tenant::DEFAULT, id).await.unwrap()
    }
}

pub async fn every_end_of_a_job_is_told_in_its_commit(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let queue = &bench.queue;
    let mut expected = Vec::new();
    // Each way to an end. What is no end is not told.
    let id = bench.add_told("a", ends()).await;
    let lease = bench.claim().await.lease;
    queue.release(lease).await.unwrap();
    let lease = bench.claim().await.lease;
    queue.heartbeat(lease, Some(progress(0.5))).await.unwrap();
    assert!(bench.told(id).await.is_empty());
    queue.complete(lease, finished(lease)).await.unwrap();
    expected.push((id, JobState::Succeeded));

    let id = bench.add_told("a", ends()).await;
    let lease = bench.claim().await.lease;
    queue.fail(lease, broken(), true).await.unwrap();
    assert!(bench.told(id).await.is_empty());
    bench.pass(MINUTE);
    queue.fail(bench.claim().await.lease, broken(), false).await.unwrap();
    expected.push((id, JobState::Failed));

    expected.push((bench.ended("a").await, JobState::Canceled));

    let id = bench.add_told("a", ends()).await;
    let lease = bench.claim().await.lease;
    queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
    assert!(bench.told(id).await.is_empty());
    queue.stopped(lease).await.unwrap();
    expected.push((id, JobState::Canceled));

    let id = bench.add_told("a", ends()).await;
    queue.expired(bench.claim().await.lease).await.unwrap();
    expected.push((id, JobState::Expired));

    let id = bench.add_told("a", ends()).await;
    for _ in 0..bench.options.max_attempts {
        bench.claim().await;
        bench.pass(LEASE + LEASE);
        queue.rescue(Rescue::Expired).await.unwrap();
    }
    expected.push((id, JobState::Failed));

    // What a version that knows no webhooks writes.
    let id = bench.add_told("a", ends()).await;
    factory.execute(&format!("UPDATE jobs SET state = 'expired', finished_at = 5 WHERE id = '{id}'")).await;
    expected.push((id, JobState::Expired));

    for (id, event) in expected {
        let told = bench.told(id).await;
        let [delivery] = &told[..] else { panic!("{event}: {told:?}") };
        assert_eq!((delivery.event, delivery.state, delivery.failures), (event, DeliveryState::Pending, 0));
        assert_eq!((&*delivery.url, &*delivery.receiver), ("https://a/hook?token=1", "https://a"));
        assert!(delivery.id.starts_with("msg_") && delivery.attempts.is_empty());
        if event != JobState::Expired || delivery.created_at.as_millis() != 5 {
            assert_eq!(Some(delivery.created_at), bench.get(id).await.finished_at);
        }
    }
    // Other ends than those asked for, and jobs without a webhook.
    let silent = bench.add_told("a", vec![JobState::Failed, JobState::Expired]).await;
    let plain = bench.add().await;
    for id in [silent, plain] {
        queue.cancel(&Tenant::DEFAULT, id).await.unwrap();
        assert!(bench.told(id).await.is_empty());
    }
}

pub async fn a_delivery_is_made_by_one_at_a_time(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = Bench::with(factory, bench.options.clone()).await;
    let mut ids = HashSet::new();
    for _ in 0..8 {
        ids.insert(bench.ended("a").await);
    }
    // Two stores, four at once each: no delivery twice, and none is left.
    let mut claims = JoinSet::new();
    for number in 0..16 {
        let queue = Arc::clone(if number % 2 == 0 { &bench.queue } else { &other.queue });
        claims.spawn(async move { queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap() });
    }
    let mut claimed = Vec::new();
    while let Some(claim) = claims.join_next().await {
        claimed.extend(claim.unwrap());
    }
    // A claim that met another's lock finds the next one later.
    while let Some(claim) = bench.queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap() {
        claimed.push(claim);
    }
    assert_eq!(claimed.len(), 8);
    assert_eq!(claimed.iter().map(|claim| claim.delivery.job).collect::<HashSet<_>>(), ids);

    // One whose maker is gone goes to another, and the first one's note counts no more.
    let first = claimed.pop().unwrap();
    for claim in &claimed {
        let done = outcome(DeliveryState::Delivered, Duration::ZERO, 0);
        assert!(bench.queue.note_delivery(claim, done).await.unwrap());
    }
    bench.pass(MINUTE);
    let second = other.queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().unwrap();
    assert_eq!((&second.delivery.id, second.delivery.job), (&first.delivery.id, first.delivery.job));
    let late = outcome(DeliveryState::Failed, Duration::ZERO, 10);
    assert!(!bench.queue.note_delivery(&first, late).await.unwrap());
    let done = outcome(DeliveryState::Delivered, Duration::ZERO, 0);
    assert!(other.queue.note_delivery(&second, done.clone()).await.unwrap());
    assert!(!other.queue.note_delivery(&second, done).await.unwrap(), "it was noted twice");
    bench.pass(MINUTE);
    assert!(bench.queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().is_none());
    let told = bench.told(first.delivery.job).await;
    assert_eq!((told[0].state, told[0].attempts.len()), (DeliveryState::Delivered, 1));
}

fn receivers(names: &[&str]) -> Crowded {
    Crowded { receivers: names.iter().map(ToString::to_string).collect(), ..Crowded::default() }
}

pub async fn receivers_are_left_out_and_attempts_remembered(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let slow = bench.ended("slow").await;
    bench.pass(MINUTE);
    let quick = bench.ended("quick").await;
    let except = receivers(&["https://slow", "https://elsewhere"]);
    let claim = bench.queue.claim_delivery(&except, MINUTE).await.unwrap().unwrap();
    assert_eq!(claim.delivery.job, quick);
    assert!(bench.queue.claim_delivery(&except, MINUTE).await.unwrap().is_none());
    // So are tenants, whoever receives.
    let ours = Crowded { tenants: vec![Tenant::DEFAULT.as_str().to_owned()], ..Crowded::default() };
    assert!(bench.queue.claim_delivery(&ours, MINUTE).await.unwrap().is_none());
    // It is due again when its time has come, and not before.
    for failures in 1..=MOST_ATTEMPTS as u32 + 5 {
        let claim = bench.queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().unwrap();
        assert_eq!((claim.delivery.job, claim.delivery.failures), (slow, failures - 1));
        let failed = outcome(DeliveryState::Pending, 2 * MINUTE, failures);
        assert!(bench.queue.note_delivery(&claim, failed).await.unwrap());
        bench.pass(2 * MINUTE - Duration::from_millis(1));
        let except = receivers(&["https://quick"]);
        assert!(bench.queue.claim_delivery(&except, MINUTE).await.unwrap().is_none());
        bench.pass(Duration::from_millis(1));
        if failures == 1 {
            // The other claim has run out meanwhile.
            let again = bench.queue.claim_delivery(&receivers(&["https://slow"]), MINUTE).await.unwrap();
            let gone = outcome(DeliveryState::Gone, Duration::ZERO, 0);
            assert!(bench.queue.note_delivery(&again.unwrap(), gone).await.unwrap());
        }
    }
    assert_eq!(bench.told(slow).await[0].attempts.len(), MOST_ATTEMPTS);
    assert_eq!(bench.told(quick).await[0].state, DeliveryState::Gone);
}

pub async fn deliveries_are_replayed_and_go_with_their_jobs(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let queue = &bench.queue;
    let id = bench.ended("a").await;
    let claim = queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().unwrap();
    // It is being made: there is nothing to replay.
    queue.replay_deliveries(&Tenant::DEFAULT, id).await.unwrap();
    assert!(queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().is_none());
    assert!(queue.note_delivery(&claim, outcome(DeliveryState::Failed, Duration::ZERO, 10)).await.unwrap());
    // To another tenant there is none.
    let stranger: Tenant = "stranger".parse().unwrap();
    queue.replay_deliveries(&stranger, id).await.unwrap();
    assert!(queue.deliveries(&stranger, id).await.unwrap().is_empty());
    assert_eq!(bench.told(id).await[0].state, DeliveryState::Failed);
    queue.replay_deliveries(&Tenant::DEFAULT, id).await.unwrap();
    let again = queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().unwrap();
    assert_eq!((&again.delivery.id, again.delivery.failures), (&claim.delivery.id, 0));
    assert_eq!(again.delivery.attempts.len(), 1);
    // An erased job is not told any more, whatever is under way.
    queue.delete(&Tenant::DEFAULT, id).await.unwrap();
    assert!(bench.told(id).await.is_empty());
    assert!(!queue.note_delivery(&again, outcome(DeliveryState::Pending, MINUTE, 1)).await.unwrap());
    let kept = bench.ended("a").await;
    bench.pass(MINUTE);
    assert_eq!(queue.purge(&[kept]).await.unwrap(), 1);
    assert!(queue.claim_delivery(&Crowded::default(), MINUTE).await.unwrap().is_none());
}
