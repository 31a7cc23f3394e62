//! What a model file does not say: how its pixels are prepared and which of its layers are worth dreaming of.

use std::collections::HashSet;

use reverie_dream::{model::Preprocessing, spec::Share};
use reverie_graph::{LayerInfo, Network, NodeId, Op};
use reverie_import::{caffe, state_dict::Family};

/// The part of a [`Model`](reverie_dream::model::Model) that is knowledge rather than content.
pub(super) struct DreamDefaults {
    pub(super) preprocessing: Preprocessing,
    pub(super) default_layer: String,
    pub(super) class_layer: Option<String>,
    pub(super) channel_layer: String,
    pub(super) colors: Share,
}

/// Share of the original's colours in dreams of EfficientNets, whose own are dark purples and greens: with half of a photo's
/// colours the forms stay as vivid and the picture is that of the photo.
const COLORS_OF_EFFICIENTNETS: Share = Share(0.55);

impl DreamDefaults {
    /// Of weights by key. Tried on photographs: of Lite0 block 10 grows animals, blocks 5 to 8 ornaments; of Lite2, which has
    /// more blocks, block 13 grows whole animals. For torchvision's networks the layers are those that others dream of: at a
    /// sixteenth of the image's size, where whole parts of animals are seen.
    pub(super) fn of_family(network: &Network, family: Family) -> Self {
        let (layer, class_layer, preprocessing) = match family {
            Family::EfficientNetLite => {
                let layer = if network.find("block20").is_ok() { "block13" } else { "block10" };
                (layer.to_owned(), "logits", Preprocessing::uniform(127.0, 1.0 / 128.0))
            }
            // Trained by TensorFlow's rule, (x − 127.5) / 127.5, which torchvision's `transform_input` restores.
            Family::GoogLeNet => ("inception4c".to_owned(), "fc", Preprocessing::uniform(127.5, 1.0 / 127.5)),
            Family::InceptionV3 => ("Mixed_6c".to_owned(), "fc", Preprocessing::uniform(127.5, 1.0 / 127.5)),
            Family::MobileNetV2 => ("features.13".to_owned(), "classifier.1", Preprocessing::imagenet()),
            Family::ResNet => (last_of(network, "layer3."), "fc", Preprocessing::imagenet()),
            Family::SqueezeNet => ("features.10".to_owned(), "classifier.3", Preprocessing::imagenet()),
            Family::Vgg => (before_pool(network, 4), "classifier.6", Preprocessing::imagenet()),
        };
        Self {
            preprocessing,
            class_layer: Some(class_layer.to_owned()),
            channel_layer: layer.clone(),
            default_layer: layer,
            colors: if family == Family::EfficientNetLite {
                COLORS_OF_EFFICIENTNETS
            } else {
                Share::default()
            },
        }
    }

    /// As [`Self::of_graph`]; most ONNX files come from PyTorch, whose networks read pixels as ImageNet's are there.
    pub(super) fn of_onnx(network: &Network) -> Option<Self> {
        let defaults = Self::of_graph(network)?;
        Some(Self { preprocessing: Preprocessing::imagenet(), ..defaults })
    }

    /// As [`Self::of_graph`], with the layers that Caffe's networks for dreams have. They take blue first.
    pub(super) fn of_caffe(imported: &caffe::Imported) -> Option<Self> {
        let caffe::Imported { network, mean, scale, linear } = imported;
        let defaults = Self::of_layers(network, linear)?;
        // Of GoogLeNet, VGG-16 and 19, ResNet-50, 101 and 152, AlexNet, SqueezeNet.
        let known = [
            "inception_4c/output",
            "relu4_3",
            "relu4_4",
            "res4f_relu",
            "res4b22_relu",
            "res4b35_relu",
            "relu4",
            "fire8/concat",
        ];
        let classifies = of_classifier(network, linear);
        let sees = |layer: &&str| network.find(layer).is_ok_and(|NodeId(index)| !classifies[index]);
        let layer = known.into_iter().find(sees).map(str::to_owned);
        let layer = layer.unwrap_or(defaults.default_layer);
        Some(Self {
            preprocessing: Preprocessing { mean: *mean, scale: [*scale; 3], bgr: true },
            channel_layer: layer.clone(),
            default_layer: layer,
            class_layer: defaults.class_layer,
            colors: defaults.colors,
        })
    }

