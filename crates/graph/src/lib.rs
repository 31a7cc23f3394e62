//! The network as data: named nodes, their weights and their wiring, without any engine.
//!
//! Importers build a [`Network`], the HTTP side lists its layers, and the renderer executes it. Keeping
//! it free of libtorch means that a model can be checked, listed and reasoned about on any thread of any
//! process, and that every mistake in a model file is found when the file is read.
//!
//! Feature maps are `[N, C, H, W]`; what TensorFlow calls rank-2 tensors are rows of features,
//! `[rows, features]`. Nodes stand in topological order: an input always precedes its reader.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod builder;
mod check;
mod op;
mod shape;
#[cfg(test)]
mod tests;
mod unknown;
mod visible;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

pub use builder::Builder;
pub use check::{GraphError, MAX_EXTENT, MAX_PADDING, MAX_WIDTH};
pub use op::{Op, Padding, Window};
pub use shape::{LayerInfo, Shape, ShapeError};
pub use unknown::UnknownLayer;
pub use visible::{visible, visible_lines};

/// Index of a node in [`Network::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A weight tensor: row-major `f32` data with its shape.
#[derive(Clone, PartialEq)]
pub struct Array {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values; or a single one, which all are ([`Self::repeated`]).
    pub data: Arc<[f32]>,
}

impl Array {
    /// Wraps `data`; `None` when the number of values is not the product of `shape`.
    pub fn new(shape: Vec<usize>, data: impl Into<Arc<[f32]>>) -> Option<Self> {
        let data = data.into();
        let expected = shape.iter().try_fold(1usize, |total, &extent| total.checked_mul(extent))?;
        (expected == data.len()).then_some(Self { shape, data })
    }

    /// Wraps one value that stands for all, so that a short file that says so takes little memory until the network runs.
    pub fn repeated(shape: Vec<usize>, value: f32) -> Self {
        Self { shape, data: [value].into() }
    }

    /// Whether one value stands for many.
    pub fn is_repeated(&self) -> bool {
        self.data.len() == 1 && self.shape.iter().any(|&extent| extent != 1)
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array{:?}", self.shape)
    }
}

/// One named step of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name, as in the model file.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The nodes it reads, in order; each precedes this one.
    pub inputs: Vec<NodeId>,
}

/// A checked network: acyclic, one input, every weight of the right shape.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
    input: NodeId,
    widths: Vec<shape::Width>,
    left_out: BTreeMap<String, Arc<str>>,
    /// The layers that a further name means: one, or several to which it belongs alike.
    aliases: BTreeMap<String, Vec<NodeId>>,
}

impl Network {
    /// Checks `nodes` and builds the network.
    ///
    /// # Errors
    /// [`GraphError`] names the node and what is wrong with it: a repeated name, an input that comes
    /// later, a weight that does not fit its input, no input node or more than one.
    pub fn new(nodes: Vec<Node>) -> Result<Self, GraphError> {
        let mut builder = Builder::default();
        for node in nodes {
            builder.push(node)?;
        }
        builder.finish()
    }

    /// Notes layers that the model file has and this network has not, each with the reason. A question for one of them is
    /// answered with it.
    #[must_use]
    pub fn without(mut self, left_out: BTreeMap<String, Arc<str>>) -> Self {
        self.left_out = left_out;
        self
    }

    /// Gives layers further names, under which they are found, too. A name that a layer has already stays that layer's; one that is
    /// given to several is refused, with all of them.
    #[must_use]
    pub fn with_aliases(mut self, aliases: impl IntoIterator<Item = (String, NodeId)>) -> Self {
        let fits =
            |(name, id): &(String, NodeId)| id.0 < self.nodes.len() && !self.by_name.contains_key(name);
        for (alias, id) in aliases.into_iter().filter(fits).collect::<Vec<_>>() {
            let meant = self.aliases.entry(alias).or_default();
            // Names of a layer come one after the other.
            if meant.last() != Some(&id) {
                meant.push(id);
            }
        }
        self
    }

    /// Has layers be found by what is shown of a name that holds what a terminal or a page would not show.
    #[must_use]
    pub fn with_visible_names(self) -> Self {
        let shown = self.nodes.iter().enumerate().map(|(index, node)| (visible(&node.name), NodeId(index)));
        let shown: Vec<_> = shown.collect();
        self.with_aliases(shown)
    }

    /// Layers of the model file that could not be read, and why.
    pub fn left_out(&self) -> &BTreeMap<String, Arc<str>> {
        &self.left_out
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node behind an id of this network.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The image's node.
    pub fn input(&self) -> NodeId {
        self.input
    }

    /// Looks a layer up by its name, or by an alias.
    ///
    /// # Errors
    /// [`UnknownLayer`] with the names closest to `name`, or with the reason why there is no such layer: it was left out, or the
    /// name means several.
    pub fn find(&self, name: &str) -> Result<NodeId, UnknownLayer> {
        if let Some(&id) = self.by_name.get(name) {
            return Ok(id);
        }
        match self.aliases.get(name).map(Vec::as_slice) {
            Some(&[id]) => Ok(id),
            Some(several) => {
                const SHOWN: usize = 3;
                let names = several.iter().take(SHOWN);
                let names = names.map(|id| format!("\"{}\"", visible(&self.nodes[id.0].name)));
                let mut names = names.collect::<Vec<_>>().join(" or ");
                if several.len() > SHOWN {
                    names += &format!(" or {} others", several.len() - SHOWN);
                }
                let reason = format!("it may mean {names}; use one of these names");
                Err(UnknownLayer::new(name, std::iter::empty(), Some(&reason.into())))
            }
            None => {
                let own = self.nodes.iter().enumerate().map(|(index, node)| (&*node.name, NodeId(index)));
                let others = self.aliases.iter().filter_map(|(alias, meant)| match meant[..] {
                    [id] => Some((&**alias, id)),
                    _ => None,
                });
                Err(UnknownLayer::new(name, own.chain(others), self.left_out.get(name)))
            }
        }
    }

    /// The name that a layer has in the model's file, for any name under which it is found.
    ///
    /// # Errors
    /// As [`Network::find`].
    pub fn own_name(&self, name: &str) -> Result<&str, UnknownLayer> {
        self.find(name).map(|id| &*self.node(id).name)
    }

    /// Number of channels (or features) that a layer puts out; it does not depend on the input size.
    pub fn channels(&self, id: NodeId) -> usize {
        self.widths[id.0].channels()
    }

    /// Whether a layer puts out a feature map rather than rows.
    pub fn is_map(&self, id: NodeId) -> bool {
        matches!(self.widths[id.0], shape::Width::Map(_))
    }

    /// Which nodes have to run to obtain `wanted`; indexed like [`Network::nodes`].
    pub fn needed(&self, wanted: &[NodeId]) -> Vec<bool> {
        needed(&self.nodes, wanted)
    }
}

fn needed(nodes: &[Node], wanted: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; nodes.len()];
    for id in wanted {
        needed[id.0] = true;
    }
    for index in (0..nodes.len()).rev() {
        if needed[index] {
            for input in &nodes[index].inputs {
                needed[input.0] = true;
            }
        }
    }
    needed
}
