//! Finds out what a model file is, reads it, and says how to dream with it.
//!
//! The content decides what a file is, its name only what it is called. A file that claims to be a known
//! model must have the known hash: a dream names its model by id, and the id must mean the same everywhere.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use reverie_dream::model::{Catalogue, Model, best};

use super::{
    KnownModel, ModelError, aliases,
    defaults::DreamDefaults,
    featured,
    folders::{files, stem},
    labels, looks,
    read::{Reader, read},
    settings::Beside,
};
use reverie_import::{
    caffe,
    format::{self, Format},
    onnx,
    onnx_data::{DataFiles, data_files},
    safetensors_file, state_dict, tensorflow, torch_file,
};

/// Loads one file. Its id is the file's name without extension, or that of the known model it claims to be. What a
/// `NAME.toml` beside it says holds for it.
///
/// # Errors
/// See [`ModelError`].
pub fn load_file(path: &Path) -> Result<Model, ModelError> {
    let stem = stem(path)?;
    let known = KnownModel::claimed_by(stem);
    let beside = Beside::read(path)?;
    if let Some(known) = known.filter(|_| beside.as_ref().is_some_and(Beside::prepares)) {
        let id = known.id;
        let problem = format!(
            "preprocessing: \"{id}\" prepares its pixels in one way everywhere; rename the model to change it"
        );
        return Err(ModelError::Settings { path: path.with_extension("toml"), problem });
    }
    let mut reader = Reader::default();
    let file = reader.read(path)?;
    if let Some(known) = known
        && let Err(found) = known.check(&file, &reader.sha256())
    {
        return Err(ModelError::WrongHash { path: path.to_owned(), id: known.id, hash: known.hash, found });
    }
    let refused = |source| ModelError::Import { path: path.to_owned(), source };
    let kind = format::recognise(&file).map_err(refused)?;
    let by_key = matches!(kind, Format::Torch | Format::Safetensors);
    let (network, defaults, family, format) = match kind {
        Format::Torch | Format::Safetensors => {
            let read = if kind == Format::Torch { torch_file::read } else { safetensors_file::read };
            let weights = read(&file).map_err(refused)?;
            drop(file);
            let (network, family) = state_dict::build(weights).map_err(refused)?;
            let defaults = DreamDefaults::of_family(&network, family);
            (network, Some(defaults), Some(family), format!("{} weights", family.name()))
        }
        Format::GraphDef => {
            let network = tensorflow::import(file).map_err(refused)?;
            let defaults = DreamDefaults::of_graph(&network);
            (network, defaults, None, "A TensorFlow graph".to_owned())
        }
        Format::Onnx => {
            let file = Bytes::from(file);
            let names = data_files(file.clone()).map_err(refused)?;
            let data = beside_onnx(path, &names, &mut reader)?;
            let network = onnx::import(file, &data).map_err(refused)?;
            let defaults = DreamDefaults::of_onnx(&network);
            (network, defaults, None, "An ONNX network".to_owned())
        }
        Format::Caffe => {
            let imported = caffe::import(file).map_err(refused)?;
            let defaults = DreamDefaults::of_caffe(&imported);
            (imported.network, defaults, None, "A Caffe network".to_owned())
        }
    };
    let defaults = defaults.ok_or_else(|| ModelError::NoLayer { path: path.to_owned() })?;
    // Before a network answers to the names of others: looks belong to weights.
    let looks = looks::of(&network);
    let further_names = aliases::of(&network);
    let network = network.with_aliases(further_names).with_visible_names();
    let featured = featured::of(&network, family, &looks, &defaults.default_layer);
    let described = || format!("{format} from a file called {stem}.");
    let preprocessing = match &beside {
        Some(beside) => beside.preprocessing(defaults.preprocessing)?,
        None => defaults.preprocessing,
    };
    let mut model = Model {
        id: known.map_or(stem, |known| known.id).to_owned(),
        description: known.map_or_else(described, |known| known.description.to_owned()),
        path: path.to_owned(),
        sha256: reader.sha256(),
        licence: known.map(|known| known.licence.to_owned()),
        network,
        preprocessing,
        default_layer: defaults.default_layer,
        class_layer: defaults.class_layer,
        channel_layer: defaults.channel_layer,
        labels: None,
        colors: defaults.colors,
        looks,
        featured,
    };
    if let Some(beside) = beside {
        beside.apply(&mut model)?;
    }
    // Networks that PyTorch's users train on ImageNet, in its order.
    if by_key && model.labels.is_none() {
        model.labels = labels::imagenet(model.classes());
    }
    Ok(model)
}

