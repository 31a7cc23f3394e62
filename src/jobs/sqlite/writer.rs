//! The one write connection, and the checks around every write.
//!
//! If SQLite rolls a transaction back by itself, as it does when the disk is full or fails, the driver
//! believes that the transaction is still open, and every later one would fail. Such a connection is closed
//! when it returns to the pool.
//!
//! A deleted, moved or replaced database file lives on as long as a process has it open, and accepts commits
//! that are lost later. So after every commit, and before its result is reported, the file at the path must
//! be the one that was opened.

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
    /// Device and inode of the file.
    identity: (u64, u64),
    /// The write-ahead log beside the file, if there is one: it disappears only with the last connection.
    log: Option<PathBuf>,
}

impl Writer {
    /// Opens the file. Creates it if it is missing, but never again later.
    pub(super) async fn open(file: &Path, options: &SqliteConnectOptions) -> Result<Self, QueueError> {
        let creator = SqlitePoolOptions::new().max_connections(1);
        let creator = creator.connect_with(options.clone().create_if_missing(true)).await?;
        let pool = SqlitePoolOptions::new().max_connections(1).after_release(|connection, _| {
            Box::pin(async move {
                // The ping answers after the rollback that dropping the transaction requested.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let pool = pool.connect_with(options.clone().create_if_missing(false)).await?;
        // The second connection opens before the first closes, so the log stays.
        creator.close().await;
        let identity = identity(file).map_err(sqlx::Error::Io)?;
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        let log = Some(PathBuf::from(log)).filter(|log| log.exists());
        Ok(Self { pool, file: file.to_owned(), identity, log })
    }

    /// For migrations.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins an exclusive write transaction.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, QueueError> {
        self.check().await?;
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Commits. When this returns, the data is on the disk, in the file at the path.
    pub(super) async fn commit(&self, transaction: Transaction<'static, Sqlite>) -> Result<(), QueueError> {
        transaction.commit().await?;
        self.check().await
    }

    /// Checks that the file is the one that was opened.
    async fn check(&self) -> Result<(), QueueError> {
        let (file, log, expected) = (self.file.clone(), self.log.clone(), self.identity);
        let checked = tokio::task::spawn_blocking(move || {
            if let Some(log) = log {
                identity(&log)?;
            }
            let found = identity(&file)?;
            if found == expected { Ok(()) } else { Err(io::Error::other("a different file is at this path")) }
        });
        let checked = checked.await.unwrap_or_else(|cut| Err(io::Error::other(cut)));
        checked.map_err(|source| QueueError::Moved { file: self.file.clone(), source })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn open(file: &Path) -> Writer {
        let writer = Writer::open(file, &SqliteConnectOptions::new().filename(file)).await.unwrap();
        sqlx::raw_sql("CREATE TABLE names (name TEXT)").execute(writer.pool()).await.unwrap();
        writer
    }

    fn is_moved<T>(outcome: &Result<T, QueueError>) -> bool {
        matches!(outcome, Err(QueueError::Moved { .. }))
    }

    #[tokio::test]
    async fn a_file_that_is_moved_is_noticed_before_and_after_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let (file, aside) = (folder.path().join("jobs"), folder.path().join("aside"));
        let writer = open(&file).await;
        let mut transaction = writer.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO names VALUES ('a')").execute(&mut *transaction).await.unwrap();
        fs::rename(&file, &aside).unwrap();
        assert!(
            is_moved(&writer.commit(transaction).await),
            "it is lost with the file, and reported as kept"
        );
        assert!(is_moved(&writer.begin().await));
        fs::rename(&aside, &file).unwrap();
        writer.commit(writer.begin().await.unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_is_opened_again_begins_no_other_database() {
        let folder = tempfile::tempdir().unwrap();
        let (file, aside) = (folder.path().join("jobs"), folder.path().join("aside"));
        let writer = open(&file).await;
        writer.pool().acquire().await.unwrap().close().await.unwrap();
        fs::rename(&file, &aside).unwrap();
        assert!(writer.pool().acquire().await.is_err());
        assert!(!file.exists());
        fs::rename(&aside, &file).unwrap();
        writer.commit(writer.begin().await.unwrap()).await.unwrap();
    }
}
