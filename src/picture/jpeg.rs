//! What tells whether a JPEG file would decode, without decoding all of it: accepting photos costs little else.
//!
//! Damage in the bits of a scan is no error to the decoder: like browsers, it shows what it has read and leaves the
//! rest grey. So what can fail lies in front of the scan, or in markers that do not belong into one. Where there are
//! none, the decoder is given the file with a scan that ends at once, and what it says then holds for the whole.
//!
//! Source: ITU-T T.81, annex B.

/// End of the image.
const EOI: u8 = 0xd9;
/// Start of a scan: a segment with its header, then its bits.
const SOS: u8 = 0xda;

/// Sixteen ones and more, each 0xFF with the zero that tells it from a marker: no Huffman code consists of ones only, so
/// a decoder stops here.
const NO_CODE: [u8; 8] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];

/// The next marker other than those within a scan: its code, and where the bytes after it begin.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    // Every marker is 0xFF and a code; within a scan, 0xFF00 and the restarts D0–D7 are data.
    let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    let at = from + bytes.get(from..)?.windows(2).position(marker)?;
    Some((bytes[at + 1], at + 2))
}

/// The markers of a file in order, each with where the bytes after its segment begin: up to the end of the image,
/// or up to where the file is cut off.
fn markers(bytes: &[u8]) -> impl Iterator<Item = (u8, usize)> + '_ {
    let mut at = 0;
    let mut ended = false;
    std::iter::from_fn(move || {
        let (code, start) = next_marker(bytes, at).filter(|_| !ended)?;
        ended = code == EOI;
        at = match code {
            EOI | 0x01 | 0xd8 => start,
            // A segment starts with its length, which counts itself.
            _ => {
                let length = u16::from_be_bytes(*bytes[start..].first_chunk()?);
                start + usize::from(length)
            }
        };
        (at <= bytes.len()).then_some((code, at))
    })
}

/// Whether a file has its end-of-image marker. The decoder fills what is missing with grey and says nothing, so
/// half an upload would be dreamed on.
pub(super) fn reaches_end_marker(bytes: &[u8]) -> bool {
    markers(bytes).any(|(code, _)| code == EOI)
}

/// The file with nothing in its scan, which decodes if and only if the file does; nothing where the file has several
/// scans, or markers in one.
pub(super) fn without_scan(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut markers = markers(bytes).skip_while(|(code, _)| *code != SOS);
    let (_, scan) = markers.next()?;
    let (next, _) = markers.next()?;
    (next == EOI).then(|| [&bytes[..scan], &NO_CODE, &[0xff, EOI]].concat())
}
