//! The least of HTTP/1.1 that a benchmark needs: requests that are made once, and a connection that stays open.
//! A client library would take more of the processor than the server does.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What came back.
pub struct Answer {
    pub status: u16,
    pub etag: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request and reads the answer.
    pub async fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up");
        };
        let text = String::from_utf8(self.buffer[..head].to_vec()).unwrap();
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let status = text[9..12].parse().unwrap();
        let etag = field("etag").to_owned();
        let length = field("content-length").parse().unwrap_or(0);
        while status != 304 && self.buffer.len() < head + length {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up");
        }
        Answer { status, etag, body: self.buffer.split_off(head) }
    }

    /// Posts a job; its id.
    pub async fn submit(&mut self, upload: &[u8]) -> String {
        let answer = self.ask(upload).await;
        assert_eq!(answer.status, 202);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The job as it stands.
    pub async fn job(&mut self, id: &str) -> Value {
        self.ask(&get(&format!("/v1/jobs/{id}"), None)).await.json()
    }

    /// Looks at the job until it is as wanted.
    pub async fn until(&mut self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let job = self.job(id).await;
            if wanted(&job) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A request for a path, unless it has this entity tag.
pub fn get(path: &str, etag: Option<&str>) -> Vec<u8> {
    let unless = etag.map_or(String::new(), |etag| format!("If-None-Match: {etag}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{unless}\r\n").into_bytes()
}

/// A request with a key.
pub fn with_key(request: Vec<u8>, key: &str) -> Vec<u8> {
    let line = request.windows(2).position(|bytes| bytes == b"\r\n").unwrap() + 2;
    let (line, rest) = request.split_at(line);
    [line, format!("Authorization: Bearer {key}\r\n").as_bytes(), rest].concat()
}

/// A request without a body.
pub fn post(path: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A job as a form.
pub fn upload(image: &[u8], spec: &Value) -> Vec<u8> {
    let part = |name: &str| format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
    let spec = format!("{}{spec}\r\n{}", part("spec"), part("image"));
    let body = [spec.as_bytes(), image, b"\r\n--X--\r\n"].concat();
    let head = format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}
