//! What a gradient step costs: counted in things that a network does, and weighed by how long each takes.
//!
//! Multiply-adds alone would be wrong by a factor of five between layers: a depthwise convolution or a
//! normalisation is held up by memory, a small tile by the start of each operation. The weights are times on one
//! machine. They need to be right only in proportion to each other: the server measures at its start, and with
//! every job, how many times slower or faster it is (see [`Pace`](crate::worker::Pace)).

use std::ops::{Add, Mul};

use crate::graph::{Network, NodeId, Op, ShapeError};

/// Work, in the units that it is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Multiply-adds of dense convolutions and matrix products, forward.
    pub dense: f64,
    /// Multiply-adds of convolutions in groups, forward.
    pub grouped: f64,
    /// Values that all operations write, forward.
    pub values: f64,
    /// Those of them in maps so large that their memory is fetched from the system anew each time.
    pub fresh: f64,
    /// Operations that are started, forward.
    pub operations: f64,
    /// Pixels that are normalised and added to.
    pub pixels: f64,
    /// Pixels whose gradient passes through a Laplacian pyramid.
    pub laplacian: f64,
    /// Pixels that are read from a file or written to one.
    pub file: f64,
}

/// Seconds for one of each, the way back included. Fitted to the `render_seconds` of 34 renders of
/// EfficientNet-Lite0 and Inception (64×64 to 4000×4000 pixels, layers from the first to the last, tiles from 256
/// to 2048) with libtorch 2.11 in float32 on two cores of an AMD EPYC; all but two are within 20 %.
const WEIGHTS: Work = Work {
    dense: 2.0e-11,
    grouped: 1.0e-10,
    values: 1.16e-9,
    fresh: 2.4e-9,
    operations: 6.0e-5,
    pixels: 7.0e-8,
    laplacian: 1.5e-8,
    file: 1.0e-7,
};

/// Values in a map beyond which its memory is not kept for the next: 32 MiB of float32, the most that glibc's
/// allocator holds back (`M_MMAP_THRESHOLD`).
const FRESH: usize = 32 * 1024 * 1024 / 4;

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
            let written = shape.len() as f64;
            work.values += written;
            if shape.len() > FRESH {
                work.fresh += written
            }
            work.operations += 1.0;
            let sums = network.multiply_adds(NodeId(index), *shape);
            match &node.op {
                Op::Conv2d { groups, .. } if *groups > 1 => work.grouped += sums,
                _ => work.dense += sums,
            }
        }
        Ok(work)
    }

    /// Seconds on the machine that the weights were measured on.
    pub fn seconds(&self) -> f64 {
        let Self { dense, grouped, values, fresh, operations, pixels, laplacian, file } = *self;
        dense * WEIGHTS.dense
            + grouped * WEIGHTS.grouped
            + values * WEIGHTS.values
            + fresh * WEIGHTS.fresh
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
            grouped: self.grouped + other.grouped,
            values: self.values + other.values,
            fresh: self.fresh + other.fresh,
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
            grouped: self.grouped * times,
            values: self.values * times,
            fresh: self.fresh * times,
            operations: self.operations * times,
            pixels: self.pixels * times,
            laplacian: self.laplacian * times,
            file: self.file * times,
        }
    }
}
