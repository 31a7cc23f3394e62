//! The answer to a question for a layer that a network does not have.

use std::{cmp::Reverse, collections::HashSet, sync::Arc};

use super::{NodeId, visible::visible};

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
    pub(super) fn new<'a>(
        name: &str,
        names: impl Iterator<Item = (&'a str, NodeId)>,
        reason: Option<&Arc<str>>,
    ) -> Self {
        if let Some(reason) = reason {
            return Self { name: name.to_owned(), nearest: Vec::new(), reason: Some(Arc::clone(reason)) };
        }
        // Finding similar names takes time in proportion to the length of both; a long one is no typing mistake.
        const LONGEST: usize = 128;
        const SHOWN: usize = 3;
        if name.len() > LONGEST {
            let name = format!("{}…", &name[..name.floor_char_boundary(LONGEST)]);
            return Self { name, nearest: Vec::new(), reason: None };
        }
        // Keystrokes count, and where they are as many, a beginning that is the same.
        let wanted = name.to_lowercase();
        let closeness = |known: &str| {
            let alike = (strsim::jaro_winkler(name, known) * 1e6) as u32;
            (strsim::osa_distance(&wanted, &known.to_lowercase()), Reverse(alike))
        };
        let names = names.filter(|(known, _)| known.len() <= LONGEST);
        let mut scored: Vec<_> = names.map(|(known, id)| (closeness(known), known, id)).collect();
        scored.sort_unstable();
        let mut seen = HashSet::new();
        // Of a layer that has several names the closest is enough.
        let each_once = scored.into_iter().filter(|(.., id)| seen.insert(*id));
        let nearest = each_once.take(SHOWN).map(|(_, known, _)| known.to_owned()).collect();
        Self { name: name.to_owned(), nearest, reason: None }
    }

    fn message(&self) -> String {
        let Self { name, nearest, reason } = self;
        let said = match reason {
            Some(reason) => format!("the layer \"{name}\" is not available: {reason}"),
            None if nearest.is_empty() => format!("there is no layer \"{name}\""),
            None => format!("there is no layer \"{name}\"; the closest are {}", nearest.join(", ")),
        };
        visible(&said)
    }
}
