//! The `traceparent` of the W3C Trace Context recommendation: the trace that something belongs to, and the span
//! that caused it. The OpenTelemetry SDK's propagator reads and writes it.

use std::{collections::HashMap, fmt, str::FromStr};

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator},
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Name of the header.
const HEADER: &str = "traceparent";

/// A position in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(SpanContext);

/// The text is not a valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct NoTraceParent;

impl TraceParent {
    /// From an existing span.
    pub(super) fn new(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self(context.clone()))
    }

    /// From the headers `traceparent` and `tracestate`; `None` if the first is missing or invalid.
    pub(super) fn read(headers: &dyn Extractor) -> Option<Self> {
        if !headers.get(HEADER).is_some_and(is_complete) {
            return None;
        }
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), headers);
        Self::new(context.span().span_context())
    }

    /// As the parent of a span.
    pub(super) fn context(self) -> Context {
        Context::new().with_remote_span_context(self.0)
    }

    /// Only the trace: 32 hex digits.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }
}

/// Whether the parts have their lengths, and the first version has no others. The propagator (0.33) lets
/// shorter numbers, a plus sign and a trailing dash pass.
fn is_complete(text: &str) -> bool {
    let mut parts = text.trim().split('-');
    let mut has = |length| parts.next().is_some_and(|part| part.len() == length && !part.starts_with('+'));
    has(2) && has(32) && has(16) && has(2) && (parts.next().is_none() || !text.trim().starts_with("00"))
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(&self.clone().context(), &mut headers);
        headers.get(HEADER).map_or(Ok(()), |text: &String| f.write_str(text))
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        Self::read(&HashMap::from([(HEADER.to_owned(), text.to_owned())])).ok_or(NoTraceParent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        // A later version may add parts, which are ignored.
        let later = GOOD.replacen("00", "cc", 1) + "-what-the-future-brings";
        assert_eq!(later.parse(), Ok(parent));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-1-1-1",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(NoTraceParent), "{wrong}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn every_traceparent_is_read(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags in any::<u8>()) {
            let parent: TraceParent = format!("00-{trace:032x}-{span:016x}-{flags:02x}").parse().unwrap();
            prop_assert_eq!(parent.to_string(), format!("00-{trace:032x}-{span:016x}-{:02x}", flags & 1));
        }

        #[test]
        fn any_text_is_a_traceparent_or_none(
            text in "[0-9a-fF]{0,3}-?[0-9a-f]{0,33}-?[0-9a-f]{0,17}-?[0-9a-f]{0,3}(-.{0,5})?|.{0,60}",
        ) {
            // What was parsed is formatted as it was.
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string().parse(), Ok(parent));
            }
        }
    }
}