    /// The article's choices where the graph has its layers, else something that works; `None` for a graph
    /// without feature maps. Graphs for DeepDream read pixels minus ImageNet's mean brightness.
    pub(super) fn of_graph(network: &Network) -> Option<Self> {
        Self::of_layers(network, &[])
    }

    /// As [`Self::of_graph`]; `linear` are layers that were no convolutions before they were imported.
    fn of_layers(network: &Network, linear: &[String]) -> Option<Self> {
        let named = |name: &str| network.find(name).ok().map(|_| name.to_owned());
        let nodes = || network.nodes().iter().rev();
        let last_map = || {
            // A softmax over channels is as good as flat where it is certain, and a mean over all positions has one.
            let layers = network.layers();
            let classifies = of_classifier(network, linear);
            let is_map = |layer: &&LayerInfo| layer.stride.is_some() && layer.kind != Op::Softmax.kind();
            let is_class =
                |layer: &&LayerInfo| network.find(&layer.name).is_ok_and(|NodeId(index)| classifies[index]);
            let last = layers.iter().rev().filter(is_map).find(|layer| !is_class(layer));
            // A network that is a classifier from its first layer on.
            let layer = last.or_else(|| layers.iter().rev().find(is_map))?;
            Some(layer.name.clone())
        };
        let before_softmax = || {
            let softmax = nodes().find(|node| node.op == Op::Softmax)?;
            softmax.inputs.first().map(|&input| network.node(input).name.clone())
        };
        let default_layer = named("mixed4c").or_else(last_map)?;
        // A graph that decodes a file does by itself what is to be done to its pixels.
        let decodes = network.node(network.input()).name.contains("Decode");
        let mean = if decodes { 0.0 } else { 117.0 };
        Some(Self {
            preprocessing: Preprocessing::uniform(mean, 1.0),
            class_layer: named("softmax2_pre_activation").or_else(before_softmax),
            channel_layer: named("mixed4d_3x3_bottleneck_pre_relu").unwrap_or_else(|| default_layer.clone()),
            default_layer,
            colors: Share::default(),
        })
    }
}

/// Which nodes only a classifier has: the last layer with weights before the softmax, layers that were `linear`, and all that is
/// computed from them. Where those are convolutions they put out maps, of which each channel is a class, or a mixture of what was
/// seen anywhere.
fn of_classifier(network: &Network, linear: &[String]) -> Vec<bool> {
    let nodes = network.nodes();
    let linear: HashSet<&str> = linear.iter().map(String::as_str).collect();
    let mut marked: Vec<bool> = nodes.iter().map(|node| linear.contains(node.name.as_str())).collect();
    let mut at = nodes.iter().rposition(|node| node.op == Op::Softmax);
    while let Some(index) = at {
        let node = &nodes[index];
        marked[index] |= matches!(node.op, Op::Conv2d { .. } | Op::MatMul { .. });
        at = match node.inputs[..] {
            [NodeId(input)] if !marked[index] => Some(input),
            _ => None,
        };
    }
    for (index, node) in nodes.iter().enumerate() {
        marked[index] |= node.inputs.iter().any(|input| marked[input.0]);
    }
    marked
}

/// The last of the layers whose names are this start and a number: the output of a stage of blocks.
fn last_of(network: &Network, start: &str) -> String {
    let is_block = |name: &str| name.strip_prefix(start).is_some_and(|rest| rest.parse::<usize>().is_ok());
    let mut blocks = network.nodes().iter().rev().filter(|node| is_block(&node.name));
    blocks.next().map_or_else(|| format!("{start}0"), |node| node.name.clone())
}

/// The layer before max-pooling number `count`, or before the last where there are fewer.
fn before_pool(network: &Network, count: usize) -> String {
    let pools = network.nodes().iter().filter(|node| matches!(node.op, Op::MaxPool(_)));
    let read = pools.take(count).last().and_then(|node| node.inputs.first());
    read.map_or_else(String::new, |&input| network.node(input).name.clone())
}
