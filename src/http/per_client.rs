//! A quantity that all clients share, of which one client gets only a part: connections, or bytes of uploads.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// How much there is, and who has taken how much of it.
#[derive(Debug)]
pub(super) struct PerClient {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl PerClient {
    /// At most `most` for all, and `most_of_one` for one client.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, taken: Mutex::default() }
    }

    /// Whether `more` could be taken now. Only the limit for all counts where there is no client.
    pub(super) fn fits(&self, client: Option<IpAddr>, more: usize) -> bool {
        self.fits_beside(&self.taken.lock().unwrap_or_else(PoisonError::into_inner), client, more)
    }

    /// Takes `more`, if it fits; whether it did.
    pub(super) fn take(&self, client: Option<IpAddr>, more: usize) -> bool {
        // No code panics while it holds the lock.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.fits_beside(&taken, client, more) {
            return false;
        }
        taken.all += more;
        if let Some(client) = client {
            *taken.by_client.entry(client).or_default() += more;
        }
        true
    }

    /// Gives back what was taken before.
    pub(super) fn give_back(&self, client: Option<IpAddr>, less: usize) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= less;
        if let Some(client) = client
            && let Some(of_one) = taken.by_client.get_mut(&client)
        {
            *of_one -= less;
            if *of_one == 0 {
                taken.by_client.remove(&client);
            }
        }
    }

    /// Whether nothing is taken, and nothing is remembered.
    #[cfg(test)]
    pub(super) fn is_untouched(&self) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all == 0 && taken.by_client.is_empty()
    }

    fn fits_beside(&self, taken: &Taken, client: Option<IpAddr>, more: usize) -> bool {
        let of_one = client.and_then(|client| taken.by_client.get(&client)).copied().unwrap_or_default();
        let fits = |taken: usize, most| taken.checked_add(more).is_some_and(|sum| sum <= most);
        fits(taken.all, self.most) && (client.is_none() || fits(of_one, self.most_of_one))
    }
}
