//! SqueezeNet 1.0 and 1.1 (Iandola et al. 2016). The numbers of the keys are those of the modules in a row: where a number has
//! no weights, there is a max-pooling.

use super::{
    super::ImportError,
    Weights,
    builder::{Border, Builder},
};
use reverie_graph::{Network, NodeId, Op};

/// Number of the last module with weights.
const LAST: usize = 12;

/// Layers: `features.0`, `features.1` (its ReLU) … `features.12`, `classifier.1`, `classifier.2` (its ReLU), `classifier.3`
/// (the mean over all positions), `probabilities`.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let (mut builder, image) = Builder::new(weights, 1e-5)?;
    let x = builder.conv("features.0", image, 2, Border::None)?;
    let mut x = builder.push("features.1", Op::Relu, &[x])?;
    for index in 2..=LAST {
        let name = format!("features.{index}");
        x = if builder.has(&format!("{name}.squeeze.weight")) {
            fire(&mut builder, &name, x)?
        } else {
            builder.max_pool(&name, x, [3, 2, 0], true)?
        };
    }
    let x = builder.conv("classifier.1", x, 1, Border::None)?;
    let x = builder.push("classifier.2", Op::Relu, &[x])?;
    let x = builder.push("classifier.3", Op::SpatialMean, &[x])?;
    builder.push("probabilities", Op::Softmax, &[x])?;
    builder.finish(&[])
}

/// 1×1 to few channels, then 1×1 and 3×3 side by side.
fn fire(builder: &mut Builder, name: &str, input: NodeId) -> Result<NodeId, ImportError> {
    let mut activated = |part: &str, input| {
        let x = builder.conv(&format!("{name}.{part}"), input, 1, Border::Half)?;
        builder.push(format!("{name}.{part}_activation"), Op::Relu, &[x])
    };
    let squeezed = activated("squeeze", input)?;
    let sides = [activated("expand1x1", squeezed)?, activated("expand3x3", squeezed)?];
    builder.push(name, Op::Concat, &sides)
}
