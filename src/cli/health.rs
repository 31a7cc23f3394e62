//! `reverie health`: checks a running server, for container probes in images without curl.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use super::Failure;
use crate::config::Config;

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
    #[error("the host {host} has no address")]
    NoAddress { host: String },
    #[error("{url} does not answer: {source}")]
    Silent { url: String, source: std::io::Error },
    #[error("the response of {url} is not HTTP")]
    NoHttp { url: String },
}

/// Prints the response; succeeds if its status is 200.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    let url = match args.url {
        // A URL without a path means /readyz.
        Some(url) if url.strip_prefix("http://").is_some_and(|rest| !rest.contains('/')) => {
            format!("{url}/readyz")
        }
        Some(url) => url,
        None => own_url(&Config::load(args.config.as_deref())?, args.alive),
    };
    let (status, body) = get(&url, Duration::from_secs(args.timeout))?;
    println!("{}", body.trim_end());
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The URL of the server that `config` describes, on this machine.
fn own_url(config: &Config, alive: bool) -> String {
    let server = &config.server;
    let address = if server.admin_listen.is_empty() { &server.listen } else { &server.admin_listen };
    // A server that listens on all interfaces also listens on this one.
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    format!("http://{address}/{}", if alive { "healthz" } else { "readyz" })
}

/// Sends one HTTP/1.0 request, which avoids chunks and open connections; returns status and body.
fn get(url: &str, timeout: Duration) -> Result<(u16, String), HealthError> {
    let rest = url.strip_prefix("http://").ok_or_else(|| HealthError::Url(url.to_owned()))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let address = resolve(host)?;
    let exchange = || -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = BufReader::new(stream.take(64 * 1024));
        let mut first = String::new();
        answer.read_line(&mut first)?;
        let mut rest = String::new();
        answer.read_to_string(&mut rest)?;
        Ok((first, rest))
    };
    let silent = |source: std::io::Error| match source.kind() {
        ErrorKind::InvalidData => HealthError::NoHttp { url: url.to_owned() },
        _ => HealthError::Silent { url: url.to_owned(), source },
    };
    let (first, rest) = exchange().map_err(silent)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.trim().parse().ok());
    let status = status.ok_or_else(|| HealthError::NoHttp { url: url.to_owned() })?;
    let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

fn resolve(host: &str) -> Result<SocketAddr, HealthError> {
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let addresses = with_port.to_socket_addrs().ok().and_then(|mut all| all.next());
    addresses.ok_or_else(|| HealthError::NoAddress { host: host.to_owned() })
}
