//! What one tenant may take of the queue and of the workers.

use std::{collections::VecDeque, io::Write};

use super::*;

/// Jobs of the tenant that has the most.
const CROWD: u64 = 10_000;

fn crowd() -> Tenant {
    "crowd".parse().unwrap()
}

impl Bench {
    async fn wish(&self, tenant: &str) -> Result<Job, QueueError> {
        let new = NewJob { tenant: tenant.parse().unwrap(), ..NewJob::new(JobId::new(), spec()) };
        self.queue.enqueue(new).await
    }

    /// Claims a job and ends it; whose it was.
    async fn serve_one(&self) -> String {
        let claim = self.claim().await;
        self.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
        claim.job.tenant.to_string()
    }
}

/// Thousands of waiting jobs, past the store: one by one they would take minutes.
async fn fill(bench: &Bench, factory: &dyn Factory) {
    let (spec, now) = (serde_json::to_string(&spec()).unwrap(), bench.options.clock.now().as_millis());
    let fill = format!(
        "INSERT INTO jobs (id, state, spec, not_before, created_at, updated_at, tenant)
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {CROWD})
        SELECT '0198c0de-0000-7000-8000-' || substr('000000000000' || n, length('' || n) + 1), 'queued', '{spec}', {now},
            {now}, {now}, 'crowd'
        FROM numbers"
    );
    factory.execute(&fill).await;
}