/// The files in the folder of an ONNX file that have its weights. They count as parts of it, in its size and in its hash.
fn beside_onnx(path: &Path, names: &[String], reader: &mut Reader) -> Result<DataFiles, ModelError> {
    let content = |name: &String| {
        let file = path.with_file_name(name);
        let missing = |source| ModelError::Companion { path: path.to_owned(), name: name.clone(), source };
        if !file.metadata().map_err(missing)?.is_file() {
            return Err(missing(io::Error::other("it is no file")));
        }
        Ok((name.clone(), reader.read(&file)?.into()))
    };
    names.iter().map(content).collect()
}

/// What a model's file is.
///
/// # Errors
/// See [`ModelError`].
pub fn format_of(path: &Path) -> Result<Format, ModelError> {
    let (file, _) = read(path)?;
    format::recognise(&file).map_err(|source| ModelError::Import { path: path.to_owned(), source })
}

/// The models of some folders.
#[derive(Debug, Default)]
pub struct Folder {
    /// Those that can be used, at least one; and, without their folders, the files that cannot.
    pub catalogue: Catalogue,
    /// Files that were left out, and why.
    pub refused: Vec<ModelError>,
}

/// Loads every model file of the folders. A file that cannot be used is left out: the other models do not need it.
///
/// # Errors
/// See [`ModelError`]: a folder cannot be read, or none has a model that can be used.
pub fn load_folders(folders: &[PathBuf]) -> Result<Folder, ModelError> {
    let mut catalogue = Catalogue::default();
    let mut refused = Vec::new();
    for folder in folders {
        let found = files(folder)?;
        refused.extend(found.refused);
        for (id, path) in &found.by_id {
            if catalogue.get(id).is_some() {
                continue;
            }
            match load_file(path) {
                Ok(model) => catalogue.insert(model),
                Err(error) => refused.push(error),
            }
        }
    }
    if catalogue.ids().is_empty() {
        let none = ModelError::NoModels { folders: folders.to_owned() };
        return Err(refused.into_iter().next().unwrap_or(none));
    }
    for file in refused.iter().filter_map(ModelError::unreadable) {
        catalogue.leave_out(file);
    }
    Ok(Folder { catalogue, refused })
}

/// Loads the model `id` from the folders; the other models there are not read.
///
/// # Errors
/// See [`ModelError`].
pub fn load_id(folders: &[PathBuf], id: &str) -> Result<Model, ModelError> {
    let files = all_files(folders)?;
    let found = files.iter().find(|(found, _)| found == id);
    let (_, path) = found.ok_or_else(|| {
        let mut ids: Vec<&str> = files.iter().map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ModelError::UnknownId { id: id.to_owned(), folders: folders.to_owned(), available: ids.join(", ") }
    })?;
    load_file(path)
}

/// Loads the best model of the folders, as a server would choose it; the others are not read.
///
/// # Errors
/// See [`ModelError`].
pub fn load_best(folders: &[PathBuf]) -> Result<Model, ModelError> {
    let files = all_files(folders)?;
    let id = best(files.iter().map(|(id, _)| id.as_str()));
    load_id(folders, id.ok_or_else(|| ModelError::NoModels { folders: folders.to_owned() })?)
}

/// The file of a known model in the folders, if it is there and has the right content.
///
/// # Errors
/// [`ModelError::Io`] where a folder or the file cannot be read.
pub fn find_known(folders: &[PathBuf], known: &KnownModel) -> Result<Option<PathBuf>, ModelError> {
    for (_, path) in all_files(folders)?.into_iter().filter(|(id, _)| id == known.id) {
        let (file, sha256) = read(&path)?;
        if known.check(&file, &sha256).is_ok() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Ids and files of the folders, earlier folders first.
fn all_files(folders: &[PathBuf]) -> Result<Vec<(String, PathBuf)>, ModelError> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(files(folder)?.by_id);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
