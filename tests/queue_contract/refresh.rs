//! Another look at many jobs, for those who follow them.

use super::*;

pub async fn jobs_are_looked_at_again_together(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let other = factory.open(bench.options.clone()).await;
    let stranger: Tenant = "stranger".parse().unwrap();
    let [changed, gone, unread, waiting] =
        [bench.add().await, bench.add().await, bench.add().await, bench.add().await];
    let foreign = NewJob { tenant: stranger.clone(), ..NewJob::new(JobId::new(), spec()) };
    let foreign = bench.queue.enqueue(foreign).await.unwrap().id;
    let mut known = vec![Arc::new(bench.queue.get(&stranger, foreign).await.unwrap())];
    for id in [changed, gone, unread, waiting] {
        known.push(Arc::new(bench.get(id).await));
    }
    let refresh = async || {
        let mut jobs = bench.queue.refresh(&known).await.unwrap();
        jobs.sort_by_key(|job| known.iter().position(|known| known.id == job.id));
        jobs
    };
    assert_eq!(
        refresh().await,
        known.iter().map(|job| Job::clone(job)).collect::<Vec<_>>(),
        "nothing has changed"
    );
    assert_eq!(bench.queue.refresh(&[]).await.unwrap(), []);

    other.cancel(&Tenant::DEFAULT, changed).await.unwrap();
    other.delete(&Tenant::DEFAULT, gone).await.unwrap();
    let newer = format!("UPDATE jobs SET spec = '{{}}', version = version + 1 WHERE id = '{unread}'");
    factory.execute(&newer).await;
    let seen = refresh().await;
    let expected = [
        bench.queue.get(&stranger, foreign).await.unwrap(),
        bench.get(changed).await,
        bench.get(waiting).await,
    ];
    assert_eq!(seen, expected);
    assert_eq!((seen[1].state, seen[2].version), (JobState::Canceled, known[4].version));
    assert!(seen[2].queue_position < known[4].queue_position, "it has moved up");
}
