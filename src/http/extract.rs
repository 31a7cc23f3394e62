//! Reading what a client sends: a form or JSON, taken out of its envelope.
//!
//! The length is checked against `Content-Length` before anything is read, and counted while it streams in.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use data_url::DataUrl;
use futures::StreamExt;
use mime::Mime;
use multer::Multipart;
use serde_json::{Map, Value};

use super::{body::MeteredBody, error::ApiError};
use crate::{
    fields::{self, FieldError, Fields},
    jobs::JobOptions,
};

/// The parts of a request for a dream, taken out of their envelope but not looked at yet.
#[derive(Debug)]
pub struct Intake {
    /// The image file, if one was sent and could be unpacked.
    pub image: Option<Bytes>,
    /// The mask file, likewise.
    pub mask: Option<Bytes>,
    /// The partial spec; an empty object where none was sent.
    pub spec: Value,
    /// When the dream is wanted.
    pub options: JobOptions,
    /// What was wrong with the envelope: to be reported together with what is wrong inside.
    pub errors: Vec<FieldError>,
}

/// Reads a request for a dream, as a form or as JSON.
///
/// # Errors
/// Every way in which a body can be unreadable. Mistakes in its content are collected in the [`Intake`].
pub async fn intake(headers: &HeaderMap, body: Body, limit: usize) -> Result<Intake, ApiError> {
    let mut body = MeteredBody::new(body, limit);
    let outcome = read(headers, &mut body).await;
    // The reason why the body ended early is better known to the meter than to the parser.
    let outcome = match body.refusal.take() {
        Some(refusal) => Err(refusal),
        None => outcome,
    };
    if outcome.is_err() {
        body.drain(headers);
    }
    outcome
}

/// Throws away a body that nobody will look at, so that the client can read the answer.
pub fn discard(headers: &HeaderMap, body: Body, limit: usize) {
    MeteredBody::new(body, limit).drain(headers);
}

async fn read(headers: &HeaderMap, body: &mut MeteredBody) -> Result<Intake, ApiError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > body.limit) {
        return Err(ApiError::TooLarge { limit: body.limit });
    }
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(ApiError::EncodedBody(String::from_utf8_lossy(coding.as_bytes()).into_owned()));
    }
    const WANTED: &str = "send multipart/form-data or application/json";
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(content_type) = content_type else {
        return Err(ApiError::UnsupportedType(format!("there is no Content-Type; {WANTED}")));
    };
    let parsed = content_type.parse::<Mime>().ok();
    match parsed.as_ref().map(Mime::essence_str) {
        Some("multipart/form-data") => {
            let boundary = multer::parse_boundary(content_type).map_err(|error| malformed_form(&error))?;
            read_form(Multipart::new(body, boundary)).await
        }
        Some("application/json") => read_json(body).await,
        _ => Err(ApiError::UnsupportedType(format!("\"{content_type}\" is not read here; {WANTED}"))),
    }
}

/// The fields of a form; a JSON body has the same members.
const FORM_FIELDS: [&str; 5] = ["image", "mask", "spec", "priority", "deadline_seconds"];

async fn read_form(mut form: Multipart<'_>) -> Result<Intake, ApiError> {
    let (mut parts, mut errors) = ([const { None::<Bytes> }; FORM_FIELDS.len()], Vec::new());
    while let Some(field) = form.next_field().await.map_err(|error| malformed_form(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let Some(index) = FORM_FIELDS.iter().position(|known| *known == name) else {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let detail = format!("unknown field; allowed are {}", FORM_FIELDS.join(", "));
            errors.push(FieldError::new(pointer, detail));
            continue;
        };
        let nameless = field.file_name().is_none_or(str::is_empty);
        let bytes = field.bytes().await.map_err(|error| malformed_form(&error))?;
        // What an HTML form sends for a file that nobody chose, or a field that nobody filled in.
        if bytes.is_empty() && nameless {
            continue;
        }
        if parts[index].replace(bytes).is_some() {
            errors.push(FieldError::new(format!("/{name}"), "was sent more than once"));
        }
    }
    let [image, mask, spec, priority, deadline] = parts;
    let spec = match spec {
        Some(bytes) => parse_json("the field \"spec\"", &bytes)?,
        None => Value::Null,
    };
    // As a member of a JSON body: null is none.
    let spec = if spec.is_null() { Value::Object(Map::new()) } else { spec };
    let mut wishes = Map::new();
    for (name, part) in [("priority", priority), ("deadline_seconds", deadline)] {
        if let Some(text) = part {
            wishes.insert(name.to_owned(), number_or_text(&text));
        }
    }
    let mut fields = Fields::new("", Value::Object(wishes));
    let options = read_options(&mut fields);
    errors.extend(fields.finish());
    Ok(Intake { image, mask, spec, options, errors })
}

/// Forms know no numbers, only text that looks like one.
fn number_or_text(bytes: &[u8]) -> Value {
    let number = serde_json::from_slice(bytes).ok().filter(Value::is_number);
    number.unwrap_or_else(|| String::from_utf8_lossy(bytes).into())
}

/// Reads when the dream is wanted; what is wrong is noted in `fields`.
fn read_options(fields: &mut Fields) -> JobOptions {
    let (priorities, deadlines) = (JobOptions::PRIORITIES, JobOptions::DEADLINE_SECONDS);
    let priority = fields.number("priority", *priorities.start(), *priorities.end());
    let deadline = fields.number("deadline_seconds", *deadlines.start(), *deadlines.end());
    JobOptions { priority: priority.unwrap_or_default(), deadline: deadline.map(Duration::from_secs) }
}

async fn read_json(body: &mut MeteredBody) -> Result<Intake, ApiError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        // The meter has the reason.
        bytes.extend_from_slice(&piece.map_err(|error| ApiError::Malformed(error.to_string()))?);
    }
    let mut fields = Fields::new("", parse_json("the body", &bytes)?);
    let [image, mask] = ["image", "mask"].map(|name| take_data_uri(&mut fields, name));
    let spec = fields.raw("spec").unwrap_or_else(|| Value::Object(Map::new()));
    let options = read_options(&mut fields);
    Ok(Intake { image, mask, spec, options, errors: fields.finish() })
}

