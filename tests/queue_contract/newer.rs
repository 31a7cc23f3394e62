//! Rows that a newer version wrote while this version runs beside it: during a rolling upgrade, and after a
//! rollback.

use super::*;

/// A spec with members that only a newer version knows, at the top and inside.
fn extended() -> String {
    let mut spec = serde_json::to_value(spec()).unwrap();
    spec["palette"] = serde_json::json!({ "colours": ["teal"] });
    spec["objectives"][0]["falloff"] = 0.5.into();
    spec.to_string()
}

/// A spec whose member has a value that only a newer version knows.
fn unknown(member: &str) -> String {
    let mut spec = serde_json::to_value(spec()).unwrap();
    spec[member] = "surreal".into();
    spec.to_string()
}

async fn set_spec(factory: &dyn Factory, id: JobId, spec: &str) {
    factory.execute(&format!("UPDATE jobs SET spec = '{spec}' WHERE id = '{id}'")).await;
}

async fn stored(factory: &dyn Factory, id: JobId, what: &str) -> String {
    factory.text(&format!("SELECT CAST({what} AS text) FROM jobs WHERE id = '{id}'")).await
}

pub async fn unknown_members_are_ignored_and_kept(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    set_spec(factory, id, &extended()).await;
    assert_eq!(bench.get(id).await.spec, spec());
    let lease = bench.claim().await.lease;
    bench.queue.decide_precision(lease, Precision::Fp32).await.unwrap();
    bench.queue.heartbeat(lease, Some(progress(0.5))).await.unwrap();
    bench.queue.release(lease).await.unwrap();
    let lease = bench.claim().await.lease;
    bench.queue.fail(lease, broken(), true).await.unwrap();
    bench.pass(Duration::from_secs(60));
    let lease = bench.claim().await.lease;
    bench.queue.complete(lease, finished(lease)).await.unwrap();
    bench.pass(Duration::from_secs(60));
    bench.queue.expire_blobs(bench.options.clock.now(), 10).await.unwrap();
    bench.queue.blobs_deleted(&[id]).await.unwrap();
    assert_eq!(stored(factory, id, "spec").await, extended());
}

pub async fn what_cannot_be_read_is_left_to_others(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let mut strange = Vec::new();
    for member in ["preset", "normalization", "octave_mode", "tiling", "precision", "format"] {
        let id = bench.add().await;
        set_spec(factory, id, &unknown(member)).await;
        strange.push(id);
    }
    let decided = bench.add().await;
    factory.execute(&format!("UPDATE jobs SET resolved_precision = 'fp8' WHERE id = '{decided}'")).await;
    strange.push(decided);
    let readable = bench.add().await;
    for id in &strange {
        let refused = bench.queue.get(&Tenant::DEFAULT, *id).await;
        assert!(matches!(refused, Err(QueueError::Corrupt { .. })), "{refused:?}");
    }
    // All of them are ahead, and none is in the way.
    assert_eq!(bench.claim().await.job.id, readable);
    for _ in 0..3 {
        assert!(bench.queue.claim("worker").await.unwrap().is_none());
    }
    for id in &strange {
        let snapshot = stored(factory, *id, "state || ' ' || attempt || ' ' || spared").await;
        assert_eq!(snapshot, "queued 0 0", "{id} was harmed");
    }
    let page = bench.queue.list(&Tenant::DEFAULT, None, None, 20).await.unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [readable]);
    // A page that nothing can be read of leads on to the next.
    let first = bench.queue.list(&Tenant::DEFAULT, Some(JobState::Queued), None, 3).await.unwrap();
    assert!(first.jobs.is_empty() && first.next.is_some());
    let counts = bench.queue.counts().await.unwrap();
    assert_eq!((counts.queued, counts.running), (7, 1));
    // A newer version still gets them.
    set_spec(factory, strange[0], &extended()).await;
    let newer = factory.open(bench.options.clone()).await;
    assert_eq!(newer.claim("newer").await.unwrap().unwrap().job.id, strange[0]);
}

pub async fn what_cannot_be_read_holds_nothing_up(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let deadline = JobOptions { deadline: Some(Duration::from_secs(100)), ..JobOptions::default() };
    let (lost, ended) = (bench.add().await, bench.add().await);
    let lease = bench.claim().await.lease;
    assert_eq!(lease.job, lost);
    let done = bench.claim().await.lease;
    bench.queue.complete(done, finished(done)).await.unwrap();
    let overdue = bench.add_with(deadline).await;
    for id in [lost, ended, overdue] {
        set_spec(factory, id, &unknown("preset")).await;
    }
    // What is known of each state is known of them too: a lost worker is lost, a deadline passes, an end is an end.
    bench.pass(Duration::from_secs(101));
    let rescued = bench.queue.rescue(Rescue::Expired).await.unwrap();
    assert_eq!(rescued.iter().map(|job| job.id).collect::<Vec<_>>(), [lost]);
    assert_eq!(bench.queue.expire_waiting().await.unwrap(), [overdue]);
    bench.pass(Duration::from_secs(1));
    let now = bench.options.clock.now();
    assert_eq!(bench.queue.expire_blobs(now, 10).await.unwrap().len(), 2);
    assert_eq!(bench.queue.purge(&[ended]).await.unwrap(), 1);
    let bench = bench.reopened(factory).await;
    assert!(bench.queue.rescue(Rescue::All).await.unwrap().is_empty());
}

pub async fn a_state_of_tomorrow_is_nobodys_business(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (archived, queued) = (bench.add().await, bench.add().await);
    factory
        .unchecked(&format!("UPDATE jobs SET state = 'archived', finished_at = 1 WHERE id = '{archived}'"))
        .await;
    bench.pass(Duration::from_secs(1));
    let now = bench.options.clock.now();
    assert_eq!(bench.queue.counts().await.unwrap().queued, 1);
    assert_eq!(bench.queue.list(&Tenant::DEFAULT, None, None, 10).await.unwrap().jobs.len(), 1);
    assert!(bench.queue.rescue(Rescue::All).await.unwrap().is_empty());
    assert!(bench.queue.expire_blobs(now, 10).await.unwrap().is_empty());
    assert!(bench.queue.ended_before(now, 10).await.unwrap().is_empty());
    assert_eq!(bench.queue.purge(&[archived]).await.unwrap(), 0);
    assert!(matches!(bench.queue.cancel(&Tenant::DEFAULT, archived).await, Err(QueueError::Corrupt { .. })));
    let owners = bench.queue.owners(&[archived, queued]).await.unwrap();
    let state = |id| owners.iter().find(|owner| owner.id == id).unwrap().state;
    assert_eq!((state(archived), state(queued)), (None, Some(JobState::Queued)));
    assert_eq!(bench.claim().await.job.id, queued);
}

pub async fn a_newer_schema_is_lived_with_unless_it_breaks(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.add().await;
    factory.execute("ALTER TABLE jobs ADD COLUMN colour text NOT NULL DEFAULT 'blue'").await;
    let migration = |version: u32, name: &str, checksum: &str| {
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES ({version}, '{name}', true, {checksum}, 1)"
        )
    };
    factory.execute(&migration(9998, "colours", factory.no_bytes())).await;
    let bench = bench.reopened(factory).await;
    assert_eq!(bench.claim().await.job.id, id);
    factory.execute(&migration(9999, "breaking of what was", factory.no_bytes())).await;
    let refused = factory.try_open(bench.options.clone()).await.err().expect("it was opened");
    assert!(matches!(refused, QueueError::Newer { found: 9999, .. }), "{refused}");
    assert!(refused.to_string().contains("newer version of reverie"), "{refused}");
}
