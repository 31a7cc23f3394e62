//! What a dream is made from: files and standard input, read with messages that name them.

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

/// Where something is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`.
    Stdin,
    /// A file by its path.
    File(PathBuf),
}

impl Source {
    /// What an argument names, where `-` is standard input.
    pub(super) fn of(argument: &Path) -> Self {
        if argument == Path::new("-") { Self::Stdin } else { Self::File(argument.to_owned()) }
    }

    /// Whether it is the file `other`, which is at `path`, under any name.
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

    /// The whole of it.
    ///
    /// # Errors
    /// What the system says; nothing at all; a terminal.
    pub(super) fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = match self {
            Self::Stdin if io::stdin().is_terminal() => {
                return Err("standard input is a terminal; lead a picture there with < or |".into());
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
    object(spec).ok_or_else(|| format!("{}: a spec is a JSON object", path.display()).into())
}

/// What a dream says about itself.
pub(super) fn read_recipe(path: &Path) -> Result<Recipe, Failure> {
    let text = picture::recipe::extract(&Source::File(path.to_owned()).read()?);
    let text =
        text.ok_or_else(|| format!("{}: this image carries no recipe of this program", path.display()))?;
    let wrong = |error: String| format!("{}: its recipe: {error}", path.display());
    let told = json::parse(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let recipe: Recipe = serde_json::from_value(told.clone()).map_err(|error| wrong(error.to_string()))?;
    // What is not known here would make another dream.
    if let Some(unknown) = spec::unknown_member(&told["spec"], &recipe.spec) {
        Err(wrong(format!("\"{unknown}\" is not known to this version of the program")))?;
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

/// A replay with other weights is another dream; another input or machine is worth a word.
pub(super) fn check_replay(
    recipe: &Recipe,
    model: &Model,
    input: Option<&[u8]>,
    mask: Option<&[u8]>,
) -> Result<(), Failure> {
    if recipe.model_sha256 != model.sha256 {
        let detail = "the dream was made with another model file";
        return Err(format!("{detail}: sha256 {}, this one has {}", recipe.model_sha256, model.sha256).into());
    }
    if recipe.input_sha256 != input.map(digest::sha256) {
        eprintln!("note: the dream was made from another input");
    }
    if recipe.mask_sha256 != mask.map(digest::sha256) {
        eprintln!("note: the dream was made with another mask");
    }
    if recipe.reverie != env!("CARGO_PKG_VERSION") {
        eprintln!("note: the dream was made by version {}; bytes may differ", recipe.reverie);
    }
    Ok(())
}
