//! A real S3-compatible server over HTTP, with a layer in front that makes it misbehave on command.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper::{
    Request, Response,
    body::Incoming,
    http::{StatusCode, request::Parts},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use object_store::aws::AmazonS3Builder;
use reverie::config::S3Config;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

pub const BUCKET: &str = "dreams";
pub const KEY: &str = "test-key";
pub const SECRET: &str = "a-secret-that-no-log-may-show";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The server says that it has too much to do.
    Busy,
    /// The server has no room.
    Full,
    /// The server never answers.
    Stall,
    /// The connection breaks in the middle of the request's body.
    CutUpload,
    /// The connection breaks in the middle of the answer's body.
    CutDownload,
    /// A bit of the request's body changes on its way.
    Corrupt,
}

/// Which requests a fault meets, and how many of them.
struct Rule {
    fault: Fault,
    left: usize,
    meets: fn(&Parts) -> bool,
}

struct State {
    service: S3Service,
    rule: Mutex<Option<Rule>>,
    requests: Mutex<Vec<String>>,
}

/// A running server with one bucket, on a free port; it ends when dropped.
pub struct S3Server {
    pub url: String,
    state: Arc<State>,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl S3Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let state = State { service: builder.build(), rule: Mutex::default(), requests: Mutex::default() };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { url, state, folder, serving }
    }

    /// Lets the next `times` requests that `meets` picks go wrong.
    pub fn spoil(&self, fault: Fault, times: usize, meets: fn(&Parts) -> bool) {
        *lock(&self.state.rule) = Some(Rule { fault, left: times, meets });
    }

    /// Lets all be well again.
    pub fn heal(&self) {
        *lock(&self.state.rule) = None;
    }

    /// The requests so far: method, path with query, and range.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state.requests).clone()
    }

    /// The blobs that can be seen in the bucket, but for the probe.
    pub fn visible(&self) -> Vec<String> {
        let mut found = Vec::new();
        let bucket = self.folder.path().join(BUCKET);
        walk(&bucket, &mut |path| found.push(path.strip_prefix(&bucket).unwrap().display().to_string()));
        found.retain(|name| !name.ends_with("probe"));
        found.sort();
        found
    }

    /// What is in a blob that can be seen.
    pub fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(BUCKET).join(name)).unwrap()
    }

    /// Credentials as the environment would bring them.
    pub fn credentials() -> AmazonS3Builder {
        AmazonS3Builder::new().with_access_key_id(KEY).with_secret_access_key(SECRET)
    }

    /// Settings that lose no time.
    pub fn config(&self) -> S3Config {
        S3Config {
            endpoint: self.url.clone(),
            allow_http: true,
            timeout: Duration::from_secs(1),
            retry: Duration::from_secs(1),
            start: Duration::from_secs(1),
            ..S3Config::default()
        }
    }

    /// The same for a process, with its credentials; the blobs are below `team/a`.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("REVERIE__STORAGE__OBJECTS", format!("s3://{BUCKET}/team/a")),
            ("REVERIE__S3__ENDPOINT", self.url.clone()),
            ("REVERIE__S3__ALLOW_HTTP", "true".into()),
            ("REVERIE__S3__TIMEOUT_SECONDS", "1".into()),
            ("REVERIE__S3__RETRY_SECONDS", "1".into()),
            ("AWS_ACCESS_KEY_ID", KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ]
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Every request.
pub fn any(_: &Parts) -> bool {
    true
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn walk(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found(&path) }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let range = parts.headers.get("range").map_or("", |range| range.to_str().unwrap());
    lock(&state.requests).push(format!("{} {} {range}", parts.method, parts.uri).trim().to_owned());
    let fault = state.fault(&parts);
    let body = match fault {
        Some(Fault::Busy) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::Full) => return Ok(refusal(StatusCode::INSUFFICIENT_STORAGE, "XMinioStorageFull")),
        Some(Fault::Stall) => std::future::pending().await,
        Some(Fault::CutUpload) => cut(Body::new(body)),
        Some(Fault::Corrupt) => Body::from_stream(Body::new(body).into_data_stream().map(|piece| {
            let mut piece = piece?.to_vec();
            piece[0] ^= 1;
            Ok::<_, axum::Error>(Bytes::from(piece))
        })),
        Some(Fault::CutDownload) | None => Body::new(body),
    };
    let request = Request::from_parts(parts, s3s::Body::http_body_unsync(body));
    let response = state.service.call(request).await.map_err(|error| format!("{error:?}"))?;
    match fault {
        Some(Fault::CutUpload) => Err("the connection breaks".into()),
        Some(Fault::CutDownload) => Ok(response.map(|body| cut(Body::new(body)))),
        _ => Ok(response.map(Body::new)),
    }
}

impl State {
    /// What is to go wrong with this request.
    fn fault(&self, parts: &Parts) -> Option<Fault> {
        let mut rule = lock(&self.rule);
        let rule = rule.as_mut().filter(|rule| rule.left > 0 && (rule.meets)(parts))?;
        rule.left -= 1;
        Some(rule.fault)
    }
}

/// The first half of the first piece, and then a failure.
fn cut(body: Body) -> Body {
    let first =
        body.into_data_stream().take(1).map(|piece| piece.map(|piece| piece.slice(..piece.len() / 2)));
    Body::from_stream(first.chain(stream::once(async { Err(axum::Error::new("the connection breaks")) })))
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>not now</Message></Error>");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
