//! The recipe that a dream carries: text inside the image file that says how to make it again.
//!
//! PNG: an `iTXt` chunk with the keyword `reverie` (PNG, third edition, 11.3.3.4). JPEG: an XMP packet in an APP1
//! segment (XMP part 3, 1.1.3). WebP: an `XMP ` chunk of an extended file (RFC 9649, 2.7.1.5). GIF: an XMP packet in an
//! application extension (XMP part 3, 1.1.2). An animation has it in the same place, a video in its comment, which `ffmpeg` writes. Viewers ignore it, and metadata tools show it. Why not `img-parts`: `docs/decisions.md`.

use super::{Format, PictureError, animation::LONGEST_RECIPE, recipe_video};

const PNG_SIGNATURE: usize = 8;
/// Length, type and CRC around a chunk's data.
const PNG_CHUNK: usize = 12;
/// Signature and the header chunk, which must come first.
const PNG_HEADER: usize = PNG_SIGNATURE + PNG_CHUNK + 13;
/// Keyword, no compression, no language, no translation.
const PNG_KEYWORD: &[u8] = b"reverie\0\0\0\0\0";
/// Flags of an extended WebP file.
const HAS_XMP: u8 = 0x04;
const HAS_ALPHA: u8 = 0x10;
/// An application extension of a GIF.
const GIF_XMP: &[u8] = b"\x21\xff\x0bXMP DataXMP";
const XMP_MARKER: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const XMP_BEFORE: &str = "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
    <x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
    <rdf:Description rdf:about=\"\" xmlns:reverie=\"urn:reverie:recipe:1\" reverie:recipe=\"";
const XMP_AFTER: &str = "\"/></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>";
/// Characters with a meaning in XML; the ampersand first, since the others bring it in.
const XML: [(&str, &str); 4] = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;")];

/// Puts `recipe` into an image file that [`Picture::encode`](super::Picture::encode) wrote.
///
/// # Errors
/// [`PictureError::Encode`] when the recipe is longer than the format allows (64 KiB in a JPEG).
pub fn embed(file: Vec<u8>, format: Format, recipe: &str) -> Result<Vec<u8>, PictureError> {
    let embedded = match format {
        Format::Png => embed_png(&file, recipe),
        Format::Jpeg => embed_jpeg(&file, recipe),
        Format::Webp => embed_webp(&file, recipe),
        Format::Gif => embed_gif(&file, recipe),
        Format::Mp4 | Format::Webm => None,
    };
    embedded.ok_or_else(|| PictureError::Encode("the recipe does not fit into the file".into()))
}

/// Whether a file has room for a recipe that has `rest` bytes more than `recipe`.
pub fn fits(format: Format, recipe: &str, rest: usize) -> bool {
    match format {
        // The length counts itself.
        Format::Jpeg => 2 + XMP_MARKER.len() + xmp(recipe).len() + rest <= usize::from(u16::MAX),
        Format::Mp4 | Format::Webm => recipe.len() + rest <= LONGEST_RECIPE,
        Format::Png | Format::Webp | Format::Gif => true,
    }
}

/// The recipe in an image file, if there is one.
pub fn extract(file: &[u8]) -> Option<String> {
    if file.starts_with(b"\x89PNG") {
        extract_png(file)
    } else if file.starts_with(b"\xff\xd8") {
        extract_jpeg(file)
    } else if file.starts_with(b"GIF8") {
        extract_gif(file)
    } else if file.get(4..8) == Some(b"ftyp") {
        recipe_video::of_mp4(file)
    } else if file.starts_with(b"\x1a\x45\xdf\xa3") {
        recipe_video::of_webm(file)
    } else {
        extract_webp(file)
    }
}

fn embed_png(file: &[u8], recipe: &str) -> Option<Vec<u8>> {
    let (header, rest) = file.split_at_checked(PNG_HEADER)?;
    let mut chunk = b"iTXt".to_vec();
    chunk.extend_from_slice(PNG_KEYWORD);
    chunk.extend_from_slice(recipe.as_bytes());
    let length = u32::try_from(chunk.len() - 4).ok()?.to_be_bytes();
    let checksum = crc32fast::hash(&chunk).to_be_bytes();
    Some([header, &length, &chunk, &checksum, rest].concat())
}

fn extract_png(file: &[u8]) -> Option<String> {
    let mut rest = file.get(PNG_SIGNATURE..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let chunk = rest.get(4..length.checked_add(8)?)?;
        if let Some(text) = chunk.strip_prefix(b"iTXt").and_then(|text| text.strip_prefix(PNG_KEYWORD)) {
            return String::from_utf8(text.to_vec()).ok();
        }
        rest = rest.get(length.checked_add(PNG_CHUNK)?..)?;
    }
}

