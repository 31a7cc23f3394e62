//! Bringing a schema up to date, beside a newer version that may have been there before.
//!
//! Migrations only add: columns that have a default or may be NULL, tables, indexes. So a version runs on the schema of
//! a later one, and can also be started on it, which is what going back after an upgrade needs. A migration that does
//! more says so in its name, which begins with `breaking`: a version that does not know it refuses to start.

use sqlx::migrate::{MigrateError, Migrator};

use super::QueueError;

/// How the descriptions of migrations begin that older versions cannot live with.
const BREAKING: &str = "breaking";

/// The migrations that were run, by version and description.
pub(super) const RUN: &str = "SELECT version, description FROM _sqlx_migrations";

/// The known migrations, for a database that may have had others too.
pub(super) fn beside_newer(known: &Migrator) -> Migrator {
    let mut migrator = Migrator { migrations: known.migrations.clone(), ..Migrator::DEFAULT };
    migrator.set_ignore_missing(true);
    migrator
}

/// Whether this version can live with everything that was run.
///
/// # Errors
/// [`QueueError::Newer`] where an unknown migration is a breaking one.
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

/// Why a schema could not be brought up to date.
pub(super) fn failed(error: MigrateError) -> QueueError {
    match error {
        // Such as a connection that broke.
        MigrateError::Execute(error) => QueueError::Store(error),
        other => QueueError::Migrate(other),
    }
}
