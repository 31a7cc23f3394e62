//! Notifier between processes (LISTEN/NOTIFY). What one process sends on a database channel, all others
//! receive and forward to their own tasks.
//!
//! Notifications are not part of the transactions that they report. A commit with `NOTIFY` takes a lock that
//! every other such commit of the whole server waits for, so claims and heartbeats would run one after the
//! other. Instead, one task per process collects notifications while it sends, and sends them together,
//! without waiting for the disk. A lost notification, for example of a killed process, costs each receiver
//! one second: each polls.

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

use super::{connect, turns::TurnCache};
use crate::{
    clock::Clock,
    jobs::{JobId, Signals, signals::as_job},
    tile::TileId,
};

const CHANNEL: &str = "reverie";

/// Jobs or tenants per message: PostgreSQL allows 8000 bytes; an id takes 39, and a tenant's name up to 67.
const PER_MESSAGE: usize = 100;

/// The notification reports only what is already stored, so its commit need not wait for the disk.
const SEND: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";

/// How often the server's clock is read. This also checks the connection.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// A connection without an answer for this long counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Delay after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// One message.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message {
    /// The sender, which ignores its own messages.
    from: Uuid,
    /// Number of jobs that may be ready.
    work: u32,
    /// Tenants that have new jobs.
    #[serde(default)]
    tenants: Vec<String>,
    /// Whether a tile is wanted.
    #[serde(default)]
    tiles: bool,
    /// Jobs that changed, and tiles.
    changed: Vec<JobId>,
    /// Jobs that must stop.
    canceled: Vec<JobId>,
    /// Running jobs of which something else was asked; a version before pauses sends and reads none.
    #[serde(default)]
    asked: Vec<JobId>,
}

/// Notifications to send.
#[derive(Debug, Default)]
struct Pending {
    work: u32,
    tenants: HashSet<String>,
    tiles: bool,
    changed: HashSet<JobId>,
    canceled: HashSet<JobId>,
    asked: HashSet<JobId>,
}

/// Notifies this process at once and the others soon.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    signals: Arc<Signals>,
    turns: Arc<TurnCache>,
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
}

impl Notifier {
    /// `turns` learn of the tenants that have new jobs.
    pub(super) fn new(turns: &Arc<TurnCache>) -> Self {
        Self {
            signals: Arc::default(),
            turns: Arc::clone(turns),
            pending: Arc::default(),
            wake: Arc::default(),
        }
    }

    /// The notifications of this process.
    pub(super) fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    pub(super) fn work_is_there(&self) {
        self.signals.work_is_there();
        self.work_elsewhere();
    }

    /// A tenant has a new job.
    pub(super) fn work_of(&self, tenant: &str) {
        self.turns.came(tenant);
        self.pending().tenants.insert(tenant.to_owned());
        self.work_is_there();
    }

    /// A job may be ready for other processes, and is not for this one.
    pub(super) fn work_elsewhere(&self) {
        self.pending().work += 1;
        self.wake.notify_one();
    }

    pub(super) fn changed(&self, id: JobId) {
        self.signals.changed(id);
        self.pending().changed.insert(id);
        self.wake.notify_one();
    }

    pub(super) fn tile_is_wanted(&self) {
        self.signals.tile_is_wanted();
        self.pending().tiles = true;
        self.wake.notify_one();
    }

    pub(super) fn tile_changed(&self, id: TileId) {
        self.changed(as_job(id));
    }

    pub(super) fn cancel(&self, id: JobId) {
        self.signals.cancel(id);
        self.pending().canceled.insert(id);
        self.wake.notify_one();
    }

    pub(super) fn asked(&self, id: JobId) {
        self.signals.asked(id);
        self.pending().asked.insert(id);
        self.wake.notify_one();
    }

    /// No code panics while it holds the lock.
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends pending notifications, for ever.
    pub(super) async fn send(self, pool: PgPool, from: Uuid) {
        loop {
            self.wake.notified().await;
            let pending = std::mem::take(&mut *self.pending());
            for message in messages(from, pending) {
                let Ok(text) = serde_json::to_string(&message) else { continue };
                if let Err(error) = sqlx::query(SEND).bind(CHANNEL).bind(text).execute(&pool).await {
                    debug!(%error, "notifications could not be sent; other processes poll");
                }
            }
        }
    }

    /// Forwards the notifications of other processes, for ever; also keeps `clock` right.
    pub(super) async fn receive(self, options: PgConnectOptions, from: Uuid, clock: Clock) {
        let mut connected = true;
        loop {
            let error = match self.listen(&options, from, &clock, &mut connected).await {
                Ok(()) => "the connection is lost".to_owned(),
                Err(error) => error.to_string(),
            };
            if std::mem::take(&mut connected) {
                warn!(
                    error,
                    "the notifier is disconnected; this process polls each second until it reconnects"
                );
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Listens until the connection ends.
    async fn listen(
        &self,
        options: &PgConnectOptions,
        from: Uuid,
        clock: &Clock,
        connected: &mut bool,
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&connect::pool(options, 1)).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        if !std::mem::replace(connected, true) {
            info!("the notifier is connected again");
        }
        // This process missed every notification before this point.
        self.signals.everything();
        let mut ticks = interval(CLOCK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = listener.try_recv() => match received? {
                    Some(notification) => self.forward(notification.payload(), from),
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    let time = timeout(ANSWER_TIMEOUT, connect::server_time(&mut listener)).await;
                    clock.set(time.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??);
                }
            }
        }
    }

    fn forward(&self, payload: &str, own: Uuid) {
        // A later version may use another format.
        let Ok(message) = serde_json::from_str::<Message>(payload) else { return };
        if message.from == own {
            return;
        }
        for tenant in &message.tenants {
            self.turns.came(tenant);
        }
        for id in message.canceled {
            self.signals.cancel(id);
        }
        for id in message.asked {
            self.signals.asked(id);
        }
        for id in message.changed {
            self.signals.changed(id);
        }
        if message.tiles {
            self.signals.tile_is_wanted();
        }
        for _ in 0..message.work.min(64) {
            self.signals.work_is_there();
        }
    }
}

fn messages(from: Uuid, pending: Pending) -> Vec<Message> {
    let Pending { work, tenants, tiles, changed, canceled, asked } = pending;
    let mut messages = Vec::new();
    // Before the work, so that whoever it wakes knows whose it is.
    for tenants in parts(tenants) {
        messages.push(Message { from, tenants, ..Message::default() });
    }
    if work > 0 || tiles {
        messages.push(Message { from, work, tiles, ..Message::default() });
    }
    // Requests are few and never wait for the rest.
    for canceled in parts(canceled) {
        messages.push(Message { from, canceled, ..Message::default() });
    }
    for asked in parts(asked) {
        messages.push(Message { from, asked, ..Message::default() });
    }
    for changed in parts(changed) {
        messages.push(Message { from, changed, ..Message::default() });
    }
    messages
}

/// What fits into one message each.
fn parts<T: Clone>(all: HashSet<T>) -> Vec<Vec<T>> {
    let all: Vec<T> = all.into_iter().collect();
    all.chunks(PER_MESSAGE).map(<[T]>::to_vec).collect()
}
