//! What a model file does not say: how its pixels are prepared and which of its layers are worth dreaming of.

use reverie_dream::{model::Preprocessing, spec::Share};
use reverie_graph::{Network, Op};

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
    /// Tried on photographs: of Lite0 block 10 grows animals, blocks 5 to 8 ornaments; of Lite2, which has more blocks, block 13
    /// grows whole animals.
    pub(super) fn of_efficientnet(network: &Network) -> Self {
        let layer = if network.find("block20").is_ok() { "block13" } else { "block10" };
        Self {
            preprocessing: Preprocessing::uniform(127.0, 1.0 / 128.0),
            default_layer: layer.into(),
            class_layer: Some("logits".into()),
            channel_layer: layer.into(),
            colors: COLORS_OF_EFFICIENTNETS,
        }
    }

    /// As [`Self::of_graph`]; most ONNX files come from PyTorch, whose networks read pixels as ImageNet's are there.
    pub(super) fn of_onnx(network: &Network) -> Option<Self> {
        let defaults = Self::of_graph(network)?;
        Some(Self { preprocessing: Preprocessing::imagenet(), ..defaults })
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
