//! The number that KEDA asks of the database, on a real one: jobs that wait or are at work, and no others.

use std::time::Duration;

use reverie::{
    clock::Clock,
    jobs::{JobError, JobId, JobQueue, NewJob, QueueOptions, postgres::PostgresQueue},
};
use reverie_dream::spec::{self, InputKind};
use reverie_graph::Op;

use super::{
    common::{catalogue, postgres::cluster},
    shipped,
};

#[tokio::test]
async fn the_autoscaler_counts_jobs_that_want_workers() {
    let Some(cluster) = cluster("deploy::the_autoscaler_counts_jobs_that_want_workers") else { return };
    let object = std::fs::read_to_string(shipped("kubernetes/components/keda/scaledobject.yaml")).unwrap();
    let query = object.lines().find_map(|line| line.trim().strip_prefix("query: ")).unwrap();
    let url = cluster.database().await;
    let options = QueueOptions {
        capacity: 10,
        lease: Duration::from_secs(30),
        max_attempts: 3,
        clock: Clock::system(),
        tenants: Default::default(),
    };
    let queue = PostgresQueue::open(&url, 2, options).await.unwrap();
    let mut database = cluster.connect(&url).await;
    let mut counted = async || {
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&mut database).await.unwrap();
        count
    };
    assert_eq!(counted().await, 0);
    let models = catalogue::of_one_layer("tiny", Op::Relu);
    let spec = spec::resolve("", serde_json::json!({}), &models, InputKind::Image).unwrap();
    for _ in 0..3 {
        queue.enqueue(NewJob::new(JobId::new(), spec.clone())).await.unwrap();
    }
    assert_eq!(counted().await, 3);
    let claim = queue.claim("worker").await.unwrap().unwrap();
    assert_eq!(counted().await, 3);
    queue.fail(claim.lease, JobError::attempts_exhausted(1), false).await.unwrap();
    assert_eq!(counted().await, 2);
}
