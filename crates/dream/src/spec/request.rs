//! From a request to a complete [`DreamSpec`], with every mistake reported at once.

use serde_json::{Map, Value};

use super::{
    Change, DreamSpec, Format, Masking, Motion, Noise, Objective, OctaveMode, Preset, Share,
    objective::read_objectives,
    schedule::{read_schedule, too_much_decay},
};
use crate::{
    look::{Look, named},
    model::{Catalogue, Model},
};
use reverie_fields::{FieldError, Fields};
use reverie_picture::{PictureError, recipe};

/// A step times its L2 decay at the most: the distance of black and of white to grey, which such a step takes away.
pub(super) const MOST_DECAY: f64 = 127.5;

/// What is wrong with a spec whose recipe does not fit into its file.
pub(super) const NO_ROOM: &str = "name so many channels that the recipe does not fit into a file of this format; name fewer, choose \
                                  format \"png\", \"webp\" or \"gif\", or set \"recipe\" to false";

/// Bytes of a recipe beside its spec at the most: versions, hashes, the name of the device.
const REST_OF_RECIPE: usize = 1024;

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

/// What a spec is read with, and what waits until the rest of it is read.
pub(super) struct Sent<'a> {
    catalogue: &'a Catalogue,
    /// What came with the spec.
    pub(super) input: InputKind,
    /// The list of objectives, which is read last: its mistakes come after all others.
    objectives: Option<Value>,
    /// The schedule, which is read after them: it takes the other members to read it.
    schedule: Option<Value>,
}

impl<'a> Sent<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, input: InputKind) -> Self {
        Self { catalogue, input, objectives: None, schedule: None }
    }

    /// The model's id, by default that of the catalogue's default; an unknown one is a mistake.
    pub(super) fn known_model(&self, fields: &mut Fields, id: Option<String>) -> String {
        let id = id.unwrap_or_else(|| self.catalogue.default_id().to_owned());
        if self.catalogue.get(&id).is_none() {
            let available = self.catalogue.ids().join(", ");
            fields.error("model", format!("there is no model \"{id}\"; available are {available}"));
        }
        id
    }

    /// The share of the original's colours that suits the model's dreams.
    pub(super) fn colors_of(&self, id: &str) -> Share {
        self.catalogue.get(id).map_or(Share::default(), |model| model.colors)
    }

    /// Keeps the list of objectives for later.
    pub(super) fn keep_objectives(&mut self, written: Option<Value>) -> Vec<Objective> {
        self.objectives = written;
        Vec::new()
    }

    /// Keeps the schedule for later.
    pub(super) fn keep_schedule(&mut self, written: Option<Value>) -> Vec<Change> {
        self.schedule = written;
        Vec::new()
    }
}

/// Reads a partial spec (every field optional), fills in preset and model defaults, and checks layers,
/// channels and classes against the model. `pointer` is where `value` stands in its document, `input` whether
/// an image came with it.
///
/// # Errors
/// Every mistake, each with its JSON pointer.
pub fn resolve(
    pointer: &str,
    value: Value,
    catalogue: &Catalogue,
    input: InputKind,
) -> Result<DreamSpec, Vec<FieldError>> {
    resolve_with_guide(pointer, value, catalogue, input, None)
}

/// A guide image beside a spec: one that no objective follows is a mistake, and so is an objective that has none to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuideSent {
    /// Pointer to where the image stands, or would stand.
    pub pointer: &'static str,
    /// Whether it came.
    pub sent: bool,
}

