//! `reverie health`: checks a running server, for container probes in images without curl.

use std::{error::Error, io, iter::successors, path::PathBuf, time::Duration};

use reqwest::{Client, redirect::Policy};
use tokio::runtime::Builder;

use super::{ExitCode, Failure};
use crate::config::Config;

/// Maximum length of a response in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Arguments of `reverie health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// URL to check; without a path, /readyz, as in http://127.0.0.1:9090/readyz. By default the server of
    /// the configuration, on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Check only whether the process is alive, not whether it takes jobs.
    #[arg(long, conflicts_with = "url")]
    alive: bool,

    /// Configuration file of the server; REVERIE__SECTION__KEY in the environment overrides it.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,

    /// Seconds to wait for a response.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Why there is no valid response.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("\"{0}\" is not an http:// URL")]
    Url(String),
    #[error("{url} does not answer: {cause}")]
    Silent { url: String, cause: String },
    #[error(
        "the server speaks TLS only, and its certificate is for its public name; set server.admin_listen, such as \
         127.0.0.1:9090, which is plain HTTP"
    )]
    OnlyTls,
    #[error("the response of {url} is not HTTP")]
    NoHttp { url: String },
    #[error("the program cannot wait for a response: {0}")]
    Runtime(io::Error),
}

/// Prints the response; succeeds if its status is 200.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let url = match args.url {
        // A URL without a path means /readyz.
        Some(url) if url.strip_prefix("http://").is_some_and(|rest| !rest.contains('/')) => {
            format!("{url}/readyz")
        }
        Some(url) => url,
        None => own_url(&Config::load(args.config.as_deref())?, args.alive)?,
    };
    let (status, body) = get(&url, Duration::from_secs(args.timeout))?;
    println!("{}", body.trim_end());
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The URL of the server that `config` describes, on this machine.
fn own_url(config: &Config, alive: bool) -> Result<String, HealthError> {
    let server = &config.server;
    if server.admin_listen.is_empty() && server.tls.is_some() {
        return Err(HealthError::OnlyTls);
    }
    let address = if server.admin_listen.is_empty() { &server.listen } else { &server.admin_listen };
    // A server that listens on all interfaces also listens on this one.
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    Ok(format!("http://{address}/{}", if alive { "healthz" } else { "readyz" }))
}

/// Sends one request, and follows no redirect and no proxy; returns status and body.
fn get(url: &str, timeout: Duration) -> Result<(u16, String), HealthError> {
    if !url.starts_with("http://") {
        return Err(HealthError::Url(url.to_owned()));
    }
    let exchange = async {
        // No certificates: loading the system's takes longer than the request.
        let client = Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]);
        // For everything together: a server that sends a byte now and then does not hold up a probe.
        let mut response = client.timeout(timeout).build()?.get(url).send().await?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await?
            && body.len() < MAX_BODY
        {
            body.extend_from_slice(&piece);
        }
        Ok((response.status().as_u16(), String::from_utf8_lossy(&body).into_owned()))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(HealthError::Runtime)?;
    runtime.block_on(exchange).map_err(|error| refusal(url, &error))
}

/// Puts a failure into words.
fn refusal(url: &str, error: &reqwest::Error) -> HealthError {
    let url = url.to_owned();
    let causes = || successors(error.source(), |cause| (*cause).source());
    // What is said before the request is sent is "unexpected", for which hyper has no name but its text.
    let is_no_http = |cause: &(dyn Error + 'static)| {
        let error = cause.downcast_ref::<hyper::Error>();
        error.is_some_and(|error| error.is_parse() || error.to_string().contains("unexpected message"))
    };
    if error.is_builder() {
        HealthError::Url(url)
    } else if causes().any(is_no_http) {
        HealthError::NoHttp { url }
    } else {
        // The outer errors only say that a request failed.
        HealthError::Silent { url, cause: causes().last().unwrap_or(error).to_string() }
    }
}
