//! Clients that do one thing again and again, all at the same time: they post a photo, or poll a job.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::wire::Connection;

/// Connections that ask at the same time.
const CLIENTS: usize = 32;

/// Posts a job so many times; how long each took.
pub async fn accept(server: SocketAddr, request: Vec<u8>, uploads: usize) -> Vec<Duration> {
    let request = Arc::new(request);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let request = Arc::clone(&request);
        clients.spawn(async move {
            let mut connection = Connection::open(server).await;
            let mut times = Vec::new();
            for _ in (client..uploads).step_by(CLIENTS) {
                let asked = Instant::now();
                assert_eq!(connection.ask(&request).await.status, 202);
                times.push(asked.elapsed());
            }
            times
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// Polls what does not change, for so long; how often.
pub async fn poll(server: SocketAddr, request: Vec<u8>, time: Duration) -> u64 {
    let (request, until) = (Arc::new(request), Instant::now() + time);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let request = Arc::clone(&request);
        clients.spawn(async move {
            let mut connection = Connection::open(server).await;
            let mut polls = 0;
            while Instant::now() < until {
                assert_eq!(connection.ask(&request).await.status, 304);
                polls += 1;
            }
            polls
        });
    }
    clients.join_all().await.into_iter().sum()
}
