//! ResNet (He et al. 2015), with the strides on the 3×3 convolutions of bottlenecks, as torchvision has them. Groups and
//! widths follow from the weights, so ResNeXt and the wide networks are read, too.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// Strides of the four stages.
const STRIDES: [usize; 4] = [1, 2, 2, 2];

/// Layers: `bn1`, `relu`, `maxpool`, `layer1.0` … `layer4.N`, `fc`, `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, image) = Builder::new(weights, 1e-5)?;
    let x = builder.conv_norm("bn1", ["conv1", "bn1"], image, 2, Border::Half)?;
    let x = builder.push("relu", Op::Relu, &[x])?;
    let mut x = builder.max_pool("maxpool", x, [3, 2, 1], false)?;
    for (index, stride) in STRIDES.into_iter().enumerate() {
        let stage = index + 1;
        let mut block = 0;
        // The first block has to be there; a weight that is missing names itself.
        while block == 0 || builder.has(&format!("layer{stage}.{block}.conv1.weight")) {
            x = residual(
                &mut builder,
                &format!("layer{stage}.{block}"),
                x,
                if block == 0 { stride } else { 1 },
            )?;
            block += 1;
        }
    }
    builder.classifier("fc", "fc", x)?;
    builder.finish(&[])
}

/// Two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1, added to the input.
fn residual(builder: &mut Builder, name: &str, input: NodeId, stride: usize) -> Result<NodeId, ImportError> {
    let bottleneck = builder.has(&format!("{name}.conv3.weight"));
    let strides = if bottleneck { &[1, stride, 1][..] } else { &[stride, 1] };
    let mut x = input;
    for (index, &stride) in strides.iter().enumerate() {
        let part = index + 1;
        let (conv, norm) = (format!("{name}.conv{part}"), format!("{name}.bn{part}"));
        x = builder.conv_norm(&norm, [&conv, &norm], x, stride, Border::Half)?;
        if part < strides.len() {
            x = builder.push(format!("{name}.relu{part}"), Op::Relu, &[x])?;
        }
    }
    let mut shortcut = input;
    let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
    if builder.has(&format!("{conv}.weight")) {
        shortcut = builder.conv_norm(&norm, [&conv, &norm], input, stride, Border::Half)?;
    }
    let sum = builder.push(format!("{name}.sum"), Op::Add, &[x, shortcut])?;
    builder.push(name, Op::Relu, &[sum])
}
