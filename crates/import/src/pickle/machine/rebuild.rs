//! What stands for Python's imports and calls: the few globals are values, and "calling" one builds a value.

use super::{Machine, Refusal};
use crate::pickle::{Global, Id, Object, Storage, Tensor};

/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Most arguments of a call that rebuilds something.
const MAX_ARGUMENTS: usize = 8;

impl<'a> Machine<'a> {
    /// The only way to a global: names that are not in the list end the reading.
    pub(super) fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let known = Global::find(module, name);
        let global = known.ok_or_else(|| Refusal::Forbidden(format!("{module}.{name}")))?;
        self.push(Object::Global(global));
        Ok(())
    }

    fn object(&self, id: Id) -> Result<&Object<'a>, Refusal> {
        self.objects.get(id).ok_or_else(|| "a value is missing".into())
    }

    pub(super) fn text_at(&self, id: Id) -> Result<&'a str, Refusal> {
        match self.object(id)? {
            Object::Text(text) => Ok(text),
            _ => Err("a string was expected".into()),
        }
    }

    fn size_at(&self, id: Id) -> Result<usize, Refusal> {
        match self.object(id)? {
            Object::Int(value) => Ok(usize::try_from(*value).map_err(|_| format!("{value} is not a size"))?),
            _ => Err("an integer was expected".into()),
        }
    }

    fn sizes_at(&self, id: Id) -> Result<Vec<usize>, Refusal> {
        match self.object(id)? {
            Object::Tuple(items) if items.len() <= MAX_RANK => {
                items.iter().map(|&item| self.size_at(item)).collect()
            }
            Object::Tuple(items) => Err(format!("a tensor has {} dimensions", items.len()).into()),
            _ => Err("a tuple of sizes was expected".into()),
        }
    }

    /// Pops a tuple; a long one would make every call that names it expensive.
    fn arguments(&mut self) -> Result<Vec<Id>, Refusal> {
        let tuple = self.pop()?;
        match self.object(tuple)? {
            Object::Tuple(items) if items.len() <= MAX_ARGUMENTS => Ok(items.clone()),
            _ => Err(format!("arguments must be a tuple of at most {MAX_ARGUMENTS}").into()),
        }
    }

    /// A reference to data outside of the pickle: `("storage", type, key, device, count)`, and in the old
    /// format a sixth item, `None` unless the storage is a view of another.
    pub(super) fn persistent(&mut self) -> Result<(), Refusal> {
        let arguments = self.arguments()?;
        let &[tag, dtype, key, _device, count, ref view @ ..] = &arguments[..] else {
            return Err("a reference has too few parts".into());
        };
        if self.text_at(tag)? != "storage" {
            return Err("a reference is not to a storage".into());
        }
        if let Some(&view) = view.first()
            && !matches!(self.object(view)?, Object::None)
        {
            return Err("views of storages are not supported".into());
        }
        let Object::Global(Global::StorageType(dtype)) = *self.object(dtype)? else {
            return Err("a storage has no type".into());
        };
        let key = self.text_at(key)?;
        let storage = Storage { dtype, count: self.size_at(count)? };
        if *self.storages.entry(key).or_insert(storage) != storage {
            return Err(format!("storage \"{key}\" is described in two ways").into());
        }
        self.push(Object::Storage(key));
        Ok(())
    }

    /// What stands for a call of one of the known globals.
    pub(super) fn reduce(&mut self) -> Result<(), Refusal> {
        let callee = self.stack.len().checked_sub(2).and_then(|below| self.stack.get(below));
        let callee = callee.filter(|_| self.stack.len() >= self.floor() + 2).copied();
        let Object::Global(global) = *self.object(callee.ok_or("the stack is empty")?)? else {
            return Err("something is called that cannot be".into());
        };
        let arguments = self.arguments()?;
        self.pop()?;
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Object::Storage(storage) = *self.object(storage)? else {
                    return Err("a tensor has no storage".into());
                };
                self.push(Object::Tensor(Tensor {
                    storage,
                    offset: self.size_at(offset)?,
                    shape: self.sizes_at(shape)?,
                    strides: self.sizes_at(strides)?,
                }));
            }
            // A parameter is its tensor with a flag.
            (Global::RebuildParameter, &[tensor, ..]) => self.stack.push(tensor),
            _ => {
                return Err(format!("{global:?} is called with {} arguments", arguments.len()).into());
            }
        }
        Ok(())
    }

    /// Attributes of an object. A state dict carries versions of its modules there, of no use here.
    pub(super) fn build(&mut self) -> Result<(), Refusal> {
        self.pop()?;
        match self.object(self.top()?)? {
            Object::Dict(_) => Ok(()),
            _ => Err("attributes are given to what has none".into()),
        }
    }
}