/// As [`resolve`], where `guide`, if there is one, says whether a guide image came too.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with_guide(
    pointer: &str,
    value: Value,
    catalogue: &Catalogue,
    input: InputKind,
    guide: Option<GuideSent>,
) -> Result<DreamSpec, Vec<FieldError>> {
    let mut fields = Fields::new(pointer, value);
    // What most requests have comes first where an unknown field is told the known ones.
    ["model", "preset", "objectives"].into_iter().for_each(|name| fields.known(name));
    fill_in_look(&mut fields, catalogue);
    let mut sent = Sent::new(catalogue, input);
    let spec = DreamSpec::read(&mut fields, &mut sent);
    if spec.lossless && !spec.format.is_exact() {
        let format = match spec.format {
            Format::Gif => "a GIF",
            Format::Mp4 | Format::Webm => "a video",
            _ => "a JPEG",
        };
        fields.error("lossless", format!("{format} cannot be lossless; choose format \"png\" or \"webp\""));
    }
    if spec.motion.is_some() && !spec.format.animates() {
        fields.error("format", PictureError::NotAnimated.to_string());
    }
    if spec.motion.is_none() && spec.format.is_video() {
        fields.error("format", PictureError::NotStill.to_string());
    }
    if spec.motion.is_some() && spec.restore_size {
        fields.error(
            "restore_size",
            "is for single pictures: the frames of an animation have the size at which they are dreamed, see max_edge",
        );
    }
    if spec.restore_size && spec.octave_mode == OctaveMode::Enlarge {
        fields.error(
            "restore_size",
            "needs octave_mode \"carry-detail\": with \"enlarge\" the dream has grown",
        );
    }
    if let Some(detail) = too_much_decay(&spec) {
        fields.error("l2_decay", detail);
    }
    let model = catalogue.get(&spec.model).map(|model| &**model);
    let objectives = read_objectives(&fields.at("objectives"), sent.objectives, model);
    let are_read = objectives.is_ok();
    let objectives = objectives.unwrap_or_else(|errors| {
        fields.extend(errors);
        Vec::new()
    });
    let schedule = read_schedule(&fields.at("schedule"), sent.schedule, &spec, model);
    let schedule = schedule.unwrap_or_else(|errors| {
        fields.extend(errors);
        Vec::new()
    });
    let spec = DreamSpec { objectives, schedule, ..spec };
    if are_read {
        fields.extend(guide.and_then(|guide| misses_guide(&spec, guide)));
    }
    let constant = DreamSpec { schedule: Vec::new(), ..spec.clone() };
    if too_much_decay(&constant).is_none()
        && let Some(detail) = too_much_decay(&spec)
    {
        fields.error("schedule", detail);
    }
    for name in ["layer", "channels", "class", "pick", "at", "direction"] {
        fields
            .misplaced(name, &format!("belongs to an objective; write \"objectives\": [{{\"{name}\": …}}]"));
    }
    let pointer = fields.at("objectives");
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    if fits_its_file(&spec) { Ok(spec) } else { Err(vec![FieldError::new(pointer, NO_ROOM)]) }
}

/// Whether the file will have room for the recipe, if it is to carry one.
pub(super) fn fits_its_file(spec: &DreamSpec) -> bool {
    match serde_json::to_string(spec) {
        Ok(text) => !spec.recipe || recipe::fits(spec.format, &text, REST_OF_RECIPE),
        // Who writes it tells why it cannot be written.
        Err(_) => true,
    }
}

/// What is wrong where a guide image and objectives that follow it do not come together.
pub fn misses_guide(spec: &DreamSpec, guide: GuideSent) -> Option<FieldError> {
    let follower = spec.all_objectives().find(|objective| objective.kind.follows_guide());
    let detail = match (guide.sent, follower) {
        (true, Some(_)) | (false, None) => return None,
        (true, None) => "no objective follows it; give one the kind \"guide\" or \"guide-cosine\"".to_owned(),
        (false, Some(objective)) => {
            format!(
                "is needed: the objective in layer \"{}\" follows a guide image, and none was sent",
                objective.layer
            )
        }
    };
    Some(FieldError::new(guide.pointer, detail))
}

