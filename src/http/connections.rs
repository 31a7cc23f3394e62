//! Limits the number of connections, in total and per client address.
//!
//! A connection costs a file descriptor. A client that opens too many would take them from the storage and
//! from the listener for health. So the limit is below the number of descriptors, and one client gets only a
//! part of it.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use tracing::{info, warn};

use super::per_client::PerClient;
use crate::config::ServerConfig;

/// File descriptors reserved for everything but clients: libraries, storage, image files, health.
const RESERVED: u64 = 128;

/// Descriptors that one client's request may take: its connection, and an image that is read for it.
const HANDLES: u64 = 2;

/// Counts open connections; clones share the count.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: PerClient,
    /// Addresses that many clients share, such as proxies: only the limit for all is theirs.
    shared: Vec<IpNet>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub struct Counted {
    connections: Connections,
    client: Option<IpAddr>,
}

impl Connections {
    /// Allows `most` connections, and `most_of_one` per address that is not in `shared`.
    pub fn new(most: usize, most_of_one: usize, shared: Vec<IpNet>) -> Self {
        Self(Arc::new(Inner { open: PerClient::new(most, most_of_one), shared }))
    }

    /// The configured limits, reduced to the file descriptors of this process.
    pub fn configured(server: &ServerConfig) -> Self {
        let handles = raise_handles();
        let possible = (handles.saturating_sub(RESERVED) / HANDLES).max(8);
        let most = server.max_connections.min(usize::try_from(possible).unwrap_or(usize::MAX));
        if most < server.max_connections {
            info!(
                handles,
                connections = most,
                "the limit of file handles (ulimit -n) allows fewer connections"
            );
        }
        let most_of_one = server.max_connections_per_client.unwrap_or(most.div_ceil(2)).min(most);
        Self::new(most, most_of_one, server.trusted_proxies.clone())
    }

    /// For the listener of health and metrics, which has few clients.
    pub fn few() -> Self {
        Self::new(64, 64, Vec::new())
    }

    /// Counts one more connection, if allowed.
    pub fn open(&self, client: IpAddr) -> Option<Counted> {
        let client = client.to_canonical();
        let shared = self.0.shared.iter().any(|net| net.contains(&client));
        let client = (!shared).then_some(client);
        self.0.open.take(client, 1).then(|| Counted { connections: self.clone(), client })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.0.open.give_back(self.client, 1);
    }
}

/// Raises the soft limit of file descriptors to the hard limit; returns the result.
#[cfg(unix)]
fn raise_handles() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(handles) => handles,
        Err(error) => {
            warn!(%error, "the limit of file handles cannot be raised");
            // The usual default of a shell.
            1024
        }
    }
}

#[cfg(not(unix))]
fn raise_handles() -> u64 {
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_gets_a_part_and_a_proxy_all() {
        let connections = Connections::new(4, 2, vec!["10.0.0.0/8".parse().unwrap()]);
        let open = |address: &str| connections.open(address.parse().unwrap());
        let held = [open("192.0.2.1").unwrap(), open("::ffff:192.0.2.1").unwrap()];
        assert!(open("192.0.2.1").is_none());
        let others: Vec<Counted> = (0..2).map(|_| open("10.1.2.3").unwrap()).collect();
        assert!(open("198.51.100.7").is_none() && open("10.1.2.3").is_none());
        drop(held);
        let proxy = [open("10.1.2.3").unwrap(), open("10.1.2.3").unwrap()];
        drop((others, proxy));
        assert!(connections.0.open.is_untouched());
    }
}
