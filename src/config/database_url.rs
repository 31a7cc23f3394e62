//! The URL of a database. It may contain a password, so it is never shown in full.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// Allowed query parameters.
const PARAMETERS: [&str; 10] = [
    "application_name",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
];

/// A `postgres://` URL. Shown and logged without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// What is wrong with a URL. The message does not repeat the URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error(
        "must be \"sqlite\" or a postgres:// URL (the value is not shown, because it may contain a password)"
    )]
    Scheme,
    /// The URL cannot be parsed.
    #[error(
        "not a valid PostgreSQL URL (it is not shown, because it may contain a password); expected \
         postgres://USER:PASSWORD@HOST:PORT/DATABASE, with @ : / in user and password written as %40 %3A %2F"
    )]
    Malformed,
    /// An unknown parameter.
    #[error("unknown parameter \"{0}\"; allowed are {allowed}", allowed = PARAMETERS.join(", "))]
    Parameter(String),
    /// The database name is missing.
    #[error("the database name is missing; expected postgres://HOST/DATABASE")]
    NoDatabase,
}

impl FromStr for PostgresUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(UrlError::Scheme);
        }
        let query = text.split_once('?').map_or("", |(_, query)| query);
        // Checked here, because the driver would log an unknown parameter with its value.
        let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
        if let Some(unknown) = names.find(|name| !PARAMETERS.contains(&&**name)) {
            return Err(UrlError::Parameter(unknown.into_owned()));
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| UrlError::Malformed)?;
        match options.get_database() {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(UrlError::NoDatabase),
        }
    }
}

impl PostgresUrl {
    /// The options for the driver. Parts that the URL omits come from the usual `PG…` variables and the
    /// password file.
    pub fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        PgConnectOptions::from_str(&self.0)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL was checked when it was parsed.
        let Ok(options) = self.options() else { return f.write_str("postgres://") };
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => write!(f, "{database} at {}", socket.display()),
            None => write!(f, "{database} at {}:{}", options.get_host(), options.get_port()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_never_shown_with_their_password() {
        let url: PostgresUrl =
            "postgres://dream:s3cret@db.example:6000/reverie?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "reverie at db.example:6000");
        assert_eq!(format!("{url:?}"), "PostgresUrl(reverie at db.example:6000)");
        let socket: PostgresUrl = "postgresql://dream@%2Frun%2Fpg/reverie".parse().unwrap();
        assert_eq!(socket.to_string(), "reverie at /run/pg");
        for (text, expected) in [
            ("mysql://u:s3cret@host/db", UrlError::Scheme),
            ("postgres", UrlError::Scheme),
            ("postgres://u:s3cret@host:port/db", UrlError::Malformed),
            ("postgres://u:s3cret@host/db?sslmode=maybe", UrlError::Malformed),
            ("postgres://u:s3cret@host/db?passwort=s3cret", UrlError::Parameter("passwort".into())),
        ] {
            let error = text.parse::<PostgresUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
