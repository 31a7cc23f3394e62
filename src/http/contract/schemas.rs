//! Request types, only for the OpenAPI document. The server reads requests field by field instead, to find
//! every error. A test compares these types with what the server accepts.
#![allow(dead_code, reason = "only the descriptions are used")]

use serde::Serialize;
use utoipa::ToSchema;

use reverie_dream::spec::{Format, Normalization, ObjectiveKind, OctaveMode, Precision, Preset, Tiling};

/// A picture file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct ImageFile(Vec<u8>);

/// One server-sent event.
#[derive(Serialize, ToSchema)]
pub struct JobEvent {
    /// What happened: `progress` and `preview` until the job ends, then its final state.
    event: JobEventName,
    /// Version of the job, for `Last-Event-ID`.
    id: String,
    /// The job as JSON, as `GET /v1/jobs/{id}` returns it.
    #[schema(content_media_type = "application/json")]
    data: String,
    /// Milliseconds before a client reconnects after a broken connection; in the first event.
    #[schema(nullable = false)]
    retry: Option<u64>,
}

/// Names of events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobEventName {
    /// The job is queued or running.
    Progress,
    /// An octave is finished: there is a new preview.
    Preview,
    /// The dream is finished.
    Succeeded,
    /// The job failed without a dream.
    Failed,
    /// A client canceled the job, and it stopped.
    Canceled,
    /// Its deadline passed before it was done.
    Expired,
}

/// A submission as a form.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitForm {
    /// A PNG, JPEG, WebP, GIF, BMP or TIFF file; also HEIC and AVIF if the server is built with libheif. Its
    /// first bytes decide, not its name or type. May be omitted if the dream starts from noise.
    #[schema(value_type = Option<String>, format = Binary, nullable = false)]
    image: Option<Vec<u8>>,
    /// An image of the same size as `image`, white where the dream may grow.
    #[schema(value_type = Option<String>, format = Binary, nullable = false)]
    mask: Option<Vec<u8>>,
    /// The dream spec.
    #[schema(nullable = false)]
    spec: Option<SpecRequest>,
    /// Workers take jobs by priority plus minutes waited; 0 if absent.
    #[schema(nullable = false, minimum = -10, maximum = 10, default = 0)]
    priority: Option<i8>,
    /// Seconds after which the job expires if it has not finished.
    #[schema(nullable = false, minimum = 1, maximum = 604_800)]
    deadline_seconds: Option<u64>,
}

/// A submission as JSON.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitJson {
    /// The image file as a data URI (RFC 2397). May be omitted if the dream starts from noise.
    #[schema(format = Uri, pattern = "^data:")]
    image: Option<String>,
    /// An image file of the same size as `image`, white where the dream may grow, as a data URI.
    #[schema(format = Uri, pattern = "^data:")]
    mask: Option<String>,
    /// The dream spec.
    spec: Option<SpecRequest>,
    /// Workers take jobs by priority plus minutes waited; 0 if absent.
    #[schema(minimum = -10, maximum = 10, default = 0)]
    priority: Option<i8>,
    /// Seconds after which the job expires if it has not finished.
    #[schema(minimum = 1, maximum = 604_800)]
    deadline_seconds: Option<u64>,
}

/// The dream spec. Every member is optional; defaults come from the preset and the model.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Spec)]
pub struct SpecRequest {
    /// Id of a model.
    #[schema(example = "efficientnet-lite0")]
    model: Option<String>,
    /// A named set of defaults; `deepdream-lapnorm` if absent.
    preset: Option<Preset>,
    /// Start from noise of this size instead of an image.
    noise: Option<NoiseRequest>,
    /// What to maximise; the model's default layer if absent.
    #[schema(min_items = 1, max_items = 16)]
    objectives: Option<Vec<ObjectiveRequest>>,
    /// Number of scales.
    #[schema(minimum = 1, maximum = 16)]
    octaves: Option<u32>,
    /// Ratio of neighbouring scales.
    #[schema(minimum = 1.05, maximum = 4.0, default = 1.4)]
    octave_scale: Option<f64>,
    /// Whether octaves enlarge the input, or shrink it and put its detail back.
    octave_mode: Option<OctaveMode>,
    /// Gradient steps per octave.
    #[schema(minimum = 1, maximum = 1000)]
    iterations: Option<u32>,
    /// Step length in units of the normalised gradient.
    #[schema(minimum = 0.001, maximum = 100.0)]
    step: Option<f64>,
    /// How the gradient is scaled.
    normalization: Option<Normalization>,
    /// Splits of the Laplacian pyramid.
    #[schema(minimum = 1, maximum = 12, default = 4)]
    laplacian_levels: Option<u32>,
    /// Edge of the largest tile in pixels; a picture of no more pixels than such a square is one tile.
    #[schema(minimum = 64, maximum = 2048)]
    tile_size: Option<u32>,
    /// How tiles are laid.
    tiling: Option<Tiling>,
    /// Whether the tiles' origin moves at random in each iteration.
    jitter: Option<bool>,
    /// Seed of every random choice.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64, default = 0)]
    seed: Option<u64>,
    /// Arithmetic of the network.
    precision: Option<Precision>,
    /// Share of the original image in the result.
    #[schema(minimum = 0, maximum = 1, default = 0.0)]
    blend: Option<f64>,
    /// Whether the result keeps the colours of the original and takes only brightness from the dream.
    preserve_colors: Option<bool>,
    /// Whether the result's contrast is set to a standard; true for a start from noise if absent.
    auto_contrast: Option<bool>,
    /// How to use the mask.
    mask: Option<MaskingRequest>,
    /// Colour behind transparent areas: the dream grows on it, and a JPEG shows it.
    #[schema(pattern = "^#[0-9A-Fa-f]{6}$", default = "#ffffff")]
    background: Option<String>,
    /// File format of the result.
    format: Option<Format>,
    /// Quality of a JPEG or a lossy WebP.
    #[schema(minimum = 1, maximum = 100, default = 92)]
    quality: Option<u8>,
    /// Whether a WebP is lossless; not for JPEG.
    #[schema(default = false)]
    lossless: Option<bool>,
    /// Whether the result contains the recipe to reproduce it; true if absent.
    recipe: Option<bool>,
}

/// Size of a start from noise.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoiseRequest {
    /// Width in pixels.
    #[schema(minimum = 1, maximum = 4096, default = 224)]
    width: Option<u32>,
    /// Height in pixels.
    #[schema(minimum = 1, maximum = 4096, default = 224)]
    height: Option<u32>,
}

/// How a mask is used.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskingRequest {
    /// Width in pixels over which the edges of the mask are softened.
    #[schema(minimum = 0, maximum = 512, default = 16)]
    feather: Option<u32>,
}

/// One term of the sum that the dream maximises.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveRequest {
    /// What to measure in the layer. If absent: `class` if `class` is given, `mean` if `channels` are given,
    /// `l2` otherwise.
    kind: Option<ObjectiveKind>,
    /// A layer of the model; its default layer if absent.
    #[schema(example = "block5")]
    layer: Option<String>,
    /// Which channels; all if empty. Not for kinds `class` and `probability`.
    channels: Option<Vec<u32>>,
    /// Which class, counted from 0. Only for kinds `class` and `probability`.
    class: Option<u32>,
    /// Factor in the sum; not 0.
    #[schema(minimum = -1000, maximum = 1000, default = 1.0)]
    weight: Option<f64>,
}
