//! PyTorch files (`.pth`, `.pt`) that hold a state dict, in both formats that `torch.save` has written.
//!
//! *Old*, until PyTorch 1.5: the pickles of a magic number, a protocol number and facts about the system,
//! the pickle of the object, the pickle of the list of storage keys, and then every storage in that order,
//! each with its number of elements in front. *Zip*: an archive with `NAME/data.pkl` and a file
//! `NAME/data/KEY` per storage. Source: `_legacy_save` and `_save` in `torch/serialization.py`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{Cursor, Read},
};

use zip::{
    ZipArchive,
    read::{ArchiveOffset, Config},
};

use super::{
    Budget, ImportError, floats,
    pickle::{self, Dtype, Pickle, Storage, Tensor},
    strided::gather,
    volume,
};
use reverie_graph::Array;

/// First pickle of the old format.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// Second pickle of the old format.
const PROTOCOL: i128 = 1001;

/// How a zip archive starts.
const ZIP_START: [u8; 4] = *b"PK\x03\x04";

/// Largest `data.pkl`, unpacked; that of EfficientNet-Lite0 has 50 kB. An opcode of one byte takes a hundred in memory.
const MAX_PICKLE: u64 = 1 << 20;

/// Whether a file that starts like this may be a PyTorch file.
pub fn is_torch_file(start: &[u8]) -> bool {
    // The magic number in a pickle of any protocol: LONG1 of ten bytes, lowest first.
    matches!(start, [0x80, _, 0x8a, 10, 0x6c, 0xfc, ..]) || start.starts_with(&ZIP_START)
}

/// Reads the floating-point tensors of a state dict as `f32`, by key. Integer tensors are counters of
/// training steps, and are left out.
///
/// # Errors
/// [`ImportError::Malformed`] for anything but a complete file, [`ImportError::ForbiddenGlobal`] for a pickle
/// that names more than tensors, [`ImportError::Weight`] for a tensor that does not fit its storage.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Array>, ImportError> {
    if file.starts_with(&ZIP_START) { read_zip(file) } else { read_old(file) }
}

fn malformed(problem: impl Into<String>) -> ImportError {
    ImportError::Malformed { format: "PyTorch file", problem: problem.into() }
}

fn read_old(file: &[u8]) -> Result<BTreeMap<String, Array>, ImportError> {
    let mut rest = file;
    let mut next = || {
        let pickle = pickle::read(rest)?;
        rest = rest.get(pickle.length..).unwrap_or_default();
        Ok::<_, ImportError>(pickle)
    };
    if next()?.int() != Some(MAGIC) {
        return Err(malformed("the magic number is missing"));
    }
    if next()?.int() != Some(PROTOCOL) {
        return Err(malformed(format!("its protocol is not {PROTOCOL}")));
    }
    if next()?.flag("little_endian") != Some(true) {
        return Err(malformed("its numbers are not little-endian"));
    }
    let object = next()?;
    let keys = next()?.texts().ok_or_else(|| malformed("the list of storages is missing"))?;
    let mut storages = BTreeMap::new();
    for key in keys {
        let storage = object.storages.get(key);
        let storage = storage.ok_or_else(|| malformed(format!("nothing describes storage \"{key}\"")))?;
        let data = old_storage(&mut rest, *storage).ok_or_else(|| {
            malformed(format!("storage \"{key}\" of {} elements is damaged or cut off", storage.count))
        })?;
        storages.insert(key, Cow::Borrowed(data));
    }
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow its end", rest.len())));
    }
    tensors(&object, &storages, file.len())
}

/// Takes a storage off the front: the number of elements in eight bytes, then the elements.
fn old_storage<'a>(rest: &mut &'a [u8], storage: Storage) -> Option<&'a [u8]> {
    let (count, after) = rest.split_first_chunk()?;
    if usize::try_from(u64::from_le_bytes(*count)) != Ok(storage.count) {
        return None;
    }
    let (data, after) = after.split_at_checked(storage.count.checked_mul(width(storage.dtype))?)?;
    *rest = after;
    Some(data)
}

