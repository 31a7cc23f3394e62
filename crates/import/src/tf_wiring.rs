//! Who reads whom in a TensorFlow graph, in which order the nodes can be translated, and where the image comes in.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
};

use super::{
    ImportError,
    graphdef::{AttrValue, DT_FLOAT, NodeDef, TensorShapeProto, Value as Attr},
};

/// Where an input of a node comes from.
pub(super) enum Source {
    /// A node's index, and which of its outputs.
    Output(usize, usize),
    /// Nowhere that could be read.
    Wrong(ImportError),
}

/// The wiring of a graph.
pub(super) struct Wiring {
    /// Data inputs of every node, in order; control inputs only order side effects and are left out.
    pub(super) inputs: Vec<Vec<Source>>,
    /// Which nodes read each, and at which of their inputs.
    readers: Vec<Vec<(usize, usize)>>,
    /// A topological order that stays as close to the file's as it can.
    pub(super) order: Vec<usize>,
    /// Nodes that are on a cycle or behind one.
    pub(super) blocked: Vec<usize>,
}

impl Wiring {
    /// # Errors
    /// [`ImportError::DuplicateName`]; any other mistake concerns only who reads it.
    pub(super) fn of(nodes: &[NodeDef]) -> Result<Self, ImportError> {
        let mut by_name: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            match by_name.entry(&node.name) {
                Entry::Vacant(slot) => slot.insert(index),
                Entry::Occupied(_) => return Err(ImportError::DuplicateName(node.name.clone())),
            };
        }
        let data = |node: &NodeDef| {
            let inputs = node.input.iter().filter(|input| !input.starts_with('^'));
            inputs.map(|input| source(nodes, &by_name, node, input)).collect()
        };
        let inputs: Vec<Vec<Source>> = nodes.iter().map(data).collect();
        let mut readers: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes.len()];
        for (index, inputs) in inputs.iter().enumerate() {
            for (position, input) in inputs.iter().enumerate() {
                if let Source::Output(from, _) = input {
                    readers[*from].push((index, position));
                }
            }
        }
        let (order, blocked) = order(&inputs, &readers);
        Ok(Self { inputs, readers, order, blocked })
    }

    /// The refusal of what waits for a cycle.
    ///
    /// # Errors
    /// Always: it names a node of the cycle.
    pub(super) fn cyclic<T>(&self, nodes: &[NodeDef]) -> Result<T, ImportError> {
        // Whatever waits has an input that waits, so the way upstream comes to a node twice, and that is on a cycle.
        let upstream = |index: usize| {
            self.inputs[index].iter().find_map(|source| match source {
                Source::Output(from, _) => self.blocked.binary_search(from).is_ok().then_some(*from),
                Source::Wrong(_) => None,
            })
        };
        let mut seen = vec![false; nodes.len()];
        let mut at = self.blocked.first().copied();
        while let Some(index) = at.filter(|&index| !std::mem::replace(&mut seen[index], true)) {
            at = upstream(index);
        }
        Err(ImportError::Cycle(at.map(|index| nodes[index].name.clone()).unwrap_or_default()))
    }

    /// Length of the rows that a node hands to a MatMul by a constant, where it does: what a shape of −1 stands for.
    pub(super) fn row_length(&self, nodes: &[NodeDef], index: usize) -> Option<usize> {
        self.readers[index].iter().find_map(|&(reader, position)| {
            let node = nodes.get(reader).filter(|node| node.op == "MatMul" && position == 0)?;
            let Some(Source::Output(weight, _)) = self.inputs[reader].get(1) else { return None };
            let mut weight = *weight;
            // Frozen variables are read through an Identity.
            if nodes[weight].op == "Identity"
                && let Some(Source::Output(behind, _)) = self.inputs[weight].first()
            {
                weight = *behind;
            }
            let Some(Attr::Tensor(tensor)) = value(&nodes[weight], "value") else { return None };
            let transposed = matches!(value(node, "transpose_b"), Some(Attr::Bool(true)));
            match &tensor.tensor_shape.as_ref()?.dim[..] {
                [rows, columns] => usize::try_from(if transposed { columns } else { rows }.size).ok(),
                _ => None,
            }
        })
    }
}

fn value<'a>(node: &'a NodeDef, attribute: &str) -> Option<&'a Attr> {
    node.attr.get(attribute).and_then(|attr: &AttrValue| attr.value.as_ref())
}

