//! A model as a dream sees it: the network, how pixels are prepared for it and what it dreams of by default; and the
//! catalogue of those that a process has.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    look::Look,
    spec::{Objective, ObjectiveKind, Share},
};
use reverie_graph::Network;

/// What happens to a pixel before the network sees it: `(x − mean) · scale`, channel by channel, x in 0–255. Padding comes
/// after it, so it cannot be folded into the first convolution: at the border that would be another function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Subtracted from red, green and blue.
    pub mean: [f32; 3],
    /// Multiplied afterwards.
    pub scale: [f32; 3],
    /// Whether the network takes blue first, as Caffe's do.
    pub bgr: bool,
}

impl Preprocessing {
    /// The same for every channel, in the order of the image.
    pub const fn uniform(mean: f32, scale: f32) -> Self {
        Self { mean: [mean; 3], scale: [scale; 3], bgr: false }
    }

    /// What PyTorch's image networks are trained with: pixels in 0–1 minus the mean of ImageNet, over its deviation.
    pub fn imagenet() -> Self {
        let scale = [0.229, 0.224, 0.225].map(|deviation: f64| (1.0 / (255.0 * deviation)) as f32);
        Self { mean: [0.485, 0.456, 0.406].map(|mean: f64| (255.0 * mean) as f32), scale, bgr: false }
    }

    /// Mean and scale where all channels have the same and stay in order.
    pub fn as_uniform(&self) -> Option<(f32, f32)> {
        let Self { mean, scale, bgr } = *self;
        (!bgr && mean == [mean[0]; 3] && scale == [scale[0]; 3]).then_some((mean[0], scale[0]))
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct Model {
    /// Id in specs and paths of the API.
    pub id: String,
    /// One sentence for people.
    pub description: String,
    /// The file it was read from.
    pub path: PathBuf,
    /// Lower-case hex digest of the file: part of what makes a dream reproducible.
    pub sha256: String,
    /// Terms of use, in a few words, where they are known.
    pub licence: Option<String>,
    /// The network with its weights.
    pub network: Network,
    /// How pixels are prepared.
    pub preprocessing: Preprocessing,
    /// Layer whose L2 norm is dreamed by default.
    pub default_layer: String,
    /// Layer that holds the logits of a classifier, if there is one.
    pub class_layer: Option<String>,
    /// Share of the original's colours that makes this model's dreams of photos better, by default.
    pub colors: Share,
    /// Its looks, the usual one first; none for a model that is not known.
    pub looks: Vec<Look>,
    /// Layer that single-channel references mean when they do not name one.
    pub channel_layer: String,
    /// Layers that are worth a first look, in the order of the network.
    pub featured: Vec<String>,
    /// Names of the classes in the order of the class layer's channels, where they are known.
    pub labels: Option<Arc<[String]>>,
}

/// A model file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file's name, without its folder.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Model {
    /// A network without a file, to test with: `layer` is what it dreams of.
    pub fn of_network(id: &str, network: Network, layer: &str, class_layer: Option<&str>) -> Self {
        Self {
            id: id.into(),
            description: String::new(),
            path: "none".into(),
            sha256: id.into(),
            licence: None,
            network,
            preprocessing: Preprocessing::uniform(0.0, 1.0),
            default_layer: layer.into(),
            class_layer: class_layer.map(str::to_owned),
            channel_layer: layer.into(),
            labels: None,
            colors: Share::default(),
            looks: Vec::new(),
            featured: Vec::new(),
        }
    }

    /// Number of classes; 0 where it is no classifier.
    pub fn classes(&self) -> usize {
        let layer = self.class_layer.as_deref().and_then(|layer| self.network.find(layer).ok());
        layer.map_or(0, |layer| self.network.channels(layer))
    }

    /// What is dreamed when a spec does not say.
    pub fn default_objective(&self) -> Objective {
        Objective::of_layer(ObjectiveKind::L2, &self.default_layer)
    }
}

/// Id of the smallest model that every set-up brings: self-tests and benchmarks measure with it.
pub const REFERENCE_MODEL: &str = "efficientnet-lite0";

/// Ids of the models that dream best, the best first: it is used when a spec names none.
pub const PREFERRED_MODELS: [&str; 3] = ["inception5h", "efficientnet-lite2", REFERENCE_MODEL];

/// The best of some ids: the first of [`PREFERRED_MODELS`], else the first in alphabetical order.
pub fn best<'a>(ids: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let preferred = |id: &str| PREFERRED_MODELS.iter().position(|preferred| *preferred == id);
    ids.min_by_key(|id| (preferred(id).unwrap_or(PREFERRED_MODELS.len()), *id))
}

/// All models of this process, by id, and the files that were to be models.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    models: BTreeMap<String, Arc<Model>>,
    unreadable: Vec<Unreadable>,
}

impl Catalogue {
    /// Adds a model; one of the same id is replaced.
    pub fn insert(&mut self, model: Model) {
        self.models.insert(model.id.clone(), Arc::new(model));
    }

    /// Notes a file that is left out.
    pub fn leave_out(&mut self, file: Unreadable) {
        self.unreadable.push(file);
    }

    /// The model of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// All ids in alphabetical order.
    pub fn ids(&self) -> Vec<&str> {
        self.models.keys().map(String::as_str).collect()
    }

    /// All models in alphabetical order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The files that were left out.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The [`best`] of the ids; empty only for an empty catalogue.
    pub fn default_id(&self) -> &str {
        best(self.models.keys().map(String::as_str)).unwrap_or_default()
    }
}
