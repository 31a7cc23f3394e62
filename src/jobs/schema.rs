//! Migrates a schema that a newer version may have migrated before.
//!
//! Migrations only add: columns that have a default or allow NULL, tables, indexes. So a version runs on the
//! schema of a later one, and can also start on it, which a rollback after an upgrade needs. A migration that
//! does more has a name that begins with `breaking`: a version that does not know it refuses to start.

use std::sync::LazyLock;

use sqlx::{
    SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::QueueError;

/// Includes files of a folder of `migrations/`, by their names without `.sql`.
///
/// Not `sqlx::migrate!`: for that macro the compiler builds both databases' drivers a second time, for itself. A test
/// compares the lists with the folders.
macro_rules! migrations {
    ($database:literal: $($name:literal),+ $(,)?) => {
        migrator(&[$((
            $name,
            include_str!(concat!("../../migrations/", $database, "/", $name, ".sql")),
        )),+])
    };
}

/// The schema on SQLite.
pub(super) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| {
    migrations! { "sqlite":
        "0001_jobs",
        "0002_options",
        "0010_traces_and_retention",
        "0011_forecasts",
        "0012_previews",
        "0013_faults",
        "0014_tenants",
        "0015_turns",
        "0016_webhooks",
        "0017_usage",
        "0018_tiles",
        "0019_stored_bytes",
        "0020_key_priorities",
        "0021_places",
        "0022_uploads",
        "0023_pauses",
        "0024_schedules",
        "0025_failures",
    }
});

/// The schema on PostgreSQL.
pub(super) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| {
    migrations! { "postgres":
        "0001_jobs",
        "0002_faults",
        "0003_workers",
        "0004_tenants",
        "0005_turns",
        "0006_webhooks",
        "0007_usage",
        "0008_tiles",
        "0009_stored_bytes",
        "0010_key_priorities",
        "0011_places",
        "0012_uploads",
        "0013_pauses",
        "0014_schedules",
        "0015_failures",
    }
});

/// Name prefix of migrations that older versions do not support.
const BREAKING: &str = "breaking";

/// The applied migrations, by version and description.
pub(super) const RUN: &str = "SELECT version, description FROM _sqlx_migrations";

/// Migrations by the names of their files, `<version>_<description>`, and their SQL.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migration = |&(name, sql): &(&'static str, &'static str)| {
        let (version, description) = name.split_once('_')?;
        let description = description.replace('_', " ").into();
        let no_transaction = sql.starts_with("-- no-transaction");
        let sql = sql.into_sql_str();
        Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, sql, no_transaction))
    };
    Migrator::with_migrations(files.iter().filter_map(migration).collect())
}

/// The known migrations, for a database that may have unknown ones too.
pub(super) fn beside_newer(known: &Migrator) -> Migrator {
    let mut migrator = Migrator { migrations: known.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    migrator
}

/// Checks that this version supports every applied migration.
///
/// # Errors
/// [`QueueError::Newer`] if an unknown migration is a breaking one.
pub(super) fn check(known: &Migrator, run: &[(i64, String)]) -> Result<(), QueueError> {
    let newest = known.iter().map(|migration| migration.version).max().unwrap_or_default();
    let breaks = |(version, description): &&(i64, String)| {
        description.starts_with(BREAKING) && !known.version_exists(*version)
    };
    match run.iter().find(breaks) {
        Some((found, _)) => Err(QueueError::Newer { found: *found, known: newest }),
        None => Ok(()),
    }
}

/// Converts the error of a failed migration.
pub(super) fn failed(error: MigrateError) -> QueueError {
    match error {
        // For example a broken connection.
        MigrateError::Execute(error) => QueueError::Store(error),
        other => QueueError::Migrate(other),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::{AssertSqlSafe, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;

    /// The migration that writes the text of a table's check leaves the rows, the other checks and the file sound.
    #[tokio::test]
    async fn a_table_of_the_version_before_learns_the_state_paused() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            SqliteConnectOptions::new().filename(folder.path().join("jobs")).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let mut before = beside_newer(&SQLITE);
        before.migrations = before.migrations.iter().filter(|one| one.version < 23).cloned().collect();
        before.run(&mut connection).await.unwrap();
        let old = "INSERT INTO jobs (id, state, spec, not_before, created_at, updated_at) VALUES ('a', 'queued', '{}', 1, 2, 3)";
        sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
        // Another connection knows the table as it was.
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        let paused = "UPDATE jobs SET state = 'paused'";
        assert!(sqlx::raw_sql(paused).execute(&mut other).await.is_err());
        SQLITE.run(&mut connection).await.unwrap();
        for connection in [&mut connection, &mut other] {
            sqlx::raw_sql(paused).execute(&mut *connection).await.unwrap();
            for wrong in ["state = 'asleep'", "finished_at = 1", "state = 'failed'", "pause_requested = 2"] {
                let wrong = format!("UPDATE jobs SET {wrong}");
                assert!(
                    sqlx::raw_sql(AssertSqlSafe(&*wrong)).execute(&mut *connection).await.is_err(),
                    "{wrong}"
                );
            }
            let sound: String =
                sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut *connection).await.unwrap();
            assert_eq!(sound, "ok");
        }
        let kept: (String, i64) =
            sqlx::query_as("SELECT id, updated_at FROM jobs").fetch_one(&mut other).await.unwrap();
        assert_eq!(kept, ("a".to_owned(), 3));
    }

    #[tokio::test]
    async fn every_file_of_the_folders_is_in_the_program() {
        for (known, folder) in [(&SQLITE, "sqlite"), (&POSTGRES, "postgres")] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let files = Migrator::new(folder.as_path()).await.unwrap();
            let told = |migrator: &Migrator| -> Vec<_> {
                let tell =
                    |one: &Migration| (one.version, one.description.clone(), one.checksum.clone(), one.no_tx);
                migrator.iter().map(tell).collect()
            };
            assert_eq!(told(known), told(&files));
            assert_eq!(
                std::fs::read_dir(&folder).unwrap().count(),
                files.iter().count(),
                "a name without a version"
            );
        }
    }
}
