//! Inception v3 (Szegedy et al. 2015), as torchvision has it. The auxiliary classifier takes part in training only.
//!
//! Blocks are lists of branches, and a branch is a list of steps, each reading the one before it. Extents of the kernels follow
//! from the weights.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// A step of a branch.
#[derive(Clone, Copy)]
enum Step {
    /// A convolution that keeps the size.
    Conv(&'static str),
    /// A convolution that halves it.
    Halve(&'static str),
    /// Two convolutions of the same input, side by side.
    Fork(&'static str, &'static str),
    /// A max-pooling that halves the size.
    MaxPool,
    /// An average-pooling that keeps it.
    Average,
}

use Step::{Average, Conv, Fork, Halve, MaxPool};

/// Branches side by side.
type Block = &'static [&'static [Step]];

const A: Block = &[
    &[Conv("branch1x1")],
    &[Conv("branch5x5_1"), Conv("branch5x5_2")],
    &[Conv("branch3x3dbl_1"), Conv("branch3x3dbl_2"), Conv("branch3x3dbl_3")],
    &[Average, Conv("branch_pool")],
];

const B: Block = &[
    &[Halve("branch3x3")],
    &[Conv("branch3x3dbl_1"), Conv("branch3x3dbl_2"), Halve("branch3x3dbl_3")],
    &[MaxPool],
];

const C: Block = &[
    &[Conv("branch1x1")],
    &[Conv("branch7x7_1"), Conv("branch7x7_2"), Conv("branch7x7_3")],
    &[
        Conv("branch7x7dbl_1"),
        Conv("branch7x7dbl_2"),
        Conv("branch7x7dbl_3"),
        Conv("branch7x7dbl_4"),
        Conv("branch7x7dbl_5"),
    ],
    &[Average, Conv("branch_pool")],
];

const D: Block = &[
    &[Conv("branch3x3_1"), Halve("branch3x3_2")],
    &[Conv("branch7x7x3_1"), Conv("branch7x7x3_2"), Conv("branch7x7x3_3"), Halve("branch7x7x3_4")],
    &[MaxPool],
];

const E: Block = &[
    &[Conv("branch1x1")],
    &[Conv("branch3x3_1"), Fork("branch3x3_2a", "branch3x3_2b")],
    &[Conv("branch3x3dbl_1"), Conv("branch3x3dbl_2"), Fork("branch3x3dbl_3a", "branch3x3dbl_3b")],
    &[Average, Conv("branch_pool")],
];

const BLOCKS: [(&str, Block); 11] = [
    ("Mixed_5b", A),
    ("Mixed_5c", A),
    ("Mixed_5d", A),
    ("Mixed_6a", B),
    ("Mixed_6b", C),
    ("Mixed_6c", C),
    ("Mixed_6d", C),
    ("Mixed_6e", C),
    ("Mixed_7a", D),
    ("Mixed_7b", E),
    ("Mixed_7c", E),
];

/// Layers: `Conv2d_1a_3x3` … `maxpool2`, `Mixed_5b` … `Mixed_7c`, `fc`, `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, image) = Builder::new(weights, 1e-3)?;
    let x = activated(&mut builder, "Conv2d_1a_3x3", image, 2, Border::None)?;
    let x = activated(&mut builder, "Conv2d_2a_3x3", x, 1, Border::None)?;
    let x = activated(&mut builder, "Conv2d_2b_3x3", x, 1, Border::Half)?;
    let x = builder.max_pool("maxpool1", x, [3, 2, 0], false)?;
    let x = activated(&mut builder, "Conv2d_3b_1x1", x, 1, Border::None)?;
    let x = activated(&mut builder, "Conv2d_4a_3x3", x, 1, Border::None)?;
    let mut x = builder.max_pool("maxpool2", x, [3, 2, 0], false)?;
    for (name, block) in BLOCKS {
        x = mixed(&mut builder, name, block, x)?;
    }
    builder.classifier("fc", "fc", x)?;
    builder.finish(&["AuxLogits."])
}

/// Convolution, batch normalisation (`NAME.bn`) and ReLU (`NAME`).
fn activated(
    builder: &mut Builder,
    name: &str,
    input: NodeId,
    stride: usize,
    border: Border,
) -> Result<NodeId, ImportError> {
    let (conv, norm) = (format!("{name}.conv"), format!("{name}.bn"));
    let x = builder.conv_norm(&norm, [&conv, &norm], input, stride, border)?;
    builder.push(name, Op::Relu, &[x])
}

/// All branches, joined.
fn mixed(builder: &mut Builder, name: &str, block: Block, input: NodeId) -> Result<NodeId, ImportError> {
    let part = |part: &str| format!("{name}.{part}");
    let mut ends = Vec::new();
    for branch in block {
        let mut x = input;
        for step in *branch {
            x = match *step {
                Conv(conv) => activated(builder, &part(conv), x, 1, Border::Half)?,
                Halve(conv) => activated(builder, &part(conv), x, 2, Border::None)?,
                MaxPool => builder.max_pool(&part("pool"), x, [3, 2, 0], false)?,
                Average => builder.average(&part("pool"), x)?,
                Fork(first, second) => {
                    ends.push(activated(builder, &part(first), x, 1, Border::Half)?);
                    activated(builder, &part(second), x, 1, Border::Half)?
                }
            };
        }
        ends.push(x);
    }
    builder.push(name, Op::Concat, &ends)
}
