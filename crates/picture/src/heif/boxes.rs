//! The boxes around the pictures of a HEIF file. Source: ISO/IEC 14496-12 and 23008-12.
//!
//! libheif reads them too, in C++ and without a view of what all of it adds up to: a grid whose tiles are the grid
//! itself, a thousand items of which each is the whole file. This reads only what such sums need, and is strict: what
//! it does not understand, libheif does not get to see.

use std::collections::{HashMap, HashSet};

use super::super::bytes::{array, be32};

/// An item's number.
pub(super) type Id = u32;

/// Items and properties of one file; more is no camera's.
const MAX_ENTRIES: usize = 4096;

/// Kind, from, to.
pub(super) type Reference = ([u8; 4], Id, Vec<Id>);

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is cut off, damaged, or contradicts itself.
    Damaged(&'static str),
    /// It is of a form that is not read.
    Form(String),
}

/// One box.
#[derive(Clone, Copy)]
pub(super) struct Box<'a> {
    pub(super) name: [u8; 4],
    pub(super) data: &'a [u8],
}

/// The boxes in `data`, one after the other; the last may go "to the end of the file" only outside of all others.
fn boxes(mut data: &[u8], outermost: bool) -> Result<Vec<Box<'_>>, Fault> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let (Some(size), Some(name)) = (be32(data, 0), array(data, 4)) else {
            return Err(Fault::Damaged("it is cut off"));
        };
        let (head, size) = match size {
            0 if outermost => (8, data.len()),
            1 => (16, array(data, 8).map_or(usize::MAX, |size| u64::from_be_bytes(size) as usize)),
            size => (8, size as usize),
        };
        if size < head || found.len() == MAX_ENTRIES {
            return Err(Fault::Damaged("its boxes contradict each other"));
        }
        let inside = data.get(head..size).ok_or(Fault::Damaged("it is cut off"))?;
        found.push(Box { name, data: inside });
        data = &data[size..];
    }
    Ok(found)
}

/// The one box of a name.
fn one<'a>(boxes: &[Box<'a>], name: &[u8; 4]) -> Result<Option<&'a [u8]>, Fault> {
    let mut named = boxes.iter().filter(|one| &one.name == name);
    let first = named.next().map(|one| one.data);
    match named.next() {
        Some(_) => Err(Fault::Damaged("a box is there twice")),
        None => Ok(first),
    }
}

/// Numbers from the start of a box.
struct Reader<'a> {
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A big-endian number of 0 to 8 bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Fault> {
        let (taken, rest) =
            self.data.split_at_checked(bytes).ok_or(Fault::Damaged("a box is shorter than it says"))?;
        self.data = rest;
        Ok(taken.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn id(&mut self, bytes: usize) -> Result<Id, Fault> {
        Ok(self.number(bytes)? as Id)
    }

    /// The version of a box, its flags read over.
    fn version(&mut self) -> Result<u64, Fault> {
        Ok(self.number(4)? >> 24)
    }
}

/// Where the bytes of an item are.
#[derive(Default)]
struct Place {
    /// In the box `idat` instead of in the file.
    inside: bool,
    /// Start and length.
    extents: Vec<(u64, u64)>,
}

/// What the file says of its items.
pub(super) struct Items<'a> {
    file: &'a [u8],
    idat: &'a [u8],
    pub(super) primary: Id,
    pub(super) kinds: HashMap<Id, [u8; 4]>,
    properties: Vec<Box<'a>>,
    uses: HashMap<Id, Vec<usize>>,
    places: HashMap<Id, Place>,
    pub(super) references: Vec<Reference>,
}

impl<'a> Items<'a> {
    /// Reads the boxes of a file.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, Fault> {
        let meta = one(&boxes(file, true)?, b"meta")?
            .ok_or_else(|| Fault::Form("no still picture, only a sequence,".into()))?;
        let inside = boxes(meta.get(4..).ok_or(Fault::Damaged("it is cut off"))?, false)?;
        let needed = |name: &[u8; 4]| {
            one(&inside, name)?.ok_or(Fault::Damaged("it does not say where its picture is"))
        };
        let iprp = boxes(needed(b"iprp")?, false)?;
        let properties = one(&iprp, b"ipco")?.map_or(Ok(Vec::new()), |data| boxes(data, false))?;
        let mut uses = HashMap::new();
        for one in iprp.iter().filter(|one| &one.name == b"ipma") {
            associations(one.data, &mut uses)?;
        }
        let mut pitm = Reader { data: needed(b"pitm")? };
        let width = if pitm.version()? == 0 { 2 } else { 4 };
        Ok(Self {
            file,
            idat: one(&inside, b"idat")?.unwrap_or_default(),
            primary: pitm.id(width)?,
            kinds: kinds(needed(b"iinf")?)?,
            properties,
            uses,
            places: places(needed(b"iloc")?)?,
            references: one(&inside, b"iref")?.map_or(Ok(Vec::new()), references)?,
        })
    }

    /// A property of an item.
    pub(super) fn property(&self, item: Id, name: &[u8; 4]) -> Option<&'a [u8]> {
        let mut used = self.uses.get(&item)?.iter().filter_map(|&index| self.properties.get(index));
        used.find(|property| &property.name == name).map(|property| property.data)
    }

    /// Width and height of an item, before it is turned.
    pub(super) fn size(&self, item: Id) -> Option<(u32, u32)> {
        let ispe = self.property(item, b"ispe")?;
        Some((be32(ispe, 4)?, be32(ispe, 8)?))
    }

    /// Bytes of all coded pictures together, or of all other items.
    pub(super) fn total(&self, pictures: bool) -> u64 {
        let coded = |item| matches!(self.kinds.get(item), Some(b"hvc1" | b"av01"));
        let places = self.places.iter().filter(|(item, _)| coded(item) == pictures);
        places.flat_map(|(_, place)| &place.extents).fold(0, |sum, (_, length)| sum.saturating_add(*length))
    }

    /// The bytes of an item.
    pub(super) fn data(&self, item: Id) -> Result<Vec<u8>, Fault> {
        let place = self.places.get(&item).ok_or(Fault::Damaged("a picture has no bytes"))?;
        let from = if place.inside { self.idat } else { self.file };
        let mut data = Vec::new();
        for &(start, length) in &place.extents {
            let end = start.checked_add(length).and_then(|end| usize::try_from(end).ok());
            let part = end.and_then(|end| from.get(start as usize..end));
            data.extend_from_slice(part.ok_or(Fault::Damaged("it is cut off"))?);
        }
        Ok(data)
    }
}

