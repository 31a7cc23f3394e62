//! Logs and traces of the process.
//!
//! Logs go to standard error, one line per request and per step of a job. A client's `traceparent` (W3C Trace
//! Context) is stored with the job. So the lines and spans of a request, and of its job minutes later and
//! perhaps in another process, carry the same trace. Spans are exported (OpenTelemetry, OTLP over HTTP) only
//! if an endpoint is configured.

mod traceparent;

use std::io::{self, IsTerminal};

use axum::http::HeaderMap;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

pub use traceparent::{NoTraceParent, TraceParent};

use crate::config::{LogConfig, LogFormat, TelemetryConfig};

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be exported to {endpoint} (telemetry.otlp_endpoint): {source}")]
pub struct ExportError {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// Must be ended with the process: holds spans that are not sent yet.
#[derive(Debug, Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Starts logging and, if configured, the export of spans, unless the program has already set up logging.
    /// Do not call it on an async thread.
    ///
    /// # Errors
    /// If the exporter cannot be built.
    pub fn start(log: &LogConfig, telemetry: &TelemetryConfig) -> Result<Self, ExportError> {
        let provider = telemetry.otlp_endpoint.as_deref().map(provider).transpose()?;
        // Only our own spans: the exporter's requests would otherwise create spans for ever.
        let spans = provider.as_ref().map(|provider| {
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("reverie"));
            layer.with_filter(Targets::new().with_target("reverie", tracing::Level::INFO))
        });
        // The configuration check has already validated the filter.
        let filter = EnvFilter::try_new(&log.filter).unwrap_or_default();
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
            LogFormat::Text => lines.with_filter(filter).boxed(),
            LogFormat::Json => {
                lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
            }
        };
        let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
        Ok(Self { provider })
    }

    /// Sends the remaining spans. Do not call it on an async thread.
    pub fn end(self) {
        if let Some(Err(error)) = self.provider.map(|provider| provider.shutdown()) {
            warn!(%error, "the last spans were not exported");
        }
    }
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, ExportError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .map_err(|source| ExportError { endpoint: endpoint.to_owned(), source })?;
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("reverie").with_attribute(version).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Makes `span` part of a trace that began elsewhere: in its `trace` field, and in the exported span. Call it
/// before the span is entered.
pub fn follow(span: &Span, parent: Option<TraceParent>) {
    if let Some(parent) = &parent {
        // Fails if spans are not exported, which is the usual case.
        let _ = span.set_parent(parent.clone().context());
    }
    if let Some(trace) = exported(span).or(parent) {
        span.record("trace", trace.trace_id());
    }
}

/// Reads the client's headers; ignores an invalid value, as the standard requires.
pub fn from_headers(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::read(&HeaderExtractor(headers))
}

/// The trace to store with a job: the exported span, or else the client's value.
pub fn of_request(span: &Span, headers: &HeaderMap) -> Option<TraceParent> {
    exported(span).or_else(|| from_headers(headers))
}

/// The span as other processes may refer to it, if spans are exported.
fn exported(span: &Span) -> Option<TraceParent> {
    TraceParent::new(span.context().span().span_context())
}