/// The content of a member that is a `data:` URI; what is wrong with it is noted in `fields`.
fn take_data_uri(fields: &mut Fields, name: &'static str) -> Option<Bytes> {
    let uri = fields.text(name)?;
    match read_data_uri(&uri) {
        Ok(bytes) => Some(bytes),
        Err(problem) => {
            fields.error(name, problem);
            None
        }
    }
}

/// Unpacks a `data:` URI (RFC 2397). Its media type is not believed: the bytes speak for themselves.
fn read_data_uri(text: &str) -> Result<Bytes, &'static str> {
    let uri = DataUrl::process(text).map_err(|_| "is no data URI such as data:image/png;base64,…")?;
    let (bytes, _fragment) = uri.decode_to_vec().map_err(|_| "its base64 is damaged")?;
    Ok(bytes.into())
}

fn parse_json(what: &str, bytes: &[u8]) -> Result<Value, ApiError> {
    // Some editors and shells begin every text with a byte order mark, which may be ignored (RFC 8259, section 8.1).
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    fields::json::parse(bytes)
        .map_err(|error| ApiError::Malformed(format!("{what} cannot be read as JSON: {error}")))
}

fn malformed_form(error: &multer::Error) -> ApiError {
    ApiError::Malformed(format!("the form cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    async fn send(content_type: &str, body: impl Into<Body>) -> Result<Intake, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        intake(&headers, body.into(), 1000).await
    }

    fn form(parts: &[(&str, &str)]) -> String {
        let mut text = String::new();
        for (name, value) in parts {
            text += &format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        text + "--X--\r\n"
    }

    const FORM: &str = "multipart/form-data; boundary=X";

    #[tokio::test]
    async fn both_envelopes_are_opened() {
        for parts in
            [[("image", "PNG"), ("spec", "{\"seed\": 1}")], [("spec", "{\"seed\": 1}"), ("image", "PNG")]]
        {
            let intake = send(FORM, form(&parts)).await.unwrap();
            assert_eq!((intake.image.as_deref(), &intake.spec), (Some(&b"PNG"[..]), &json!({"seed": 1})));
            assert!(intake.errors.is_empty());
        }
        let body = json!({"image": "data:image/png;base64,UE5H"}).to_string();
        let intake = send("application/json; charset=utf-8", body).await.unwrap();
        assert_eq!((intake.image.as_deref(), &intake.spec), (Some(&b"PNG"[..]), &json!({})));
    }

    #[tokio::test]
    async fn wishes_are_read_from_both_envelopes() {
        let wanted = JobOptions { priority: -3, deadline: Some(Duration::from_secs(90)) };
        let parts = [("image", "PNG"), ("priority", "-3"), ("deadline_seconds", "90")];
        assert_eq!(send(FORM, form(&parts)).await.unwrap().options, wanted);
        let body = json!({"image": "data:,PNG", "priority": -3, "deadline_seconds": 90}).to_string();
        assert_eq!(send("application/json", body).await.unwrap().options, wanted);
        let parts = [("image", "PNG"), ("priority", "11"), ("deadline_seconds", "soon")];
        let intake = send(FORM, form(&parts)).await.unwrap();
        let pointers: Vec<&str> = intake.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/priority", "/deadline_seconds"]);
        let body = json!({"image": "data:,PNG", "priority": "high", "deadline_seconds": 0.5}).to_string();
        assert_eq!(send("application/json", body).await.unwrap().errors.len(), 2);
    }

    #[tokio::test]
    async fn mistakes_in_the_envelope_are_collected() {
        let parts = [("picture", "?"), ("image", "PNG"), ("image", "PNG"), ("spec", "{}")];
        let intake = send(FORM, form(&parts)).await.unwrap();
        let pointers: Vec<&str> = intake.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/picture", "/image"]);
        let body = json!({"imagine": 1, "image": "not a uri"}).to_string();
        let errors = send("application/json", body).await.unwrap().errors;
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_ignored() {
        let intake = send("application/json", "\u{feff}{\"spec\": {\"seed\": 1}}").await.unwrap();
        assert_eq!(intake.spec, json!({ "seed": 1 }));
        assert!(send("application/json", "\u{feff}\u{feff}{}").await.is_err());
    }

    #[tokio::test]
    async fn unreadable_bodies_are_refused() {
        let cases = [
            (FORM, "--X\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nhal".to_owned()),
            ("multipart/form-data", form(&[("image", "PNG")])),
            (FORM, form(&[("image", "PNG"), ("spec", "{")])),
            ("application/json", "{".to_owned()),
        ];
        for (content_type, body) in cases {
            let refused = send(content_type, body.clone()).await;
            assert!(matches!(refused, Err(ApiError::Malformed(_))), "{body}: {refused:?}");
        }
        for content_type in ["text/plain", "", "image/png"] {
            let refused = send(content_type, "x").await;
            assert!(matches!(refused, Err(ApiError::UnsupportedType(_))), "{content_type}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn length_is_counted_while_it_streams() {
        let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100])));
        let refused = send(FORM, Body::from_stream(pieces)).await;
        assert!(matches!(refused, Err(ApiError::TooLarge { limit: 1000 })), "{refused:?}");
    }
}
