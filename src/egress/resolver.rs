//! Looks names up for the HTTP client, which connects to the addresses that it gets from here and to no others.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{net::lookup_host, time::timeout};

use super::{EgressError, rules::Rules};

/// Time limit for looking up a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks names up.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The addresses of a host, in the order in which to try them.
    ///
    /// # Errors
    /// If the name cannot be looked up.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's way.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = timeout(LOOKUP_TIMEOUT, lookup_host((name, 0))).await;
        let found = found.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Refuses a name of which any address is not allowed: a name with an inner and an outer address is made to get inside.
pub(super) struct GuardedResolver {
    pub lookup: Arc<dyn Lookup>,
    pub rules: Arc<Rules>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, rules) = (Arc::clone(&self.lookup), Arc::clone(&self.rules));
        Box::pin(async move {
            let host = name.as_str();
            let addresses = lookup.lookup(host).await.unwrap_or_default();
            if addresses.is_empty() {
                return Err(EgressError::NoAddress(host.to_owned()).into());
            }
            for address in &addresses {
                rules.check_address(host, *address)?;
            }
            // The client puts the URL's port in.
            let sockets = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok::<Addrs, Box<dyn Error + Send + Sync>>(Box::new(sockets))
        })
    }
}
