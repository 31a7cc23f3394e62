//! The `traceparent` of the W3C Trace Context recommendation (level 1): the trace that something belongs to,
//! and the span that caused it.

use std::{fmt, str::FromStr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A position in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

/// The text is not a valid `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct NoTraceParent;

impl TraceParent {
    /// From an existing span.
    pub(super) fn new(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace: context.trace_id(),
            span: context.span_id(),
            flags: context.trace_flags(),
        })
    }

    /// In OpenTelemetry's form.
    pub(super) fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }

    /// Only the trace: 32 hex digits.
    pub fn trace_id(self) -> String {
        self.trace.to_string()
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags.to_u8())
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let mut parts = text.trim().splitn(5, '-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let plain = part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            plain.then_some(part)
        };
        let mut read = || Some((hex(2)?, hex(32)?, hex(16)?, hex(2)?));
        let (version, trace, span, flags) = read().ok_or(NoTraceParent)?;
        // Later versions may add parts; this one has four, and version ff is invalid.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NoTraceParent);
        }
        let trace = TraceId::from_hex(trace).map_err(|_| NoTraceParent)?;
        let span = SpanId::from_hex(span).map_err(|_| NoTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceParent)?;
        if trace == TraceId::INVALID || span == SpanId::INVALID {
            return Err(NoTraceParent);
        }
        // Only "sampled" is defined.
        Ok(Self { trace, span, flags: TraceFlags::new(flags) & TraceFlags::SAMPLED })
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