/// Adds what the look that a request names stands for. A model that is unknown has a mistake of its own.
fn fill_in_look(fields: &mut Fields, catalogue: &Catalogue) {
    let Some(wanted) = fields.name("look") else { return };
    let id = fields.peek("model").map_or(Some(catalogue.default_id()), Value::as_str);
    let Some(model) = id.and_then(|id| catalogue.get(id)) else { return };
    match find_look(model, &wanted) {
        Ok(look) => look.spec.iter().for_each(|(name, value)| fields.fill(name, value.clone())),
        Err(detail) => fields.error("look", detail),
    }
}

/// A look of the model by its name.
///
/// # Errors
/// Which looks it has.
pub(super) fn find_look<'a>(model: &'a Model, wanted: &str) -> Result<&'a Look, String> {
    model.looks.iter().find(|look| look.id == wanted).ok_or_else(|| match &model.looks[..] {
        [] => format!("model \"{}\" has no looks; name a layer in \"objectives\"", model.id),
        looks => format!("model \"{}\" has no look \"{wanted}\"; it has {}", model.id, named(looks)),
    })
}

/// The size of a start from noise, or `None` for a start from the image; `written` is the member `noise`.
pub(super) fn noise_to_start_from(
    fields: &mut Fields,
    written: Option<Value>,
    preset: Preset,
    input: InputKind,
) -> Option<Noise> {
    let wanted = written.map(|value| read_object(fields, "noise", value, Noise::read));
    match (input, wanted, preset) {
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
        (InputKind::Nothing { .. }, wanted, _) => wanted.or_else(|| Some(Noise::read(&mut silent()))),
    }
}

/// The longer edge of an image that is dreamed on; `written` is the member `max_edge`, `default` what stands for it. `None`
/// is as 0: specs from before there was this member have none, and neither do those that need none.
pub(super) fn edge_of_photo(
    fields: &mut Fields,
    written: Option<u32>,
    default: Option<u32>,
    noise: Option<Noise>,
) -> Option<u32> {
    if noise.is_some() {
        if written.is_some_and(|edge| edge > 0) {
            fields.error("max_edge", "is for images; the size of a start from noise is in \"noise\"");
        }
        return None;
    }
    let default = default.map(|edge| if fields.peek("motion").is_some() { edge / 2 } else { edge });
    // 0 has to be written only where it is not what stands for it.
    written.filter(|edge| *edge > 0 || default.is_some()).or(default)
}

/// How far jitter moves the image; `written` is the member `jitter_pixels`, `default` what stands for it where there is `jitter`.
pub(super) fn jitter_in_pixels(
    fields: &mut Fields,
    written: Option<u32>,
    default: Option<u32>,
    jitter: bool,
) -> Option<u32> {
    if !jitter && written.is_some() {
        fields.error(
            "jitter_pixels",
            "says how far jitter moves the image, and there is none; set \"jitter\" to true",
        );
    }
    if jitter { written.or(default) } else { None }
}

/// How the mask is used, if one came; `written` is the member `mask`.
pub(super) fn mask_in_use(fields: &mut Fields, written: Option<Value>, input: InputKind) -> Option<Masking> {
    if input == InputKind::Masked {
        let written = written.unwrap_or_else(|| Value::Object(Map::new()));
        return Some(read_object(fields, "mask", written, Masking::read));
    }
    if written.is_some() {
        fields.error("mask", "says how a mask image is used, and none was sent");
    }
    None
}

/// How the dream moves, if it does; `written` is the member `motion`.
pub(super) fn motion_wanted(fields: &mut Fields, written: Option<Value>) -> Option<Motion> {
    written.map(|value| read_object(fields, "motion", value, Motion::read))
}

/// Reads the object `value`, the member `name` of `fields`, where its mistakes are noted.
pub(super) fn read_object<T>(
    fields: &mut Fields,
    name: &str,
    value: Value,
    read: impl FnOnce(&mut Fields) -> T,
) -> T {
    let mut members = Fields::new(&fields.at(name), value);
    let object = read(&mut members);
    fields.extend(members.finish());
    object
}

/// An object that says nothing, for the defaults of its members.
pub(super) fn silent() -> Fields {
    Fields::new("", Value::Object(Map::new()))
}
