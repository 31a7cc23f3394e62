//! From what a person wrote to a complete [`DreamSpec`], with every mistake reported at once.

use serde_json::{Map, Value};

use super::{
    Color, DreamSpec, Format, Masking, Noise, Normalization, Objective, ObjectiveKind, OctaveMode, Precision,
    Preset, Tiling, default_quality, default_recipe,
};
use crate::model::{Catalogue, Model};
use reverie_fields::{FieldError, Fields, note_all};

/// Largest seed: the largest integer that every JSON reader keeps exact (RFC 8259, section 6).
pub const MAX_SEED: u64 = (1 << 53) - 1;

/// Terms in one objective; more than that is a mistake rather than a wish.
const MAX_OBJECTIVES: usize = 16;

/// Largest edge of a tile in pixels: what a gradient step holds in memory grows with its square.
const MAX_TILE: u32 = 2048;

/// Largest channel or class that is looked for in a layer at all.
const MAX_INDEX: u32 = i32::MAX.unsigned_abs();

/// Edge of a start from noise in pixels: the article's, and the largest.
const NOISE: u32 = 224;
const MAX_NOISE: u32 = 4096;

/// Width of the soft edge of a mask in pixels: the default, and the largest.
const FEATHER: u32 = 16;
const MAX_FEATHER: u32 = 512;

/// What came with a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// An image to dream on.
    Image,
    /// An image, and another one that says where to dream.
    Masked,
    /// Nothing: the dream has to start from noise.
    Nothing {
        /// Pointer to where an image would have been.
        image: &'static str,
    },
}

/// What a preset stands for.
struct Defaults {
    octaves: u32,
    octave_mode: OctaveMode,
    iterations: u32,
    step: f64,
    normalization: Normalization,
    tile_size: u32,
    jitter: bool,
}

impl Defaults {
    fn of(preset: Preset) -> Self {
        use OctaveMode::{CarryDetail, Enlarge};
        let (octaves, octave_mode, iterations, step, normalization) = match preset {
            Preset::Naive => (1, Enlarge, 20, 1.0, Normalization::Std),
            Preset::Multiscale => (3, Enlarge, 10, 1.0, Normalization::Std),
            Preset::Lapnorm => (3, Enlarge, 10, 1.0, Normalization::Laplacian),
            Preset::Deepdream => (4, CarryDetail, 10, 1.5, Normalization::MeanAbs),
            Preset::DeepdreamLapnorm => (4, CarryDetail, 10, 1.5, Normalization::Laplacian),
        };
        // The naive ascent knows no tiles: one as large as is allowed, and no jitter to hide its borders.
        let (tile_size, jitter) = if preset == Preset::Naive { (MAX_TILE, false) } else { (512, true) };
        Self { octaves, octave_mode, iterations, step, normalization, tile_size, jitter }
    }
}

