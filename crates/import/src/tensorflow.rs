//! Frozen TensorFlow graphs (`GraphDef`, `.pb`): the format of the article's `tensorflow_inception_graph.pb`.
//!
//! [`read`] decodes the protobuf, [`translate`] orders the nodes and turns them into a network one by one.
//! The order in the file means nothing, as in TensorFlow. Every node is translated, needed or not: an
//! operation that is not understood is found at import, not in the middle of a dream.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
};

use bytes::Bytes;
use prost::Message;

use super::{
    Budget, ImportError,
    graphdef::{GraphDef, NodeDef},
    tf_call::{Output, Value},
    tf_ops,
};
use reverie_graph::{Network, Node, NodeId};

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

fn translate_within(nodes: &[NodeDef], mut budget: Budget) -> Result<Network, ImportError> {
    let placeholders: Vec<String> =
        nodes.iter().filter(|node| node.op == "Placeholder").map(|node| node.name.clone()).collect();
    if placeholders.len() != 1 {
        return Err(ImportError::Placeholders(placeholders));
    }
    let inputs = wire(nodes)?;
    let mut layers: Vec<Node> = Vec::new();
    let mut values: Vec<Option<Value>> = vec![None; nodes.len()];
    for index in order(nodes, &inputs)? {
        let node = &nodes[index];
        // All of them are there, because of the order.
        let arguments: Vec<Value> = inputs[index].iter().filter_map(|&input| values[input]).collect();
        values[index] = Some(match tf_ops::translate(node, &arguments, &mut budget)? {
            Output::Constant(tensor) => Value::Constant(tensor),
            Output::Layer(op, inputs) => {
                layers.push(Node { name: node.name.clone(), op, inputs });
                Value::Layer(NodeId(layers.len() - 1))
            }
        });
    }
    Ok(Network::new(layers)?)
}

/// Which nodes each node reads, in order; control inputs only order side effects and are left out.
fn wire(nodes: &[NodeDef]) -> Result<Vec<Vec<usize>>, ImportError> {
    let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        match by_name.entry(&node.name) {
            Entry::Vacant(slot) => slot.insert(index),
            Entry::Occupied(_) => return Err(ImportError::DuplicateName(node.name.clone())),
        };
    }
    let find = |node: &NodeDef, input: &str| {
        let (name, output) = input.rsplit_once(':').unwrap_or((input, "0"));
        if output != "0" {
            return Err(ImportError::Node {
                node: node.name.clone(),
                op: node.op.clone(),
                problem: format!("reads \"{input}\"; only first outputs (:0) are supported"),
            });
        }
        by_name
            .get(name)
            .copied()
            .ok_or_else(|| ImportError::MissingInput { node: node.name.clone(), input: name.to_owned() })
    };
    let data = |node: &NodeDef| {
        let inputs = node.input.iter().filter(|input| !input.starts_with('^'));
        inputs.map(|input| find(node, input)).collect()
    };
    nodes.iter().map(data).collect()
}

/// A topological order that stays as close to the file's as it can (Kahn's algorithm, lowest index first).
fn order(nodes: &[NodeDef], inputs: &[Vec<usize>]) -> Result<Vec<usize>, ImportError> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting: Vec<usize> = inputs.iter().map(Vec::len).collect();
    for (index, inputs) in inputs.iter().enumerate() {
        for &input in inputs {
            readers[input].push(index);
        }
    }
    let unblocked = (0..nodes.len()).filter(|&index| waiting[index] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = unblocked.map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match (0..nodes.len()).find(|&index| waiting[index] > 0) {
        None => Ok(order),
        Some(blocked) => Err(ImportError::Cycle(nodes[on_cycle(blocked, inputs, &waiting)].name.clone())),
    }
}

/// A node on the cycle that `blocked` waits for. Whatever waits has an input that waits, so as many steps
/// upstream as there are nodes must end on a cycle.
fn on_cycle(blocked: usize, inputs: &[Vec<usize>], waiting: &[usize]) -> usize {
    let upstream = |index: usize| inputs[index].iter().copied().find(|&input| waiting[input] > 0);
    (0..inputs.len()).fold(blocked, |index, _| upstream(index).unwrap_or(index))
}

#[cfg(test)]
mod tests;
