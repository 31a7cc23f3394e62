//! Configuration: defaults, then a TOML file, then environment variables `REVERIE__SECTION__KEY`.
//!
//! Everything is checked before anything starts, and all errors are reported at once by name, so a wrong file
//! can be fixed in one go. `deploy/reverie.toml` shows every setting with its default.

mod auth;
mod database_url;
mod egress;
mod operating;
mod public_url;
mod quotas;
mod renamed;
mod s3;
mod secret_files;
mod server;
mod storage;
mod webhooks;

use std::{collections::HashMap, fmt, path::Path, path::PathBuf, time::Duration};

use config::{Environment, File, FileFormat};
use serde::Deserialize;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

pub use auth::{AuthConfig, AuthMode};
pub use database_url::{PostgresUrl, UrlError};
pub use egress::EgressConfig;
pub use operating::{RetentionConfig, TelemetryConfig};
pub use public_url::{NotAPublicUrl, PublicUrl};
pub use quotas::QuotasConfig;
pub use s3::{Place, S3Config};
pub use server::{ServerConfig, TlsFiles};
pub use storage::Database;
pub use webhooks::WebhooksConfig;

use reverie_engine::Kernels;
use reverie_fields::{FieldError, Fields};

/// Settings of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[quotas]`
    pub quotas: QuotasConfig,
    /// `[egress]`
    pub egress: EgressConfig,
    /// `[webhooks]`
    pub webhooks: WebhooksConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[s3]`
    pub s3: S3Config,
    /// `[models]`
    pub models: ModelsConfig,
    /// `[queue]`
    pub queue: QueueConfig,
    /// `[worker]`
    pub worker: WorkerConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[telemetry]`
    pub telemetry: TelemetryConfig,
    /// Warnings about the configuration to log: settings under an old name.
    pub warnings: Vec<String>,
}

/// Where jobs and pictures are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Folder for pictures, and for jobs if no other database has them.
    pub dir: PathBuf,
    /// Where jobs are stored.
    pub database: Database,
    /// Maximum connections of this process to a database server, besides two for itself (for moments three).
    pub connections: u32,
    /// How long a start waits for an unreachable database server.
    pub connect_timeout: Duration,
    /// Where pictures are stored.
    pub objects: Place,
    /// Whether to redirect clients to the store for their results.
    pub redirect_results: bool,
}

/// Where models come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelsConfig {
    /// The only folder with model files. If absent, the usual ones (`reverie_models::folders`).
    pub dir: Option<PathBuf>,
}

/// Limits of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Maximum number of queued jobs.
    pub capacity: u32,
    /// How long a worker may go without a heartbeat before its job goes to another worker.
    pub lease: Duration,
    /// Attempts per job, including the first.
    pub max_attempts: u32,
}

/// The renderer and its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Number of workers on each device; 0 for a process that only serves the API.
    pub count: usize,
    /// `auto`, `cpu`, `cuda:N`, several GPUs separated by commas, or `all`.
    pub device: String,
    /// CPU threads per render; 0 means one per core.
    pub threads: usize,
    /// Which implementation of the operations to use.
    pub kernels: Kernels,
    /// Whether concurrent jobs share passes of the network.
    pub dynamic_batching: bool,
    /// Whether workers of GPUs practise common sizes while they have nothing to do.
    pub practice: bool,
    /// How long a running job may continue when the server stops.
    pub shutdown_grace: Duration,
}