fn embed_jpeg(file: &[u8], recipe: &str) -> Option<Vec<u8>> {
    let (start, rest) = file.split_at_checked(2)?;
    let packet = [XMP_MARKER, xmp(recipe).as_bytes()].concat();
    // The length counts itself.
    let length = u16::try_from(packet.len() + 2).ok()?.to_be_bytes();
    Some([start, &[0xff, 0xe1], &length, &packet, rest].concat())
}

fn extract_jpeg(file: &[u8]) -> Option<String> {
    let mut rest = file.get(2..)?;
    // Metadata stands before the first scan.
    while let [0xff, code, high, low, ..] = *rest
        && code != 0xda
    {
        let segment = rest.get(4..2 + usize::from(u16::from_be_bytes([high, low])))?;
        if let Some(packet) = segment.strip_prefix(XMP_MARKER).filter(|_| code == 0xe1) {
            return from_xmp(packet);
        }
        rest = rest.get(4 + segment.len()..)?;
    }
    None
}

fn embed_webp(file: &[u8], recipe: &str) -> Option<Vec<u8>> {
    // Twelve bytes of RIFF header, then the chunks.
    let chunks = file.get(12..)?;
    let (header, image) = match chunks.get(..4)? {
        // Extended already, where a lossy picture has transparency.
        b"VP8X" => {
            let (header, image) = chunks.split_at_checked(18)?;
            let mut header = header.to_vec();
            header[8] |= HAS_XMP;
            (header, image)
        }
        b"VP8L" => {
            // After type, length and signature: two sizes minus 1 of 14 bits, and a bit for transparency.
            let bits = u32::from_le_bytes(*chunks.get(9..)?.first_chunk()?);
            let alpha = if bits >> 28 & 1 == 1 { HAS_ALPHA } else { 0 };
            (extended(HAS_XMP | alpha, bits & 0x3fff, (bits >> 14) & 0x3fff)?, chunks)
        }
        _ => {
            // After type, length, frame tag and start code: two sizes of 14 bits (RFC 6386, 9.1).
            let edge = |at: usize| Some(u16::from_le_bytes(*chunks.get(at..)?.first_chunk()?) & 0x3fff);
            let less_one = |edge: u16| u32::from(edge).checked_sub(1);
            (extended(HAS_XMP, less_one(edge(14)?)?, less_one(edge(16)?)?)?, chunks)
        }
    };
    let xmp = riff(b"XMP ", xmp(recipe).as_bytes())?;
    riff(b"RIFF", &[&b"WEBP"[..], &header, image, &xmp].concat())
}

/// The header of an extended WebP file; sizes are those of the picture minus 1.
pub(super) fn extended(flags: u8, width: u32, height: u32) -> Option<Vec<u8>> {
    riff(b"VP8X", &[&[flags, 0, 0, 0][..], &width.to_le_bytes()[..3], &height.to_le_bytes()[..3]].concat())
}

fn extract_webp(file: &[u8]) -> Option<String> {
    let mut rest = file.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WEBP")?;
    loop {
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let chunk = rest.get(8..length.checked_add(8)?)?;
        if rest.starts_with(b"XMP ") {
            return from_xmp(chunk);
        }
        rest = rest.get(8 + length + length % 2..)?;
    }
}

/// Where the colours of a GIF end that all its frames share: behind signature, screen and those colours.
fn gif_header(file: &[u8]) -> Option<usize> {
    let flags = *file.get(10)?;
    Some(if flags & 0x80 == 0 { 13 } else { 13 + (6 << (flags & 7)) })
}

/// The packet stands in the file as it is, although a GIF's blocks have their lengths in front: readers that take its letters
/// for lengths end up in the trailer, which leads from any place to the end of the extension.
fn embed_gif(file: &[u8], recipe: &str) -> Option<Vec<u8>> {
    let (header, rest) = file.split_at_checked(gif_header(file)?)?;
    let trailer: Vec<u8> = [1].into_iter().chain((0..=255).rev()).chain([0]).collect();
    Some([header, GIF_XMP, xmp(recipe).as_bytes(), &trailer, rest].concat())
}

fn extract_gif(file: &[u8]) -> Option<String> {
    let rest = file.get(gif_header(file)?..)?.strip_prefix(GIF_XMP)?;
    // The trailer begins with 1 and 255; no text has a byte of 255.
    let end = rest.iter().position(|&byte| byte == 0xff)?;
    from_xmp(rest.get(..end.checked_sub(1)?)?)
}

