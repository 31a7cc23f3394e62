//! The parameters of a dream, each defined once. What is written here reaches requests (range, default, error
//! messages), the contract, the command line and the README; `parameter.rs` says how.
//!
//! Doc comments are for users. The order of the fields is that of stored specs and of recipes in pictures, so a new
//! parameter belongs at the end. Stored specs may lack it: give it `#[serde(default)]`, and `skip_serializing_if` at its
//! default, so that specs from before still read and are written as before.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Change, Color, Count, Format, Motion, Normalization, Objective, OctaveMode, Parametrization, Precision,
    Preset, Share, Tiling,
    kind::{Counted, Flag, Hex, Kind, Name, Number, Object, Objectives, Schedule, Shared, one_of},
    parameter::{
        Parameter, defaults_in_words, of_type, off, on, on_off, on_share, parameters, settle, size, takes,
    },
    request::{
        InputKind, Sent, edge_of_photo, jitter_in_pixels, mask_in_use, motion_wanted, noise_to_start_from,
        silent,
    },
};
use crate::model::Catalogue;
use reverie_fields::{Fields, choice::Choices};
use reverie_picture::Encoding;

/// Largest seed: the largest integer that every JSON reader keeps exact (RFC 8259, section 6).
pub const MAX_SEED: u64 = (1 << 53) - 1;

/// Largest edge of a tile in pixels: what a gradient step holds in memory grows with its square.
pub(super) const MAX_TILE: u32 = 2048;

/// Edge of a start from noise in pixels: the article's.
const NOISE: u32 = 224;

/// Quality of a lossy file by default: below it, artefacts compete with the dream's own detail.
const fn default_quality() -> u8 {
    92
}

/// Longest edge that a request may name.
const MAX_EDGE: u32 = 65_535;

/// Furthest that jitter moves an image in pixels, where it is told how far.
const MAX_JITTER: u32 = MAX_TILE;

