//! VGG (Simonyan and Zisserman 2014), of any depth, with and without batch normalisation. The numbers of the keys are those of
//! the modules in a row, so gaps between them say where the max-poolings are.
//!
//! The classifier reads 7×7 positions. It is built as convolutions, so that it also has an answer for larger images: one for
//! every place that such a window has. torchvision averages there instead; for 224×224 pixels both are the same.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// Positions along an edge that the classifier reads.
const CLASSIFIED: usize = 7;

/// Modules of the longest network: VGG-19 with batch normalisation has 53.
const MAX_MODULES: usize = 256;

/// Layers: `features.0`, `features.1` (its ReLU) … to the last max-pooling, `classifier.0` … `classifier.6`, `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, mut x) = Builder::new(weights, 1e-5)?;
    let mut index = 0;
    while index < MAX_MODULES {
        let name = |index: usize| format!("features.{index}");
        if builder.shape(&format!("{}.weight", name(index))).len() != 4 {
            break;
        }
        if builder.has(&format!("{}.running_var", name(index + 1))) {
            let norm = name(index + 1);
            x = builder.conv_norm(&norm, [&name(index), &norm], x, 1, Border::Half)?;
            index += 1;
        } else {
            x = builder.conv(&name(index), x, 1, Border::Half)?;
        }
        x = builder.push(name(index + 1), Op::Relu, &[x])?;
        index += 2;
        // The next convolution follows at once, or after a max-pooling; the last one is followed by one, too.
        if !builder.has(&format!("{}.weight", name(index))) {
            x = builder.max_pool(&name(index), x, [2, 2, 0], false)?;
            index += 1;
        }
    }
    classifier(&mut builder, x)?;
    builder.finish(&[])
}

/// Three linear layers with ReLUs and dropouts between them.
fn classifier(builder: &mut Builder, features: NodeId) -> Result<(), ImportError> {
    let x = builder.linear_as_conv("classifier.0", features, CLASSIFIED)?;
    let x = builder.push("classifier.1", Op::Relu, &[x])?;
    let x = builder.linear_as_conv("classifier.3", x, 1)?;
    let x = builder.push("classifier.4", Op::Relu, &[x])?;
    let x = builder.linear_as_conv("classifier.6", x, 1)?;
    builder.push("probabilities", Op::Softmax, &[x])?;
    Ok(())
}
