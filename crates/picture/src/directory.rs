//! Image file directories: tags with numbers, as TIFF files and EXIF blocks hold them.
//!
//! Only the first directory is read. Every length is checked against the file before anything is allocated for it.
//! Source: TIFF 6.0, section 2; BigTIFF as libtiff describes it.

use super::bytes::array;

/// Tags of one directory; more is no camera's.
const MAX_ENTRIES: u64 = 4096;

/// Which way up the picture is.
pub(super) const ORIENTATION: u16 = 274;

/// The first directory of a file.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    pub(super) big_endian: bool,
    entries: Vec<Entry>,
    /// Where the entries begin that are left out.
    ignored: Vec<usize>,
}

/// One tag.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) tag: u16,
    /// Type of the values: 1 byte, 3 short, 4 long, 7 undefined, 16 long8; others are not read here.
    pub(super) kind: u16,
    pub(super) count: usize,
    /// Where the values begin in the file.
    pub(super) at: usize,
}

impl Entry {
    /// Bytes per value; none for types that are not read here.
    fn size(&self) -> usize {
        match self.kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            16..=18 => 8,
            _ => 0,
        }
    }
}

impl<'a> Directory<'a> {
    /// Reads the first directory; `None` where there is none. Entries that point outside the file are left out.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = match bytes.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let mut directory = Self { bytes, big_endian, entries: Vec::new(), ignored: Vec::new() };
        let large = match directory.number_at(2, 2)? {
            42 => false,
            43 => true,
            _ => return None,
        };
        // Sizes of a pointer, of the number of entries, and of an entry.
        let (pointer, counter, stride) = if large { (8, 8, 20) } else { (4, 2, 12) };
        let start = usize::try_from(directory.number_at(if large { 8 } else { 4 }, pointer)?).ok()?;
        let entries = directory.number_at(start, counter)?.min(MAX_ENTRIES) as usize;
        for index in 0..entries {
            let at = start.checked_add(counter + index * stride)?;
            match directory.entry(at, pointer) {
                Some(entry) => directory.entries.push(entry),
                None => directory.ignored.push(at),
            }
        }
        Some(directory)
    }

    /// The entry at an offset, where its values lie inside the file.
    fn entry(&self, at: usize, pointer: usize) -> Option<Entry> {
        let tag = self.number_at(at, 2)? as u16;
        let kind = self.number_at(at + 2, 2)? as u16;
        let count = usize::try_from(self.number_at(at + 4, pointer)?).ok()?;
        let mut entry = Entry { tag, kind, count, at: at + 4 + pointer };
        let length = entry.size().checked_mul(count)?;
        if length > pointer {
            entry.at = usize::try_from(self.number_at(entry.at, pointer)?).ok()?;
        }
        let inside = entry.at.checked_add(length)? <= self.bytes.len();
        (inside && length > 0).then_some(entry)
    }

    /// The integer of so many bytes at an offset.
    fn number_at(&self, at: usize, size: usize) -> Option<u64> {
        let number = |little: u64, big: u64| if self.big_endian { big } else { little };
        Some(match size {
            1 => u64::from(*self.bytes.get(at)?),
            2 => {
                let bytes = array(self.bytes, at)?;
                number(u16::from_le_bytes(bytes).into(), u16::from_be_bytes(bytes).into())
            }
            4 => {
                let bytes = array(self.bytes, at)?;
                number(u32::from_le_bytes(bytes).into(), u32::from_be_bytes(bytes).into())
            }
            _ => {
                let bytes = array(self.bytes, at)?;
                number(u64::from_le_bytes(bytes), u64::from_be_bytes(bytes))
            }
        })
    }

    /// Where the entries begin that are left out: they point outside the file, or are of a type that is not read here.
    pub(super) fn ignored(&self) -> &[usize] {
        &self.ignored
    }

    /// Bytes of the whole file.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The entry of a tag.
    pub(super) fn find(&self, tag: u16) -> Option<Entry> {
        self.entries.iter().find(|entry| entry.tag == tag).copied()
    }

    /// The first number of a tag.
    pub(super) fn number(&self, tag: u16) -> Option<u64> {
        let entry = self.find(tag)?;
        self.number_at(entry.at, entry.size())
    }

    /// All numbers of a tag.
    pub(super) fn numbers(&self, tag: u16) -> Option<Vec<u64>> {
        let entry = self.find(tag)?;
        (0..entry.count).map(|index| self.number_at(entry.at + index * entry.size(), entry.size())).collect()
    }

    /// The bytes of a tag.
    pub(super) fn data(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.find(tag)?;
        self.bytes.get(entry.at..entry.at + entry.size() * entry.count)
    }

    /// The orientation, 1 to 8. Cameras write it as a short or as a long, with one value or two. Where the tag is
    /// repeated, the first counts, valid or not.
    pub(super) fn orientation(&self) -> Option<u8> {
        self.number(ORIENTATION).filter(|value| (1..=8).contains(value)).map(|value| value as u8)
    }
}

/// The orientation that an EXIF block tells, 1 to 8. Some programs put the prefix of JPEG's segment before it in other
/// formats too.
pub(super) fn exif_orientation(mut block: &[u8]) -> Option<u8> {
    while let Some(rest) = block.strip_prefix(b"Exif\0\0") {
        block = rest;
    }
    Directory::first(block)?.orientation()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one entry: type, count and the eight bytes that may hold values.
    fn block(big_endian: bool, kind: u16, count: u32, values: &[u8]) -> Vec<u8> {
        let two = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let four = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut block = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
        block.extend(two(42));
        block.extend(four(8));
        block.extend(two(1));
        block.extend(two(ORIENTATION));
        block.extend(two(kind));
        block.extend(four(count));
        if values.len() > 4 {
            block.extend(four(26));
            block.extend(four(0));
        }
        block.extend(values);
        block
    }

    #[test]
    fn orientation_is_read_as_cameras_write_it() {
        for big_endian in [false, true] {
            let short = if big_endian { [0, 6] } else { [6, 0] };
            let long = if big_endian { [0, 0, 0, 6] } else { [6, 0, 0, 0] };
            for (kind, count, values) in [
                (3, 1, [&short[..], &[0, 0]].concat()),
                (3, 2, short.repeat(2)),
                (4, 1, long.to_vec()),
                (4, 2, long.repeat(2)),
            ] {
                let block = block(big_endian, kind, count, &values);
                assert_eq!(exif_orientation(&block), Some(6), "{big_endian} {kind} {count}");
                let prefixed = [b"Exif\0\0Exif\0\0", &block[..]].concat();
                assert_eq!(exif_orientation(&prefixed), Some(6));
                // Cut off anywhere, it says nothing or the same.
                for length in 0..block.len() {
                    assert!(matches!(exif_orientation(&block[..length]), None | Some(6)));
                }
            }
        }
        assert_eq!(exif_orientation(&block(true, 3, 1, &[0, 9, 0, 0])), None);
    }
}