/// A member that specs from before there was it lack: what stands for it is written where `written` is something else than `plain`,
/// which no member means, or where the preset has a `default` of its own.
fn unless_plain<T: PartialEq + Copy>(written: Option<T>, default: Option<T>, plain: T) -> Option<T> {
    written.filter(|written| *written != plain || default.is_some()).or(default)
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

const fn is_false(flag: &bool) -> bool {
    !*flag
}

const fn default_background() -> Color {
    Color::WHITE
}

const fn default_recipe() -> bool {
    true
}

parameters! {
    /// Everything that determines a dream, apart from the input image, its mask, the guide image and the model's weights.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
    pub struct DreamSpec, read from (fields, sent: &mut Sent<'_>) {
        /// Id of a model. The best are `inception5h`, then `efficientnet-lite2`, then `efficientnet-lite0`.
        model: String {
            read: Name,
            settle: |id| sent.known_model(fields, id),
            option: takes("ID|FILE").help("A model's id, or a model file"),
        }
        /// A named set of defaults, which every other parameter overrides.
        preset: Preset {
            read: one_of(),
            default: Preset::default(),
            option: takes("PRESET"),
        }
        /// A look of the model: what it stands for fills in what the request leaves out. `GET /v1/looks` and `reverie looks`
        /// list them.
        #[serde(skip)]
        look: Option<String> {
            read: Name,
            // Its members are among those of the request by now, and a spec holds them instead of the name.
            settle: |_| None,
            option: takes("NAME").help("A look of the model, such as animals; other options win over it"),
        }
        /// Starts from noise of this size instead of an image. Without an image, `naive`, `multiscale`, `lapnorm`
        /// and `feature-visualization` do so by themselves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        noise: Option<Noise> {
            read: Object("NoiseRequest", Noise::parameters),
            settle: |written| noise_to_start_from(fields, written, preset, sent.input),
            option: size().help("Size in pixels of a start from noise instead of an image"),
        }
        /// What to maximise: the sum of these. If absent, `l2` of the model's default layer.
        objectives: Vec<Objective> {
            read: Objectives,
            settle: |written| sent.keep_objectives(written),
        }
        /// Number of scales. `auto` is as many as leave the smallest octave a shorter edge of about 200 pixels.
        octaves: Count {
            read: Counted(1, 16),
            default: preset.suits_photos(noise).map_or(preset.defaults().octaves, |_| Count::Auto),
            option: takes("N"),
        }
        /// Ratio of neighbouring scales.
        octave_scale: f64 {
            read: Number(1.05, 4.0),
            default: 1.4,
            option: takes("R"),
        }
        /// How one octave follows from the one before: `carry-detail` keeps the input's size, `enlarge` grows octave by
        /// octave.
        octave_mode: OctaveMode {
            read: one_of(),
            default: preset.defaults().octave_mode,
            option: takes("MODE"),
        }
        /// Gradient steps per octave. `auto` is 10 in the first four octaves and 6 in each further, larger one.
        iterations: Count {
            read: Counted(1, 1000),
            default: preset.suits_photos(noise).map_or(preset.defaults().iterations, |_| Count::Auto),
            option: takes("N"),
        }
        /// Step length in units of the normalised gradient.
        step: f64 {
            read: Number(0.001, 100.0),
            default: preset.defaults().step,
            option: takes("S"),
        }
        /// How the gradient is scaled.
        normalization: Normalization {
            read: one_of(),
            default: preset.defaults().normalization,
            option: takes("NORMALIZATION"),
        }
        /// Levels of the Laplacian pyramid, where `normalization` is `laplacian`.
        laplacian_levels: u32 {
            read: Number(1, 12),
            default: 4,
            option: takes("N"),
        }
        /// Edge of the largest tile in pixels, which bounds the memory; a picture of no more pixels than such a square
        /// is one tile.
        tile_size: u32 {
            read: Number(64, MAX_TILE),
            default: preset.defaults().tile_size,
            option: takes("T"),
        }
        /// How tiles are laid: `even` covers every pixel, `article` walks as the original article does.
        tiling: Tiling {
            read: one_of(),
            default: Tiling::default(),
            option: takes("TILING"),
        }
        /// Whether the tiles' origin moves at random in each iteration.
        jitter: bool {
            read: Flag,
            default: preset.defaults().jitter,
            option: off("Do not move the tiles between iterations"),
        }
        /// Seed of every random choice (ChaCha8): the same seed gives the same bytes on the same kind of device.
        seed: u64 {
            read: Number(0, MAX_SEED),
            default: 0,
            option: takes("N"),
        }
        /// Arithmetic of the network. `auto` is `tf32` on a GPU; on a CPU it is `bf16` where the processor is measured
        /// to multiply it much faster, `fp32` elsewhere.
        precision: Precision {
            read: one_of(),
            default: Precision::default(),
            option: takes("PRECISION"),
        }
        /// Share of the original image in the result.
        #[serde(default)]
        blend: f64 {
            read: Number(0.0, 1.0),
            default: 0.0,
            option: takes("B"),
        }
        /// Share of the original's colours that comes back; with all of them, only brightness is taken from the dream. If
        /// absent, the preset `deepdream-lapnorm` has a share for each model that it is known to suit.
        #[serde(default)]
        preserve_colors: Share {
            read: Shared,
            default: preset.suits_photos(noise).map_or(Share(0.0), |_| sent.colors_of(&model)),
            option: on_share(),
        }
        /// Sets the result's contrast to a standard. If absent, a start from noise does, since its dream is a faint
        /// pattern on grey; not with the preset `feature-visualization`, whose pictures have contrast of their own.
        #[serde(default)]
        auto_contrast: bool {
            read: Flag,
            default: noise.is_some() && preset != Preset::FeatureVisualization,
            option: on_off(),
        }
        /// How the mask is used, if one is sent: an image as large as the input, white where the dream may grow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Masking> {
            read: Object("MaskingRequest", Masking::parameters),
            settle: |written| mask_in_use(fields, written, sent.input),
        }
        /// Colour behind transparent areas: the dream grows on it, and a JPEG shows it. Answers leave it out where it is
        /// white.
        #[serde(default = "default_background", skip_serializing_if = "Color::is_white")]
        background: Color {
            read: Hex,
            default: default_background(),
            option: takes("#RRGGBB"),
        }
        /// File format of the result.
        format: Format {
            read: one_of(),
            default: Format::default(),
        }
        /// Quality of a JPEG, a lossy WebP or a video.
        #[serde(default = "default_quality")]
        quality: u8 {
            read: Number(1, 100),
            default: default_quality(),
            option: takes("Q"),
        }
        /// Keeps every pixel of a WebP as it is; not for JPEG.
        #[serde(default)]
        lossless: bool {
            read: Flag,
            default: false,
            option: on(),
        }
        /// Whether the result carries the recipe that makes it again (PNG text, XMP).
        #[serde(default = "default_recipe")]
        recipe: bool {
            read: Flag,
            default: default_recipe(),
            option: off("Do not write the recipe into the result"),
        }
        /// Longer edge in pixels to which an image is shrunk before it is dreamed on, if it is larger; 0 keeps its size. An
        /// animation has half the default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_edge: Option<u32> {
            read: Number(0_u32, MAX_EDGE),
            settle: |written| edge_of_photo(fields, written, preset.suits_photos(noise), noise),
            option: takes("PIXELS"),
        }
        /// Gives the dream of an image that was shrunk the image's own size again, with the image's own detail.
        #[serde(default, skip_serializing_if = "is_false")]
        restore_size: bool {
            read: Flag,
            default: false,
            option: on(),
        }
        /// Makes an animation: the dream is moved a little and dreamed on, frame by frame. Its formats are `webp`, `png`
        /// (APNG), `gif`, and, where the server has `ffmpeg`, `mp4` and `webm`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        motion: Option<Motion> {
            read: Object("MotionRequest", Motion::parameters),
            settle: |written| motion_wanted(fields, written),
        }
        /// How strongly each step smooths the picture: total variation, as a share of the step. 0.1 takes some of the
        /// grain out of a dream, 0.5 leaves smooth forms.
        #[serde(default, skip_serializing_if = "is_zero")]
        total_variation: f64 {
            read: Number(0.0, 4.0),
            default: 0.0,
            option: takes("W"),
        }
        /// How strongly each step draws the picture's colours back to grey (L2 decay), as a share of the step: keeps a dream
        /// from running into black and white. Times `step` it is at most 127.5: with more, a step would go beyond grey.
        #[serde(default, skip_serializing_if = "is_zero")]
        l2_decay: f64 {
            read: Number(0.0, 4.0),
            default: 0.0,
            option: takes("W"),
        }
        /// Changes of the dream on its way, such as `[{"octave": 3, "objectives": [{"layer": "mixed4c"}]}]`: what they name
        /// holds from that octave, or that `frame` of an animation, on. `PATCH /v1/jobs/{id}` adds to it while the dream grows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        schedule: Vec<Change> {
            read: Schedule,
            settle: |written| sent.keep_schedule(written),
            option: takes("JSON").help(
                "Changes of the dream on its way, as the API takes them: '[{\"octave\": 3, \"step\": 1}]' (\"frame\" in an animation)",
            ),
        }
        /// What steps move: `pixels`, or the strengths of waves and of decorrelated colours, `fourier`. If absent, `pixels`; with
        /// the preset `feature-visualization`, `fourier`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parametrization: Option<Parametrization> {
            read: one_of::<Parametrization>(),
            settle: |written| unless_plain(written, preset.defaults().parametrization, Parametrization::Pixels),
            option: takes("BASIS"),
        }
        /// Furthest that jitter moves the image in each iteration, in pixels to the right and down. If absent, up to an edge of
        /// the largest tile; with the preset `feature-visualization`, 8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jitter_pixels: Option<u32> {
            read: Number(1_u32, MAX_JITTER),
            settle: |written| jitter_in_pixels(fields, written, preset.defaults().jitter_pixels, jitter),
            option: takes("PIXELS"),
        }
        /// How much larger or smaller at the most, as a share, the network sees the image in each iteration: with 0.1, from 0.9
        /// to 1.1 times, drawn from the seed. If absent, 0; with the preset `feature-visualization`, 0.1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        random_scale: Option<f64> {
            read: Number(0.0, 0.5),
            settle: |written| unless_plain(written, preset.defaults().random_scale, 0.0),
            option: takes("SHARE"),
        }
        /// By how many degrees at the most, in either direction, the network sees the image turned in an iteration, drawn from
        /// the seed. If absent, 0; with the preset `feature-visualization`, 5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        random_rotation: Option<f64> {
            read: Number(0.0, 45.0),
            settle: |written| unless_plain(written, preset.defaults().random_rotation, 0.0),
            option: takes("DEGREES"),
        }
    }
}

