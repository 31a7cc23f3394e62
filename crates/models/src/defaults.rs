//! What a model file does not say: how its pixels are prepared and which of its layers are worth dreaming of.

use reverie_dream::{model::Preprocessing, spec::Share};
use reverie_graph::{Network, Op};
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
        let caffe::Imported { network, mean, scale } = imported;
        let defaults = Self::of_graph(network)?;
        // Of GoogLeNet, of VGG and of AlexNet.
        let known = ["inception_4c/output", "relu4_3", "relu4_4", "relu4", "fire8/concat"];
        let layer = known.into_iter().find(|layer| network.find(layer).is_ok()).map(str::to_owned);
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
        let named = |name: &str| network.find(name).ok().map(|_| name.to_owned());
        let nodes = || network.nodes().iter().rev();
        let last_map = || {
            // A softmax over channels is as good as flat where it is certain, and a mean over all positions has one.
            let layers = network.layers();
            let layer = layers
                .iter()
                .rev()
                .find(|layer| layer.stride.is_some() && layer.kind != Op::Softmax.kind())?;
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
