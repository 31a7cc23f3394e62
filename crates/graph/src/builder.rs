//! Builds a network node by node. Each is checked as it comes, so that an importer can ask what it has so far, and leave
//! out a node that does not fit.

use std::collections::{BTreeMap, HashMap};

use super::{
    GraphError, Network, Node, NodeId, Op, Shape, check, needed,
    shape::{self, Width},
};

/// A network that is being built.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
    widths: Vec<Width>,
}

impl Builder {
    /// Adds a node, which reads nodes that were added before.
    ///
    /// # Errors
    /// [`GraphError`] names the node and what is wrong with it; the network is as before.
    pub fn push(&mut self, node: Node) -> Result<NodeId, GraphError> {
        if self.by_name.contains_key(&node.name) {
            return Err(GraphError::DuplicateName(node.name));
        }
        let width = check::width_of(&node, &self.widths)?;
        let id = NodeId(self.nodes.len());
        self.by_name.insert(node.name.clone(), id);
        self.nodes.push(node);
        self.widths.push(width);
        Ok(id)
    }

    /// The nodes so far.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes so far, to be built anew.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// Number of channels (or features) that a node puts out.
    pub fn channels(&self, id: NodeId) -> usize {
        self.widths[id.0].channels()
    }

    /// Whether a node puts out a feature map rather than rows.
    pub fn is_map(&self, id: NodeId) -> bool {
        matches!(self.widths[id.0], Width::Map(_))
    }

    /// Shape of a node's output for an image of `height × width`; none where that is too small for a layer before it.
    pub fn shape(&self, id: NodeId, height: usize, width: usize) -> Option<Shape> {
        shape::shapes(&self.nodes, &needed(&self.nodes, &[id]), height, width).ok()?[id.0]
    }

    /// The network.
    ///
    /// # Errors
    /// [`GraphError::InputCount`] where there is not exactly one image.
    pub fn finish(self) -> Result<Network, GraphError> {
        let inputs = self.nodes.iter().enumerate().filter(|(_, node)| matches!(node.op, Op::Input { .. }));
        let inputs: Vec<NodeId> = inputs.map(|(index, _)| NodeId(index)).collect();
        let &[input] = &inputs[..] else { return Err(GraphError::InputCount(inputs.len())) };
        let Self { nodes, by_name, widths } = self;
        Ok(Network { nodes, by_name, input, widths, left_out: BTreeMap::new(), aliases: BTreeMap::new() })
    }
}