parameters! {
    /// Size of a start from noise: every value is 100 plus a random number below 1.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    pub struct Noise, read from (fields) {
        /// Width in pixels.
        width: u32 {
            read: Number(1, 4096),
            default: NOISE,
        }
        /// Height in pixels.
        height: u32 {
            read: Number(1, 4096),
            default: NOISE,
        }
    }
}

parameters! {
    /// How a mask, an image that came beside the input, is used: the dream grows where it is white.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    pub struct Masking, read from (fields) {
        /// Width in pixels over which the edges of the mask are softened; 0 leaves them as they are.
        feather: u32 {
            read: Number(0, 512),
            default: 16,
            option: takes("PIXELS").named("mask-feather"),
        }
    }
}

impl DreamSpec {
    /// How the result is written.
    pub fn encoding(&self) -> Encoding {
        Encoding { format: self.format, quality: self.quality, lossless: self.lossless }
    }

    /// Whether steps move waves instead of pixels.
    pub fn is_fourier(&self) -> bool {
        self.parametrization == Some(Parametrization::Fourier)
    }

    /// Whether the network sees the image scaled or turned at random.
    pub fn is_transformed(&self) -> bool {
        [self.random_scale, self.random_rotation].into_iter().flatten().any(|most| most > 0.0)
    }