/// Limits of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Maximum request body in bytes.
    pub max_body_bytes: usize,
    /// Maximum JSON in a request in bytes, not counting the data URIs of its images.
    pub max_json_bytes: usize,
    /// Megabytes of request bodies in memory at the same time.
    pub max_uploads_mb: usize,
    /// Maximum pixels of an input image, and of the largest octave.
    pub max_pixels: u64,
    /// Maximum predicted seconds of one job; `None` for no limit.
    pub max_job_seconds: Option<Duration>,
    /// Maximum predicted memory of one job in megabytes; `None` for a share of the machine's.
    pub max_job_memory_mb: Option<u64>,
    /// Megabytes of memory for decoding uploads; 0 for a quarter of the machine's.
    pub max_decode_mb: u64,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Text or JSON lines.
    pub format: LogFormat,
    /// Which events to log, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { capacity: 100, lease: Duration::from_secs(30), max_attempts: 3 }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let shutdown_grace = Duration::from_secs(20);
        Self {
            count: 1,
            device: "auto".into(),
            threads: 0,
            kernels: Kernels::Auto,
            dynamic_batching: false,
            practice: true,
            shutdown_grace,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            max_json_bytes: 256 * 1024,
            max_uploads_mb: 256,
            max_pixels: 16_000_000,
            max_job_seconds: Some(Duration::from_secs(3600)),
            max_job_memory_mb: None,
            max_decode_mb: 0,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    Read(config::ConfigError),
    /// Invalid settings: all of them are listed.
    Invalid(Vec<FieldError>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the configuration cannot be read: {error}"),
            Self::Invalid(errors) => {
                f.write_str("the configuration is invalid:")?;
                for FieldError { pointer, detail } in errors {
                    let name = pointer.trim_start_matches('/').replace('/', ".");
                    write!(f, "\n  {name}: {detail}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Invalid(_) => None,
        }
    }
}

impl Config {
    /// Reads the file, if given, and this process's environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(file, None)
    }

    /// Like [`Config::load`], with `environment` instead of the process's own if given.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(
        file: Option<&Path>,
        environment: Option<HashMap<String, String>>,
    ) -> Result<Self, ConfigError> {
        let mut sources = config::Config::builder();
        if let Some(path) = file {
            sources = sources.add_source(File::from(path).format(FileFormat::Toml));
        }
        let environment = secret_files::with_contents(environment.unwrap_or_else(secret_files::of_process))?;
        let environment = Environment::with_prefix("REVERIE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("auth.link_secrets")
            .with_list_parse_key("egress.allowed_hosts")
            .with_list_parse_key("egress.allowed_networks")
            .with_list_parse_key("quotas.weights")
            .with_list_parse_key("server.allowed_hosts")
            .with_list_parse_key("server.cors_origins")
            .with_list_parse_key("server.trusted_proxies")
            .with_list_parse_key("webhooks.secrets")
            .source(Some(environment));
        let sources = sources.add_source(environment).build().map_err(ConfigError::Read)?;
        Self::validate(sources.try_deserialize().map_err(ConfigError::Read)?)
    }

    fn validate(value: Value) -> Result<Self, ConfigError> {
        let (value, warnings) = renamed::with_new_names(value)?;
        let mut root = Fields::new("", value);
        let config = Self {
            server: section(&mut root, "server", server::server),
            auth: section(&mut root, "auth", auth::auth),
            quotas: section(&mut root, "quotas", quotas::quotas),
            egress: section(&mut root, "egress", egress::egress),
            webhooks: section(&mut root, "webhooks", webhooks::webhooks),
            storage: section(&mut root, "storage", storage::storage),
            s3: section(&mut root, "s3", s3::s3),
            models: section(&mut root, "models", |fields, _: ModelsConfig| ModelsConfig {
                // Empty is as absent, so that the shipped file can show it.
                dir: text(fields, "dir").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            }),
            queue: section(&mut root, "queue", |fields, default: QueueConfig| QueueConfig {
                capacity: fields.number("capacity", 1, 1_000_000).unwrap_or(default.capacity),
                lease: seconds(fields, "lease_seconds", 3, 3600).unwrap_or(default.lease),
                max_attempts: fields.number("max_attempts", 1, 100).unwrap_or(default.max_attempts),
            }),
            worker: section(&mut root, "worker", |fields, default: WorkerConfig| WorkerConfig {
                count: fields.number("count", 0, 64).unwrap_or(default.count),
                device: text(fields, "device").unwrap_or(default.device),
                threads: fields.number("threads", 0, 1024).unwrap_or(default.threads),
                kernels: kernels(fields).unwrap_or(default.kernels),
                dynamic_batching: fields.flag("dynamic_batching").unwrap_or(default.dynamic_batching),
                practice: fields.flag("practice").unwrap_or(default.practice),
                shutdown_grace: seconds(fields, "shutdown_grace_seconds", 0, 3600)
                    .unwrap_or(default.shutdown_grace),
            }),
            limits: section(&mut root, "limits", operating::limits),
            retention: section(&mut root, "retention", operating::retention),
            log: section(&mut root, "log", log),
            telemetry: section(&mut root, "telemetry", operating::telemetry),
            warnings,
        };
        let errors = root.finish();
        if errors.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(errors)) }
    }
}

/// `worker.kernels`
fn kernels(fields: &mut Fields) -> Option<Kernels> {
    match text(fields, "kernels")?.parse() {
        Ok(kernels) => Some(kernels),
        Err(problem) => {
            fields.error("kernels", problem);
            None
        }
    }
}

/// Reads one section; records its errors in `root`.
fn section<T: Default>(root: &mut Fields, name: &'static str, read: impl FnOnce(&mut Fields, T) -> T) -> T {
    let Some(value) = root.raw(name) else {
        return T::default();
    };
    let mut fields = Fields::new(&root.at(name), value);
    let section = read(&mut fields, T::default());
    root.extend(fields.finish());
    section
}

fn log(fields: &mut Fields, default: LogConfig) -> LogConfig {
    let filter = text(fields, "filter").unwrap_or(default.filter);
    if let Err(error) = EnvFilter::try_new(&filter) {
        fields.error("filter", error.to_string());
    }
    LogConfig { format: fields.choice("format").unwrap_or(default.format), filter }
}

fn folder(fields: &mut Fields, default: PathBuf) -> PathBuf {
    let dir = text(fields, "dir").map_or(default, PathBuf::from);
    if dir.as_os_str().is_empty() {
        fields.error("dir", "must name a folder");
    }
    dir
}

/// A text setting. A number or boolean counts as text: the environment cannot tell them apart.
fn text(fields: &mut Fields, name: &'static str) -> Option<String> {
    match fields.raw(name)? {
        Value::String(text) => Some(text),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        _ => {
            fields.error(name, "must be a string");
            None
        }
    }
}

fn seconds(fields: &mut Fields, name: &'static str, low: u64, high: u64) -> Option<Duration> {
    fields.number(name, low, high).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
