//! The network as data: named nodes, their weights and their wiring, without any engine.
//!
//! Importers build a [`Network`], the HTTP side lists its layers, and the renderer executes it. Keeping
//! it free of libtorch means that a model can be checked, listed and reasoned about on any thread of any
//! process, and that every mistake in a model file is found when the file is read.
//!
//! Feature maps are `[N, C, H, W]`; what TensorFlow calls rank-2 tensors are rows of features,
//! `[rows, features]`. Nodes stand in topological order: an input always precedes its reader.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod check;
mod shape;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc};

pub use check::{GraphError, MAX_EXTENT, MAX_WIDTH};
pub use shape::{LayerInfo, Shape, ShapeError};

/// Index of a node in [`Network::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A weight tensor: row-major `f32` data with its shape.
#[derive(Clone, PartialEq)]
pub struct Array {
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values.
    pub data: Arc<[f32]>,
}

impl Array {
    /// Wraps `data`; `None` when the number of values is not the product of `shape`.
    pub fn new(shape: Vec<usize>, data: impl Into<Arc<[f32]>>) -> Option<Self> {
        let data = data.into();
        let expected = shape.iter().try_fold(1usize, |total, &extent| total.checked_mul(extent))?;
        (expected == data.len()).then_some(Self { shape, data })
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array{:?}", self.shape)
    }
}

/// How a sliding window treats the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// TensorFlow's `SAME`: output is `ceil(n / stride)`; the odd pixel of padding goes to the end.
    Same,
    /// No padding.
    Valid,
}

impl Padding {
    /// Output extent and padding `(before, after)` along one axis of `n` pixels.
    ///
    /// `kernel` is the dilated extent. `None` when the window does not fit (`VALID` on a small input).
    /// Source: TensorFlow's `GetWindowedOutputSize`.
    pub fn resolve(self, n: usize, kernel: usize, stride: usize) -> Option<(usize, usize, usize)> {
        match self {
            Padding::Same => {
                let out = n.div_ceil(stride);
                let total = (out.checked_sub(1)? * stride + kernel).saturating_sub(n);
                Some((out, total / 2, total - total / 2))
            }
            Padding::Valid => Some((n.checked_sub(kernel)? / stride + 1, 0, 0)),
        }
    }
}

/// A sliding window, `[height, width]` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel extent, undilated.
    pub kernel: [usize; 2],
    /// Step between neighbouring outputs.
    pub stride: [usize; 2],
    /// Border treatment.
    pub padding: Padding,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image after the model's preprocessing.
    Input {
        /// Number of colour channels.
        channels: usize,
    },
    /// Cross-correlation. `weight` is `[out, in / groups, kh, kw]`.
    Conv2d {
        /// `[out, in / groups, kh, kw]`.
        weight: Array,
        /// `[out]`, where the bias is part of the convolution.
        bias: Option<Array>,
        /// Stride, `[height, width]`.
        stride: [usize; 2],
        /// Dilation, `[height, width]`.
        dilation: [usize; 2],
        /// Border treatment.
        padding: Padding,
        /// Number of channel groups; equal to the input channels for a depthwise convolution.
        groups: usize,
    },
    /// Adds `[C]` to every position or row.
    BiasAdd {
        /// `[C]`.
        bias: Array,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Maximum over a window; the padding never wins.
    MaxPool(Window),
    /// Mean over a window; the padding is not counted.
    AvgPool(Window),
    /// TensorFlow's local response normalisation over channels:
    /// `x / (bias + alpha · Σ_{|i−c| ≤ radius} x_i²)^beta`, alpha undivided.
    Lrn {
        /// Channels to either side that take part.
        radius: usize,
        /// Added to the scaled sum.
        bias: f32,
        /// Scale of the sum of squares.
        alpha: f32,
        /// Exponent of the divisor.
        beta: f32,
    },
    /// Joins maps along the channels.
    Concat,
    /// Element-wise sum of two maps of the same shape.
    Add,
    /// Mean over all positions: a map becomes `[N, C]` rows.
    SpatialMean,
    /// Flattens `[N, H, W, C]` (channels fastest, as TensorFlow stores it) into rows of `features`.
    Flatten {
        /// Length of a row.
        features: usize,
    },
    /// Rows times `[in, out]`.
    MatMul {
        /// `[in, out]`.
        weight: Array,
    },
    /// Softmax over channels or features.
    Softmax,
    /// Passes its input on under another name.
    Identity,
}