    /// Whether an objective follows a guide image, at any time.
    pub fn follows_guide(&self) -> bool {
        self.all_objectives().any(|objective| objective.kind.follows_guide())
    }

    /// The same as a request, with every member whose default could become another one: what a request makes of it is
    /// this spec again, in any later version.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which would be a bug.
    pub fn to_request(&self) -> Result<serde_json::Value, serde_json::Error> {
        // A spec from before there was a largest edge keeps the image's size.
        let edge = if self.noise.is_some() { None } else { self.max_edge.or(Some(0)) };
        let edge = edge.filter(|edge| *edge > 0 || self.preset.suits_photos(self.noise).is_some());
        serde_json::to_value(Self { max_edge: edge, ..self.clone() })
    }

    /// The spec of a request on an image that says nothing but its preset, without objectives: those come from the
    /// model.
    pub fn of_preset(preset: Preset) -> Self {
        let written = serde_json::json!({ "model": crate::model::REFERENCE_MODEL, "preset": preset });
        let catalogue = Catalogue::default();
        // The model is unknown to an empty catalogue, which notes a mistake; nothing else can be wrong.
        Self::read(&mut Fields::new("", written), &mut Sent::new(&catalogue, InputKind::Image))
    }

    /// The defaults of every preset, the usual one first.
    fn samples() -> Vec<(&'static str, Self)> {
        let mut presets: Vec<_> = Preset::ALL.iter().zip(Preset::VALUES).collect();
        presets.sort_by_key(|(preset, _)| **preset != Preset::default());
        let model = "the best that is there";
        let sample = |preset| Self { model: model.into(), ..Self::of_preset(preset) };
        presets.into_iter().map(|(preset, value)| (value.name, sample(*preset))).collect()
    }
}

impl Noise {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}

impl Masking {
    fn samples() -> Vec<(&'static str, Self)> {
        vec![("", Self::read(&mut silent()))]
    }
}