/// Reads a partial spec (every field optional), fills in preset and model defaults, and checks layers,
/// channels and classes against the model. `pointer` is where `value` stands in its document, `start` whether
/// an image came with it.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn resolve(
    pointer: &str,
    value: Value,
    catalogue: &Catalogue,
    start: InputKind,
) -> Result<DreamSpec, Vec<FieldError>> {
    let mut fields = Fields::new(pointer, value);
    let id = fields.name("model").unwrap_or_else(|| catalogue.default_id().to_owned());
    let model = catalogue.get(&id);
    if model.is_none() {
        fields.error(
            "model",
            format!("there is no model \"{id}\"; available are {}", catalogue.ids().join(", ")),
        );
    }
    let preset = fields.choice::<Preset>("preset").unwrap_or_default();
    let defaults = Defaults::of(preset);
    let objectives_pointer = fields.at("objectives");
    let objectives = fields.raw("objectives");
    let noise = read_noise(&mut fields, preset, start);
    let spec = DreamSpec {
        model: id,
        preset,
        noise,
        objectives: Vec::new(),
        octaves: fields.number("octaves", 1, 16).unwrap_or(defaults.octaves),
        octave_scale: fields.number("octave_scale", 1.05, 4.0).unwrap_or(1.4),
        octave_mode: fields.choice("octave_mode").unwrap_or(defaults.octave_mode),
        iterations: fields.number("iterations", 1, 1000).unwrap_or(defaults.iterations),
        step: fields.number("step", 0.001, 100.0).unwrap_or(defaults.step),
        normalization: fields.choice("normalization").unwrap_or(defaults.normalization),
        laplacian_levels: fields.number("laplacian_levels", 1, 12).unwrap_or(4),
        tile_size: fields.number("tile_size", 64, MAX_TILE).unwrap_or(defaults.tile_size),
        tiling: fields.choice::<Tiling>("tiling").unwrap_or_default(),
        jitter: fields.flag("jitter").unwrap_or(defaults.jitter),
        seed: fields.number("seed", 0, MAX_SEED).unwrap_or(0),
        precision: fields.choice::<Precision>("precision").unwrap_or_default(),
        blend: fields.number("blend", 0.0, 1.0).unwrap_or(0.0),
        preserve_colors: fields.flag("preserve_colors").unwrap_or(false),
        auto_contrast: fields.flag("auto_contrast").unwrap_or(noise.is_some()),
        mask: read_mask(&mut fields, start),
        background: read_background(&mut fields),
        format: fields.choice::<Format>("format").unwrap_or_default(),
        quality: fields.number("quality", 1, 100).unwrap_or(default_quality()),
        lossless: fields.flag("lossless").unwrap_or(false),
        recipe: fields.flag("recipe").unwrap_or(default_recipe()),
    };
    if spec.lossless && spec.format == Format::Jpeg {
        fields.error("lossless", "a JPEG cannot be lossless; choose format \"png\" or \"webp\"");
    }
    let objectives = read_objectives(&objectives_pointer, objectives, model.map(|model| &**model))
        .unwrap_or_else(|errors| {
            fields.extend(errors);
            Vec::new()
        });
    for name in ["layer", "channels", "class"] {
        fields
            .misplaced(name, &format!("belongs to an objective; write \"objectives\": [{{\"{name}\": …}}]"));
    }
    let errors = fields.finish();
    if errors.is_empty() { Ok(DreamSpec { objectives, ..spec }) } else { Err(errors) }
}

/// The size of a start from noise, or `None` for a start from the image.
fn read_noise(fields: &mut Fields, preset: Preset, start: InputKind) -> Option<Noise> {
    let pointer = fields.at("noise");
    let wanted = fields.raw("noise").map(|value| {
        let mut size = Fields::new(&pointer, value);
        let mut edge = |name| size.number(name, 1, MAX_NOISE).unwrap_or(NOISE);
        let noise = Noise { width: edge("width"), height: edge("height") };
        fields.extend(size.finish());
        noise
    });
    match (start, wanted, preset) {
        (InputKind::Image | InputKind::Masked, Some(_), _) => {
            fields.error("noise", "an image was sent too; start from one of the two");
            None
        }
        (InputKind::Image | InputKind::Masked, None, _) => None,
        (InputKind::Nothing { image }, None, Preset::Deepdream | Preset::DeepdreamLapnorm) => {
            let detail = "is needed: an image file, or a spec with \"noise\" such as {\"width\": 224, \"height\": 224}";
            fields.extend([FieldError::new(image, detail)]);
            None
        }
        (InputKind::Nothing { .. }, wanted, _) => wanted.or(Some(Noise { width: NOISE, height: NOISE })),
    }
}

/// The colour behind transparent areas.
fn read_background(fields: &mut Fields) -> Color {
    let text = fields.text("background").unwrap_or_else(|| Color::WHITE.into());
    Color::try_from(text).unwrap_or_else(|wrong| {
        fields.error("background", wrong.to_string());
        Color::WHITE
    })
}

/// How the mask is used, if one came.
fn read_mask(fields: &mut Fields, start: InputKind) -> Option<Masking> {
    let pointer = fields.at("mask");
    let wanted = fields.raw("mask");
    if start != InputKind::Masked {
        if wanted.is_some() {
            fields.error("mask", "says how a mask image is used, and none was sent");
        }
        return None;
    }
    let mut masking = Fields::new(&pointer, wanted.unwrap_or_else(|| Value::Object(Map::new())));
    let feather = masking.number("feather", 0, MAX_FEATHER).unwrap_or(FEATHER);
    fields.extend(masking.finish());
    Some(Masking { feather })
}

/// Reads the list of objectives for `model`; absent means the model's default.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn resolve_objectives(
    pointer: &str,
    value: Option<Value>,
    model: &Model,
) -> Result<Vec<Objective>, Vec<FieldError>> {
    read_objectives(pointer, value, Some(model))
}

