//! What a pass runs: the nodes that the wanted layers need, and which of them a convolution takes along.
//!
//! A convolution, the bias that alone reads it and the rectifier that alone reads that are one operation, unless
//! somebody wants what lies between. The plan is made anew for every pass: that takes microseconds.

use super::{Executor, Layout, convolution::Activation, kernel::Kernel};
use reverie_graph::{NodeId, Op};

/// A node's part in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// Not needed.
    Idle,
    /// Runs.
    Runs(Along),
    /// Was computed by the node that it reads.
    Taken,
}

/// What a convolution computes besides itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Along {
    /// The node that adds its bias.
    pub(super) bias: Option<NodeId>,
    pub(super) activation: Activation,
}

/// Of every node, in the order of the network.
pub(super) struct Plan {
    pub(super) roles: Vec<Role>,
    /// How many nodes read each; who wants a layer counts as one.
    pub(super) readers: Vec<usize>,
    /// The upper limit of the rectifier that each alone reads, for those whose way back can be through both: poolings and
    /// normalisations, of one without limit, and convolutions.
    pub(super) rectified: Vec<Option<f32>>,
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

        let alone = Along { bias: None, activation: Activation::None };
        let role = |needed: &bool| if *needed { Role::Runs(alone) } else { Role::Idle };
        let mut roles: Vec<Role> = needed.iter().map(role).collect();
        for (index, kernel) in self.kernels.iter().enumerate().filter(|(index, _)| needed[*index]) {
            let Kernel::Convolution(convolution) = kernel else { continue };
            if self.layout != Layout::ChannelsLast {
                continue;
            }
            let (mut along, mut last) = (alone, NodeId(index));
            if let Some(next) = only(last).filter(|_| !convolution.has_bias())
                && matches!(network.node(next).op, Op::BiasAdd { .. })
            {
                along.bias = Some(next);
                roles[next.0] = Role::Taken;
                last = next;
            }
            if let Some(next) = only(last) {
                along.activation = match network.node(next).op {
                    Op::Relu => Activation::Relu,
                    Op::Relu6 => Activation::Relu6,
                    _ => Activation::None,
                };
                if along.activation != Activation::None {
                    roles[next.0] = Role::Taken;
                }
            }
            roles[index] = Role::Runs(along);
        }
        let rectified = network.nodes().iter().map(|node| {
            let &[input] = &node.inputs[..] else { return None };
            let limit = match (&node.op, &network.node(input).op) {
                (Op::MaxPool(_) | Op::Lrn { .. } | Op::Conv2d { .. }, Op::Relu) => f32::INFINITY,
                (Op::Conv2d { .. }, Op::Relu6) => 6.0,
                _ => return None,
            };
            only(input).map(|_| limit)
        });
        Plan { rectified: rectified.collect(), roles, readers }
    }
}
