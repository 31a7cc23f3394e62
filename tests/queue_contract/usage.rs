//! What tenants have used: counted once for each job that ends, by day, and kept.

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

pub async fn what_a_tenant_uses_is_counted_by_day_and_kept(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (lab, queue) = ("lab".parse::<Tenant>().unwrap(), &bench.queue);
    let forecast = Forecast { seconds: 1.0, reference_seconds: 1.0, memory: 1, megapixel_iterations: 1.25 };
    let dream = async || {
        let new =
            NewJob { tenant: lab.clone(), forecast: Some(forecast), ..NewJob::new(JobId::new(), spec()) };
        let id = queue.enqueue(new).await.unwrap().id;
        (id, bench.claim().await.lease)
    };
    let today = bench.options.clock.now().as_millis() / DAY;
    let (first, lease) = dream().await;
    queue.complete(lease, finished(lease)).await.unwrap();
    let (_, lease) = dream().await;
    queue.complete(lease, finished(lease)).await.unwrap();
    // What is tried again counts when it ends, and without a dream only as a job.
    let (_, lease) = dream().await;
    queue.fail(lease, broken(), true).await.unwrap();
    bench.pass(Duration::from_secs(60));
    queue.fail(bench.claim().await.lease, broken(), false).await.unwrap();
    let (waiting, lease) = dream().await;
    queue.release(lease).await.unwrap();
    bench.pass(Duration::from_millis(DAY as u64));
    queue.cancel(&lab, waiting).await.unwrap();
    bench.add().await;

    let used = queue.usage(&lab, today - 5).await.unwrap();
    let [newer, older] = used[..] else { panic!("{used:?}") };
    assert_eq!((newer.day, newer.jobs, newer.succeeded, newer.result_bytes), (today + 1, 1, 0, 0));
    assert_eq!((older.day, older.jobs, older.succeeded), (today, 3, 2));
    assert_eq!((older.megapixel_iterations, older.render_seconds, older.result_bytes), (2.5, 5.0, 24));
    assert_eq!(queue.usage(&lab, today + 1).await.unwrap(), [newer]);
    assert!(queue.usage(&Tenant::DEFAULT, 0).await.unwrap().is_empty());
    // It stays when the job is gone.
    queue.delete(&lab, first).await.unwrap();
    assert_eq!(queue.usage(&lab, 0).await.unwrap(), [newer, older]);
}
