//! Weights of an ONNX file that stand in files beside it. PyTorch's exporter writes them so, whatever their size.
//!
//! A file names its companions and says where in them each weight lies. Who reads files asks for the names, [`data_files`], and gives
//! the contents to [`import`](super::onnx::import): nothing here opens a file. A name is that of a file in the same folder, never a
//! path, so that a model file makes nobody read what lies elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    ImportError,
    onnx_proto::{ModelProto, TensorProto},
};

/// Contents of the files beside, by their names.
pub type DataFiles = BTreeMap<String, Bytes>;

/// Exporters write one, converters one for each weight.
const MAX_FILES: usize = 1 << 12;

/// As file systems have it.
const MAX_NAME: usize = 255;

/// Names of the files that have weights of this one, in order; none where all stand in it. A file that is no ONNX file has none, and is
/// refused where it is imported.
///
/// # Errors
/// [`ImportError::Weight`] for a name that is no file's in the same folder, and for too many.
pub fn data_files(file: Bytes) -> Result<Vec<String>, ImportError> {
    let graph = <ModelProto as prost::Message>::decode(file).ok().and_then(|model| model.graph);
    let mut names = BTreeSet::new();
    for bytes in graph.into_iter().flat_map(|graph| graph.initializer) {
        let Ok(tensor) = <TensorProto as prost::Message>::decode(bytes) else { continue };
        if tensor.data_location != 0 {
            names.insert(location(&tensor).map_err(|problem| at_fault(&tensor, problem))?.to_owned());
        }
        if names.len() > MAX_FILES {
            return Err(at_fault(&tensor, format!("the weights are in more than {MAX_FILES} files")));
        }
    }
    Ok(names.into_iter().collect())
}

/// The weight with its values, wherever they stand.
///
/// # Errors
/// [`ImportError::Weight`] where they lie outside a file.
pub(super) fn with_values(mut tensor: TensorProto, data: &DataFiles) -> Result<TensorProto, ImportError> {
    if tensor.data_location != 0
        && let Ok(name) = location(&tensor)
        && let Some(file) = data.get(name)
    {
        tensor.raw_data = part(&tensor, name, file).map_err(|problem| at_fault(&tensor, problem))?;
        tensor.data_location = 0;
    }
    Ok(tensor)
}

/// Name of the file that has the values of a weight.
pub(super) fn location(tensor: &TensorProto) -> Result<&str, String> {
    let name = entry(tensor, "location").unwrap_or_default();
    let is_name =
        !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME && !name.contains(['/', '\\', '\0']);
    // Some exporters begin it with the folder itself.
    match name.strip_prefix("./") {
        Some(rest) if !rest.contains(['/', '\\', '\0']) && !matches!(rest, "" | "." | "..") => Ok(rest),
        None if is_name => Ok(name),
        _ => {
            let shown: String = name.chars().take(MAX_NAME).collect();
            Err(format!("its values are in {shown:?}, which must be the name of a file in the same folder"))
        }
    }
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// The bytes of a weight in its file: the rest of it where no length is said.
fn part(tensor: &TensorProto, name: &str, file: &Bytes) -> Result<Bytes, String> {
    let number = |key| match entry(tensor, key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<usize>().map(Some).map_err(|_| format!("its {key} in {name:?} is {text:?}"))
        }
    };
    let start = number("offset")?.unwrap_or(0);
    let length = number("length")?.or_else(|| file.len().checked_sub(start));
    match length.and_then(|length| start.checked_add(length)) {
        Some(end) if end <= file.len() => Ok(file.slice(start..end)),
        _ => Err(format!("its values lie outside {name:?}, which has {} bytes: is it whole?", file.len())),
    }
}

fn at_fault(tensor: &TensorProto, problem: String) -> ImportError {
    ImportError::Weight { key: tensor.name.clone(), problem }
}
