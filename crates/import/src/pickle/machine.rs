//! The stack machine: one opcode at a time, every read and every stack access checked.

mod rebuild;

use std::collections::{BTreeMap, HashMap};

use super::{Id, Object, Pickle, Storage};

/// Longest string in bytes: names and keys are short.
const MAX_TEXT: usize = 4096;

/// Newest protocol that is read.
const MAX_PROTOCOL: u8 = 5;

/// Why the machine stopped.
pub(super) enum Refusal {
    Malformed(String),
    /// A name that is not allowed.
    Forbidden(String),
}

impl From<&str> for Refusal {
    fn from(problem: &str) -> Self {
        Self::Malformed(problem.to_owned())
    }
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self::Malformed(problem)
    }
}

pub(super) struct Machine<'a> {
    rest: &'a [u8],
    length: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    storages: BTreeMap<&'a str, Storage>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            rest: input,
            length: input.len(),
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            storages: BTreeMap::new(),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    pub(super) fn finish(self, root: Id) -> Pickle<'a> {
        let length = self.position();
        Pickle { objects: self.objects, root, length, storages: self.storages }
    }

    /// Executes one opcode; yields the root when it was the last.
    pub(super) fn step(&mut self) -> Result<Option<Id>, Refusal> {
        match self.byte()? {
            b'.' => return self.pop().map(Some),
            0x80 => match self.byte()? {
                0..=MAX_PROTOCOL => {}
                other => return Err(format!("pickle protocol {other} is not known").into()),
            },
            0x95 => drop(self.take(8)?), // FRAME: only a hint for buffering
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            op @ (b'K' | b'M' | b'J' | 0x8a | 0x8b) => self.integer(op)?,
            b'G' => self.opaque(8)?,
            op @ (b'X' | 0x8c | 0x8d | b'U' | b'T') => {
                let text = self.text(op)?;
                self.push(Object::Text(text));
            }
            op @ (b'C' | b'B' | 0x8e) => {
                let length = self.length_of(op)?;
                self.opaque(length)?;
            }
            op @ (b')' | 0x85..=0x87 | b't') => self.tuple(op)?,
            b']' => self.push(Object::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Object::Dict(Vec::new())),
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(&items)?;
            }
            op @ (b'q' | b'r' | 0x94 | b'h' | b'j') => self.memoize(op)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.global(self.text_at(module)?, self.text_at(name)?)?;
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            other => {
                return Err(format!("opcode 0x{other:02x} has no place in a state dict").into());
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("the pickle ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian unsigned number of up to eight bytes.
    fn number(&mut self, width: usize) -> Result<u64, Refusal> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<&'a str, Refusal> {
        let end = self.rest.iter().take(MAX_TEXT).position(|&byte| byte == b'\n');
        let end = end.ok_or("a name does not end")?;
        let line = self.take(end)?;
        self.take(1)?;
        Ok(std::str::from_utf8(line).map_err(|_| "a name is not text")?)
    }

    /// Length in front of a string; the opcode says how wide it is.
    fn length_of(&mut self, op: u8) -> Result<usize, Refusal> {
        let width = match op {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        let length = self.number(width)?;
        usize::try_from(length).map_err(|_| "a string is absurdly long".into())
    }

    fn text(&mut self, op: u8) -> Result<&'a str, Refusal> {
        let length = self.length_of(op)?;
        if length > MAX_TEXT {
            return Err(format!("a string has {length} bytes, at most {MAX_TEXT} are allowed").into());
        }
        Ok(std::str::from_utf8(self.take(length)?).map_err(|_| "a string is not text")?)
    }

    fn opaque(&mut self, length: usize) -> Result<(), Refusal> {
        self.take(length)?;
        self.push(Object::Opaque);
        Ok(())
    }

    fn integer(&mut self, op: u8) -> Result<(), Refusal> {
        let value = match op {
            b'K' => self.number(1)?.into(),
            b'M' => self.number(2)?.into(),
            b'J' => i128::from(self.number(4)? as u32 as i32),
            long => {
                let width = if long == 0x8a { 1 } else { 4 };
                let length = self.number(width)? as usize;
                let bytes = self.take(length)?;
                if bytes.len() > size_of::<i128>() {
                    return Err("an integer has more than 128 bits".into());
                }
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let sign = if negative { -1 } else { 0 };
                bytes.iter().rev().fold(sign, |value, &byte| value << 8 | i128::from(byte))
            }
        };
        self.push(Object::Int(value));
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) {
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
    }

    /// Height below which an opcode may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Refusal> {
        let above = self.stack.get(self.floor()..).and_then(<[Id]>::last);
        above.copied().ok_or_else(|| "the stack is empty".into())
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, op: u8) -> Result<(), Refusal> {
        let items = match op {
            b't' => self.pop_to_mark()?,
            b')' => Vec::new(),
            op => {
                let mut items = (0x85..=op).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                items.reverse();
                items
            }
        };
        self.push(Object::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let list = self.top()?;
        match self.objects.get_mut(list) {
            Some(Object::List(list)) => list.extend(items),
            _ => return Err("something is appended to what is not a list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Refusal> {
        let dict = self.top()?;
        let (pairs, []) = items.as_chunks() else {
            return Err("a key has no value".into());
        };
        match self.objects.get_mut(dict) {
            Some(Object::Dict(dict)) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            _ => return Err("a key is set in what is not a dict".into()),
        }
        Ok(())
    }

    fn memoize(&mut self, op: u8) -> Result<(), Refusal> {
        let slot = match op {
            0x94 => self.memo.len() as u64,
            b'q' | b'h' => self.number(1)?,
            _ => self.number(4)?,
        } as u32;
        if matches!(op, b'h' | b'j') {
            let id = *self.memo.get(&slot).ok_or("the memo has no such slot")?;
            self.stack.push(id);
        } else {
            self.memo.insert(slot, self.top()?);
        }
        Ok(())
    }
}
