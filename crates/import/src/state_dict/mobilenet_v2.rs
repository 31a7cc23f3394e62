//! MobileNetV2 (Sandler et al. 2018). Widths follow from the weights; where a stage begins, the number of channels changes.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// Strides of the seven stages and blocks of each (table 2 of the paper).
const STAGES: [(usize, usize); 7] = [(1, 1), (2, 2), (2, 3), (2, 4), (1, 3), (2, 3), (1, 1)];

/// Layers: `features.0` … `features.18` (the output of each block), `classifier.1`, `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, image) = Builder::new(weights, 1e-5)?;
    let mut x = activated(&mut builder, "features.0", image, 2)?;
    let mut index = 1;
    for (stride, blocks) in STAGES {
        for block in 0..blocks {
            x = residual(&mut builder, index, x, if block == 0 { stride } else { 1 })?;
            index += 1;
        }
    }
    let x = activated(&mut builder, &format!("features.{index}"), x, 1)?;
    builder.classifier("classifier.1", "classifier.1", x)?;
    builder.finish(&[])
}

/// Convolution, batch normalisation (`NAME.1`) and ReLU6 (`NAME`).
fn activated(builder: &mut Builder, name: &str, input: NodeId, stride: usize) -> Result<NodeId, ImportError> {
    let (conv, norm) = (format!("{name}.0"), format!("{name}.1"));
    let x = builder.conv_norm(&norm, [&conv, &norm], input, stride, Border::Half)?;
    builder.push(name, Op::Relu6, &[x])
}

/// The inverted residual block: widen (but for the first), filter each channel, narrow; added to the input where it can be.
fn residual(
    builder: &mut Builder,
    index: usize,
    input: NodeId,
    stride: usize,
) -> Result<NodeId, ImportError> {
    let name = format!("features.{index}");
    let part = |number: usize| format!("{name}.conv.{number}");
    let widens = builder.has(&format!("{}.0.weight", part(1)));
    let mut x = input;
    if widens {
        x = activated(builder, &part(0), x, 1)?;
    }
    let depthwise = usize::from(widens);
    x = activated(builder, &part(depthwise), x, stride)?;
    let norm = part(depthwise + 2);
    x = builder.conv_norm(&norm, [&part(depthwise + 1), &norm], x, 1, Border::Half)?;
    if stride == 1 && builder.channels(x) == builder.channels(input) {
        builder.push(name, Op::Add, &[x, input])
    } else {
        builder.push(name, Op::Identity, &[x])
    }
}
