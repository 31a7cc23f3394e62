//! What to dream: the one description shared by the command line, the API, stored jobs and the renderer.
//!
//! A [`DreamSpec`] is always complete: presets and the model's defaults have been filled in by
//! [`resolve`]. The same spec, input, model and device kind give the same bytes.
//!
//! A stored spec may come from a newer version: members that are not known here are ignored, and stay where they are
//! stored. Requests are read by [`resolve`], which refuses them.

mod color;
mod request;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use color::{Color, NotAColor};
pub use request::{InputKind, MAX_SEED, resolve, resolve_objectives};
pub use reverie_picture::{Encoding, Format};

/// A named set of defaults from the article. Every field can be overridden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// One scale, the gradient divided by its standard deviation, tiles that stay in place.
    Naive,
    /// A small start that is enlarged octave by octave.
    Multiscale,
    /// As [`Preset::Multiscale`], the gradient Laplacian-normalised.
    Lapnorm,
    /// Octaves with detail carried over, the gradient divided by its mean magnitude.
    Deepdream,
    /// Octaves with detail carried over, the gradient Laplacian-normalised: the service's default.
    #[default]
    DeepdreamLapnorm,
}

/// How one octave follows from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OctaveMode {
    /// The input is the smallest octave; each further one enlarges the dream by the octave scale, so the
    /// result is larger than the input.
    Enlarge,
    /// The input is the largest octave: it is shrunk first, and the detail lost on the way is put back octave
    /// by octave, so the result has the input's size.
    CarryDetail,
}

/// How a gradient is scaled before it is added to the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// Divided by its mean magnitude: `g / (mean|g| + 1e-7)`.
    MeanAbs,
    /// Divided by its standard deviation: `g / (std(g) + 1e-8)`.
    Std,
    /// Every level of a Laplacian pyramid divided by its root mean square.
    Laplacian,
}

/// How an image is cut into tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tiling {
    /// Near-equal tiles no larger than the tile size: every pixel gets a gradient in every iteration.
    #[default]
    Even,
    /// The article's walk: full tiles, and a remainder of up to half a tile is skipped.
    Article,
}

/// Arithmetic of the network. `auto` is `tf32` on a GPU; on a CPU it is `bf16` where the processor is measured to multiply it
/// much faster, `fp32` elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// [`Precision::Tf32`] on a GPU; [`Precision::Bf16`] on a CPU that is measured to multiply it much faster;
    /// [`Precision::Fp32`] otherwise.
    #[default]
    Auto,
    /// 32-bit floats: the reference.
    Fp32,
    /// GPU only: as [`Precision::Fp32`], with convolutions in TF32, which rounds factors to 10 bits of mantissa. A CPU
    /// computes it as [`Precision::Fp32`].
    Tf32,
    /// bfloat16 weights and activations; the image and its gradient stay in 32 bits.
    Bf16,
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

/// Size of a start from noise: every value is 100 plus a random number below 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Noise {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// What an objective maximises in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveKind {
    /// Mean activation.
    Mean,
    /// Mean squared activation.
    L2,
    /// One class of a classifier layer, summed over positions.
    Class,
    /// As [`ObjectiveKind::Class`], after a softmax over the classes: against all others.
    Probability,
}

/// One term of the sum that the dream maximises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Objective {
    /// What is measured.
    pub kind: ObjectiveKind,
    /// Where: a layer of the model.
    pub layer: String,
    /// Which channels, sorted and unique; empty means all. Unused by classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<u32>,
    /// Which class, counted from 0; only for [`ObjectiveKind::Class`] and [`ObjectiveKind::Probability`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// Factor in the sum; negative values minimise.
    pub weight: f64,
}

/// How a mask, an image that came beside the input, is used: the dream grows where it is white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Masking {
    /// Width in pixels over which the edges of the mask are softened; 0 leaves them as they are.
    pub feather: u32,
}

/// Everything that determines a dream, besides the input image, its mask and the model's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DreamSpec {
    /// Model id from the catalogue.
    pub model: String,
    /// Where the defaults came from.
    pub preset: Preset,
    /// Start from noise of this size instead of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// What to maximise; at least one.
    pub objectives: Vec<Objective>,
    /// Number of scales.
    pub octaves: u32,
    /// Ratio of neighbouring scales, above 1.
    pub octave_scale: f64,
    /// How one octave follows from the one before.
    pub octave_mode: OctaveMode,
    /// Gradient steps per octave.
    pub iterations: u32,
    /// Step length in units of the normalised gradient.
    pub step: f64,
    /// Scaling of the gradient.
    pub normalization: Normalization,
    /// Number of splits for [`Normalization::Laplacian`].
    pub laplacian_levels: u32,
    /// Edge of the largest tile in pixels; a picture of no more pixels than such a square is one tile.
    pub tile_size: u32,
    /// How tiles are laid.
    pub tiling: Tiling,
    /// Whether the tiles' origin moves at random in each iteration.
    pub jitter: bool,
    /// Seed of every random choice (ChaCha8).
    pub seed: u64,
    /// Arithmetic of the network.
    pub precision: Precision,
    /// Share of the original image in the result, 0 to 1.
    #[serde(default)]
    pub blend: f64,
    /// Whether the result keeps the colours of the original and takes only brightness from the dream.
    #[serde(default)]
    pub preserve_colors: bool,
    /// Whether the result's contrast is set to a standard: a dream from noise is a faint pattern on grey.
    #[serde(default)]
    pub auto_contrast: bool,
    /// Whether and how a mask limits the dream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Masking>,
    /// Colour behind transparent areas; absent where it is white, as in jobs from before there was a choice.
    #[serde(default = "default_background", skip_serializing_if = "Color::is_white")]
    #[schema(value_type = String, pattern = "^#[0-9A-Fa-f]{6}$", default = "#ffffff")]
    pub background: Color,
    /// File format of the result.
    pub format: Format,
    /// Quality of a JPEG or a lossy WebP, 1 to 100.
    #[serde(default = "default_quality")]
    pub quality: u8,
    /// Whether a WebP keeps every pixel as it is.
    #[serde(default)]
    pub lossless: bool,
    /// Whether the result carries the recipe that makes it again.
    #[serde(default = "default_recipe")]
    pub recipe: bool,
}

impl DreamSpec {
    /// How the result is written.
    pub fn encoding(&self) -> Encoding {
        Encoding { format: self.format, quality: self.quality, lossless: self.lossless }
    }
}

/// A member of a spec as it was written that this version does not know, if there is one: for whoever must not ignore it.
pub fn unknown_member(written: &serde_json::Value, read: &DreamSpec) -> Option<String> {
    use serde_json::Value;
    fn unknown(written: &Value, known: &Value) -> Option<String> {
        match (written, known) {
            (Value::Object(written), Value::Object(known)) => {
                written.iter().find_map(|(name, value)| match known.get(name) {
                    Some(known) => unknown(value, known),
                    // What says nothing is left out where it is written.
                    None if value.is_null() || value.as_array().is_some_and(Vec::is_empty) => None,
                    None => Some(name.clone()),
                })
            }
            (Value::Array(written), Value::Array(known)) => {
                written.iter().zip(known).find_map(|(written, known)| unknown(written, known))
            }
            _ => None,
        }
    }
    unknown(written, &serde_json::to_value(read).ok()?)
}

const fn default_background() -> Color {
    Color::WHITE
}

const fn default_recipe() -> bool {
    true
}

/// Quality of a lossy file where none is asked for: artefacts would compete with the dream's own detail below it.
const fn default_quality() -> u8 {
    92
}