pub async fn a_crowd_delays_another_tenant_by_one_job(factory: &dyn Factory) {
    let options = QueueOptions { capacity: 20_000, ..Bench::options() };
    let bench = Bench::with(factory, options).await;
    fill(&bench, factory).await;
    bench.pass(Duration::from_secs(60));
    // The only worker has served the crowd for a while, and serves it now.
    for _ in 0..5 {
        assert_eq!(bench.serve_one().await, "crowd");
    }
    let at_work = bench.claim().await;
    assert_eq!(at_work.job.tenant, crowd());
    let late = bench.wish("late").await.unwrap();
    assert_eq!(
        (late.queue_position, late.seconds_ahead),
        (Some(1), Some(10.0)),
        "behind the one at work: {late:?}"
    );
    bench.queue.complete(at_work.lease, finished(at_work.lease)).await.unwrap();
    // One job of the crowd ended in between: the one that was at work.
    let claim = bench.claim().await;
    assert_eq!(claim.job.id, late.id, "another job of the crowd was taken first");
    let began = std::time::Instant::now();
    bench.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
    for _ in 0..100 {
        bench.serve_one().await;
    }
    let each = began.elapsed().as_secs_f64() * 10.0;
    let line = format!("turns: beside {CROWD} waiting jobs a claim and an end take {each:.1} ms\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    // While both wait they take turns, also where the one erases its jobs to look as if it had none.
    for _ in 0..4 {
        bench.wish("late").await.unwrap();
    }
    let mut turns = Vec::new();
    for _ in 0..8 {
        let claim = bench.claim().await;
        bench.queue.delete(&claim.job.tenant, claim.job.id).await.unwrap();
        turns.push(claim.job.tenant.to_string());
    }
    assert_eq!(turns, ["late", "crowd", "late", "crowd", "late", "crowd", "late", "crowd"]);
    // Alone again, the crowd has every turn.
    assert_eq!(bench.serve_one().await, "crowd");
}

/// Each of very many tenants has its turn, also where one look at them serves several claims.
pub async fn very_many_tenants_take_turns(factory: &dyn Factory) {
    const TENANTS: usize = 150;
    let options = QueueOptions { capacity: 1000, ..Bench::options() };
    let bench = Bench::with(factory, options).await;
    for _ in 0..3 {
        for number in 0..TENANTS {
            bench.wish(&format!("t{number}")).await.unwrap();
        }
    }
    for _ in 0..3 {
        let mut round = HashSet::new();
        for _ in 0..TENANTS {
            let claim = bench.claim().await;
            bench.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
            round.insert(claim.job.tenant);
        }
        assert_eq!(round.len(), TENANTS);
    }
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
}

/// What clients are told is what happens: with one worker and with several, with weights, priorities and bounds.
pub async fn places_are_in_the_order_of_the_claims(factory: &dyn Factory) {
    for workers in [1, 4] {
        let mut options = QueueOptions { capacity: 100, ..Bench::options() };
        options.tenants.weights.insert("three".parse().unwrap(), 3);
        options.tenants.running = (workers > 1).then_some(2);
        let bench = Bench::with(factory, options).await;
        let mut at_work = VecDeque::new();
        for number in 0..workers {
            bench.wish(["crowd", "three"][number % 2]).await.unwrap();
            at_work.push_back(bench.claim().await);
        }
        for number in 0..24_i8 {
            let tenant = ["crowd", "crowd", "three", "few"][usize::from(number.unsigned_abs()) % 4];
            let options = JobOptions { priority: number % 3, ..JobOptions::default() };
            let new =
                NewJob { tenant: tenant.parse().unwrap(), options, ..NewJob::new(JobId::new(), spec()) };
            bench.queue.enqueue(new).await.unwrap();
            bench.pass(Duration::from_millis(1));
        }
        let mut told = Vec::new();
        for tenant in ["crowd", "three", "few"] {
            let page = bench.queue.list(&tenant.parse().unwrap(), Some(JobState::Queued), None, 100).await;
            told.extend(page.unwrap().jobs.into_iter().map(|job| (job.queue_position.unwrap(), job.id)));
        }
        told.sort_unstable();
        assert!(told.iter().map(|(position, _)| *position).eq(1..=24), "{told:?}");
        let mut claimed = Vec::new();
        while let Some(ended) = at_work.pop_front() {
            bench.queue.complete(ended.lease, finished(ended.lease)).await.unwrap();
            while let Some(claim) = bench.queue.claim("worker").await.unwrap() {
                claimed.push(claim.job.id);
                at_work.push_back(claim);
                if at_work.len() == workers {
                    break;
                }
            }
        }
        let told: Vec<JobId> = told.into_iter().map(|(_, id)| id).collect();
        assert_eq!(claimed, told, "with {workers} workers");
    }
}

pub async fn workers_are_shared_by_weight(factory: &dyn Factory) {
    let mut options = QueueOptions { capacity: 100, ..Bench::options() };
    options.tenants.weights.insert("three".parse().unwrap(), 3);
    let bench = Bench::with(factory, options).await;
    for tenant in ["one", "three"] {
        for _ in 0..40 {
            bench.wish(tenant).await.unwrap();
        }
    }
    let mut at_work = Vec::new();
    for _ in 0..8 {
        at_work.push(bench.claim().await);
    }
    let of = |claims: &[Claim], tenant: &str| {
        claims.iter().filter(|claim| claim.job.tenant.as_str() == tenant).count()
    };
    assert_eq!((of(&at_work, "one"), of(&at_work, "three")), (2, 6));
    // Whoever ends, the shares stay.
    for _ in 0..20 {
        let ended = at_work.remove(0);
        bench.queue.complete(ended.lease, finished(ended.lease)).await.unwrap();
        at_work.push(bench.claim().await);
        let shares = (of(&at_work, "one"), of(&at_work, "three"));
        assert_eq!(shares, (2, 6));
    }
    // A third tenant has its first job at the next turn.
    let ended = at_work.remove(0);
    bench.queue.complete(ended.lease, finished(ended.lease)).await.unwrap();
    let third = bench.wish("third").await.unwrap();
    assert_eq!(bench.claim().await.job.id, third.id);
}

pub async fn priorities_count_within_a_tenant(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut jobs = Vec::new();
    for (tenant, priority) in [("a", 0), ("a", 5), ("b", -10), ("a", 10)] {
        let options = JobOptions { priority, ..JobOptions::default() };
        let new = NewJob { tenant: tenant.parse().unwrap(), options, ..NewJob::new(JobId::new(), spec()) };
        jobs.push(bench.queue.enqueue(new).await.unwrap().id);
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        let claim = bench.claim().await;
        bench.queue.complete(claim.lease, finished(claim.lease)).await.unwrap();
        claimed.push(claim.job.id);
    }
    assert_eq!(claimed, [jobs[3], jobs[2], jobs[1], jobs[0]]);
}

pub async fn one_tenant_has_a_part_of_the_queue(factory: &dyn Factory) {
    let mut options = Bench::options();
    options.tenants.capacity = Some(3);
    let bench = Bench::with(factory, options).await;
    for _ in 0..3 {
        bench.wish("a").await.unwrap();
    }
    let refused = bench.wish("a").await;
    assert!(matches!(refused, Err(QueueError::TenantFull { capacity: 3 })), "{refused:?}");
    assert_eq!(bench.queue.depth().await.unwrap(), 3, "something was written");
    // Others have their own part, and so has it again when a job of its own has begun.
    for _ in 0..3 {
        bench.wish("b").await.unwrap();
    }
    assert!(bench.wish("b").await.is_err());
    let begun = bench.claim().await.job.tenant;
    bench.wish(begun.as_str()).await.unwrap();
    assert!(bench.wish(begun.as_str()).await.is_err());
    // In one commit too: the bound holds for those that come together.
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let queue = Arc::clone(&bench.queue);
        let new = NewJob { tenant: "c".parse().unwrap(), ..NewJob::new(JobId::new(), spec()) };
        clients.spawn(async move { queue.enqueue(new).await.is_ok() });
    }
    let accepted = clients.join_all().await.into_iter().filter(|accepted| *accepted).count();
    assert_eq!(accepted, 3);
    // The queue's own bound comes first: ten are waiting.
    let depth = bench.queue.depth().await.unwrap();
    for _ in depth..u64::from(CAPACITY) {
        bench.wish("d").await.unwrap();
    }
    assert!(matches!(bench.wish("e").await, Err(QueueError::Full { .. })));
}

