//! The comment in a video: where MP4 (ISO/IEC 14496-12, and iTunes' list of items) and WebM (Matroska, RFC 9559) have it.

/// The boxes from the file to the text.
const MP4: [&[u8; 4]; 4] = [b"moov", b"udta", b"meta", b"ilst"];

/// Ids of Matroska's elements.
const SEGMENT: u32 = 0x1853_8067;
const TAGS: u32 = 0x1254_c367;
const TAG: u32 = 0x7373;
const SIMPLE_TAG: u32 = 0x67c8;
const TAG_NAME: u32 = 0x45a3;
const TAG_STRING: u32 = 0x4487;

/// The comment of an MP4 file.
pub(super) fn of_mp4(file: &[u8]) -> Option<String> {
    let mut inside = file;
    for name in MP4 {
        inside = mp4_box(inside, name)?;
        if name == b"meta" {
            // A version and flags stand before its boxes.
            inside = inside.get(4..)?;
        }
    }
    let data = mp4_box(mp4_box(inside, b"\xa9cmt")?, b"data")?;
    // After a type and a language.
    String::from_utf8(data.get(8..)?.to_vec()).ok()
}

/// The content of the first box `name`.
fn mp4_box<'a>(mut bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    loop {
        let short = u32::from_be_bytes(*bytes.first_chunk()?);
        let (header, length) = match short {
            0 => (8, bytes.len()),
            1 => (16, usize::try_from(u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?)).ok()?),
            length => (8, length as usize),
        };
        let whole = bytes.get(..length)?;
        if whole.get(4..8)? == name {
            return whole.get(header..);
        }
        // At least its header, so this ends.
        bytes = bytes.get(length.max(header)..)?;
    }
}

/// The comment of a WebM file.
pub(super) fn of_webm(file: &[u8]) -> Option<String> {
    let segment = Elements(file).find(|(id, _)| *id == SEGMENT)?.1;
    let tags = Elements(segment).filter(|(id, _)| *id == TAGS).flat_map(|(_, tags)| Elements(tags));
    let simple = tags.filter(|(id, _)| *id == TAG).flat_map(|(_, tag)| Elements(tag));
    let of = |(_, simple): (u32, &[u8])| {
        let member =
            |wanted| Elements(simple).find(|(id, _)| *id == wanted).map(|(_, content)| content.to_vec());
        (member(TAG_NAME)? == b"COMMENT").then(|| member(TAG_STRING)).flatten()
    };
    String::from_utf8(simple.filter(|(id, _)| *id == SIMPLE_TAG).find_map(of)?).ok()
}

/// Elements one after another: id and content.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // An id keeps the bits that tell its length, a size does not.
        let (id, after) = number(self.0, true)?;
        let (size, after) = number(after, false)?;
        let content = after.get(..usize::try_from(size).ok()?)?;
        self.0 = &after[content.len()..];
        Some((u32::try_from(id).ok()?, content))
    }
}

/// A number of 1 to 8 bytes, of which the zeros in front say how many; and what comes after it.
fn number(bytes: &[u8], whole: bool) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let (own, after) = bytes.split_at_checked(length).filter(|_| length <= 8)?;
    let value = own.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = u64::MAX >> (64 - 7 * length);
    Some((if whole { value } else { value & mask }, after))
}
