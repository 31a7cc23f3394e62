//! GoogLeNet with batch normalisation (Szegedy et al. 2014), as torchvision has it: the 5×5 convolutions of the paper are 3×3
//! here. The auxiliary classifiers take part in training only.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// The inception blocks, and after which of them a max-pooling follows: its number and the edge of its windows.
const BLOCKS: [(&str, Option<(usize, usize)>); 9] = [
    ("3a", None),
    ("3b", Some((3, 3))),
    ("4a", None),
    ("4b", None),
    ("4c", None),
    ("4d", None),
    ("4e", Some((4, 2))),
    ("5a", None),
    ("5b", None),
];

/// Layers: `conv1`, `maxpool1`, `conv2`, `conv3`, `maxpool2`, `inception3a` … `inception5b`, `fc`, `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, image) = Builder::new(weights, 1e-3)?;
    let x = activated(&mut builder, "conv1", image, 2)?;
    let x = builder.max_pool("maxpool1", x, [3, 2, 0], true)?;
    let x = activated(&mut builder, "conv2", x, 1)?;
    let x = activated(&mut builder, "conv3", x, 1)?;
    let mut x = builder.max_pool("maxpool2", x, [3, 2, 0], true)?;
    for (block, pool) in BLOCKS {
        x = inception(&mut builder, &format!("inception{block}"), x)?;
        if let Some((number, kernel)) = pool {
            x = builder.max_pool(&format!("maxpool{number}"), x, [kernel, 2, 0], true)?;
        }
    }
    builder.classifier("fc", "fc", x)?;
    builder.finish(&["aux1.", "aux2."])
}

/// Convolution, batch normalisation (`NAME.bn`) and ReLU (`NAME`).
fn activated(builder: &mut Builder, name: &str, input: NodeId, stride: usize) -> Result<NodeId, ImportError> {
    let (conv, norm) = (format!("{name}.conv"), format!("{name}.bn"));
    let x = builder.conv_norm(&norm, [&conv, &norm], input, stride, Border::Half)?;
    builder.push(name, Op::Relu, &[x])
}

/// Four branches side by side.
fn inception(builder: &mut Builder, name: &str, input: NodeId) -> Result<NodeId, ImportError> {
    let part = |part: &str| format!("{name}.{part}");
    let first = activated(builder, &part("branch1"), input, 1)?;
    let mut branches = vec![first];
    for branch in ["branch2", "branch3"] {
        let x = activated(builder, &part(&format!("{branch}.0")), input, 1)?;
        branches.push(activated(builder, &part(&format!("{branch}.1")), x, 1)?);
    }
    let x = builder.max_pool(&part("branch4.0"), input, [3, 1, 1], true)?;
    branches.push(activated(builder, &part("branch4.1"), x, 1)?);
    builder.push(name, Op::Concat, &branches)
}
