//! The inputs of a dream: files and standard input, read with error messages that name them.

use std::{
    fmt,
    fs::{self, Metadata},
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{super::Failure, files};
use reverie_dream::digest;
use reverie_dream::{model::Model, spec};
use reverie_engine::Recipe;
use reverie_fields::json;
use reverie_picture as picture;

/// A source of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`.
    Stdin,
    /// A file by its path.
    File(PathBuf),
}

impl Source {
    /// The source that an argument names; `-` is standard input.
    pub(super) fn of(argument: &Path) -> Self {
        if argument == Path::new("-") { Self::Stdin } else { Self::File(argument.to_owned()) }
    }

    /// Whether this source is the file `other` at `path`, possibly under another name.
    pub(super) fn is(&self, other: &Metadata, path: &Path) -> bool {
        let own = match self {
            #[cfg(unix)]
            Self::Stdin => files::metadata_of(&io::stdin()),
            #[cfg(not(unix))]
            Self::Stdin => None,
            Self::File(own) => fs::metadata(own).ok(),
        };
        let Some(own) = own.filter(Metadata::is_file) else { return false };
        match (files::identity(&own), files::identity(other), self) {
            (Some(own), Some(other), _) => own == other,
            (_, _, Self::File(own)) => {
                fs::canonicalize(own).is_ok_and(|own| Ok(own) == fs::canonicalize(path).map_err(drop))
            }
            _ => false,
        }
    }

    /// Reads all bytes.
    ///
    /// # Errors
    /// A system error; an empty source; a terminal.
    pub(super) fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Stdin if io::stdin().is_terminal() => {
                return Err("standard input is a terminal; redirect an image to it with < or |".into());
            }
            Self::Stdin => io::stdin().lock().read_to_end(&mut bytes).map(drop),
            Self::File(path) => fs::read(path).map(|read| bytes = read),
        };
        read.map_err(|error| format!("{self}: {error}"))?;
        if bytes.is_empty() {
            return Err(format!("{self} is empty (0 bytes)").into());
        }
        Ok(bytes)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Reads a spec file.
pub(super) fn read_spec(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = Source::File(path.to_owned()).read()?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let spec = json::parse(text).map_err(|error| format!("{}: {error}", path.display()))?;
    object(spec).ok_or_else(|| format!("{}: the spec must be a JSON object", path.display()).into())
}

/// Reads the recipe in a dream.
pub(super) fn read_recipe(path: &Path) -> Result<Recipe, Failure> {
    let text = picture::recipe::extract(&Source::File(path.to_owned()).read()?);
    let text =
        text.ok_or_else(|| format!("{}: this image contains no recipe of this program", path.display()))?;
    let wrong = |error: String| format!("{}: its recipe: {error}", path.display());
    let value = json::parse(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let recipe: Recipe = serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
    // An unknown member would make a different dream.
    if let Some(unknown) = spec::unknown_member(&value["spec"], &recipe.spec) {
        Err(wrong(format!("this version of the program does not know \"{unknown}\"")))?;
    }
    Ok(recipe)
}

/// The members of an object.
pub(super) fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// Compares a replay with its recipe: other weights are an error, another input or machine only a note.
pub(super) fn check_replay(
    recipe: &Recipe,
    model: &Model,
    [input, mask, guide]: [Option<&[u8]>; 3],
) -> Result<(), Failure> {
    if recipe.model_sha256 != model.sha256 {
        let detail = "the dream was made with a different model file";
        return Err(format!("{detail}: sha256 {}, this one has {}", recipe.model_sha256, model.sha256).into());
    }
    if recipe.input_sha256 != input.map(digest::sha256) {
        eprintln!("note: the dream was made from a different input");
    }
    if recipe.mask_sha256 != mask.map(digest::sha256) {
        eprintln!("note: the dream was made with a different mask");
    }
    // A fork may follow none any more.
    if guide.is_some() && recipe.guide_sha256 != guide.map(digest::sha256) {
        eprintln!("note: the dream was made with a different guide image");
    }
    if recipe.reverie != env!("CARGO_PKG_VERSION") {
        eprintln!("note: the dream was made by version {}; bytes may differ", recipe.reverie);
    }
    Ok(())
}
