//! A server to attack, in a process of its own, and what the attack costs it.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::common::{client::DEADLINE, process::ServerProcess};

/// A server whose requests all go through one thread, so that whoever holds it holds everybody.
pub struct Target {
    pub process: ServerProcess,
    _folder: TempDir,
}

impl Target {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, |command| command).await
    }

    /// As [`Self::start`], with a change to the command.
    pub async fn with(settings: &[(&str, &str)], change: impl FnOnce(Command) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = ServerProcess::command(folder.path(), settings);
        command.env("TOKIO_WORKER_THREADS", "1");
        let process = ServerProcess::of(change(command)).await;
        Self { process, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        address(&self.process.client.url)
    }

    pub fn admin_address(&self) -> SocketAddr {
        address(&self.process.admin.url)
    }

    /// Most memory that the process ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Runs an attack until its requests held the server for less than `bound`: beside other load everything takes longer at
    /// times, but what holds the thread does so every time.
    pub fn held_less_than(&self, bound: Duration, mut attack: impl FnMut()) {
        let (began, mut least) = (Instant::now(), Duration::MAX);
        while least >= bound {
            assert!(began.elapsed() < DEADLINE, "every attack held the server for {least:?} and longer");
            let watch = Watch::start(self.address());
            attack();
            least = least.min(watch.longest());
        }
    }
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// An honest client that asks `/healthz` again and again on one connection.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start(address: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut stream = connect(address);
            let mut longest = Duration::ZERO;
            let mut buffer = [0; 4096];
            while !stop.load(Ordering::SeqCst) {
                let began = Instant::now();
                write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
                assert!(stream.read(&mut buffer).unwrap() > 0, "the server hung up on an honest client");
                longest = longest.max(began.elapsed());
            }
            longest
        });
        Self { over, thread }
    }

    fn longest(self) -> Duration {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// A connection that does not wait for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A connection from another address of this machine, as from another client.
pub fn connect_from(client: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(client), 0))?;
        socket.connect(address).await
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// An answer: status, and all bytes of it.
pub struct Answer {
    pub status: u16,
    pub bytes: usize,
    pub body: Value,
}

/// Sends a request whose head is given without its end, and reads the answer to the end of the connection. A server
/// that answers before it has read all may hang up while it is being sent to.
pub fn send(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = connect(address);
    let head = format!("{head}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read_answer(&mut stream)
}

/// Sends a head, and less of a body than it announces; the status of the answer, which does not wait for the rest.
pub fn send_part(address: SocketAddr, head: &str, part: &[u8]) -> u16 {
    let mut stream = connect(address);
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).and_then(|()| stream.write_all(part)).unwrap();
    let mut line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line[9..]).parse().unwrap()
}

pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, bytes: answer.len(), body: serde_json::from_str(body).unwrap_or_default() }
}

/// Posts a body to `/v1/jobs`.
pub fn post(address: SocketAddr, content_type: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}"
    );
    send(address, &head, body)
}

pub const FORM: &str = "multipart/form-data; boundary=X";

/// A form of text fields.
pub fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        text += &format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    (text + "--X--\r\n").into_bytes()
}
