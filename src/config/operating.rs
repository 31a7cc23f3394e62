//! Settings for operators: `[limits]`, `[retention]`, `[telemetry]`, and the trusted proxies.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{Fields, LimitsConfig, text};

const DAY: u64 = 24 * 60 * 60;

/// A hundred years; 0 means for ever.
const MAX_DAYS: f64 = 36_500.0;

/// How long finished jobs are kept; `None` means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Pictures, counted from the end of the job.
    pub results: Option<Duration>,
    /// Everything else, counted from the end of the job.
    pub jobs: Option<Duration>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let days = |days| Some(Duration::from_secs(days * DAY));
        Self { results: days(7), jobs: days(30) }
    }
}

/// Where spans are exported to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// An OpenTelemetry collector (OTLP over HTTP).
    pub otlp_endpoint: Option<String>,
}

pub(super) fn limits(fields: &mut Fields, default: LimitsConfig) -> LimitsConfig {
    LimitsConfig {
        max_body_bytes: fields.number("max_body_bytes", 1024, 1 << 30).unwrap_or(default.max_body_bytes),
        max_json_bytes: fields.number("max_json_bytes", 1024, 1 << 30).unwrap_or(default.max_json_bytes),
        max_uploads_mb: fields.number("max_uploads_mb", 1, 1 << 20).unwrap_or(default.max_uploads_mb),
        max_pixels: fields.number("max_pixels", 1, 1_000_000_000).unwrap_or(default.max_pixels),
        max_job_seconds: match fields.number("max_job_seconds", 0, 1_000_000) {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => default.max_job_seconds,
        },
        max_job_memory_mb: match fields.number("max_job_memory_mb", 0, 100_000_000) {
            Some(0) => None,
            given => given.or(default.max_job_memory_mb),
        },
        max_decode_mb: fields.number("max_decode_mb", 0, 100_000_000).unwrap_or(default.max_decode_mb),
    }
}

pub(super) fn retention(fields: &mut Fields, default: RetentionConfig) -> RetentionConfig {
    let results = days(fields, "results_days", default.results);
    let jobs = days(fields, "jobs_days", default.jobs);
    // A deleted job has no pictures either.
    if let Some(jobs) = jobs
        && results.is_none_or(|results| results > jobs)
    {
        fields.error("results_days", "must not be more than jobs_days: a deleted job keeps no pictures");
    }
    RetentionConfig { results, jobs }
}

/// Days, possibly fractional; 0 means for ever.
fn days(fields: &mut Fields, name: &'static str, default: Option<Duration>) -> Option<Duration> {
    match fields.number(name, 0.0, MAX_DAYS) {
        Some(0.0) => None,
        Some(days) => Some(Duration::from_secs_f64(days * DAY as f64)),
        None => default,
    }
}

pub(super) fn telemetry(fields: &mut Fields, _default: TelemetryConfig) -> TelemetryConfig {
    let endpoint = text(fields, "otlp_endpoint").filter(|endpoint| !endpoint.is_empty());
    if let Some(endpoint) = &endpoint
        && !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme))
    {
        fields.error(
            "otlp_endpoint",
            format!("\"{endpoint}\" is not a valid URL; expected http://… or https://…"),
        );
    }
    TelemetryConfig { otlp_endpoint: endpoint }
}

/// A list of networks and single addresses.
pub(super) fn networks(fields: &mut Fields, name: &'static str) -> Option<Vec<IpNet>> {
    let texts = fields.texts(name)?;
    let mut networks = Vec::with_capacity(texts.len());
    for text in &texts {
        let text = text.trim();
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => fields.error(
                name,
                format!(
                    "\"{text}\" is not an IP address or network; expected one such as 10.0.0.1 or 10.0.0.0/8"
                ),
            ),
        }
    }
    Some(networks)
}
