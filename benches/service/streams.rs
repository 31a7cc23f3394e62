//! What open event streams cost while nothing happens: many clients follow one job, the last of a queue.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use reverie::config::Database;
use reverie_dream::model::Catalogue;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    QUEUE, Row, png,
    postgres::Cluster,
    processor, processor_of, serve_with,
    wire::{self, Connection},
};

/// Each takes two of the file descriptors of this process.
const STREAMS: usize = 800;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(30);

pub async fn cost(folder: &Path, catalogue: &Arc<Catalogue>) -> Vec<Row> {
    let what = "processors taken by 800 event streams of the last of 100 jobs in the queue, on SQLite";
    let mut rows = vec![Row { what, found: idle(folder, catalogue, None).await, target: "≤ 0.05" }];
    let Some(cluster) = Cluster::with(&["-c", "shared_buffers=256MB"]) else { return rows };
    let found = idle(folder, catalogue, Some(&cluster)).await;
    rows.push(Row { what: "… on PostgreSQL", found, target: "≤ 0.05" });
    rows
}

/// The share of a processor that the streams take, in this process and in the database's.
async fn idle(folder: &Path, catalogue: &Arc<Catalogue>, cluster: Option<&Cluster>) -> String {
    let database = match cluster {
        Some(cluster) => Some(cluster.database().await),
        None => None,
    };
    let server = serve_with(folder, catalogue, false, |config| {
        if let Some(url) = database {
            config.storage.database = Database::Postgres(url);
        }
    })
    .await;
    let (mut connection, upload) =
        (Connection::open(server.address).await, wire::upload(&png(64, 64), &json!({})));
    let mut id = String::new();
    for _ in 0..QUEUE {
        id = connection.submit(&upload).await;
    }
    let request = wire::get(&format!("/v1/jobs/{id}/events"), None);
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut came = Vec::new();
        while !came.windows(6).any(|bytes| bytes == b"data: ") {
            assert!(stream.read_buf(&mut came).await.unwrap() > 0, "the server hung up");
        }
        streams.push(stream);
    }
    let of_cluster = || cluster.map_or(0.0, processors_of);
    let (began, own, others) = (Instant::now(), processor(), of_cluster());
    tokio::time::sleep(IDLE).await;
    let share = |before: f64, after: f64| (after - before) / 1000.0 / began.elapsed().as_secs_f64();
    let mut found = format!("{:.3}", share(own, processor()));
    if cluster.is_some() {
        found += &format!(", PostgreSQL {:.3}", share(others, of_cluster()));
    }
    drop(streams);
    server.stop().await;
    found
}

/// Processor time of a database server so far, with all of its processes, in milliseconds.
fn processors_of(cluster: &Cluster) -> f64 {
    let server = cluster.id();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    let own = names.filter(|name| {
        let status = std::fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        parent == Some(server) || name.parse() == Ok(server)
    });
    own.map(|name| processor_of(&name)).sum()
}
