//! Looks: parts of specs that have a name, because they make something that people want.

use serde_json::{Map, Value};

/// A look of a model. A request that names it gets the members of its spec that the request does not have itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Value for `look` in specs.
    pub id: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What is seen in its dreams, in one sentence.
    pub description: &'static str,
    /// Members of a spec.
    pub spec: Map<String, Value>,
    /// Name of a picture that shows it.
    pub picture: String,
}

/// The closest thing to a sentence that tells which looks there are.
pub(crate) fn named(looks: &[Look]) -> String {
    looks.iter().map(|look| look.id).collect::<Vec<_>>().join(", ")
}
