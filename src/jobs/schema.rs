//! Migrates a schema that a newer version may have migrated before.
//!
//! Migrations only add: columns that have a default or allow NULL, tables, indexes. So a version runs on the
//! schema of a later one, and can also start on it, which a rollback after an upgrade needs. A migration that
//! does more has a name that begins with `breaking`: a version that does not know it refuses to start.

use sqlx::migrate::{MigrateError, Migrator};

use super::QueueError;

/// Name prefix of migrations that older versions do not support.
const BREAKING: &str = "breaking";

/// The applied migrations, by version and description.
pub(super) const RUN: &str = "SELECT version, description FROM _sqlx_migrations";

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
