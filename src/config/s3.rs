//! Where pictures are stored: `storage.objects`, and `[s3]` for a bucket.
//!
//! There is no setting for credentials, because configuration files get copied and shared.

use std::time::Duration;

use super::{Fields, seconds, text};

/// Where pictures are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the storage folder.
    Disk,
    /// In a bucket of an S3-compatible store.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// Prefix of the blob names; may be empty.
        prefix: String,
    },
}

/// How to reach a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Config {
    /// URL of the store; empty for Amazon's.
    pub endpoint: String,
    /// Region of the bucket; empty to use the environment's.
    pub region: String,
    /// Whether an unencrypted endpoint is allowed.
    pub allow_http: bool,
    /// Whether the bucket is in the path instead of the host name.
    pub path_style: bool,
    /// Time limit for connecting.
    pub connect_timeout: Duration,
    /// Time limit for the start of a response, and for silence in the middle of it.
    pub timeout: Duration,
    /// How long a failed request is retried.
    pub retry: Duration,
    /// How long a start waits for the store.
    pub start: Duration,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: String::new(),
            allow_http: false,
            path_style: true,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            retry: Duration::from_secs(15),
            start: Duration::from_secs(60),
        }
    }
}

/// `storage.objects`
pub(super) fn place(fields: &mut Fields) -> Place {
    let given = text(fields, "objects");
    let Some(given) = given.filter(|given| given != "disk") else { return Place::Disk };
    let address = given.strip_prefix("s3://").map(|address| address.trim_end_matches('/'));
    let parts = address.map(|address| address.split_once('/').unwrap_or((address, "")));
    match parts {
        Some((bucket, prefix)) if is_bucket(bucket) && is_prefix(prefix) => {
            Place::Bucket { bucket: bucket.into(), prefix: prefix.into() }
        }
        _ => {
            let allowed = "neither \"disk\" nor s3://BUCKET or s3://BUCKET/PREFIX; names of buckets have 3 to 63 small \
                           letters, digits, dots and hyphens";
            fields.error("objects", format!("\"{given}\" is {allowed}"));
            // A placeholder, so this error causes no further ones.
            Place::Bucket { bucket: String::new(), prefix: String::new() }
        }
    }
}

/// `storage.redirect_results`
pub(super) fn redirect(fields: &mut Fields, place: &Place) -> bool {
    let redirect = fields.flag("redirect_results").unwrap_or(false);
    if redirect && *place == Place::Disk {
        fields.error(
            "redirect_results",
            "needs a store that clients can be sent to: storage.objects is \"disk\"",
        );
    }
    redirect
}

fn is_bucket(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'-'))
        && name.as_bytes().first().copied().is_some_and(plain)
}

fn is_prefix(prefix: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
    prefix.is_empty() || prefix.split('/').all(part)
}

pub(super) fn s3(fields: &mut Fields, default: S3Config) -> S3Config {
    let endpoint = text(fields, "endpoint").unwrap_or(default.endpoint);
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let allow_http = fields.flag("allow_http").unwrap_or(default.allow_http);
    let host = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
    match host {
        None if endpoint.is_empty() => {}
        // Not shown, because it may contain a password.
        Some(host) if host.contains('@') => {
            fields.error(
                "endpoint",
                "must be without user and password: credentials come from the environment",
            );
        }
        None | Some("") => {
            fields.error(
                "endpoint",
                format!("\"{endpoint}\" is not a valid URL; expected one such as https://s3.example.org"),
            );
        }
        Some(_) if endpoint.starts_with("http://") && !allow_http => {
            let mended = "use https://, or set s3.allow_http where the network is your own";
            fields.error("endpoint", format!("\"{endpoint}\" is not encrypted; {mended}"));
        }
        Some(_) => {}
    }
    S3Config {
        endpoint,
        region: text(fields, "region").unwrap_or(default.region),
        allow_http,
        path_style: fields.flag("path_style").unwrap_or(default.path_style),
        connect_timeout: seconds(fields, "connect_timeout_seconds", 1, 60).unwrap_or(default.connect_timeout),
        timeout: seconds(fields, "timeout_seconds", 1, 300).unwrap_or(default.timeout),
        retry: seconds(fields, "retry_seconds", 0, 240).unwrap_or(default.retry),
        start: seconds(fields, "start_seconds", 0, 3600).unwrap_or(default.start),
    }
}
