//! The choices of a dream: enums of plain names. Their doc comments are for users, who read them in the contract.

use serde::{Deserialize, Serialize};

use reverie_fields::choices;

choices! {
    /// A named set of defaults.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Preset {
        /// One scale, the gradient divided by its standard deviation, tiles that stay in place.
        Naive = "naive",
        /// A small start that is enlarged octave by octave.
        Multiscale = "multiscale",
        /// As `multiscale`, the gradient Laplacian-normalised.
        Lapnorm = "lapnorm",
        /// Octaves with detail carried over, the gradient divided by its mean magnitude.
        Deepdream = "deepdream",
        /// Octaves with detail carried over, the gradient Laplacian-normalised.
        #[default]
        DeepdreamLapnorm = "deepdream-lapnorm",
        /// For pictures of a class or of channels from noise: waves instead of pixels, small random transformations.
        FeatureVisualization = "feature-visualization",
    }
}

choices! {
    /// How one octave follows from the one before.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum OctaveMode {
        /// The input is the smallest octave; each further one enlarges the dream by the octave scale, so the
        /// result is larger than the input.
        Enlarge = "enlarge",
        /// The input is the largest octave: it is shrunk first, and the detail lost on the way is put back octave
        /// by octave, so the result has the input's size.
        CarryDetail = "carry-detail",
    }
}

choices! {
    /// How a gradient is scaled before it is added to the image.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Normalization {
        /// Divided by its mean magnitude: `g / (mean|g| + 1e-7)`.
        MeanAbs = "mean-abs",
        /// Divided by its standard deviation: `g / (std(g) + 1e-8)`.
        Std = "std",
        /// Every level of a Laplacian pyramid divided by its root mean square.
        Laplacian = "laplacian",
    }
}

choices! {
    /// What the steps of a dream move.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Parametrization {
        /// The values of pixels, each by itself.
        Pixels = "pixels",
        /// Waves, the stronger the longer they are, in decorrelated colours: large forms in natural colours grow. A start from
        /// noise has such waves and colours, too.
        Fourier = "fourier",
    }
}

choices! {
    /// How an image is cut into tiles.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Tiling {
        /// Near-equal tiles no larger than the tile size: every pixel gets a gradient in every iteration.
        #[default]
        Even = "even",
        /// The article's walk: full tiles, and a remainder of up to half a tile is skipped.
        Article = "article",
    }
}

choices! {
    /// Arithmetic of the network.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub enum Precision {
        /// `tf32` on a GPU; `bf16` on a CPU that is measured to multiply it much faster; `fp32` otherwise.
        #[default]
        Auto = "auto",
        /// 32-bit floats: the reference.
        Fp32 = "fp32",
        /// GPU only: as `fp32`, with convolutions in TF32, which rounds factors to 10 bits of mantissa. A CPU
        /// computes it as `fp32`.
        Tf32 = "tf32",
        /// bfloat16 weights and activations; the image and its gradient stay in 32 bits.
        Bf16 = "bf16",
    }
}

impl Precision {
    /// As stored and as shown in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

choices! {
    /// What an objective maximises in its layer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum ObjectiveKind {
        /// Mean activation.
        Mean = "mean",
        /// Mean squared activation.
        L2 = "l2",
        /// One class of a classifier layer, summed over positions.
        Class = "class",
        /// As `class`, after a softmax over the classes: against all others.
        Probability = "probability",
        /// Likeness to the guide image: each position's dot product with the position of the guide where that is largest,
        /// averaged over the layer.
        Guide = "guide",
        /// As `guide`, with every position of the guide at length 1: the nearest by direction is followed, not the strongest.
        GuideCosine = "guide-cosine",
        /// Activation along a direction of the layer's channels: each position's dot product with it, times a power of their
        /// cosine, averaged.
        Direction = "direction",
    }
}

choices! {
    /// Which channels an objective measures, where the picture or chance decides.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Pick {
        /// Those with the largest mean activation on the picture, before the dream.
        Strongest = "strongest",
        /// Those with the smallest.
        Weakest = "weakest",
        /// Any, drawn from the seed.
        Random = "random",
    }
}

impl ObjectiveKind {
    /// Whether objectives of this kind follow a guide image.
    pub const fn follows_guide(self) -> bool {
        matches!(self, Self::Guide | Self::GuideCosine)
    }

    /// Whether objectives of this kind have a class instead of channels.
    pub const fn is_of_class(self) -> bool {
        matches!(self, Self::Class | Self::Probability)
    }

    /// Whether objectives of this kind measure channels of the layer, all or some.
    pub const fn is_of_channels(self) -> bool {
        matches!(self, Self::Mean | Self::L2)
    }
}
