//! The one connection that writes, and what has to hold of every write.
//!
//! A transaction that SQLite rolls back by itself, as it does where there is no room or the disk fails, leaves the driver
//! believing that it is still open: every later one would fail. Such a connection is closed when it comes back.
//!
//! A database file that is deleted, moved or replaced goes on living as long as somebody has it open, and takes commits
//! that nobody will ever see again. So after every commit, and before anybody hears of it, the file at the path must be
//! the one that was opened.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sqlx::{
    Connection, Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use crate::jobs::QueueError;

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pool: SqlitePool,
    file: PathBuf,
    /// Device and number of the file.
    identity: (u64, u64),
    /// The log beside it, where there is one: it goes away together with the last connection only.
    log: Option<PathBuf>,
}

impl Writer {
    /// Opens the file, which is created where it is missing, and never again after that.
    pub(super) async fn open(file: &Path, options: &SqliteConnectOptions) -> Result<Self, QueueError> {
        let creator = SqlitePoolOptions::new().max_connections(1);
        let creator = creator.connect_with(options.clone().create_if_missing(true)).await?;
        let pool = SqlitePoolOptions::new().max_connections(1).after_release(|connection, _| {
            Box::pin(async move {
                // Answered after a rollback that was asked for by dropping the transaction.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let pool = pool.connect_with(options.clone().create_if_missing(false)).await?;
        // The second connection is there before the first goes, so that the log stays.
        creator.close().await;
        let identity = identity(file).map_err(sqlx::Error::Io)?;
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        let log = Some(PathBuf::from(log)).filter(|log| log.exists());
        Ok(Self { pool, file: file.to_owned(), identity, log })
    }

    /// For the schema.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins to write: nobody else does until the end.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, QueueError> {
        self.check().await?;
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Commits; when this returns, it is on the disk, in the file that is at the path.
    pub(super) async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), QueueError> {
        transaction.commit().await?;
        self.check().await
    }

    /// Whether the file is the one that was opened.
    async fn check(&self) -> Result<(), QueueError> {
        let (file, log, expected) = (self.file.clone(), self.log.clone(), self.identity);
        let looked = tokio::task::spawn_blocking(move || {
            if let Some(log) = log {
                identity(&log)?;
            }
            let found = identity(&file)?;
            if found == expected { Ok(()) } else { Err(io::Error::other("it is another file")) }
        });
        let looked = looked.await.unwrap_or_else(|cut| Err(io::Error::other(cut)));
        looked.map_err(|source| QueueError::Moved { file: self.file.clone(), source })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}
