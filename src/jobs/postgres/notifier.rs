//! Notifier between processes: what one says on a channel of the database (`NOTIFY`), all others hear and pass on to
//! their own parts.
//!
//! They are not sent with the changes that they tell of. A commit that notifies takes a lock which every other such
//! commit of the whole server waits for, so that claims and heartbeats would go one after the other. Instead one task per
//! process collects what is to be told while it sends, and tells it together, without waiting for the disk. A hint
//! that gets lost on the way, as when the process is killed, costs whoever would have heard it a second.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener},
};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::connect;
use crate::{
    clock::Clock,
    jobs::{JobId, Signals},
};

const CHANNEL: &str = "reverie";

/// Jobs per message: PostgreSQL allows 8000 bytes, and an id takes 39.
const PER_MESSAGE: usize = 100;

/// The commit tells nobody of anything that is not stored already, so it need not wait for the disk.
const SEND: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";

/// How often the server's clock is looked at, and with it whether the connection is still one.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A connection that does not answer for so long is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The rest after a failure.
const REST: Duration = Duration::from_secs(1);

/// One message.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message {
    /// Who sends it, who need not hear it.
    from: Uuid,
    /// Number of jobs that may be claimed.
    work: u32,
    /// Jobs that have changed.
    changed: Vec<JobId>,
    /// Jobs that are to stop.
    canceled: Vec<JobId>,
}

/// What is to be told.
#[derive(Debug, Default)]
struct Pending {
    work: u32,
    changed: HashSet<JobId>,
    canceled: HashSet<JobId>,
}

/// Tells this process at once and the others soon.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    signals: Arc<Signals>,
    pending: Arc<Mutex<Pending>>,
    there: Arc<Notify>,
}

impl Notifier {
    pub(super) fn new() -> Self {
        Self { signals: Arc::default(), pending: Arc::default(), there: Arc::default() }
    }

    /// Those of this process.
    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    pub(super) fn work_is_there(&self) {
        self.signals.work_is_there();
        self.pending().work += 1;
        self.there.notify_one();
    }

    pub(super) fn changed(&self, id: JobId) {
        self.signals.changed(id);
        self.pending().changed.insert(id);
        self.there.notify_one();
    }

    pub(super) fn cancel(&self, id: JobId) {
        self.signals.cancel(id);
        self.pending().canceled.insert(id);
        self.there.notify_one();
    }

    /// No code panics while it holds the lock.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is to be told, for ever.
    pub(super) async fn send(self, pool: PgPool, from: Uuid) {
        loop {
            self.there.notified().await;
            let pending = std::mem::take(&mut *self.pending());
            for message in messages(from, pending) {
                let Ok(text) = serde_json::to_string(&message) else { continue };
                if let Err(error) = sqlx::query(SEND).bind(CHANNEL).bind(text).execute(&pool).await {
                    debug!(%error, "other processes are not told; they look for themselves");
                }
            }
        }
    }

    /// Passes on what others send, for ever; also keeps `clock` right.
    pub(super) async fn hear(self, options: PgConnectOptions, from: Uuid, clock: Clock) {
        let mut heard = true;
        loop {
            let error = match self.listen(&options, from, &clock, &mut heard).await {
                Ok(()) => "the connection is lost".to_owned(),
                Err(error) => error.to_string(),
            };
            if std::mem::take(&mut heard) {
                warn!(error, "other processes are not heard; everyone looks each second until they are");
            }
            sleep(REST).await;
        }
    }

    /// Listens until the connection ends.
    async fn listen(
        &self,
        options: &PgConnectOptions,
        from: Uuid,
        clock: &Clock,
        heard: &mut bool,
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&connect::pool(options, 1)).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        if !std::mem::replace(heard, true) {
            info!("other processes are heard again");
        }
        // Whatever was said before nobody here has heard.
        self.signals.everything();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = listener.try_recv() => match received? {
                    Some(notification) => self.pass_on(notification.payload(), from),
                    None => return Ok(()),
                },
                _ = looks.tick() => {
                    let look = timeout(PATIENCE, connect::server_time(&mut listener)).await;
                    clock.set(look.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??);
                }
            }
        }
    }

    fn pass_on(&self, payload: &str, own: Uuid) {
        // A later version may say something else.
        let Ok(message) = serde_json::from_str::<Message>(payload) else { return };
        if message.from == own {
            return;
        }
        for id in message.canceled {
            self.signals.cancel(id);
        }
        for id in message.changed {
            self.signals.changed(id);
        }
        for _ in 0..message.work.min(64) {
            self.signals.work_is_there();
        }
    }
}

fn messages(from: Uuid, pending: Pending) -> Vec<Message> {
    let Pending { work, changed, canceled } = pending;
    let (changed, canceled): (Vec<JobId>, Vec<JobId>) =
        (changed.into_iter().collect(), canceled.into_iter().collect());
    let mut messages = vec![Message { from, work, ..Message::default() }];
    // Cancels are few and never wait for the rest.
    for part in canceled.chunks(PER_MESSAGE) {
        messages.push(Message { from, canceled: part.to_vec(), ..Message::default() });
    }
    for part in changed.chunks(PER_MESSAGE) {
        messages.push(Message { from, changed: part.to_vec(), ..Message::default() });
    }
    if work == 0 {
        messages.remove(0);
    }
    messages
}