/// A RIFF chunk; chunks have an even length.
pub(super) fn riff(kind: &[u8; 4], data: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(data.len()).ok()?.to_le_bytes();
    let padding: &[u8] = if data.len() % 2 == 1 { &[0] } else { &[] };
    Some([kind, &length[..], data, padding].concat())
}

fn xmp(recipe: &str) -> String {
    let escaped = XML.iter().fold(recipe.to_owned(), |text, (plain, escaped)| text.replace(plain, escaped));
    [XMP_BEFORE, &escaped, XMP_AFTER].concat()
}

fn from_xmp(packet: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(packet).ok()?;
    let (_, rest) = text.split_once("reverie:recipe=\"")?;
    let (escaped, _) = rest.split_once('"')?;
    Some(XML.iter().rev().fold(escaped.to_owned(), |text, (plain, escaped)| text.replace(escaped, plain)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::super::Encoding;
    use super::{
        super::{Picture, Samples, decode},
        *,
    };
    use reverie_fields::arbitrary::quick;

    const RECIPE: &str = "{\"layer\": \"a<b>&amp;\\\"c\\\"\", \"naïve\": 1}";
    const ENCODINGS: [Encoding; 5] = [
        Encoding { format: Format::Png, quality: 90, lossless: false },
        Encoding { format: Format::Jpeg, quality: 90, lossless: false },
        Encoding { format: Format::Webp, quality: 90, lossless: false },
        Encoding { format: Format::Webp, quality: 90, lossless: true },
        Encoding { format: Format::Gif, quality: 90, lossless: false },
    ];

    /// How files of the formats begin.
    const STARTS: [&[u8]; 5] =
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1", b"RIFF\0\0\0\0WEBP", b"GIF89a\x01\0\x01\0\0\0\0", b""];

    fn picture(alpha: Option<Vec<u8>>) -> Picture {
        let rgb = (0..7 * 5 * 3).map(|index| index * 2).collect();
        Picture { width: 7, height: 5, rgb: Samples::Eight(rgb), alpha }
    }

    #[test]
    fn a_recipe_travels_in_every_format_and_changes_no_pixel() {
        for encoding in ENCODINGS {
            for alpha in [None, Some((0..35).collect())] {
                let plain = picture(alpha).encode(encoding).unwrap();
                assert_eq!(extract(&plain), None);
                let file = embed(plain.clone(), encoding.format, RECIPE).unwrap();
                assert_eq!(extract(&file).as_deref(), Some(RECIPE), "{encoding:?}");
                assert_eq!(decode(&file, 100).unwrap(), decode(&plain, 100).unwrap(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_behind_its_recipe_still_has_it() {
        for encoding in &ENCODINGS[..2] {
            let file = embed(picture(None).encode(*encoding).unwrap(), encoding.format, RECIPE).unwrap();
            assert_eq!(extract(&file[..file.len() - 20]).as_deref(), Some(RECIPE), "{encoding:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = picture(None).encode(ENCODINGS[1]).unwrap();
        assert!(embed(file, Format::Jpeg, &"x".repeat(70_000)).is_err());
    }

    #[test]
    fn damaged_files_have_no_recipe() {
        for encoding in ENCODINGS {
            let file = embed(picture(None).encode(encoding).unwrap(), encoding.format, RECIPE).unwrap();
            for length in 0..file.len() {
                // Never a panic; a recipe only where it is whole.
                assert!(extract(&file[..length]).is_none_or(|recipe| recipe == RECIPE));
            }
        }
        assert_eq!(extract(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffiTXt"), None);
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn any_recipe_travels_in_every_format(recipe in "(?s).{0,300}|[&<>\"amp;ltgquo]{0,60}") {
            for encoding in ENCODINGS {
                let file = embed(picture(None).encode(encoding).unwrap(), encoding.format, &recipe).unwrap();
                prop_assert_eq!(extract(&file), Some(recipe.clone()), "{:?}", encoding);
            }
        }

        #[test]
        fn arbitrary_bytes_have_no_recipe(
            start in proptest::sample::select(&STARTS[..]),
            rest in vec(any::<u8>(), 0..200),
        ) {
            // No panic, and no recipe either: the keyword does not come about by chance.
            prop_assert_eq!(extract(&[start, &rest].concat()), None);
        }

        #[test]
        fn files_with_changed_bytes_are_survived(
            encoding in proptest::sample::select(&ENCODINGS[..]),
            changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut file = embed(picture(None).encode(encoding).unwrap(), encoding.format, RECIPE).unwrap();
            for (index, byte) in changes {
                let at = index.index(file.len());
                file[at] = byte;
            }
            let found = extract(&file);
            prop_assert!(found.is_none_or(|recipe| recipe.len() <= file.len()));
        }
    }
}
