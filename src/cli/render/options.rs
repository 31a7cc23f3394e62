//! The dream spec as options: they become members of a spec, and errors of the spec become errors of the
//! options.

use serde_json::{Map, Value, json};

use reverie_dream::spec::Format;
use reverie_fields::FieldError;

/// The dream spec; omitted options come from the preset and the model.
#[derive(Debug, clap::Args)]
pub(super) struct DreamArgs {
    /// A model's id, or a model file.
    #[arg(long, value_name = "ID|FILE")]
    pub(super) model: Option<String>,
    /// Layer to maximise.
    #[arg(long)]
    layer: Option<String>,
    /// Only this channel of the layer; can be repeated.
    #[arg(long = "channel", value_name = "C")]
    channels: Vec<u32>,
    /// mean, l2, class or probability; by default class if there is a class, mean if there are channels, l2
    /// otherwise.
    #[arg(long)]
    objective: Option<String>,
    /// Class to maximise, counted from 0.
    #[arg(long, value_name = "K")]
    class: Option<u32>,
    /// naive, multiscale, lapnorm, deepdream or deepdream-lapnorm.
    #[arg(long)]
    preset: Option<String>,
    /// Gradient steps per octave.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// Step length.
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = parse_number)]
    step: Option<f64>,
    /// Number of scales.
    #[arg(long, value_name = "N")]
    octaves: Option<u64>,
    /// Ratio of neighbouring scales.
    #[arg(long, value_name = "R", value_parser = parse_number)]
    octave_scale: Option<f64>,
    /// carry-detail (the result has the input's size) or enlarge (it grows octave by octave).
    #[arg(long, value_name = "MODE")]
    octave_mode: Option<String>,
    /// Size of a start from noise in pixels.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    noise: Option<(u32, u32)>,
    /// Largest edge of a tile in pixels.
    #[arg(long, value_name = "T")]
    tile_size: Option<u64>,
    /// even (covers every pixel) or article.
    #[arg(long)]
    tiling: Option<String>,
    /// mean-abs, std or laplacian.
    #[arg(long)]
    normalization: Option<String>,
    /// Levels of the Laplacian normalisation.
    #[arg(long, value_name = "N")]
    laplacian_levels: Option<u64>,
    /// Do not move the tiles between iterations.
    #[arg(long)]
    no_jitter: bool,
    /// Seed of every random choice.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Share of the original in the result, 0 to 1.
    #[arg(long, value_name = "B", value_parser = parse_number)]
    blend: Option<f64>,
    /// Keep the colours of the original; take only the brightness of the dream.
    #[arg(long)]
    preserve_colors: bool,
    /// Set the result's contrast to a standard (the default for a start from noise), or not.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    auto_contrast: Option<bool>,
    /// Colour behind transparent areas [default: #ffffff].
    #[arg(long, value_name = "#RRGGBB")]
    background: Option<String>,
    /// Width in pixels over which the edges of the mask are softened.
    #[arg(long, value_name = "PIXELS")]
    mask_feather: Option<u64>,
    /// Quality of a JPEG or a lossy WebP, 1 to 100.
    #[arg(long, value_name = "Q")]
    quality: Option<u64>,
    /// Write a lossless WebP.
    #[arg(long)]
    lossless: bool,
    /// Do not write the recipe into the result.
    #[arg(long)]
    no_recipe: bool,
    /// fp32, tf32 (on a GPU), bf16 or auto.
    #[arg(long)]
    precision: Option<String>,
}

