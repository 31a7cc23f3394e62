//! `NAME.toml` beside a model file: what the file itself does not say, and the user knows.
//!
//! ```toml
//! description = "Flowers, by Ann."
//! licence = "CC BY 4.0"
//! default_layer = "conv5"
//! class_layer = "fc"
//! labels = "flowers.txt"        # beside this file: one name a line, in the order of the classes
//!
//! [preprocessing]               # (pixel - mean) / deviation, of pixels in 0-255
//! mean = [123.7, 116.3, 103.5]  # red, green, blue; or one number
//! deviation = [58.4, 57.1, 57.4]
//! order = "bgr"                 # what the network takes first; "rgb" if absent
//! ```

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::ModelError;
use reverie_dream::model::{Model, Preprocessing};

/// Longest settings and labels that are read: ImageNet's thousand names take 11 kB.
const MAX_TEXT: u64 = 1 << 20;

/// Longest name of a class, in bytes.
const MAX_LABEL: usize = 200;

/// What a user says of a model.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    description: Option<String>,
    licence: Option<String>,
    default_layer: Option<String>,
    class_layer: Option<String>,
    labels: Option<String>,
    preprocessing: Option<Pixels>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pixels {
    mean: Option<Channels>,
    deviation: Option<Channels>,
    #[serde(default)]
    order: Order,
}

/// One number for all channels, or one for red, green and blue each.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list of three: red, green, blue")]
enum Channels {
    All(f32),
    Each([f32; 3]),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Rgb,
    Bgr,
}

impl Channels {
    fn each(self) -> [f32; 3] {
        match self {
            Self::All(value) => [value; 3],
            Self::Each(values) => values,
        }
    }
}

/// The settings of a model file, from `NAME.toml` beside it.
pub(super) struct Beside {
    path: PathBuf,
    settings: Settings,
}

impl Beside {
    /// Reads the file, if there is one.
    pub(super) fn read(model: &Path) -> Result<Option<Self>, ModelError> {
        let path = model.with_extension("toml");
        let Some(text) = text_of(&path)? else { return Ok(None) };
        let settings = toml::from_str(&text).map_err(|error| {
            let line = error.span().and_then(|span| Some(text.get(..span.start)?.lines().count().max(1)));
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            refused(&path, format!("{line}{}", error.message()))
        })?;
        Ok(Some(Self { path, settings }))
    }

    /// Whether pixels are prepared in another way than the model's own.
    pub(super) fn prepares(&self) -> bool {
        self.settings.preprocessing.is_some()
    }

    /// How pixels are prepared.
    pub(super) fn preprocessing(&self, usual: Preprocessing) -> Result<Preprocessing, ModelError> {
        let Some(Pixels { mean, deviation, order }) = &self.settings.preprocessing else { return Ok(usual) };
        let mean = mean.map_or([0.0; 3], Channels::each);
        let deviation = deviation.map_or([1.0; 3], Channels::each);
        if !mean.iter().all(|mean| (0.0..=255.0).contains(mean)) {
            let problem = format!("preprocessing.mean is {mean:?}; 0 to 255 is allowed, as pixels have it");
            return Err(refused(&self.path, problem));
        }
        if !deviation.iter().all(|deviation| (1e-3..=1e6).contains(deviation)) {
            let problem = format!("preprocessing.deviation is {deviation:?}; 0.001 to 1000000 is allowed");
            return Err(refused(&self.path, problem));
        }
        Ok(Preprocessing { mean, scale: deviation.map(f32::recip), bgr: *order == Order::Bgr })
    }

    /// Gives the rest of the settings to the model, and checks them against its network.
    pub(super) fn apply(self, model: &mut Model) -> Result<(), ModelError> {
        let Self { path, settings } = self;
        let Settings { description, licence, default_layer, class_layer, labels, .. } = settings;
        let layer = |setting: &str, name: String| match model.network.find(&name) {
            Ok(id) if setting == "class_layer" || model.network.is_map(id) => Ok(name),
            Ok(_) => {
                Err(refused(&path, format!("{setting}: the layer \"{name}\" has no positions to dream in")))
            }
            Err(unknown) => Err(refused(&path, format!("{setting}: {unknown}"))),
        };
        let default_layer = default_layer.map(|name| layer("default_layer", name)).transpose()?;
        let class_layer = class_layer.map(|name| layer("class_layer", name)).transpose()?;
        if let Some(layer) = default_layer {
            model.channel_layer.clone_from(&layer);
            model.default_layer = layer;
        }
        model.class_layer = class_layer.or(model.class_layer.take());
        model.description = description.unwrap_or(std::mem::take(&mut model.description));
        model.licence = licence.or(model.licence.take());
        if let Some(name) = labels {
            model.labels = Some(labels_of(&path, &name, model)?);
        }
        Ok(())
    }
}

/// The names of the classes, from a file beside `settings`.
fn labels_of(settings: &Path, name: &str, model: &Model) -> Result<Arc<[String]>, ModelError> {
    if Path::new(name).file_name() != Some(name.as_ref()) {
        let problem = format!("labels: \"{name}\" must be the name of a file in the same folder");
        return Err(refused(settings, problem));
    }
    let path = settings.with_file_name(name);
    let text =
        text_of(&path)?.ok_or_else(|| refused(settings, format!("labels: there is no file \"{name}\"")))?;
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if let Some(index) = labels.iter().position(|label| label.is_empty() || label.len() > MAX_LABEL) {
        let problem = format!("line {} must have 1 to {MAX_LABEL} bytes: the name of a class", index + 1);
        return Err(refused(&path, problem));
    }
    let layer = model.class_layer.as_deref().and_then(|layer| model.network.find(layer).ok());
    let classes = layer.map(|layer| model.network.channels(layer));
    match classes {
        Some(classes) if classes == labels.len() => Ok(labels.into()),
        Some(classes) => {
            let problem =
                format!("it has {} lines, the model has {classes} classes: one a line", labels.len());
            Err(refused(&path, problem))
        }
        None => {
            Err(refused(settings, "labels: the model has no classes; name their layer in class_layer".into()))
        }
    }
}

/// A short text file; none where there is no file.
fn text_of(path: &Path) -> Result<Option<String>, ModelError> {
    let unreadable = |source| ModelError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(unreadable)?,
    };
    let mut text = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_TEXT {
        return Err(refused(path, format!("the file has more than {MAX_TEXT} bytes")));
    }
    String::from_utf8(text).map(Some).map_err(|_| refused(path, "the file is not text in UTF-8".into()))
}

fn refused(path: &Path, problem: String) -> ModelError {
    ModelError::Settings { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests;
