//! Reads a JSON body: images as data URIs, and little else.
//!
//! Only images make a large body legitimate. So a first pass scans the body without building values, and
//! measures everything that is not an image. Only if that is within the limit, the second pass builds values,
//! which take many times the memory of their text.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use data_url::DataUrl;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use super::{error::ApiError, fetch};
use reverie_fields::{cut, json};

/// Name of the whole body in error messages.
pub(super) const WHAT: &str = "the body";

/// The members that contain images.
const FILES: [&str; 3] = ["image", "mask", "guide"];

/// A body after reading.
pub(super) struct Json {
    /// Everything but the images; not an object if the body is none.
    pub rest: Value,
    /// Each image's name, and its content or the error; `None` if it was not sent.
    pub files: [(&'static str, Option<Result<Bytes, String>>); FILES.len()],
}

/// Counts the bytes outside of strings while a body arrives. An image is one string, so a body with much else
/// can be refused long before its end.
#[derive(Debug, Default)]
pub(super) struct Outside {
    bytes: usize,
    in_string: bool,
    escaped: bool,
}

impl Outside {
    /// Counts a piece; returns the total of bytes outside of strings.
    pub fn count(&mut self, piece: &[u8]) -> usize {
        for byte in piece {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (true, _) => {}
                (false, _) => self.bytes += 1,
            }
        }
        self.bytes
    }
}

/// Reads a body; `limit` is the maximum size of everything that is not an image.
///
/// # Errors
/// [`ApiError::Malformed`] and [`ApiError::JsonTooLong`].
pub(super) fn open(bytes: &[u8], limit: usize) -> Result<Json, ApiError> {
    let bytes = without_bom(bytes);
    let mut members = Members { rest: Vec::new(), files: [None; FILES.len()], room: Some(limit) };
    let none = |name| (name, None);
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        // Not an object: the code that reads it reports that.
        if bytes.len() > limit {
            return Err(ApiError::JsonTooLong { what: WHAT, limit });
        }
        let rest = json::parse(bytes).map_err(|error| no_json(WHAT, &error))?;
        return Ok(Json { rest, files: FILES.map(none) });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = members.deserialize(&mut reader).and_then(|()| reader.end());
    if members.room.is_none() {
        return Err(ApiError::JsonTooLong { what: WHAT, limit });
    }
    read.map_err(|error| no_json(WHAT, &error))?;
    let mut rest = Map::new();
    for (name, value) in members.rest {
        let value = parse_json(WHAT, value.get().as_bytes())?;
        if rest.insert(name.to_string(), value).is_some() {
            return Err(ApiError::Malformed(duplicate_member(&name)));
        }
    }
    let mut files = FILES.map(none);
    for ((_, content), file) in files.iter_mut().zip(members.files) {
        *content = file.and_then(read_file);
    }
    Ok(Json { rest: Value::Object(rest), files })
}

/// Parses a JSON text; `what` is its name in error messages.
///
/// # Errors
/// [`ApiError::Malformed`].
pub(super) fn parse_json(what: &str, bytes: &[u8]) -> Result<Value, ApiError> {
    json::parse(without_bom(bytes)).map_err(|error| no_json(what, &error))
}

/// Some editors and shells begin every text with a byte order mark, which may be ignored (RFC 8259, section
/// 8.1).
fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The same message that [`json::parse`] gives for nested members.
fn duplicate_member(name: &str) -> String {
    format!("{WHAT} cannot be read as JSON: the member \"{}\" is given twice", cut(name))
}

fn no_json(what: &str, error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("{what} cannot be read as JSON: {error}"))
}

/// The members of an object, unparsed.
struct Members<'a> {
    rest: Vec<(Cow<'a, str>, &'a RawValue)>,
    files: [Option<&'a RawValue>; FILES.len()],
    /// Bytes left for everything else; `None` once the limit is exceeded.
    room: Option<usize>,
}

