//! The segments of a JPEG file: what can be known without decoding.
//!
//! Everything that makes a decoder fail lies outside the scans' bits, so that a look at the segments tells whether a
//! photo can be accepted: its coding is one that is read, its scans have all components and the tables that they
//! name, and it has an end. Source: ITU-T T.81, annex B.

use super::{
    super::{PictureError, bytes::be16, color::MAX_PROFILE, directory::exif_orientation},
    NAME,
};

/// Markers: end of the image, start of a scan, tables, height behind the scan.
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DNL: u8 = 0xdc;
const DHP: u8 = 0xde;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;

/// Most scans of a picture. Encoders write about ten; each takes a walk over the whole picture and a dozen bytes of the
/// file, so that without a bound a small file would take hours.
const MAX_SCANS: usize = 100;

/// A component: its name, and its table of quantisation.
pub(in super::super) struct Component {
    name: u8,
    table: u8,
    scanned: bool,
}

/// What the segments say.
pub(super) struct Segments<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    /// Where the frame's header has a zero, as the height came behind the first scan.
    pub(super) height_behind: Option<usize>,
    pub(super) components: Vec<Component>,
    pub(super) scans: usize,
    /// Whether the file has an end marker.
    pub(super) ended: bool,
    exif: Vec<&'a [u8]>,
    /// Numbers and contents of the pieces of a colour profile.
    profile: Vec<(u8, &'a [u8])>,
}

fn damaged(reason: &str) -> PictureError {
    PictureError::undecodable(NAME, reason)
}

/// The next marker other than those within a scan: its code, and where the bytes after it begin.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    // Every marker is 0xFF and a code; within a scan, 0xFF00 and the restarts D0–D7 are data.
    let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    let at = from + bytes.get(from..)?.windows(2).position(marker)?;
    Some((bytes[at + 1], at + 2))
}

impl<'a> Segments<'a> {
    /// Reads the segments up to the end marker, or up to where the file is cut off.
    ///
    /// # Errors
    /// A coding that is not read, and what no decoder can make a picture of.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, PictureError> {
        let mut segments = Self {
            width: 0,
            height: 0,
            height_behind: None,
            components: Vec::new(),
            scans: 0,
            ended: false,
            exif: Vec::new(),
            profile: Vec::new(),
        };
        let mut tables = 0u8;
        let mut at = 2;
        while let Some((code, start)) = next_marker(bytes, at) {
            if code == EOI {
                segments.ended = true;
                break;
            }
            if matches!(code, 0x01 | 0xd8) {
                at = start;
                continue;
            }
            // A segment starts with its length, which counts itself; some programs write zero for an empty one.
            let Some(length) = be16(bytes, start) else { break };
            at = start + usize::from(length).max(2);
            let Some(data) = bytes.get(start + 2..at) else { break };
            match code {
                SOS => segments.scan(data, tables)?,
                DQT => tables |= quantisation(data),
                DNL if segments.height_behind.is_some() && segments.height == 0 => {
                    segments.height = be16(data, 0).unwrap_or(0);
                }
                APP1 if data.starts_with(b"Exif\0\0") => segments.exif.push(data),
                APP2 if data.starts_with(b"ICC_PROFILE\0") && data.len() > 14 => {
                    segments.profile.push((data[12], &data[14..]));
                }
                DHP => return Err(PictureError::unsupported(NAME, "hierarchical coding")),
                // All others from C0 to CF start a frame: C4 and CC are tables, C8 is reserved.
                0xc0..=0xcf if !matches!(code, 0xc4 | 0xc8 | 0xcc) => {
                    segments.frame(code, data, start + 2)?
                }
                _ => {}
            }
        }
        segments.check()?;
        Ok(segments)
    }

    /// The header of the frame.
    fn frame(&mut self, code: u8, data: &[u8], at: usize) -> Result<(), PictureError> {
        let kind = match code {
            0xc0..=0xc2 | 0xc9 | 0xca => None,
            0xc3 | 0xcb => Some("lossless coding"),
            _ => Some("hierarchical coding"),
        };
        if let Some(kind) = kind {
            return Err(PictureError::unsupported(NAME, kind));
        }
        if !self.components.is_empty() {
            return Err(damaged("it has two frames"));
        }
        let [precision, size @ ..] = data else { return Err(damaged("its header is cut off")) };
        if *precision != 8 {
            return Err(PictureError::unsupported(NAME, format!("{precision} bits per sample")));
        }
        let (Some(height), Some(width), Some(&count)) = (be16(size, 0), be16(size, 2), size.get(4)) else {
            return Err(damaged("its header is cut off"));
        };
        (self.width, self.height) = (width, height);
        self.height_behind = (height == 0).then_some(at + 1);
        let components = size.get(5..5 + usize::from(count) * 3);
        let components = components.ok_or_else(|| damaged("its header is cut off"))?;
        self.components = components
            .chunks_exact(3)
            .map(|component| Component { name: component[0], table: component[2], scanned: false })
            .collect();
        match count {
            1 | 3 | 4 => Ok(()),
            _ => Err(PictureError::unsupported(NAME, format!("{count} components"))),
        }
    }

    /// The header of a scan; `tables` has a bit for each table of quantisation that has come.
    fn scan(&mut self, data: &[u8], tables: u8) -> Result<(), PictureError> {
        let [count, rest @ ..] = data else { return Err(damaged("the header of a scan is cut off")) };
        for chosen in rest.chunks_exact(2).take((*count).into()) {
            let component = self.components.iter_mut().find(|component| component.name == chosen[0]);
            let component =
                component.ok_or_else(|| damaged("a scan has a component that the picture has not"))?;
            if component.table > 3 || tables & (1 << component.table) == 0 {
                return Err(damaged("a table of quantisation is missing"));
            }
            component.scanned = true;
        }
        self.scans += 1;
        match self.scans {
            ..=MAX_SCANS => Ok(()),
            _ => Err(PictureError::unsupported(NAME, format!("more than {MAX_SCANS} scans"))),
        }
    }

    /// Whether everything is there that makes a picture.
    fn check(&self) -> Result<(), PictureError> {
        let reason = match () {
            () if self.components.is_empty() => "it has no picture, or is cut off before it",
            () if self.scans == 0 => "it is cut off before its picture",
            () if self.height == 0 && self.height_behind.is_some() => "its height is missing",
            // Colours would be wrong.
            () if !self.components.iter().all(|component| component.scanned) => {
                "it is cut off, or the scan of a component is missing"
            }
            () => return Ok(()),
        };
        Err(damaged(reason))
    }

    /// The first valid orientation, 1 to 8.
    pub(super) fn orientation(&self) -> Option<u8> {
        self.exif.iter().find_map(|block| exif_orientation(block))
    }

    /// The colour profile, put together: its pieces are numbered, and need not come in order.
    pub(super) fn profile(&self) -> Option<Vec<u8>> {
        let length: usize = self.profile.iter().map(|(_, piece)| piece.len()).sum();
        if self.profile.is_empty() || length > MAX_PROFILE {
            return None;
        }
        let mut pieces = self.profile.clone();
        pieces.sort_by_key(|(number, _)| *number);
        Some(pieces.into_iter().flat_map(|(_, piece)| piece).copied().collect())
    }
}

/// A bit for each table in a segment of tables.
fn quantisation(mut data: &[u8]) -> u8 {
    let mut tables = 0;
    while let [head, rest @ ..] = data {
        tables |= 1u8.checked_shl((head & 15).into()).unwrap_or(0);
        let length = if head >> 4 == 0 { 64 } else { 128 };
        data = rest.get(length..).unwrap_or_default();
    }
    tables
}