impl DreamArgs {
    /// Writes the given options over the fields of a spec; returns the names of those fields.
    pub(super) fn overlay(&self, fields: &mut Map<String, Value>) -> Vec<&'static str> {
        let given = [
            ("model", self.model.as_ref().map(|value| json!(value))),
            ("preset", self.preset.as_ref().map(|value| json!(value))),
            ("iterations", self.iterations.map(|value| json!(value))),
            ("step", self.step.map(|value| json!(value))),
            ("octaves", self.octaves.map(|value| json!(value))),
            ("octave_scale", self.octave_scale.map(|value| json!(value))),
            ("noise", self.noise.map(|(width, height)| json!({ "width": width, "height": height }))),
            ("octave_mode", self.octave_mode.as_ref().map(|value| json!(value))),
            ("tile_size", self.tile_size.map(|value| json!(value))),
            ("tiling", self.tiling.as_ref().map(|value| json!(value))),
            ("normalization", self.normalization.as_ref().map(|value| json!(value))),
            ("laplacian_levels", self.laplacian_levels.map(|value| json!(value))),
            ("jitter", self.no_jitter.then_some(json!(false))),
            ("seed", self.seed.map(|value| json!(value))),
            ("precision", self.precision.as_ref().map(|value| json!(value))),
            ("blend", self.blend.map(|value| json!(value))),
            ("preserve_colors", self.preserve_colors.then_some(json!(true))),
            ("recipe", self.no_recipe.then_some(json!(false))),
            ("auto_contrast", self.auto_contrast.map(|value| json!(value))),
            ("background", self.background.as_ref().map(|value| json!(value))),
            ("mask", self.mask_feather.map(|value| json!({ "feather": value }))),
            ("lossless", self.lossless.then_some(json!(true))),
            ("quality", self.quality.map(|value| json!(value))),
            ("objectives", self.objective().map(|objective| json!([objective]))),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let written = given.map(|(name, value)| {
            fields.insert(name.into(), value);
            name
        });
        written.collect()
    }

    /// The objective from the options. Without a kind, the rules of the spec choose one.
    fn objective(&self) -> Option<Map<String, Value>> {
        let given = [
            ("kind", self.objective.as_ref().map(|kind| json!(kind))),
            ("layer", self.layer.as_ref().map(|layer| json!(layer))),
            ("channels", Some(&self.channels).filter(|list| !list.is_empty()).map(|list| json!(list))),
            ("class", self.class.map(|class| json!(class))),
        ];
        let objective: Map<String, Value> =
            given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!objective.is_empty()).then_some(objective)
    }

    /// The option that set the spec's field at `pointer`.
    fn option(&self, pointer: &str) -> String {
        let (field, last) = (pointer.split('/').nth(1).unwrap_or_default(), pointer.rsplit('/').next());
        match (field, last) {
            ("objectives", Some("layer")) => "--layer".into(),
            ("objectives", Some("channels")) => "--channel".into(),
            ("objectives", Some("class")) => "--class".into(),
            // Without an explicit kind, it follows from the class.
            ("objectives", _) if self.objective.is_none() && self.class.is_some() => "--class".into(),
            ("objectives", _) => "--objective".into(),
            ("jitter", _) => "--no-jitter".into(),
            ("recipe", _) => "--no-recipe".into(),
            ("mask", _) => "--mask-feather".into(),
            (field, _) => format!("--{}", field.replace('_', "-")),
        }
    }

    /// An error of a spec, in words for the command line. `given` are the fields set by options; `rest` is
    /// the source of the others, such as a file.
    pub(super) fn describe(&self, mistake: &FieldError, given: &[&str], rest: Option<&str>) -> String {
        let FieldError { pointer, detail } = mistake;
        let field = pointer.split('/').nth(1).unwrap_or_default();
        match rest {
            _ if pointer == NO_INPUT => {
                "there is no input: give an image file, or --noise 224x224 to start from noise".into()
            }
            _ if given.contains(&field) => {
                // The one detail that names another member.
                let detail = detail.replace("in \"layer\"", "with --layer");
                format!("{}: {detail}", self.option(pointer))
            }
            Some(file) if pointer.is_empty() => format!("{file}: {detail}"),
            Some(file) => format!("{file}: {pointer}: {detail}"),
            None => format!("{}: {detail}", self.option(pointer)),
        }
    }
}

/// The pointer of the missing image in a spec's errors.
pub(super) const NO_INPUT: &str = "/INPUT";

/// A number; the options become JSON, which has neither NaN nor infinity.
fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "must be a number such as 1.5".into())
}

/// `224x224` as width and height.
fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.ok_or_else(|| "must be a size such as 224x224".into())
}

/// The output formats.
pub(super) fn parse_format(text: &str) -> Result<Format, String> {
    match text {
        "png" => Ok(Format::Png),
        "jpeg" | "jpg" => Ok(Format::Jpeg),
        "webp" => Ok(Format::Webp),
        _ => Err("must be png, jpeg or webp".into()),
    }
}