fn read_zip(file: &[u8]) -> Result<BTreeMap<String, Array>, ImportError> {
    // Where the archive begins is not searched for: that search takes the second file for the first where the name of the first has as
    // many letters as make its entry as long as what stands between the directory and its end.
    let whole = Config { archive_offset: ArchiveOffset::Known(0) };
    let archive = ZipArchive::with_config(whole, Cursor::new(file));
    let mut archive = archive.map_err(|error| malformed(error.to_string()))?;
    let roots = archive.file_names_raw().filter_map(|name| name.strip_suffix(b"data.pkl"));
    let [root] = &roots.take(2).map(<[u8]>::to_vec).collect::<Vec<_>>()[..] else {
        return Err(malformed("the archive needs exactly one data.pkl"));
    };
    let name = |entry: &str| [root, entry.as_bytes()].concat();
    // Archives from before PyTorch 2.1 do not say, and were written on little-endian machines.
    let order = name("byteorder");
    if archive.index_for_name_raw(&order).is_some() && unpack(&mut archive, &order, 16)? != b"little" {
        return Err(malformed("its numbers are not little-endian"));
    }
    let program = unpack(&mut archive, &name("data.pkl"), MAX_PICKLE)?;
    let object = pickle::read(&program)?;
    let mut storages = BTreeMap::new();
    let mut budget = Budget::of_file(file.len());
    for (&key, storage) in object.storages.iter().filter(|(_, storage)| is_float(storage.dtype)) {
        budget.spend(storage.count).map_err(malformed)?;
        let size = storage.count as u64 * width(storage.dtype) as u64;
        let data = unpack(&mut archive, &name(&format!("data/{key}")), size)?;
        if data.len() as u64 != size {
            return Err(malformed(format!("storage \"{key}\" has {} bytes, needs {size}", data.len())));
        }
        storages.insert(key, Cow::Owned(data));
    }
    tensors(&object, &storages, file.len())
}

/// Unpacks one entry of at most `limit` bytes. Memory grows with what is there, not with what is claimed.
fn unpack(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &[u8], limit: u64) -> Result<Vec<u8>, ImportError> {
    let shown = String::from_utf8_lossy(name);
    let index = archive.index_for_name_raw(name);
    let index = index.ok_or_else(|| malformed(format!("the archive has no \"{shown}\"")))?;
    let entry = archive.by_index(index).map_err(|error| malformed(format!("\"{shown}\": {error}")))?;
    let mut data = Vec::new();
    let read = entry.take(limit.saturating_add(1)).read_to_end(&mut data);
    read.map_err(|error| malformed(format!("\"{shown}\": {error}")))?;
    if data.len() as u64 > limit {
        return Err(malformed(format!("\"{shown}\" has more than {limit} bytes")));
    }
    Ok(data)
}

/// Decodes every floating-point tensor of the state dict in a file of `length` bytes. Where a tensor is a storage as it is, as in
/// most files, the decoded storage becomes the weight: VGG's half a gigabyte is there once.
fn tensors(
    object: &Pickle,
    storages: &BTreeMap<&str, Cow<[u8]>>,
    length: usize,
) -> Result<BTreeMap<String, Array>, ImportError> {
    let tensors = object.tensors()?;
    let mut readers: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in tensors.values() {
        *readers.entry(tensor.storage).or_default() += 1;
    }
    let mut arrays = BTreeMap::new();
    let mut decoded: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
    let mut budget = Budget::of_file(length);
    for (key, tensor) in tensors {
        let refused = |problem: String| ImportError::Weight { key: key.to_owned(), problem };
        let Some(storage) = object.storages.get(tensor.storage) else {
            return Err(refused("its storage is not described".into()));
        };
        if !is_float(storage.dtype) {
            continue;
        }
        if !decoded.contains_key(tensor.storage) {
            let data = storages.get(tensor.storage);
            let data = data.ok_or_else(|| refused("its storage is not in the file".into()))?;
            budget.spend(storage.count).map_err(refused)?;
            decoded.insert(tensor.storage, floats(storage.dtype, data));
        }
        let source = decoded.get(tensor.storage).map(Vec::as_slice).unwrap_or_default();
        let array = if readers.get(tensor.storage) == Some(&1) && is_whole(tensor, source.len()) {
            let data = decoded.remove(tensor.storage).unwrap_or_default();
            let misfit = || refused("does not fit its storage".into());
            Array::new(tensor.shape.clone(), data).ok_or_else(misfit)?
        } else {
            volume(&tensor.shape).and_then(|count| budget.spend(count)).map_err(refused)?;
            gather(source, &tensor.shape, &tensor.strides, tensor.offset).map_err(refused)?
        };
        arrays.insert(key.to_owned(), array);
    }
    Ok(arrays)
}

/// Whether a tensor is all of a storage of so many values, in row-major order.
fn is_whole(tensor: &Tensor, count: usize) -> bool {
    let mut step = 1usize;
    let mut axes = tensor.shape.iter().zip(&tensor.strides).rev();
    let dense = axes.all(|(&extent, &stride)| {
        let fits = stride == step;
        step = step.saturating_mul(extent);
        fits
    });
    dense && tensor.offset == 0 && tensor.shape.len() == tensor.strides.len() && step == count && count > 0
}

fn is_float(dtype: Dtype) -> bool {
    !matches!(dtype, Dtype::Long | Dtype::Int)
}

/// Bytes per element.
fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::Half | Dtype::BFloat16 => 2,
        Dtype::Float | Dtype::Int => 4,
        Dtype::Double | Dtype::Long => 8,
    }
}

fn floats(dtype: Dtype, data: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::Float => floats::of_f32(data),
        Dtype::Double => floats::of_f64(data),
        Dtype::BFloat16 => floats::of_bf16(data),
        Dtype::Half => floats::of_f16(data),
        Dtype::Long | Dtype::Int => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
