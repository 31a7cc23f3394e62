//! How many bytes of request bodies are in memory at the same time.
//!
//! A body is held until its pictures are stored, so the sum over all requests is what uploads cost. Room is taken as
//! bytes arrive, not as they are announced: a client that announces much and sends little takes little.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that are counted as one.
const UNIT: usize = 16 * 1024;

/// The room for all bodies; clones share it.
#[derive(Clone, Debug)]
pub struct Uploads(Arc<Semaphore>);

/// There is no room for so many bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Uploads {
    /// Room for so many megabytes.
    pub fn new(megabytes: usize) -> Self {
        let units = megabytes.saturating_mul(1024 * 1024 / UNIT).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// Whether a body of so many bytes would find room now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.available_permits() >= bytes.div_ceil(UNIT)
    }

    /// The room of one body, empty at first.
    pub fn share(&self) -> Share {
        Share { uploads: self.clone(), held: None, bytes: 0 }
    }
}

/// The room that one body takes; given back when dropped.
#[derive(Debug)]
pub struct Share {
    uploads: Uploads,
    held: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    /// Takes room for `more` bytes.
    ///
    /// # Errors
    /// [`NoRoom`]; what was taken before stays.
    pub fn grow(&mut self, more: usize) -> Result<(), NoRoom> {
        let bytes = self.bytes.saturating_add(more);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(held);
        if missing > 0 {
            let missing = u32::try_from(missing).map_err(|_| NoRoom)?;
            let room = Arc::clone(&self.uploads.0).try_acquire_many_owned(missing).map_err(|_| NoRoom)?;
            match &mut self.held {
                Some(held) => held.merge(room),
                None => self.held = Some(room),
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_as_bytes_arrive_and_given_back() {
        let uploads = Uploads::new(1);
        let (mut one, mut other) = (uploads.share(), uploads.share());
        assert!(uploads.has_room(1 << 20) && !uploads.has_room((1 << 20) + 1));
        for _ in 0..512 {
            one.grow(1024).unwrap();
        }
        assert!(uploads.has_room(512 << 10) && !uploads.has_room((512 << 10) + 1));
        assert_eq!(other.grow(600 << 10), Err(NoRoom));
        other.grow(512 << 10).unwrap();
        assert_eq!(one.grow(1), Err(NoRoom));
        drop(other);
        one.grow(512 << 10).unwrap();
        drop(one);
        assert!(uploads.has_room(1 << 20));
    }
}
