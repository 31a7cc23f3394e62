//! Limits the memory of request bodies, in total and per client address.
//!
//! A body stays in memory until its pictures are stored, so uploads cost the sum over all requests. Memory is
//! taken as bytes arrive, not as they are announced: a client that announces much and sends little takes
//! little. One client gets half, or the longest allowed body if that is more, so a client that fills its own
//! part leaves room for the others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The memory budget of all bodies; clones share it.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Bytes for all clients.
    most: usize,
    /// Bytes for one client.
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The bytes do not fit into the budget now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Uploads {
    /// A budget of so many megabytes. One client's part is at least `longest`, the maximum size of a body in
    /// bytes.
    pub fn new(megabytes: usize, longest: usize) -> Self {
        let most = megabytes.saturating_mul(1024 * 1024);
        Self(Arc::new(Inner { most, most_of_one: (most / 2).max(longest), taken: Mutex::default() }))
    }

    /// The share of one body, empty at first; `None` for a client without a known address.
    pub fn share(&self, client: Option<IpAddr>) -> Share {
        Share { uploads: self.clone(), client, bytes: 0 }
    }

    fn fits(&self, taken: &Taken, client: Option<IpAddr>, more: usize) -> bool {
        let of_one = client.and_then(|client| taken.by_client.get(&client)).copied().unwrap_or_default();
        let fits = |taken: usize, most| taken.checked_add(more).is_some_and(|sum| sum <= most);
        fits(taken.all, self.0.most) && (client.is_none() || fits(of_one, self.0.most_of_one))
    }
}

/// The memory of one body; returned when dropped.
#[derive(Debug)]
pub struct Share {
    uploads: Uploads,
    client: Option<IpAddr>,
    bytes: usize,
}

impl Share {
    /// Whether `more` bytes would fit now.
    pub fn has_room(&self, more: usize) -> bool {
        // No code panics while it holds the lock.
        let taken = self.uploads.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.uploads.fits(&taken, self.client, more)
    }

    /// Takes `more` bytes.
    ///
    /// # Errors
    /// [`NoRoom`]; bytes taken earlier stay.
    pub fn grow(&mut self, more: usize) -> Result<(), NoRoom> {
        let mut taken = self.uploads.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.uploads.fits(&taken, self.client, more) {
            return Err(NoRoom);
        }
        taken.all += more;
        if let Some(client) = self.client {
            *taken.by_client.entry(client).or_default() += more;
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.uploads.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= self.bytes;
        if let Some(client) = self.client
            && let Some(of_one) = taken.by_client.get_mut(&client)
        {
            *of_one -= self.bytes;
            if *of_one == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn room_is_taken_as_bytes_arrive_and_given_back() {
        let uploads = Uploads::new(1, 0);
        let (mut one, mut other) = (uploads.share(None), uploads.share(None));
        assert!(one.has_room(1 << 20) && !one.has_room((1 << 20) + 1));
        for _ in 0..512 {
            one.grow(1024).unwrap();
        }
        assert!(other.has_room(512 << 10) && !other.has_room((512 << 10) + 1));
        assert_eq!(other.grow(600 << 10), Err(NoRoom));
        other.grow(512 << 10).unwrap();
        assert_eq!(one.grow(1), Err(NoRoom));
        drop(other);
        one.grow(512 << 10).unwrap();
        drop(one);
        assert!(uploads.share(None).has_room(1 << 20));
    }

    #[test]
    fn one_client_leaves_half_of_the_room() {
        let uploads = Uploads::new(1, 0);
        let mut bodies = [uploads.share(client(1)), uploads.share(client(1))];
        bodies[0].grow(300 << 10).unwrap();
        assert_eq!(bodies[1].grow(300 << 10), Err(NoRoom));
        bodies[1].grow(212 << 10).unwrap();
        let mut other = uploads.share(client(2));
        other.grow(512 << 10).unwrap();
        assert_eq!(uploads.share(client(3)).grow(1), Err(NoRoom));
        drop((bodies, other));
        let taken = uploads.0.taken.lock().unwrap();
        assert!(taken.all == 0 && taken.by_client.is_empty());
    }

    #[test]
    fn the_longest_body_always_finds_room_in_the_end() {
        let uploads = Uploads::new(1, 900 << 10);
        uploads.share(client(1)).grow(900 << 10).unwrap();
    }
}
