//! Configuration: a TOML file, environment variables `REVERIE__SECTION__KEY` over it, defaults below both.
//!
//! Everything is checked before anything is started, and every mistake is reported at once under its name,
//! so that a wrong file is mended in one go. `deploy/reverie.toml` shows every setting with its default.

mod database_url;
mod operating;
mod renamed;
mod s3;
mod server;
mod storage;

use std::{collections::HashMap, fmt, path::Path, path::PathBuf, time::Duration};

use config::{Environment, File, FileFormat};
use serde::Deserialize;
use serde_json::Value;
use tracing_subscriber::EnvFilter;

pub use database_url::{PostgresUrl, UrlError};
pub use operating::{RetentionConfig, TelemetryConfig};
pub use s3::{Place, S3Config};
pub use server::ServerConfig;
pub use storage::Database;

use reverie_engine::Kernels;
use reverie_fields::{FieldError, Fields};

/// Settings of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
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
    /// What is to be logged about the configuration itself: settings under a name of before.
    pub warnings: Vec<String>,
}

/// Where jobs and pictures are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// A folder for pictures, and for jobs where no other database has them.
    pub dir: PathBuf,
    /// Where jobs are.
    pub database: Database,
    /// Connections that this process makes to a database server, at most, besides two for itself.
    pub connections: u32,
    /// How long a start waits for a database server that cannot be reached.
    pub connect_timeout: Duration,
    /// Where pictures are kept.
    pub objects: Place,
    /// Whether clients are sent to the store to fetch their results.
    pub redirect_results: bool,
}

/// Where models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelsConfig {
    /// A folder with model files.
    pub dir: PathBuf,
}

/// The queue's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Jobs that may wait.
    pub capacity: u32,
    /// How long a worker may stay silent before its job is given to another.
    pub lease: Duration,
    /// Attempts per job, the first included.
    pub max_attempts: u32,
}

/// The renderer and its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Jobs that this process works on at the same time; none for a process that only answers clients.
    pub count: usize,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads per render; 0 means one per core.
    pub threads: usize,
    /// Which code computes.
    pub kernels: Kernels,
    /// Whether the jobs at work share passes of the network.
    pub dynamic_batching: bool,
    /// How long a job at work may go on when the server is told to stop.
    pub shutdown_grace: Duration,
}

/// What a request may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Most bytes of JSON in a request, the data URIs of its pictures not counted.
    pub max_json_bytes: usize,
    /// Megabytes of request bodies that may be in memory at the same time.
    pub max_uploads_mb: usize,
    /// Largest input image in pixels, and largest octave.
    pub max_pixels: u64,
    /// Seconds that one job may be predicted to take; none for any number.
    pub max_job_seconds: Option<Duration>,
    /// Megabytes of memory that one job may be predicted to take; none for a share of what there is.
    pub max_job_memory_mb: Option<u64>,
    /// Megabytes of memory for decoding uploads; 0 for a quarter of what there is.
    pub max_decode_mb: u64,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// Which events, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { dir: "models".into() }
    }
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

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read, or is no TOML.
    Read(config::ConfigError),
    /// Settings are wrong: all of them are listed.
    Invalid(Vec<FieldError>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the configuration cannot be read: {error}"),
            Self::Invalid(errors) => {
                f.write_str("the configuration is wrong:")?;
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
    /// Reads the file, if one is named, and this process's environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(file, None)
    }

    /// Like [`Config::load`], with `environment` in place of the process's own where given.
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
        let environment = Environment::with_prefix("REVERIE")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("server.allowed_hosts")
            .with_list_parse_key("server.cors_origins")
            .with_list_parse_key("server.trusted_proxies")
            .source(environment);
        let sources = sources.add_source(environment).build().map_err(ConfigError::Read)?;
        Self::validate(sources.try_deserialize().map_err(ConfigError::Read)?)
    }

    fn validate(value: Value) -> Result<Self, ConfigError> {
        let (value, warnings) = renamed::with_new_names(value)?;
        let mut root = Fields::new("", value);
        let config = Self {
            server: section(&mut root, "server", server::server),
            storage: section(&mut root, "storage", storage::storage),
            s3: section(&mut root, "s3", s3::s3),
            models: section(&mut root, "models", |fields, default: ModelsConfig| ModelsConfig {
                dir: folder(fields, default.dir),
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

/// Reads one section; what is wrong with it is noted in `root`.
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

/// A text setting. A number or boolean is meant as text here: the environment cannot tell them apart.
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
