//! What decoding a HEIF file takes, summed up before libheif sees it.
//!
//! A picture is made of others: a grid of its tiles, each of them with an opacity of its own. libheif follows these
//! without counting, so that they are followed here first, with bounds.

use std::collections::HashMap;

use super::{
    boxes::{Fault, Id, Items},
    coded,
};

/// Pixels that may be coded for each that shows: with opacity a canvas and tiles twice, which reach over the edge.
const MOST_PER_SHOWN: u64 = 6;
/// And for any picture, however small: tiles have a size of their own.
const ALWAYS: u64 = 4 << 20;

/// Coded sizes are multiples of blocks, the shown ones are not.
const BLOCK: u32 = 64;

/// A picture, its opacity, its tiles, and their opacity.
const MAX_DEPTH: usize = 3;

/// Bytes that items may have together more often than the file has them, and in any case.
const SHARED: u64 = 8;
const SPARE: u64 = 1 << 20;

/// What decoding the primary picture takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Pixels of the picture as it is stored, before it is cropped and turned.
    canvas: u64,
    /// Pixels of the largest that it is made of: a tile, or its opacity.
    largest: u64,
    /// Pixels of all of them together.
    pixels: u64,
    /// An edge that is longer than any of them, blocks and all.
    pub(super) edge: u32,
}

impl Work {
    /// Whether so many pixels that show are worth it.
    pub(super) fn is_worth(&self, shown: u64) -> bool {
        self.pixels <= shown.saturating_mul(MOST_PER_SHOWN).saturating_add(ALWAYS)
    }

    /// Pixels that are in memory at the same time.
    pub(super) fn at_once(&self) -> u64 {
        self.canvas.saturating_add(self.largest)
    }
}

/// Follows what the primary picture is made of.
pub(super) fn work(file: &[u8]) -> Result<Work, Fault> {
    let items = Items::read(file)?;
    let length = file.len() as u64;
    // A file that has the same tile often has its bytes once; of what lies around the pictures libheif keeps copies.
    if items.total(true) > length * SHARED + SPARE || items.total(false) > length + SPARE {
        return Err(Fault::Damaged("its items are larger than the file"));
    }
    let mut walk = Walk { items: &items, sizes: HashMap::new(), work: Work::default() };
    walk.follow(items.primary, 0)?;
    Ok(walk.work)
}

struct Walk<'a> {
    items: &'a Items<'a>,
    /// Of the items that were looked at.
    sizes: HashMap<Id, (u32, u32)>,
    work: Work,
}

impl Walk<'_> {
    fn follow(&mut self, item: Id, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Form("pictures made of pictures made of pictures".into()));
        }
        let grid = self.items.kinds.get(&item) == Some(b"grid");
        let (width, height) = match self.sizes.get(&item) {
            Some(&size) => size,
            None => self.size(item)?,
        };
        self.sizes.insert(item, (width, height));
        let pixels = u64::from(width) * u64::from(height);
        let work = &mut self.work;
        work.edge = work.edge.max(width.max(height).saturating_add(BLOCK));
        work.pixels = work.pixels.saturating_add(pixels);
        match depth {
            0 => work.canvas = pixels,
            _ => work.largest = work.largest.max(pixels),
        }
        // No picture is worth this; stops those that grow as they are followed.
        if work.pixels > 1 << 40 {
            return Err(Fault::Form("many more pixels than it shows".into()));
        }
        for &(kind, from, ref to) in &self.items.references {
            if &kind == b"dimg" && from == item && grid {
                to.iter().try_for_each(|&tile| self.follow(tile, depth + 1))?;
            }
            if &kind == b"auxl" && to.contains(&item) && self.is_opacity(from) {
                self.follow(from, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Looks into an item.
    fn size(&self, item: Id) -> Result<(u32, u32), Fault> {
        let size = self.items.size(item).ok_or(Fault::Damaged("it does not say how large its picture is"))?;
        let kind = self.items.kinds.get(&item).ok_or(Fault::Damaged("a picture is missing"))?;
        let config = |name| {
            self.items.property(item, name).ok_or(Fault::Damaged("it does not say how its picture is coded"))
        };
        let coded = match kind {
            b"hvc1" => coded::hevc(config(b"hvcC")?, &self.items.data(item)?)?,
            b"av01" => coded::av1(config(b"av1C")?, &self.items.data(item)?)?,
            b"grid" => return self.grid(item, size).map(|()| size),
            other => {
                let name = String::from_utf8_lossy(other).escape_default().to_string();
                return Err(Fault::Form(format!("pictures of the kind “{name}”")));
            }
        };
        if coded.width > size.0.saturating_add(BLOCK) || coded.height > size.1.saturating_add(BLOCK) {
            return Err(Fault::Damaged("a picture is larger than it says"));
        }
        Ok(size)
    }

    /// A grid has as many tiles as it says, and the size that it says.
    fn grid(&self, item: Id, size: (u32, u32)) -> Result<(), Fault> {
        let damaged = Fault::Damaged("its grid contradicts itself");
        let data = self.items.data(item)?;
        let [_, flags, rows, columns, edges @ ..] = &*data else { return Err(damaged) };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        let edge = if flags & 1 == 1 { 4 } else { 2 };
        let mut edges = edges.chunks_exact(edge).map(number);
        let said = edges.next().zip(edges.next());
        let tiles = (usize::from(*rows) + 1) * (usize::from(*columns) + 1);
        let parts = self.items.references.iter().find(|(kind, from, _)| kind == b"dimg" && *from == item);
        match parts {
            Some((_, _, to)) if to.len() == tiles && said == Some(size) => {
                let coded = |tile| matches!(self.items.kinds.get(tile), Some(b"hvc1" | b"av01"));
                if to.iter().all(coded) { Ok(()) } else { Err(Fault::Form("a grid of grids".into())) }
            }
            _ => Err(damaged),
        }
    }

    /// Whether an auxiliary picture is one of opacity, as libheif sees it.
    fn is_opacity(&self, item: Id) -> bool {
        let name = self.items.property(item, b"auxC").and_then(|auxc| auxc.get(4..)).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        name.ends_with(b":alpha") || name.ends_with(b":auxid:1")
    }
}
