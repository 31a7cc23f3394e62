//! Frozen TensorFlow graphs (`GraphDef`, `.pb`): the format of the article's `tensorflow_inception_graph.pb`.
//!
//! [`read`] decodes the protobuf, [`translate`] orders the nodes and turns them into a network one by one.
//! The order in the file means nothing, as in TensorFlow. What only constants go into is computed at once (`tf_fold`).
//!
//! A graph from elsewhere has more in it than the layers that a dream needs: summaries, losses, an input pipeline. A node
//! that is not understood is *opaque*: it and all that reads it are left out of the network, which keeps the reason for
//! a spec that asks for one of them. Only where nothing is left the import fails, with the first reason.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message;

use super::{
    Budget, ImportError, batch_norm,
    graphdef::{GraphDef, NodeDef},
    tf_call::{Call, Output, Value},
    tf_ops,
    tf_wiring::{Source, Wiring, image},
};
use reverie_graph::{Builder, Network, Node, Op};

/// The largest graphs in use have a few thousand nodes.
const MAX_NODES: usize = 1 << 16;

/// Reads and translates a frozen graph. The image goes in as the graph's Placeholder expects it, layers
/// keep their names in the file, and constants become weights.
///
/// # Errors
/// See [`ImportError`]; the message names the node at fault.
pub fn import(file: impl Into<Bytes>) -> Result<Network, ImportError> {
    translate(&read(file.into())?)
}

/// Decodes the nodes of a graph; their order and contents are as in the file.
///
/// # Errors
/// [`ImportError::Malformed`] when the bytes are not a `GraphDef` or end too early.
pub fn read(file: Bytes) -> Result<Vec<NodeDef>, ImportError> {
    let malformed = |problem: String| ImportError::Malformed { format: "TensorFlow GraphDef", problem };
    let graph = GraphDef::decode(file).map_err(|error| malformed(error.to_string()))?;
    if graph.node.is_empty() || graph.node.len() > MAX_NODES {
        let count = graph.node.len();
        return Err(malformed(format!("it has {count} nodes, allowed are 1 to {MAX_NODES}")));
    }
    let decode = |(index, bytes)| {
        let node =
            NodeDef::decode(bytes).map_err(|error| malformed(format!("node number {index}: {error}")))?;
        if node.name.is_empty() {
            return Err(malformed(format!("node number {index} has no name")));
        }
        Ok(node)
    };
    graph.node.into_iter().enumerate().map(decode).collect()
}

/// Turns the nodes into a network.
///
/// # Errors
/// See [`ImportError`]; the message names the node at fault.
pub fn translate(nodes: &[NodeDef]) -> Result<Network, ImportError> {
    let length = nodes.iter().map(Message::encoded_len).sum();
    translate_within(nodes, Budget::of_file(length))
}

fn translate_within(nodes: &[NodeDef], budget: Budget) -> Result<Network, ImportError> {
    let wiring = Wiring::of(nodes)?;
    let image = image(nodes, &wiring)?;
    let mut translation = Translation {
        nodes,
        wiring: &wiring,
        image,
        budget,
        builder: Builder::default(),
        values: vec![None; nodes.len()],
        left_out: BTreeMap::new(),
        refusal: None,
    };
    for &index in &wiring.order {
        translation.node(index)?;
    }
    translation.finish()
}

/// Outputs of a node: all have a first, only a Switch has a second.
type Outputs<'a> = [Value<'a>; 2];

/// A graph while it is translated.
struct Translation<'a> {
    nodes: &'a [NodeDef],
    wiring: &'a Wiring,
    /// The node that the image comes in at.
    image: usize,
    budget: Budget,
    builder: Builder,
    values: Vec<Option<Outputs<'a>>>,
    /// Opaque nodes, and why they are.
    left_out: BTreeMap<String, Arc<str>>,
    /// The first reason.
    refusal: Option<ImportError>,
}

impl<'a> Translation<'a> {
    /// Translates one node, whose inputs have been.
    ///
    /// # Errors
    /// Only what the rest of the graph does not survive: weights beyond the budget.
    fn node(&mut self, index: usize) -> Result<(), ImportError> {
        let nodes = self.nodes;
        let node = &nodes[index];
        let inputs = self.wiring.inputs[index].iter().map(|source| match source {
            Source::Output(from, output) => {
                // Nodes on a cycle, and what waits for them, have no value.
                let outputs = self.values[*from].as_ref();
                outputs.map_or_else(|| self.wiring.cyclic(self.nodes), |outputs| Ok(outputs[*output].clone()))
            }
            Source::Wrong(error) => Err(error.clone()),
        });
        let outputs = inputs.collect::<Result<Vec<_>, _>>().and_then(|inputs| self.outputs(index, &inputs));
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) if self.budget.is_exhausted() => return Err(error),
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                self.refusal.get_or_insert(error);
                [Value::Opaque(Arc::clone(&reason)), Value::Opaque(reason)]
            }
        };
        if let Value::Opaque(reason) = &outputs[0] {
            self.left_out.insert(node.name.clone(), Arc::clone(reason));
        }
        self.values[index] = Some(outputs);
        Ok(())
    }

    fn outputs(&mut self, index: usize, inputs: &[Value<'a>]) -> Result<Outputs<'a>, ImportError> {
        let nodes = self.nodes;
        let node = &nodes[index];
        if node.op == "Merge" {
            let alive = inputs.iter().find(|input| !matches!(input, Value::Dead));
            return Ok(both(alive.cloned().unwrap_or(Value::Dead)));
        }
        if inputs.iter().any(|input| matches!(input, Value::Dead)) {
            return Ok(both(Value::Dead));
        }
        if let Some(opaque) = inputs.iter().find(|input| matches!(input, Value::Opaque(_))) {
            return Ok(both(opaque.clone()));
        }
        let mut call = Call {
            node,
            inputs,
            is_image: index == self.image,
            row_length: self.wiring.row_length(self.nodes, index),
            builder: &self.builder,
            budget: &mut self.budget,
        };
        let (op, inputs) = match tf_ops::translate(&mut call)? {
            Output::Value(value) => return Ok(both(value)),
            Output::Switch { data, taken: false } => return Ok([data, Value::Dead]),
            Output::Switch { data, taken: true } => return Ok([Value::Dead, data]),
            Output::Layer(op, inputs) => (op, inputs),
        };
        let id = self.builder.push(Node { name: node.name.clone(), op, inputs })?;
        Ok(both(Value::Layer(id)))
    }

    fn finish(self) -> Result<Network, ImportError> {
        let Self { nodes, wiring, builder, mut budget, mut left_out, refusal, .. } = self;
        let only_image = builder.nodes().iter().all(|node| matches!(node.op, Op::Input { .. }));
        let cycle = wiring.cyclic::<()>(nodes).err().filter(|_| !wiring.blocked.is_empty());
        if let Some(reason) = cycle.as_ref().map(ToString::to_string) {
            let reason: Arc<str> = reason.into();
            let blocked = wiring.blocked.iter().map(|&index| nodes[index].name.clone());
            left_out.extend(blocked.map(|name| (name, Arc::clone(&reason))));
        }
        if let Some(refusal) = refusal.or(cycle).filter(|_| only_image) {
            return Err(refusal);
        }
        Ok(batch_norm::build(builder, left_out, 1, &mut budget)?)
    }
}

/// The value on both outputs: only a Switch has two that differ, and nothing else has a second that may be read.
fn both(value: Value<'_>) -> Outputs<'_> {
    [value.clone(), value]
}

#[cfg(test)]
mod tests;