impl<'a> DeserializeSeed<'a> for &mut Members<'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for &mut Members<'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'a>>()? {
            let value: &'a RawValue = map.next_value()?;
            if let Some(index) = FILES.iter().position(|file| *file == name) {
                if self.files[index].replace(value).is_some() {
                    return Err(A::Error::custom(format!("the member \"{name}\" is given twice")));
                }
                continue;
            }
            let taken = name.len() + value.get().len();
            self.room = self.room.and_then(|room| room.checked_sub(taken));
            if self.room.is_none() {
                return Err(A::Error::custom("too long"));
            }
            self.rest.push((name, value));
        }
        Ok(())
    }
}

/// A member's name, borrowed from the body if it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An upload in place of a picture.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadReference {
    upload: String,
}

/// Reads a member that is a data URI, or names an upload; `None` for null.
fn read_file(value: &RawValue) -> Option<Result<Bytes, String>> {
    if value.get() == "null" {
        return None;
    }
    if value.get().starts_with('{') {
        let named = serde_json::from_str::<UploadReference>(value.get()).ok();
        let id = named.and_then(|named| named.upload.parse().ok());
        let wrong = "must be {\"upload\": ID, with an id from POST /v1/uploads}, or a string with a data URI or a URL";
        return Some(id.map(fetch::mark_upload).ok_or_else(|| wrong.to_owned()));
    }
    Some(match serde_json::from_str::<Name<'_>>(value.get()) {
        Ok(Name(uri)) => read_data_uri(&uri).map_err(str::to_owned),
        Err(_) => Err("must be a string with a data URI such as data:image/png;base64,…".into()),
    })
}

/// Decodes a `data:` URI (RFC 2397). Its media type is ignored: the bytes decide. The URL of a picture stays as it is:
/// `fetch` reads it later.
fn read_data_uri(text: &str) -> Result<Bytes, &'static str> {
    if fetch::url_of(text.as_bytes()).is_some() {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let wrong =
        "is neither a data URI such as data:image/png;base64,… nor a URL such as https://example.org/a.png";
    let uri = DataUrl::process(text).map_err(|_| wrong)?;
    let (bytes, _fragment) = uri.decode_to_vec().map_err(|_| "its base64 is invalid")?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ApiError, Json, Outside, open};

    #[test]
    fn pictures_do_not_count_and_all_else_does() {
        let picture = format!("data:,{}", "x".repeat(10_000));
        let body = |rest: &str| format!("{{\"image\": \"{picture}\", \"spec\": \"{rest}\"}}").into_bytes();
        let Json { rest, files: [(_, image), (_, mask), _] } =
            open(&body(&"s".repeat(90)), 100).ok().unwrap();
        assert_eq!((rest["spec"].as_str().unwrap().len(), mask), (90, None));
        assert_eq!(image.unwrap().unwrap().len(), 10_000);
        let long = open(&body(&"s".repeat(100)), 100).err();
        assert!(matches!(long, Some(ApiError::JsonTooLong { limit: 100, .. })), "{long:?}");
        let numbers = format!("[{}1]", "1,".repeat(1000));
        assert!(matches!(open(numbers.as_bytes(), 100), Err(ApiError::JsonTooLong { .. })));
    }

    #[test]
    fn strings_are_told_from_the_rest_across_pieces() {
        let text = br#"{"a\\\"b": [1, 2], "c": "\\"}"#;
        for split in 0..text.len() {
            let mut outside = Outside::default();
            outside.count(&text[..split]);
            assert_eq!(outside.count(&text[split..]), r#"{: [1, 2], : }"#.len(), "{split}");
        }
    }

    #[test]
    fn what_is_no_data_uri_is_told_at_its_member() {
        let body = json!({"image": 7, "mask": null, "spec": {}}).to_string();
        let Json { rest, files: [(name, image), (_, mask), _] } = open(body.as_bytes(), 100).ok().unwrap();
        assert_eq!((name, rest, mask), ("image", json!({"spec": {}}), None));
        assert!(image.unwrap().unwrap_err().contains("data URI"));
        for damaged in [
            "{",
            "{\"image\": \"data:,x\"",
            "{} {}",
            "{\"image\": 1, \"image\": 2}",
            "{\"spec\": 1, \"spec\": 2}",
        ] {
            assert!(matches!(open(damaged.as_bytes(), 100), Err(ApiError::Malformed(_))), "{damaged}");
        }
    }
}