/// Which properties are whose (`ipma`), counted from 0.
fn associations(data: &[u8], uses: &mut HashMap<Id, Vec<usize>>) -> Result<(), Fault> {
    let mut reader = Reader { data };
    let head = reader.number(4)?;
    let (id, index) = (if head >> 24 == 0 { 2 } else { 4 }, if head & 1 == 1 { 2 } else { 1 });
    for _ in 0..reader.number(4)? {
        let item = reader.id(id)?;
        for _ in 0..reader.number(1)? {
            // The highest bit says that the property is essential; 0 is none.
            let number = reader.number(index)? as usize & if index == 2 { 0x7fff } else { 0x7f };
            if let Some(number) = number.checked_sub(1) {
                uses.entry(item).or_default().push(number);
            }
        }
    }
    Ok(())
}

/// The kinds of the items (`iinf`).
fn kinds(data: &[u8]) -> Result<HashMap<Id, [u8; 4]>, Fault> {
    let mut reader = Reader { data };
    let count = if reader.version()? == 0 { 2 } else { 4 };
    reader.number(count)?;
    let mut kinds = HashMap::new();
    for entry in boxes(reader.data, false)?.iter().filter(|entry| &entry.name == b"infe") {
        let mut reader = Reader { data: entry.data };
        let id = match reader.version()? {
            2 => 2,
            3 => 4,
            // Older ones have no kind.
            _ => continue,
        };
        let id = reader.id(id)?;
        reader.number(2)?;
        let kind = (reader.number(4)? as u32).to_be_bytes();
        if kinds.insert(id, kind).is_some() {
            return Err(Fault::Damaged("two items have the same number"));
        }
    }
    Ok(kinds)
}

/// Where the items are (`iloc`).
fn places(data: &[u8]) -> Result<HashMap<Id, Place>, Fault> {
    let mut reader = Reader { data };
    let version = reader.version()?;
    let widths = reader.number(2)?;
    let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| (widths >> shift & 15) as usize);
    let index = if version == 0 { 0 } else { index };
    if version > 2 || [offset, length, base, index].iter().any(|width| ![0, 4, 8].contains(width)) {
        return Err(Fault::Form("places of a kind that is not known".into()));
    }
    let id = if version < 2 { 2 } else { 4 };
    let mut places = HashMap::new();
    for _ in 0..reader.number(id)? {
        let item = reader.id(id)?;
        let method = if version == 0 { 0 } else { reader.number(2)? & 15 };
        if method > 1 {
            return Err(Fault::Form("items inside of items".into()));
        }
        reader.number(2)?;
        let base = reader.number(base)?;
        let mut place = Place { inside: method == 1, extents: Vec::new() };
        for _ in 0..reader.number(2)? {
            reader.number(index)?;
            let start = base.saturating_add(reader.number(offset)?);
            place.extents.push((start, reader.number(length)?));
        }
        if places.insert(item, place).is_some() {
            return Err(Fault::Damaged("two items have the same number"));
        }
    }
    Ok(places)
}

/// Which items are made of which (`iref`).
fn references(data: &[u8]) -> Result<Vec<Reference>, Fault> {
    let mut reader = Reader { data };
    let id = if reader.version()? == 0 { 2 } else { 4 };
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for one in boxes(reader.data, false)? {
        let mut reader = Reader { data: one.data };
        let from = reader.id(id)?;
        let to = (0..reader.number(2)?).map(|_| reader.id(id)).collect::<Result<_, _>>()?;
        if !known.insert((one.name, from)) {
            return Err(Fault::Damaged("a reference is there twice"));
        }
        found.push((one.name, from, to));
    }
    Ok(found)
}
