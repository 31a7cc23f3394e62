//! A small HTTP server of the test's own, for requests that the service sends: it notes each and answers as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reverie::config::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinSet,
    time::timeout,
};

use super::client::DEADLINE;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// What stands between the method and the version.
    pub target: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What it is told.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status and no body.
    Status(u16),
    /// 302 to this place.
    Redirect(String),
    /// 200 with this body.
    Body(Vec<u8>),
    /// These bytes, whatever they mean; then the connection ends.
    Raw(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Silence,
}

/// See the module's description. It ends when it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    received: UnboundedReceiver<Received>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port of loopback.
    pub async fn start(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    pub fn on(listener: TcpListener, answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
        let (sender, received) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, mut tasks) = (Arc::clone(&connections), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.spawn(converse(stream, Arc::clone(&answer), sender.clone()));
            }
        });
        Self { address, received, connections, _tasks: tasks }
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request, or a failure after the deadline.
    pub async fn next(&mut self) -> Received {
        timeout(DEADLINE, self.received.recv()).await.expect("no request comes").unwrap()
    }

    /// The requests that came and were not asked for yet.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Has a server sign with these secrets, and lets it reach the receivers of this machine.
pub fn deliver(config: &mut Config, secrets: &[&str]) {
    config.webhooks.secrets = secrets.iter().map(|secret| (None, secret.parse().unwrap())).collect();
    config.egress.allow_http = true;
    config.egress.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
}

/// One request and its answer.
async fn converse<A>(mut stream: TcpStream, answer: Arc<A>, sender: UnboundedSender<Received>)
where
    A: Fn(&Received) -> Answer,
{
    let Some(request) = read(&mut stream).await else { return };
    let answer = answer(&request);
    let _ = sender.send(request);
    let bytes = match answer {
        Answer::Status(status) => head(status, "content-length: 0"),
        Answer::Redirect(place) => head(302, &format!("content-length: 0\r\nlocation: {place}")),
        Answer::Body(body) => [head(200, &format!("content-length: {}", body.len())), body].concat(),
        Answer::Raw(bytes) => bytes,
        Answer::Silence => return std::future::pending().await,
    };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    // Until the other side has read it.
    let _ = stream.read(&mut [0; 16]).await;
}

fn head(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{fields}\r\n\r\n").into_bytes()
}

/// Reads a request with a body of known length.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    let mut more = async |bytes: &mut Vec<u8>| match stream.read(&mut piece).await {
        Ok(count @ 1..) => {
            bytes.extend_from_slice(&piece[..count]);
            Some(())
        }
        _ => None,
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(&mut bytes).await?;
    };
    let text = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = text.lines();
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        more(&mut bytes).await?;
    }
    Some(Received { target, headers, body: bytes[end + 4..].to_vec() })
}
