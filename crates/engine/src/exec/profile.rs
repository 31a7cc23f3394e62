//! Where the time of a render goes: seconds per node, forward and back, and what arithmetic that is.
//!
//! Kept on request only (`reverie render --profile`): on a GPU the clock can be read only after everything
//! that is under way has ended, which takes away what overlaps.

use std::time::Instant;

use tch::{Cuda, Device, Kind, Tensor};

use super::super::RenderError;
use reverie_graph::{Network, NodeId, Shape};

/// Time and arithmetic of a render's gradient steps.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Nodes that ran, in the order of the network.
    pub nodes: Vec<NodeProfile>,
    /// Seconds in all gradients: the nodes' and everything around them.
    pub seconds: f64,
    /// Multiply-adds per second of a product of two matrices of 2048×2048 in the same precision, measured after the
    /// render: what this machine reaches where nothing but arithmetic is in the way.
    pub matrix_rate: f64,
}

/// Time and arithmetic of one node, summed over the render.
#[derive(Clone, Debug, Default)]
pub struct NodeProfile {
    /// As in the model.
    pub name: String,
    /// Kind of the operation.
    pub kind: &'static str,
    /// Seconds forward.
    pub forward: f64,
    /// Seconds back.
    pub backward: f64,
    /// Multiply-adds of convolutions and matrix products, both ways; that of other operations is not counted.
    pub multiply_adds: f64,
}

impl Profile {
    pub(super) fn of(network: &Network) -> Self {
        let nodes = network.nodes().iter().map(|node| NodeProfile {
            name: node.name.clone(),
            kind: node.op.kind(),
            ..NodeProfile::default()
        });
        Self { nodes: nodes.collect(), ..Self::default() }
    }

    /// Multiply-adds of all nodes, as many as plain sums take.
    pub fn multiply_adds(&self) -> f64 {
        self.nodes.iter().map(|node| node.multiply_adds).sum()
    }

    /// Share of [`Self::matrix_rate`] that the gradient steps reach; above 1 where fewer multiplications do.
    pub fn share(&self) -> f64 {
        self.multiply_adds() / self.seconds / self.matrix_rate
    }

    /// Notes that a node ran forward and gave values of `shape` for so many images.
    pub(super) fn forward(
        &mut self,
        network: &Network,
        id: NodeId,
        shape: Option<Shape>,
        images: i64,
        seconds: f64,
    ) {
        let node = &mut self.nodes[id.0];
        node.forward += seconds;
        // The backward pass to the input is the same convolution, with flipped weights.
        let each = shape.map_or(0.0, |shape| network.multiply_adds(id, shape));
        node.multiply_adds += 2.0 * each * images as f64;
    }

    /// Notes that a node ran back.
    pub(super) fn backward(&mut self, id: NodeId, seconds: f64) {
        self.nodes[id.0].backward += seconds;
    }

    /// Measures [`Self::matrix_rate`], and drops the nodes that did not run.
    pub(super) fn finish(mut self, device: Device, kind: Kind) -> Result<Self, RenderError> {
        const EDGE: i64 = 2048;
        let matrix = || Tensor::f_rand([EDGE, EDGE], (Kind::Float, device))?.f_to_kind(kind);
        let (left, right) = (matrix()?, matrix()?);
        let mut best = f64::INFINITY;
        for _ in 0..12 {
            let began = Instant::now();
            drop(left.f_matmul(&right)?);
            settle(device);
            best = best.min(began.elapsed().as_secs_f64());
        }
        self.matrix_rate = (EDGE as f64).powi(3) / best;
        self.nodes.retain(|node| node.forward + node.backward > 0.0);
        Ok(self)
    }
}

/// Waits until the device has done what it was given.
pub(in super::super) fn settle(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}
