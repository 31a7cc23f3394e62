//! Classifies database errors by what to do about them, from the error codes of each database.

use sqlx::{error::DatabaseError, postgres::PgDatabaseError};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The disk is full.
    Full,
    /// The database is unreachable or unusable now; it may recover.
    Down,
    /// The database answers and refuses access: a mistake in our configuration or in the database's.
    Refused,
    /// A bad request, or any other error.
    Other,
}

impl Fault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&**error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // A connection that broke in the middle of an answer.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // A connection on which an earlier transaction broke.
            | sqlx::Error::BeginFailed
            | sqlx::Error::InvalidSavePointStatement => Self::Down,
            _ => Self::Other,
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        if error.try_downcast_ref::<PgDatabaseError>().is_some() {
            Self::of_sqlstate(&code)
        } else {
            code.parse().map_or(Self::Other, Self::of_sqlite)
        }
    }

    /// SQLite's extended result codes; the lower byte is the kind.
    fn of_sqlite(code: u32) -> Self {
        match code {
            // SQLITE_FULL; a failed write to the log shows as SQLITE_IOERR_WRITE, and one to its index, which only grows,
            // as SQLITE_IOERR_SHMSIZE.
            13 | 778 | 4874 => Self::Full,
            // SQLITE_BUSY, LOCKED, READONLY, IOERR, CORRUPT, CANTOPEN, NOTADB.
            code if [5, 6, 8, 10, 11, 14, 26].contains(&(code & 0xff)) => Self::Down,
            _ => Self::Other,
        }
    }

    /// PostgreSQL's SQLSTATE; the first two characters are the class (manual, appendix A).
    fn of_sqlstate(code: &str) -> Self {
        match code {
            // disk_full
            "53100" => Self::Full,
            // query_canceled, as by a time limit; lock_not_available; idle_in_transaction_session_timeout;
            // read_only_sql_transaction, as on a stand-by; admin_shutdown, crash_shutdown, cannot_connect_now,
            // idle_session_timeout.
            "57014" | "55P03" | "25P03" | "25006" | "57P01" | "57P02" | "57P03" | "57P05" => Self::Down,
            // `invalid_catalog_name` (no such database), `insufficient_privilege`
            "3D000" | "42501" => Self::Refused,
            _ => match code.get(..2) {
                // Connections, resources, rolled back (deadlocks), the system, damage.
                Some("08" | "53" | "40" | "58" | "XX") => Self::Down,
                // Invalid authorisation.
                Some("28") => Self::Refused,
                _ => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (code, expected) in [
            ("53100", Fault::Full),
            ("53300", Fault::Down),
            ("57P01", Fault::Down),
            ("08006", Fault::Down),
            ("40P01", Fault::Down),
            ("25006", Fault::Down),
            ("28P01", Fault::Refused),
            ("3D000", Fault::Refused),
            ("23505", Fault::Other),
            ("42703", Fault::Other),
            ("", Fault::Other),
        ] {
            assert_eq!(Fault::of_sqlstate(code), expected, "{code}");
        }
        // SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE, SQLITE_BUSY_SNAPSHOT, SQLITE_CONSTRAINT_UNIQUE.
        for (code, expected) in [
            (13, Fault::Full),
            (778, Fault::Full),
            (4874, Fault::Full),
            (517, Fault::Down),
            (2067, Fault::Other),
        ] {
            assert_eq!(Fault::of_sqlite(code), expected, "{code}");
        }
    }
}
