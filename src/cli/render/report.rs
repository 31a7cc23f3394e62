//! What became of a dream: in words on stderr, or as a line of JSON for programs.

use std::io::{self, Write};

use serde_json::json;

use super::{super::profile, input::Source};
use crate::metrics;
use reverie_dream::spec::DreamSpec;
use reverie_engine::Rendered;
use reverie_graph::visible;

/// A dream that is written.
pub(super) struct Dream<'a> {
    /// Where it was written.
    pub(super) name: &'a str,
    /// What it was made from; none for a start from noise.
    pub(super) input: Option<&'a Source>,
    pub(super) rendered: &'a Rendered,
}

impl Dream<'_> {
    /// Prints the inputs and the result as JSON, on stderr where the picture itself has gone to standard output.
    pub(super) fn print_line(&self, spec: &DreamSpec, to_stdout: bool) -> io::Result<()> {
        let Rendered { width, height, score, render_seconds, notes, .. } = self.rendered;
        let line = json!({
            "input": self.input.map(Source::to_string), "output": self.name, "width": width, "height": height,
            "score": score, "render_seconds": render_seconds, "peak_memory_bytes": metrics::peak_memory(),
            "notes": notes, "spec": spec, "profile": self.rendered.profile.as_ref().map(profile::to_json),
        });
        if to_stdout { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") }
    }

    /// Prints the result for people; `place` comes first, such as `2 of 7: `.
    pub(super) fn print_words(&self, place: &str) {
        let Rendered { render_seconds, score, notes, .. } = self.rendered;
        for note in notes {
            eprintln!("note: {place}{}", visible(note));
        }
        eprintln!("{place}{} ({render_seconds:.1} s, score {score:.4})", self.name);
        if let Some(profile) = &self.rendered.profile {
            eprint!("{}", profile::Table(profile));
        }
    }
}

/// Prints what has failed as a line of JSON.
pub(super) fn print_failure(input: &Source, error: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", json!({ "input": input.to_string(), "error": error }))
}