fn source(nodes: &[NodeDef], by_name: &HashMap<&str, usize>, node: &NodeDef, input: &str) -> Source {
    let (name, output) = input.rsplit_once(':').unwrap_or((input, "0"));
    let Some(&from) = by_name.get(name) else {
        return Source::Wrong(ImportError::MissingInput { node: node.name.clone(), input: name.to_owned() });
    };
    match output {
        "0" => Source::Output(from, 0),
        // The other branch.
        "1" if nodes[from].op == "Switch" => Source::Output(from, 1),
        _ => Source::Wrong(ImportError::Node {
            node: node.name.clone(),
            op: node.op.clone(),
            problem: format!("reads \"{input}\"; only first outputs (:0) are supported"),
        }),
    }
}

/// Kahn's algorithm, lowest index first; and what it does not reach.
fn order(inputs: &[Vec<Source>], readers: &[Vec<(usize, usize)>]) -> (Vec<usize>, Vec<usize>) {
    let from_nodes =
        |inputs: &Vec<Source>| inputs.iter().filter(|input| matches!(input, Source::Output(..))).count();
    let mut waiting: Vec<usize> = inputs.iter().map(from_nodes).collect();
    let unblocked = (0..inputs.len()).filter(|&index| waiting[index] == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = unblocked.map(Reverse).collect();
    let mut order = Vec::with_capacity(inputs.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &(reader, _) in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    let blocked = (0..inputs.len()).filter(|&index| waiting[index] > 0).collect();
    (order, blocked)
}

/// The node that the image comes in at: the Placeholder whose shape is that of images, or else the one that convolutions are
/// computed from, or the only one. A graph without a Placeholder may have a default instead, or read a file.
///
/// # Errors
/// [`ImportError::Placeholders`] where that leaves none or several.
pub(super) fn image(nodes: &[NodeDef], wiring: &Wiring) -> Result<usize, ImportError> {
    let of = |ops: &[&str]| -> Vec<usize> {
        (0..nodes.len()).filter(|&index| ops.contains(&nodes[index].op.as_str())).collect()
    };
    let kinds: [&[&str]; 3] =
        [&["Placeholder"], &["PlaceholderWithDefault"], &["DecodeJpeg", "DecodePng", "DecodeImage"]];
    let found = kinds.into_iter().map(of).find(|found| !found.is_empty()).unwrap_or_default();
    let refused = || {
        let names = found.iter().map(|&index| nodes[index].name.clone());
        ImportError::Placeholders(names.collect())
    };
    let one = |candidates: &[usize]| match candidates {
        &[image] => Some(image),
        _ => None,
    };
    let with = |shape: Shape| -> Vec<usize> {
        found.iter().copied().filter(|&index| shape_of(&nodes[index]) == shape).collect()
    };
    let (images, unknown) = (with(Shape::Image), with(Shape::Unknown));
    let candidates = if images.is_empty() { &unknown } else { &images };
    one(&found)
        .or_else(|| one(candidates))
        .or_else(|| {
            let convolved: Vec<usize> =
                candidates.iter().copied().filter(|&index| is_convolved(nodes, wiring, index)).collect();
            one(&convolved)
        })
        .ok_or_else(refused)
}

#[derive(PartialEq)]
enum Shape {
    Image,
    Unknown,
    Other,
}

fn shape_of(node: &NodeDef) -> Shape {
    if !matches!(value(node, "dtype"), None | Some(Attr::Type(DT_FLOAT))) {
        return Shape::Other;
    }
    let sizes = |shape: &TensorShapeProto| shape.dim.iter().map(|dim| dim.size).collect::<Vec<_>>();
    match value(node, "shape") {
        Some(Attr::Shape(shape)) if !shape.unknown_rank => match sizes(shape)[..] {
            [_, _, _, 3] => Shape::Image,
            // No dimensions is how old graphs say "unknown".
            [] | [_, _, _, -1] => Shape::Unknown,
            _ => Shape::Other,
        },
        _ => Shape::Unknown,
    }
}

/// Whether a convolution is computed from a node.
fn is_convolved(nodes: &[NodeDef], wiring: &Wiring, from: usize) -> bool {
    let mut seen = vec![false; nodes.len()];
    let mut next = vec![from];
    while let Some(index) = next.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        if nodes[index].op == "Conv2D" {
            return true;
        }
        next.extend(wiring.readers[index].iter().map(|&(reader, _)| reader));
    }
    false
}
