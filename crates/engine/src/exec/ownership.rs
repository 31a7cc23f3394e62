//! Who has the memory of activations while a forward pass runs: an operation may write over its input only where
//! nothing else has that memory.
//!
//! Three things can have it beside the operation: another reader that is still to come, a value of another name in the
//! same memory (an identity, a reshaped view), and what a node that has run saved for its derivative. A tensor does not
//! tell, so this is counted here: by *home*, the node that allocated a piece of memory. A pass runs the nodes in order,
//! so the counts are exact.

use super::forward::SavedForBackward;
use reverie_graph::{Node, NodeId, Op};

/// The memory of every activation of a pass that keeps what its derivative needs.
pub(super) struct Ownership {
    /// Of every node: where its value lies.
    home: Vec<usize>,
    /// Of every home: how many values lie in it that are still to be read.
    values: Vec<usize>,
    /// Of every home: whether the backward pass reads it, or it is not memory of the pass.
    saved: Vec<bool>,
}

impl Ownership {
    /// Before a pass over so many nodes.
    pub(super) fn new(nodes: usize) -> Self {
        Self { home: (0..nodes).collect(), values: vec![0; nodes], saved: vec![false; nodes] }
    }

    /// The image's value is there: memory that is never written over.
    pub(super) fn provide(&mut self, image: NodeId) {
        self.values[image.0] = 1;
        self.saved[image.0] = true;
    }

    /// Whether `reader`, the last to read `input`, may write over that value.
    pub(super) fn may_overwrite(&self, reader: &Node, input: NodeId) -> bool {
        let home = self.home[input.0];
        let reads = reader.inputs.iter().filter(|other| **other == input).count();
        self.values[home] == 1 && !self.saved[home] && reads == 1
    }

    /// A value has been read for the last time.
    pub(super) fn release(&mut self, value: NodeId) {
        let home = self.home[value.0];
        self.values[home] = self.values[home].saturating_sub(1);
    }

    /// A node has run and saved something. `fused`: its value is its input, as its producer computed it.
    pub(super) fn record(&mut self, id: NodeId, node: &Node, fused: bool, saved: &SavedForBackward) {
        if let (true, Some(input)) = (fused || is_view(&node.op), node.inputs.first()) {
            self.home[id.0] = self.home[input.0];
        }
        self.values[self.home[id.0]] += 1;
        self.saved[self.home[id.0]] |= saved.has_output();
        if saved.has_input() {
            for input in &node.inputs {
                self.saved[self.home[input.0]] = true;
            }
        }
    }
}

/// Whether an operation's output may lie in the memory of its input. One that writes over its input takes that memory over:
/// nothing else has it.
fn is_view(op: &Op) -> bool {
    matches!(op, Op::Identity | Op::Flatten { .. } | Op::AsMap)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// Runs nodes that save what `saves` says, each with one input; which of them may write over it.
    fn overwrites(nodes: &[(Op, usize)], saves: impl Fn(usize) -> SavedForBackward) -> Vec<usize> {
        let nodes: Vec<Node> = nodes
            .iter()
            .enumerate()
            .map(|(index, (op, input))| {
                let inputs = if index == 0 { Vec::new() } else { vec![NodeId(*input)] };
                Node { name: format!("n{index}"), op: op.clone(), inputs }
            })
            .collect();
        let mut ownership = Ownership::new(nodes.len());
        ownership.provide(NodeId(0));
        let mut readers: Vec<usize> = (0..nodes.len())
            .map(|id| nodes.iter().filter(|node| node.inputs.contains(&NodeId(id))).count())
            .collect();
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate().skip(1) {
            let input = node.inputs[0];
            readers[input.0] -= 1;
            if readers[input.0] == 0 {
                if ownership.may_overwrite(node, input) {
                    found.push(index);
                }
                ownership.release(input);
            }
            ownership.record(NodeId(index), node, false, &saves(index));
        }
        found
    }

    #[test]
    fn only_the_last_reader_of_memory_that_nothing_saved_writes_over_it() {
        let nothing = |_| SavedForBackward::Nothing;
        let value = || Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let image = (Op::Input { channels: 3 }, 0);
        // A chain: everything but the image is written over.
        let chain = [image.clone(), (Op::Relu, 0), (Op::Relu, 1), (Op::Relu, 2)];
        assert_eq!(overwrites(&chain, nothing), [2, 3]);
        // Outputs that are saved are not.
        let saved = |index| if index == 2 { SavedForBackward::Output(value()) } else { nothing(index) };
        assert_eq!(overwrites(&chain, saved), [2]);
        // Of two readers the second does, unless the first saved what it read.
        let fork = [image.clone(), (Op::Relu, 0), (Op::Relu6, 1), (Op::Relu, 1)];
        assert_eq!(overwrites(&fork, nothing), [3]);
        let saved = |index| {
            let relu = SavedForBackward::ReluOutput { x: value(), limit: 6.0 };
            if index == 2 { relu } else { nothing(index) }
        };
        assert!(overwrites(&fork, saved).is_empty());
        // Nor while another name of the same memory is still to be read, or was saved.
        let alias = [image, (Op::Relu, 0), (Op::Identity, 1), (Op::Relu, 1), (Op::Relu, 2)];
        assert_eq!(overwrites(&alias, nothing), [4]);
        let saved = |index| if index == 2 { SavedForBackward::Output(value()) } else { nothing(index) };
        assert!(overwrites(&alias, saved).is_empty());
    }
}