pub async fn one_tenant_waits_and_runs_within_its_bounds(factory: &dyn Factory) {
    let mut options = Bench::options();
    (options.tenants.waiting_seconds, options.tenants.running) = (Some(100), Some(2));
    let bench = Bench::with(factory, options).await;
    let wish = async |tenant: &str, seconds: f64| {
        let forecast = Forecast { seconds, reference_seconds: seconds, memory: 1, megapixel_iterations: 1.0 };
        let tenant = tenant.parse().unwrap();
        let new = NewJob { tenant, forecast: Some(forecast), ..NewJob::new(JobId::new(), spec()) };
        bench.queue.enqueue(new).await
    };
    let is_refused = |outcome| matches!(outcome, Err(QueueError::TenantSeconds { limit: 100 }));
    // A job that is longer than the limit may wait, and then nothing beside it.
    wish("long", 500.0).await.unwrap();
    assert!(is_refused(wish("long", 0.5).await));
    for _ in 0..3 {
        wish("a", 30.0).await.unwrap();
    }
    assert!(is_refused(wish("a", 10.5).await));
    wish("a", 10.0).await.unwrap();
    // A job without a prediction counts as ten seconds.
    let unknown = NewJob { tenant: "a".parse().unwrap(), ..NewJob::new(JobId::new(), spec()) };
    assert!(is_refused(bench.queue.enqueue(unknown).await));
    // Two of one tenant run at the same time, and the other workers are idle.
    let mut claims = vec![bench.claim().await, bench.claim().await, bench.claim().await];
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
    let of = |claims: &[Claim], name: &str| {
        claims.iter().filter(|claim| claim.job.tenant.as_str() == name).count()
    };
    assert_eq!((of(&claims, "a"), of(&claims, "long")), (2, 1));
    let ended = claims.iter().position(|claim| claim.job.tenant.as_str() == "a").unwrap();
    let ended = claims.swap_remove(ended);
    bench.queue.complete(ended.lease, finished(ended.lease)).await.unwrap();
    assert_eq!(bench.claim().await.job.tenant.as_str(), "a");
    assert!(bench.queue.claim("worker").await.unwrap().is_none());
    // With those that have begun, others may wait.
    wish("a", 60.0).await.unwrap();
}
