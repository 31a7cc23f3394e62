//! The answer to a question for a layer that a network does not have.

use std::sync::Arc;

use super::Node;

/// A layer name that the network does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", self.message())]
pub struct UnknownLayer {
    /// What was asked for.
    pub name: String,
    /// The closest existing names, best first.
    pub nearest: Vec<String>,
    /// Why the layer was left out, where the model file has it.
    pub reason: Option<Arc<str>>,
}

impl UnknownLayer {
    pub(super) fn new(name: &str, nodes: &[Node], reason: Option<&Arc<str>>) -> Self {
        if let Some(reason) = reason {
            return Self { name: name.to_owned(), nearest: Vec::new(), reason: Some(Arc::clone(reason)) };
        }
        // Finding similar names takes time in proportion to the length of both; a long one is no typing mistake.
        const LONGEST: usize = 128;
        if name.len() > LONGEST {
            let name = format!("{}…", &name[..name.floor_char_boundary(LONGEST)]);
            return Self { name, nearest: Vec::new(), reason: None };
        }
        let mut scored: Vec<(f64, &str)> =
            nodes.iter().map(|node| (strsim::jaro_winkler(name, &node.name), node.name.as_str())).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let nearest = scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect();
        Self { name: name.to_owned(), nearest, reason: None }
    }

    fn message(&self) -> String {
        let Self { name, nearest, reason } = self;
        match reason {
            Some(reason) => format!("the layer \"{name}\" is not available: {reason}"),
            None if nearest.is_empty() => format!("there is no layer \"{name}\""),
            None => format!("there is no layer \"{name}\"; the closest are {}", nearest.join(", ")),
        }
    }
}
