//! Importers: from a model file's bytes to a checked [`Network`](reverie_graph::Network).
//!
//! An importer is a function from bytes to a network, in two steps: *reading* decodes the file and
//! knows nothing of layers, *translating* turns what was read into graph nodes and knows nothing of bytes.
//! Model files may be damaged, made by another version of their tool, or hostile. So attributes are read
//! and never assumed, whatever is not understood is an error that names the node or key, no count in a
//! file is believed before it has been compared with the bytes that are there, and nothing recurses.
//!
//! | file | reading | translating |
//! |---|---|---|
//! | TensorFlow `GraphDef` | [`tensorflow::read`] | [`tensorflow::translate`], operations in `tf_ops` |
//! | ONNX | [`onnx::import`] | operations in `onnx_ops`, `onnx_layers`, `onnx_parts` and `onnx_shapes` |
//! | Caffe | [`caffe::import`] | layers in `caffe_layers` |
//! | PyTorch state dict | [`torch_file::read`] | [`state_dict::build`], a file for each family |
//! | safetensors | [`safetensors_file::read`] | the same |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch_norm;
pub mod caffe;
mod caffe_layers;
mod caffe_proto;
mod efficientnet;
mod floats;
pub mod format;
pub mod graphdef;
pub mod onnx;
mod onnx_call;
pub mod onnx_data;
mod onnx_layers;
mod onnx_ops;
mod onnx_parts;
pub mod onnx_proto;
mod onnx_shapes;
mod padding;
mod pickle;
pub mod safetensors_file;
pub mod state_dict;
mod strided;
pub mod tensorflow;
mod tf_arithmetic;
mod tf_call;
mod tf_const;
mod tf_fold;
mod tf_layers;
mod tf_ops;
mod tf_shapes;
mod tf_wiring;
pub mod torch_file;

use reverie_graph::GraphError;

/// Weights that one model may hold, in values: 1 GiB of `f32`.
const MAX_VALUES: usize = 1 << 28;

/// Values that a file may stand for however short it is: 16 MiB of `f32`, since a graph may write a constant as one
/// repeated value.
const FREE_VALUES: usize = 1 << 22;

/// Values for each byte of a file. Floats of 16 bits, decoded and copied, take one; the rest is for files that are packed
/// and weights that are read twice.
const VALUES_PER_BYTE: usize = 4;

/// Why a model file was refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    /// A file of a kind that is known, but is no model that can be read.
    #[error("this is {0}")]
    OtherKind(&'static str),
    /// The bytes are not what they claim to be, or end too early.
    #[error("this is not a complete {format}: {problem}")]
    Malformed {
        /// What the file was read as.
        format: &'static str,
        /// What was found instead.
        problem: String,
    },
    /// An operation that has no translation.
    #[error("node \"{node}\": the operation {op} is not supported")]
    UnknownOp {
        /// The node at fault.
        node: String,
        /// Its operation.
        op: String,
    },
    /// An attribute that could change what a known operation computes.
    #[error("node \"{node}\" ({op}): the attribute \"{attribute}\" is not known")]
    UnknownAttribute {
        /// The node at fault.
        node: String,
        /// Its operation.
        op: String,
        /// The attribute's name.
        attribute: String,
    },
    /// A known operation with inputs or attributes that are missing, malformed or not supported.
    #[error("node \"{node}\" ({op}): {problem}")]
    Node {
        /// The node at fault.
        node: String,
        /// Its operation.
        op: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// A node reads one that does not exist.
    #[error("node \"{node}\" reads \"{input}\", which is not in the file")]
    MissingInput {
        /// The reading node.
        node: String,
        /// What it reads.
        input: String,
    },
    /// Two nodes share a name.
    #[error("two nodes are called \"{0}\"")]
    DuplicateName(String),
    /// A node depends on itself.
    #[error("node \"{0}\" is part of a cycle")]
    Cycle(String),
    /// No image input, or several.
    #[error("a model needs exactly one Placeholder for the image; this one has {}", list(.0))]
    Placeholders(Vec<String>),
    /// No image input, or several.
    #[error("a model needs exactly one input for the image, of three channels; this one has {}", list(.0))]
    Inputs(Vec<String>),
    /// A pickle that names something other than the parts of a tensor; pickles can run any program.
    #[error("the pickle refers to {0}, which a state dict has no use for; it was not run")]
    ForbiddenGlobal(String),
    /// A weight that is missing, or that does not fit the architecture.
    #[error("weight \"{key}\": {problem}")]
    Weight {
        /// Key in the state dict.
        key: String,
        /// What was found and what is needed.
        problem: String,
    },
    /// Weights of an architecture whose wiring is not known.
    #[error(
        "the file holds weights without their wiring, of an architecture that is not known (keys such as {}); known are \
         EfficientNet-Lite, GoogLeNet, Inception v3, MobileNetV2, ResNet, SqueezeNet and VGG, with torchvision's keys; \
         export other networks as ONNX",
        list(.0)
    )]
    UnknownFamily(Vec<String>),
    /// Weights that the architecture has no place for.
    #[error("the file holds weights of another architecture: {}", list(.0))]
    LeftOver(Vec<String>),
    /// The nodes do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Names for people; a file of another kind may have thousands.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => {
            format!("{}, and {} more", names[..SHOWN].join(", "), count - SHOWN)
        }
        _ => names.join(", "),
    }
}

/// What an import may still allocate. A file of a few kilobytes can refer to the same constant or storage a thousand
/// times, or be packed a thousandfold, so that what it may cost follows from its length.
struct Budget {
    left: usize,
    /// Values that weights may have that are one value repeated: they take memory where a network runs, not here.
    repeated: usize,
    exhausted: bool,
}

impl Budget {
    /// For a file of so many bytes.
    fn of_file(length: usize) -> Self {
        Self::of_values(length.saturating_mul(VALUES_PER_BYTE).saturating_add(FREE_VALUES).min(MAX_VALUES))
    }

    fn of_values(left: usize) -> Self {
        Self { left, repeated: MAX_VALUES, exhausted: false }
    }

    /// Accounts for a weight of so many values that are all the same.
    fn repeat(&mut self, values: usize) -> Result<(), String> {
        let left = self.repeated.checked_sub(values);
        self.exhausted |= left.is_none();
        self.repeated =
            left.ok_or_else(|| format!("the weights have more values than a model may have, {MAX_VALUES}"))?;
        Ok(())
    }

    /// Accounts for `values`, before they are allocated.
    fn spend(&mut self, values: usize) -> Result<(), String> {
        let left = self.left.checked_sub(values);
        self.exhausted |= left.is_none();
        self.left =
            left.ok_or_else(|| "the weights have too many values for a file of this length".to_owned())?;
        Ok(())
    }

    /// Whether something was refused: a file for which that is so is not worth reading on.
    fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}

/// Product of `shape`, or what is wrong with it.
fn volume(shape: &[usize]) -> Result<usize, String> {
    let product = shape.iter().try_fold(1usize, |total, &extent| total.checked_mul(extent));
    product.ok_or_else(|| format!("the shape {shape:?} is absurd"))
}
