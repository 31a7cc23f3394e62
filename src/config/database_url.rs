//! The address of a database, which may hold a password: it is never shown as a whole.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// Parameters that an address may have behind the question mark.
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

/// A `postgres://` address. Shown and logged without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

/// What is wrong with an address. It does not repeat the address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is for something else.
    #[error(
        "must be \"sqlite\" or a postgres:// address; what stands there is not shown, as it may hold a password"
    )]
    Scheme,
    /// It cannot be taken apart.
    #[error(
        "is no right postgres:// address, such as postgres://user:password@host:5432/name; it is not shown, as it may \
         hold a password. Characters such as @ : / in user or password are written as %40 %3A %2F"
    )]
    Malformed,
    /// A parameter is not known.
    #[error("unknown parameter \"{0}\"; allowed are {allowed}", allowed = PARAMETERS.join(", "))]
    Parameter(String),
    /// It names no database.
    #[error("names no database; write it behind the host, as in postgres://host/name")]
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
    /// For the driver. What the address leaves out comes from the usual `PG…` variables and the password file.
    pub fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        PgConnectOptions::from_str(&self.0)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It was checked when it was made.
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
