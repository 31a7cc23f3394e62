//! A trace goes from the client through the request into the job: in the log, in the store and, where a
//! collector is set, in the exported spans.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod common;

use std::{
    fs::File,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use common::{
    authority::Authority,
    client::{Client, form, quick},
    picture,
    process::ServerProcess,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AnyValue,
    trace::v1::Span,
};
use prost::Message;
use serde_json::Value;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const STATE: &str = "vendor=opaque";

/// Posts a job as part of a trace and waits for its dream.
async fn dream(client: &Client) {
    let request =
        client.http.post(format!("{}/v1/jobs", client.url)).multipart(form(picture(64, 64), &quick()));
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let request = request.header("tracestate", STATE);
    let job: Value = request.send().await.unwrap().json().await.unwrap();
    client.dream(job["id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_log_line_says_which_trace_it_belongs_to() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let settings = [("REVERIE__LOG__FORMAT", "json"), ("REVERIE__LOG__FILTER", "info")];
    let mut command = ServerProcess::command(folder.path(), &settings);
    command.stderr(File::create(&log).unwrap());
    let server = ServerProcess::of(command).await;
    dream(&server.client).await;
    server.terminate();
    assert!(server.ended().await);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let traced = |message: &str| {
        let lines = lines.iter().filter(|line| line["message"] == message);
        lines.filter(|line| line["spans"].as_array().is_some_and(|spans| spans[0]["trace"] == TRACE)).count()
    };
    for message in ["job accepted", "answered", "job started", "job ended"] {
        assert_eq!(traced(message), 1, "{message} in\n{text}");
    }
}

/// What a collector received.
type Received = Arc<Mutex<Vec<Span>>>;

/// A collector that keeps what it gets, and its address.
async fn collector() -> (Received, String) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (received, address)
}

/// A collector behind TLS, its address, and the certificate of the authority that vouches for it.
async fn secure_collector() -> (Received, String, String) {
    let authority = Authority::new();
    let own = authority.issue("localhost");
    let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let listener = Secure { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let received = Received::default();
    let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (received, address, authority.pem)
}

/// Connections with TLS around them.
struct Secure {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secure {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // A client that does not trust this server hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn collect(State(received): State<Received>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in request.resource_spans {
        let named = resource.resource.unwrap().attributes.into_iter().find(|pair| pair.key == "service.name");
        let name = named.unwrap().value.unwrap().value;
        assert_eq!(name, Some(AnyValue::StringValue("reverie".into())));
        received.lock().unwrap().extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn spans_are_exported_and_continue_the_clients_trace() {
    let (received, address) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [("REVERIE__TELEMETRY__OTLP_ENDPOINT", address.as_str())];
    let server = ServerProcess::start(folder.path(), &settings).await;
    dream(&server.client).await;
    server.terminate();
    assert!(server.ended().await);
    let spans = received.lock().unwrap().clone();
    let traced: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let one = |name: &str| *traced.iter().find(|span| span.name == name).expect(name);
    let (request, job) = (one("request"), one("job"));
    assert_eq!((hex(&request.parent_span_id).as_str(), request.trace_state.as_str()), (CALLER, STATE));
    assert_eq!(job.parent_span_id, request.span_id);
    assert!(job.end_time_unix_nano > job.start_time_unix_nano);
    // Polls that belong to no trace begin their own, and nothing but our own spans is sent.
    assert!(spans.iter().all(|span| ["request", "job"].contains(&span.name.as_str())), "{spans:?}");
}

#[tokio::test]
async fn spans_are_exported_over_tls_to_a_collector_that_is_trusted() {
    for trusted in [true, false] {
        let (received, address, certificate) = secure_collector().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authority.pem");
        // Another authority of the same kind vouches for nothing.
        let certificate = if trusted { certificate } else { secure_collector().await.2 };
        std::fs::write(&file, certificate).unwrap();
        let settings =
            [("REVERIE__TELEMETRY__OTLP_ENDPOINT", address.as_str()), ("REVERIE__LOG__FILTER", "off")];
        let mut command = ServerProcess::command(&folder.path().join("data"), &settings);
        command.env("SSL_CERT_FILE", &file);
        let server = ServerProcess::of(command).await;
        dream(&server.client).await;
        server.terminate();
        assert!(server.ended().await);
        let spans = received.lock().unwrap().clone();
        assert_eq!(spans.iter().any(|span| hex(&span.trace_id) == TRACE), trusted, "{spans:?}");
    }
}
