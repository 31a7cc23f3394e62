//! What a pass runs: the nodes that the wanted layers need, and which of them are fused into a convolution.
//!
//! A convolution, the bias that alone reads it and the ReLU that alone reads that are fused, unless a layer between
//! them is wanted. The plan is made anew for every pass: that takes microseconds.

use super::{Executor, Layout, convolution::Activation, params::NodeParams};
use reverie_graph::{NodeId, Op};

/// A node's part in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// Not needed.
    Idle,
    /// Runs.
    Runs(FusedOps),
    /// Fused into its producer.
    Fused,
}

/// What is fused into a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct FusedOps {
    /// The node that adds its bias.
    pub(super) bias: Option<NodeId>,
    pub(super) activation: Activation,
}

/// Of every node, in the order of the network.
pub(super) struct Plan {
    pub(super) roles: Vec<Role>,
    /// How many nodes read each; a wanted layer counts as one reader.
    pub(super) readers: Vec<usize>,
    /// For a node that is the only reader of a ReLU, and whose backward pass may include that ReLU's: its upper limit (∞
    /// for ReLU, 6 for ReLU6). Poolings and normalisations take ReLU only, convolutions both.
    pub(super) relu_limits: Vec<Option<f32>>,
}

impl Executor {
    /// The plan for a pass that ends in `wanted`.
    pub(super) fn plan(&self, wanted: &[NodeId]) -> Plan {
        let network = self.network();
        let needed = network.needed(wanted);
        let mut readers = vec![0usize; needed.len()];
        // Of nodes with one reader, which that is.
        let mut reader: Vec<Option<NodeId>> = vec![None; needed.len()];
        for (index, node) in network.nodes().iter().enumerate().filter(|(index, _)| needed[*index]) {
            for input in &node.inputs {
                readers[input.0] += 1;
                reader[input.0] = Some(NodeId(index));
            }
        }
        for id in wanted {
            readers[id.0] += 1;
            reader[id.0] = None;
        }
        let only = |id: NodeId| reader[id.0].filter(|_| readers[id.0] == 1);

        let alone = FusedOps { bias: None, activation: Activation::None };
        let role = |needed: &bool| if *needed { Role::Runs(alone) } else { Role::Idle };
        let mut roles: Vec<Role> = needed.iter().map(role).collect();
        for (index, params) in self.params.iter().enumerate().filter(|(index, _)| needed[*index]) {
            let NodeParams::Convolution(convolution) = params else { continue };
            if self.layout != Layout::ChannelsLast {
                continue;
            }
            let (mut fused, mut last) = (alone, NodeId(index));
            if let Some(next) = only(last).filter(|_| !convolution.has_bias())
                && matches!(network.node(next).op, Op::BiasAdd { .. })
            {
                fused.bias = Some(next);
                roles[next.0] = Role::Fused;
                last = next;
            }
            if let Some(next) = only(last) {
                fused.activation = match network.node(next).op {
                    Op::Relu => Activation::Relu,
                    Op::Relu6 => Activation::Relu6,
                    _ => Activation::None,
                };
                if fused.activation != Activation::None {
                    roles[next.0] = Role::Fused;
                }
            }
            roles[index] = Role::Runs(fused);
        }
        let relu_limits = network.nodes().iter().map(|node| {
            let &[input] = &node.inputs[..] else { return None };
            let limit = match (&node.op, &network.node(input).op) {
                (Op::MaxPool(_) | Op::Lrn { .. } | Op::Conv2d { .. }, Op::Relu) => f32::INFINITY,
                (Op::Conv2d { .. }, Op::Relu6) => 6.0,
                _ => return None,
            };
            only(input).map(|_| limit)
        });
        Plan { relu_limits: relu_limits.collect(), roles, readers }
    }
}
