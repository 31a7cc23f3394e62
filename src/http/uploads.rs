//! Limits the memory of request bodies, in total and per client address.
//!
//! A body stays in memory until its pictures are stored, so uploads cost the sum over all requests. Memory is
//! taken as bytes arrive, not as they are announced: a client that announces much and sends little takes
//! little. One client gets half, or the longest allowed body if that is more, so a client that fills its own
//! part leaves room for the others.

use std::{net::IpAddr, sync::Arc};

use super::per_client::PerClient;

/// The memory budget of all bodies in bytes; clones share it.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<PerClient>);

/// The bytes do not fit into the budget now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Uploads {
    /// A budget of so many megabytes. One client's part is at least `longest`, the maximum size of a body in
    /// bytes.
    pub fn new(megabytes: usize, longest: usize) -> Self {
        let most = megabytes.saturating_mul(1024 * 1024);
        Self(Arc::new(PerClient::new(most, (most / 2).max(longest))))
    }

    /// The share of one body, empty at first. `client` is `None` if its address is unknown.
    pub fn share(&self, client: Option<IpAddr>) -> Share {
        Share { uploads: self.clone(), client, bytes: 0 }
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
        self.uploads.0.fits(self.client, more)
    }

    /// Takes `more` bytes.
    ///
    /// # Errors
    /// [`NoRoom`]; bytes taken earlier stay.
    pub fn grow(&mut self, more: usize) -> Result<(), NoRoom> {
        if !self.uploads.0.take(self.client, more) {
            return Err(NoRoom);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.uploads.0.give_back(self.client, self.bytes);
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
        assert!(uploads.0.is_untouched());
    }

    #[test]
    fn the_longest_body_always_finds_room_in_the_end() {
        let uploads = Uploads::new(1, 900 << 10);
        uploads.share(client(1)).grow(900 << 10).unwrap();
    }
}
