//! What a gradient step costs: counted in things that a network does, and weighed by how long each takes.
//!
//! Multiply-adds alone would be wrong by a factor of five between layers: a depthwise convolution or a
//! normalisation is held up by memory, a small tile by the start of each operation. The weights are times on one
//! machine. They need to be right only in proportion to each other: the server measures at its start, and with
//! every job, how many times slower or faster it is (see the service's `worker/throughput`).

use std::ops::{Add, Mul};

use super::winograd;
use reverie_graph::{Network, NodeId, Op, ShapeError};

/// Work, in the units that it is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiply-adds of dense convolutions and matrix products, forward, less where fewer multiplications do. Those of
    /// convolutions in groups do not count: they are over before their values are read and written.
    pub dense: f64,
    /// Values that all operations write, forward.
    pub values: f64,
    /// Operations that are started, forward, where passes hold as many tiles as they may.
    pub operations: f64,
    /// Pixels that are normalised and added to.
    pub pixels: f64,
    /// Pixels whose gradient passes through a Laplacian pyramid.
    pub laplacian: f64,
    /// Pixels that are read from a file or written to one.
    pub file: f64,
}

/// Seconds for one of each, the backward pass included. Fitted to the `render_seconds` of 74 renders of
/// EfficientNet-Lite0 and Inception (64×64 to 2048×1536 pixels, layers from the first to the last, tiles from 64 to 1024)
/// with libtorch 2.11 in float32 on two cores of an AMD EPYC (Zen 4); nine in ten are within 20 %. `laplacian` and `file`
/// are from `cargo bench --bench parts`.
const WEIGHTS: Work = Work {
    dense: 1.64e-11,
    values: 4.0e-10,
    operations: 2.3e-5,
    pixels: 1.2e-8,
    laplacian: 2.6e-9,
    file: 1.0e-8,
};

/// Share of the time of plain sums that Winograd convolutions take.
const FEWER: f64 = 0.4;

/// Share of a gradient that its way forward takes.
pub(super) const FORWARD: f64 = 0.4;

impl Work {
    /// Score and gradient of one window of `height × width` pixels with respect to `layers`.
    ///
    /// # Errors
    /// [`ShapeError`] when the window is too small for a layer.
    pub fn of_window(
        network: &Network,
        layers: &[NodeId],
        height: usize,
        width: usize,
    ) -> Result<Self, ShapeError> {
        let shapes = network.shapes(layers, height, width)?;
        let mut work = Self::default();
        for (index, (node, shape)) in network.nodes().iter().zip(&shapes).enumerate() {
            let Some(shape) = shape else { continue };
            work.values += shape.len() as f64;
            work.operations += 1.0;
            let sums = network.multiply_adds(NodeId(index), *shape);
            let positions = shape.len() / network.channels(NodeId(index)).max(1);
            let fewer = winograd::weights_of(&node.op);
            work.dense += match &node.op {
                Op::Conv2d { groups, .. } if *groups > 1 => 0.0,
                _ if fewer.is_some_and(|weights| winograd::pays(weights, false, positions)) => sums * FEWER,
                _ => sums,
            };
        }
        Ok(work)
    }

    /// Seconds on the machine that the weights were measured on.
    pub fn seconds(&self) -> f64 {
        let Self { dense, values, operations, pixels, laplacian, file } = *self;
        dense * WEIGHTS.dense
            + values * WEIGHTS.values
            + operations * WEIGHTS.operations
            + pixels * WEIGHTS.pixels
            + laplacian * WEIGHTS.laplacian
            + file * WEIGHTS.file
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            dense: self.dense + other.dense,
            values: self.values + other.values,
            operations: self.operations + other.operations,
            pixels: self.pixels + other.pixels,
            laplacian: self.laplacian + other.laplacian,
            file: self.file + other.file,
        }
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            dense: self.dense * times,
            values: self.values * times,
            operations: self.operations * times,
            pixels: self.pixels * times,
            laplacian: self.laplacian * times,
            file: self.file * times,
        }
    }
}
