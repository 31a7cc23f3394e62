//! Reads the pickles inside PyTorch files without running them.
//!
//! A pickle is a program for a stack machine that may import and call anything; Python's own reader runs
//! it. This one executes the opcodes that describe data and knows the few names that rebuild a tensor; any
//! other name is refused, and nothing is ever called.
//!
//! All values live in one list and refer to each other by index. So shared, nested or cyclic values (the
//! memo can build all of them, exponentially large if copied) cost no more than their opcodes, and neither
//! reading nor freeing them recurses. The number of opcodes is limited, which bounds everything else.
//!
//! Source: CPython's `Lib/pickletools.py` and PyTorch's `torch/serialization.py`, `torch/_utils.py`.

mod machine;

use std::collections::BTreeMap;

use super::ImportError;
use machine::{Machine, Refusal};

/// A state dict takes about 40 opcodes per tensor.
const MAX_STEPS: usize = 1 << 20;

/// Keys under which a checkpoint keeps the state dict, beside epochs and optimisers.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// What training on several devices puts in front of every key.
const PARALLEL: &str = "module.";

/// Element type of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    Float,
    Double,
    Half,
    BFloat16,
    Long,
    Int,
}

/// A storage as the pickle describes it; the data stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// Number of elements.
    pub(super) count: usize,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor<'a> {
    /// Key into [`Pickle::storages`].
    pub(super) storage: &'a str,
    /// Elements before the first.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In elements.
    pub(super) strides: Vec<usize>,
}

/// The names that may stand in a pickle.
#[derive(Clone, Copy, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Dtype),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::StorageType(Dtype::Float),
            ("torch", "DoubleStorage") => Self::StorageType(Dtype::Double),
            ("torch", "HalfStorage") => Self::StorageType(Dtype::Half),
            ("torch", "BFloat16Storage") => Self::StorageType(Dtype::BFloat16),
            ("torch", "LongStorage") => Self::StorageType(Dtype::Long),
            ("torch", "IntStorage") => Self::StorageType(Dtype::Int),
            _ => return None,
        })
    }
}

/// Index of an object.
type Id = usize;

/// A value. Dicts keep duplicate keys; their reader decides.
#[derive(Clone, Debug)]
enum Object<'a> {
    None,
    Bool(bool),
    Int(i128),
    /// Floats and byte strings, which no state dict needs.
    Opaque,
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(&'a str),
    Tensor(Tensor<'a>),
}

/// A pickle that has been read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Id,
    /// Bytes up to and including the opcode that ends it.
    pub(super) length: usize,
    /// Every storage that the pickle mentions.
    pub(super) storages: BTreeMap<&'a str, Storage>,
}

/// Reads the pickle at the start of `input`; more may follow it.
///
/// # Errors
/// [`ImportError::ForbiddenGlobal`] for a name that is not allowed, else [`ImportError::Malformed`] with the
/// position.
pub(super) fn read(input: &[u8]) -> Result<Pickle<'_>, ImportError> {
    let mut machine = Machine::new(input);
    for _ in 0..MAX_STEPS {
        let at = machine.position();
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(machine.finish(root)),
            Err(Refusal::Forbidden(global)) => return Err(ImportError::ForbiddenGlobal(global)),
            Err(Refusal::Malformed(problem)) => {
                return Err(malformed(format!("byte {at}: {problem}")));
            }
        }
    }
    Err(malformed(format!("it takes more than {MAX_STEPS} steps")))
}

fn malformed(problem: impl Into<String>) -> ImportError {
    ImportError::Malformed { format: "PyTorch pickle", problem: problem.into() }
}

impl<'a> Pickle<'a> {
    /// The value, where it is an integer.
    pub(super) fn int(&self) -> Option<i128> {
        self.int_at(self.root)
    }

    /// The value, where it is a list of strings.
    pub(super) fn texts(&self) -> Option<Vec<&'a str>> {
        match self.objects.get(self.root) {
            Some(Object::List(items)) => items.iter().map(|&item| self.text_at(item)).collect(),
            _ => None,
        }
    }

    /// The boolean under `key`, where the value is a dict that has it.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let Some(Object::Dict(items)) = self.objects.get(self.root) else {
            return None;
        };
        let (_, value) = items.iter().rfind(|(name, _)| self.text_at(*name) == Some(key))?;
        match self.objects.get(*value) {
            Some(Object::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value as a state dict.
    ///
    /// # Errors
    /// [`ImportError::Malformed`] names the entry that is not a tensor.
    pub(super) fn tensors(&self) -> Result<BTreeMap<&'a str, &Tensor<'a>>, ImportError> {
        let items = self.state_dict().ok_or_else(|| malformed("it does not hold a state dict"))?;
        let is_parallel =
            |&(name, _): &(Id, Id)| self.text_at(name).is_some_and(|name| name.starts_with(PARALLEL));
        let parallel = items.iter().all(is_parallel);
        let mut tensors = BTreeMap::new();
        for &(name, value) in items {
            let name = self.text_at(name).ok_or_else(|| malformed("a key of the state dict is not text"))?;
            let name = name.strip_prefix(PARALLEL).filter(|_| parallel).unwrap_or(name);
            let Some(Object::Tensor(tensor)) = self.objects.get(value) else {
                return Err(malformed(format!("\"{name}\" is not a tensor; only state dicts are read")));
            };
            if tensors.insert(name, tensor).is_some() {
                return Err(malformed(format!("\"{name}\" is there twice")));
            }
        }
        Ok(tensors)
    }

    /// The entries of the state dict: the value, or what a checkpoint of a training run has under one of the usual names.
    fn state_dict(&self) -> Option<&[(Id, Id)]> {
        let Some(Object::Dict(items)) = self.objects.get(self.root) else { return None };
        let wrapped = items.iter().rev().find_map(|&(name, value)| match self.objects.get(value) {
            Some(Object::Dict(items)) if self.text_at(name).is_some_and(|name| WRAPPERS.contains(&name)) => {
                Some(&items[..])
            }
            _ => None,
        });
        Some(wrapped.unwrap_or(items))
    }

    fn int_at(&self, id: Id) -> Option<i128> {
        match self.objects.get(id) {
            Some(Object::Int(value)) => Some(*value),
            _ => None,
        }
    }

    fn text_at(&self, id: Id) -> Option<&'a str> {
        match self.objects.get(id) {
            Some(Object::Text(text)) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