impl Op {
    /// The name shown to people and in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Conv2d { .. } => "conv2d",
            Op::BiasAdd { .. } => "bias_add",
            Op::Relu => "relu",
            Op::Relu6 => "relu6",
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool(_) => "avg_pool",
            Op::Lrn { .. } => "lrn",
            Op::Concat => "concat",
            Op::Add => "add",
            Op::SpatialMean => "spatial_mean",
            Op::Flatten { .. } => "flatten",
            Op::MatMul { .. } => "mat_mul",
            Op::Softmax => "softmax",
            Op::Identity => "identity",
        }
    }
}

/// One named step of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name, as in the model file.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The nodes it reads, in order; each precedes this one.
    pub inputs: Vec<NodeId>,
}

/// A checked network: acyclic, one input, every weight of the right shape.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
    input: NodeId,
    widths: Vec<shape::Width>,
}

impl Network {
    /// Checks `nodes` and builds the network.
    ///
    /// # Errors
    /// [`GraphError`] names the node and what is wrong with it: a repeated name, an input that comes
    /// later, a weight that does not fit its input, no input node or more than one.
    pub fn new(nodes: Vec<Node>) -> Result<Self, GraphError> {
        let (by_name, input) = check::index(&nodes)?;
        let widths = check::widths(&nodes)?;
        Ok(Self { nodes, by_name, input, widths })
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node behind an id of this network.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The image's node.
    pub fn input(&self) -> NodeId {
        self.input
    }

    /// Looks a layer up by name.
    ///
    /// # Errors
    /// [`UnknownLayer`] with the names closest to `name`.
    pub fn find(&self, name: &str) -> Result<NodeId, UnknownLayer> {
        self.by_name.get(name).copied().ok_or_else(|| UnknownLayer::new(name, &self.nodes))
    }

    /// Number of channels (or features) that a layer puts out; it does not depend on the input size.
    pub fn channels(&self, id: NodeId) -> usize {
        self.widths[id.0].channels()
    }

    /// Whether a layer puts out a feature map rather than rows.
    pub fn is_map(&self, id: NodeId) -> bool {
        matches!(self.widths[id.0], shape::Width::Map(_))
    }

    /// Which nodes have to run to obtain `wanted`; indexed like [`Network::nodes`].
    pub fn needed(&self, wanted: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for id in wanted {
            needed[id.0] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if needed[index] {
                for input in &self.nodes[index].inputs {
                    needed[input.0] = true;
                }
            }
        }
        needed
    }
}

/// A layer name that the network does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no layer \"{name}\"{}", self.hint())]
pub struct UnknownLayer {
    /// What was asked for.
    pub name: String,
    /// The closest existing names, best first.
    pub nearest: Vec<String>,
}

impl UnknownLayer {
    fn new(name: &str, nodes: &[Node]) -> Self {
        // Finding similar names takes time in proportion to the length of both; a long one is no typing mistake.
        const LONGEST: usize = 128;
        if name.len() > LONGEST {
            let name = format!("{}…", &name[..name.floor_char_boundary(LONGEST)]);
            return Self { name, nearest: Vec::new() };
        }
        let mut scored: Vec<(f64, &str)> =
            nodes.iter().map(|node| (strsim::jaro_winkler(name, &node.name), node.name.as_str())).collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let nearest = scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect();
        Self { name: name.to_owned(), nearest }
    }

    fn hint(&self) -> String {
        if self.nearest.is_empty() {
            String::new()
        } else {
            format!("; the closest are {}", self.nearest.join(", "))
        }
    }
}