/// As [`resolve_objectives`]; of a model that is not known, what can be said without it.
fn read_objectives(
    pointer: &str,
    value: Option<Value>,
    model: Option<&Model>,
) -> Result<Vec<Objective>, Vec<FieldError>> {
    let list = match value {
        None => return Ok(model.map(Model::default_objective).into_iter().collect()),
        Some(Value::Array(list)) if (1..=MAX_OBJECTIVES).contains(&list.len()) => list,
        Some(_) => {
            let detail = format!("must be an array of 1 to {MAX_OBJECTIVES} objectives");
            return Err(vec![FieldError::new(pointer, detail)]);
        }
    };
    let mut objectives = Vec::with_capacity(list.len());
    let mut errors = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let mut fields = Fields::new(&format!("{pointer}/{index}"), value);
        let objective = read_objective(&mut fields, model);
        note_all(&mut errors, fields.finish());
        objectives.push(objective);
    }
    if errors.is_empty() { Ok(objectives) } else { Err(errors) }
}

/// One objective; what is wrong with it is noted in `fields`.
fn read_objective(fields: &mut Fields, model: Option<&Model>) -> Objective {
    let kind = fields.choice("kind");
    let layer = fields.name("layer");
    let channels = fields.numbers("channels", 0, MAX_INDEX).unwrap_or_default();
    let class = fields.number("class", 0, MAX_INDEX);
    let kind = kind.unwrap_or_else(|| default_kind(class, &channels));
    let weight = fields.number("weight", -1000.0, 1000.0).unwrap_or(1.0);
    let layer = layer.or_else(|| default_layer(fields, kind, model?)).unwrap_or_default();
    let mut objective = Objective { kind, layer, channels, class, weight };
    objective.channels.sort_unstable();
    objective.channels.dedup();
    check_objective(fields, &objective);
    match model {
        Some(model) if !objective.layer.is_empty() => check_against(fields, &objective, model),
        Some(_) => {}
        None if of_class(kind) && objective.class.is_none() => fields.error("class", "is needed"),
        None => {}
    }
    objective
}

/// What is meant where no kind is named: classes are for `class`, single channels are maximised by their mean, as in
/// the article, and whole layers by their [`ObjectiveKind::L2`].
fn default_kind(class: Option<u32>, channels: &[u32]) -> ObjectiveKind {
    match (class, channels) {
        (Some(_), _) => ObjectiveKind::Class,
        (None, [_, ..]) => ObjectiveKind::Mean,
        (None, []) => ObjectiveKind::L2,
    }
}

/// What is meant where no layer is named; a model without such a layer is noted in `fields`.
fn default_layer(fields: &mut Fields, kind: ObjectiveKind, model: &Model) -> Option<String> {
    if !of_class(kind) {
        return Some(model.default_objective().layer);
    }
    if model.class_layer.is_none() {
        let detail = format!("model \"{}\" has no class layer; name one in \"layer\"", model.id);
        fields.error("kind", detail);
    }
    model.class_layer.clone()
}

/// Whether it is about classes, and not about channels.
fn of_class(kind: ObjectiveKind) -> bool {
    matches!(kind, ObjectiveKind::Class | ObjectiveKind::Probability)
}

/// What can be said of an objective without its model.
fn check_objective(fields: &mut Fields, objective: &Objective) {
    if objective.weight == 0.0 {
        fields.error("weight", "must not be 0");
    }
    if objective.class.is_some() && !of_class(objective.kind) {
        fields.error("class", "belongs to objectives of kind \"class\" and \"probability\" only");
    }
    if of_class(objective.kind) && !objective.channels.is_empty() {
        fields.error("channels", "belong to objectives of kind \"mean\" and \"l2\" only");
    }
}

/// Whether the model has what the objective is about.
fn check_against(fields: &mut Fields, objective: &Objective, model: &Model) {
    let layer = &objective.layer;
    let width = match model.network.find(layer) {
        Ok(id) => model.network.channels(id) as u32,
        Err(unknown) => {
            fields.error("layer", format!("model \"{}\": {unknown}", model.id));
            return;
        }
    };
    let last = width - 1;
    match objective.class.filter(|_| of_class(objective.kind)) {
        None if of_class(objective.kind) => {
            fields.error("class", format!("is needed; layer \"{layer}\" has classes 0 to {last}"));
        }
        Some(class) if class >= width => {
            let detail = format!("{class} is not in layer \"{layer}\", which has classes 0 to {last}");
            fields.error("class", detail);
        }
        _ => {}
    }
    if let Some(channel) = objective.channels.iter().find(|&&channel| channel >= width) {
        let detail = format!("{channel} is not in layer \"{layer}\", which has channels 0 to {last}");
        fields.error("channels", detail);
    }
}
