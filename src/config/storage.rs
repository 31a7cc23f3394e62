//! `[storage]`: where jobs and pictures are stored.

use std::time::Duration;

use super::database_url::PostgresUrl;
use super::{Fields, Place, StorageConfig, folder, s3, seconds, text};

/// Where jobs are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database {
    /// In a file of the storage folder, for one server process.
    #[default]
    Sqlite,
    /// In a PostgreSQL database, for any number of processes.
    Postgres(PostgresUrl),
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            dir: "data".into(),
            database: Database::Sqlite,
            connections: 10,
            connect_timeout: Duration::from_secs(60),
            objects: Place::Disk,
            redirect_results: false,
        }
    }
}

pub(super) fn storage(fields: &mut Fields, default: StorageConfig) -> StorageConfig {
    let database = match text(fields, "database") {
        None => default.database,
        Some(sqlite) if sqlite == "sqlite" => Database::Sqlite,
        Some(url) => match url.parse() {
            Ok(url) => Database::Postgres(url),
            Err(error) => {
                fields.error("database", error.to_string());
                default.database
            }
        },
    };
    let objects = s3::place(fields);
    let redirect_results = s3::redirect(fields, &objects);
    StorageConfig {
        dir: folder(fields, default.dir),
        database,
        connections: fields.number("connections", 2, 1000).unwrap_or(default.connections),
        connect_timeout: seconds(fields, "connect_timeout_seconds", 0, 3600)
            .unwrap_or(default.connect_timeout),
        objects,
        redirect_results,
    }
}
