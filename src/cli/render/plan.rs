//! What is dreamed, before anything is rendered: reads the files beside the input, and makes one spec of files and options.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    super::{Failure, models},
    Args,
    input::{Source, check_replay, object, read_recipe, read_spec},
    options::NO_GUIDE,
};
use reverie_dream::{
    model::{Catalogue, Model},
    spec::{self, After, DreamSpec, First, Format, GuideSent, InputKind},
};
use reverie_engine::{Recipe, RenderError};
use reverie_picture::PictureError;

/// The files beside the input.
pub(super) struct Attached {
    pub(super) mask: Option<Bytes>,
    pub(super) guide: Option<Bytes>,
}

/// What files and options say, before it is checked.
pub(super) struct Written {
    /// Members of the spec.
    fields: Map<String, Value>,
    /// Those that options have set.
    given: Vec<String>,
    /// Where the others come from.
    from: Option<String>,
    /// Of a fork: the last octave or frame that stays, and what options change after it.
    fork: Option<(u32, Map<String, Value>)>,
    recipe: Option<Recipe>,
    model: Model,
}

/// A validated dream, the same for every input.
pub(super) struct Plan {
    pub(super) spec: DreamSpec,
    pub(super) model: Arc<Model>,
    pub(super) attached: Attached,
}

impl Written {
    /// Compares a replay with its recipe.
    ///
    /// # Errors
    /// If the recipe was made with other weights.
    pub(super) fn check_replay(&self, input: Option<&[u8]>, attached: &Attached) -> Result<(), Failure> {
        let Some(recipe) = &self.recipe else { return Ok(()) };
        check_replay(recipe, &self.model, [input, attached.mask.as_deref(), attached.guide.as_deref()])
    }
}

impl Args {
    /// All sources of the dream, with their roles.
    pub(super) fn sources(&self) -> Vec<(&'static str, Source)> {
        let file = |path: &PathBuf| Source::File(path.clone());
        let given = [
            ("mask", self.mask.as_ref().map(file)),
            ("guide", self.guide.as_ref().map(file)),
            ("spec", self.spec.as_ref().map(file)),
            ("dream to replay", self.replay.as_ref().map(file)),
            ("model", self.dream.model().map(|model| Source::File(model.into()))),
        ];
        let given = given.into_iter().filter_map(|(role, source)| Some((role, source?)));
        self.inputs.iter().map(|path| ("input", Source::of(path))).chain(given).collect()
    }

    /// Reads the mask and the guide image.
    pub(super) fn attached(&self) -> Result<Attached, Failure> {
        let read = |path: &PathBuf| Source::File(path.clone()).read().map(Bytes::from);
        Ok(Attached {
            mask: self.mask.as_ref().map(read).transpose()?,
            guide: self.guide.as_ref().map(read).transpose()?,
        })
    }

    /// Reads the spec or the recipe, lays the options over it, and loads the model.
    pub(super) fn written(&self) -> Result<Written, Failure> {
        let recipe = self.replay.as_deref().map(read_recipe).transpose()?;
        let (mut fields, from) = match (&self.spec, &self.replay, &recipe) {
            (Some(path), ..) => (read_spec(path)?, Some(path.display().to_string())),
            (None, Some(path), Some(recipe)) => {
                let spec = object(recipe.spec.to_request()?).ok_or("the recipe has no spec")?;
                (spec, Some(format!("the recipe in {}", path.display())))
            }
            _ => (Map::new(), None),
        };
        let (given, fork) = match self.fork_after {
            Some(place) => {
                let mut changes = Map::new();
                (self.dream.overlay(&mut changes), Some((place, changes)))
            }
            None => (self.dream.overlay(&mut fields), None),
        };
        let model = match fields.get("model").and_then(Value::as_str) {
            Some(model) => models::load(model, &self.folder)?,
            None => reverie_models::load_best(&self.folder.list())?,
        };
        Ok(Written { fields, given, from, fork, recipe, model })
    }

    /// Checks the spec.
    ///
    /// # Errors
    /// All mistakes in one message, one per line.
    pub(super) fn settle(
        &self,
        written: Written,
        start: InputKind,
        attached: Attached,
        format: Option<Format>,
    ) -> Result<Plan, Failure> {
        let Written { mut fields, given, from, mut fork, recipe, model } = written;
        fields.insert("model".into(), model.id.clone().into());
        if let Some(format) = format {
            let changes = fork.as_mut().map_or(&mut fields, |(_, changes)| changes);
            changes.insert("format".into(), json!(format));
        }
        let mut catalogue = Catalogue::default();
        catalogue.insert(model);
        let guide = GuideSent { pointer: NO_GUIDE, sent: attached.guide.is_some() };
        let fields = Value::Object(fields);
        let resolved = match fork {
            // Whether a guide is needed, and whether one is followed, the fork decides alone.
            Some((place, changes)) => spec::resolve("", fields, &catalogue, start).and_then(|spec| {
                let first = First { spec: &spec, input: start, has_guide: true };
                let after = After { place, fade: None };
                let forked = spec::forked("", Value::Object(changes), first, after, &catalogue)?;
                spec::misses_guide(&forked, guide).map_or(Ok(forked), |wrong| Err(vec![wrong]))
            }),
            None => spec::resolve_with_guide("", fields, &catalogue, start, Some(guide)),
        };
        let mut spec = resolved.map_err(|mistakes| {
            let describe = |mistake| self.dream.describe(mistake, &given, from.as_deref());
            mistakes.iter().map(describe).collect::<Vec<String>>().join("\n       ")
        })?;
        // A recipe from before there was a largest edge is written as it was.
        if recipe.is_some_and(|recipe| recipe.spec.max_edge.is_none()) {
            spec.max_edge = spec.max_edge.filter(|edge| *edge > 0);
        }
        reverie_picture::can_write(spec.format)?;
        let model = catalogue.get(&spec.model).ok_or("the model is gone")?.clone();
        Ok(Plan { spec, model, attached })
    }

    /// Names the file that caused a failed render, if there is one.
    pub(super) fn blame(&self, error: Failure, input: Option<&Source>, output: &str) -> Failure {
        let file = |path: &Option<PathBuf>| path.clone().map(Source::File);
        let (file, picture) = match error.downcast_ref::<RenderError>() {
            Some(RenderError::Picture(
                PictureError::EdgeTooLong { .. }
                | PictureError::Encode(_)
                | PictureError::NoVideoEncoder { .. }
                | PictureError::VideoEncoder(_),
            )) => {
                return format!("{output}: {error}").into();
            }
            Some(RenderError::Picture(picture)) => (input.cloned(), picture),
            Some(RenderError::Mask(picture)) => (file(&self.mask), picture),
            Some(RenderError::Guide(picture)) => (file(&self.guide), picture),
            _ => return error,
        };
        match file {
            Some(file) => format!("{file}: {picture}").into(),
            None => error,
        }
    }
}
