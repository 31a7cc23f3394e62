//! Reads a request body, a form or JSON, and unpacks it.
//!
//! The length is checked against `Content-Length` before anything is read, and counted while the body streams
//! in. The body is then unpacked on a blocking thread: JSON and base64 of many megabytes would hold a thread
//! that serves other clients for too long.

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures::StreamExt;
use mime::Mime;
use multer::{Field, Multipart};
use serde_json::{Map, Value};

use super::{
    body_limits::{BodyLimits, MeteredBody},
    deliveries::WebhookFields,
    digests::Promised,
    envelope::{self, Outside, parse_json},
    error::ApiError,
    job_fields,
    uploads::Share,
};
use crate::jobs::JobOptions;
use reverie_fields::{FieldError, Fields, cut, note, note_all, pointer};

/// A submitted request, unpacked but not validated.
#[derive(Debug)]
pub struct SubmitRequest {
    /// The image file, if one was sent and could be unpacked.
    pub image: Option<Bytes>,
    /// The mask file, likewise.
    pub mask: Option<Bytes>,
    /// The guide image's file, likewise.
    pub guide: Option<Bytes>,
    /// The partial spec; an empty object if none was sent.
    pub spec: Value,
    /// Which job to go on from, if that was sent.
    pub from: Option<Value>,
    /// Priority and deadline.
    pub options: JobOptions,
    /// Where to tell of the job's end.
    pub webhook: WebhookFields,
    /// Errors of the envelope, to be reported together with errors of the content.
    pub errors: Vec<FieldError>,
    /// The memory that the files take; keep it as long as the files.
    pub share: Option<Share>,
}

/// The field that names the job of a fork.
const FROM: &str = "from";

/// Maximum number of parts of a form. There are nine fields, and each may be sent once.
const MAX_PARTS: usize = 64;

/// Bytes of memory per byte of a JSON body: its text is kept beside the files decoded from it.
pub const JSON_WEIGHT: usize = 2;

/// Reads a submitted request, as a form or as JSON.
///
/// # Errors
/// Every reason for an unreadable body. Errors of its content are collected in the [`SubmitRequest`].
pub async fn read_submit_request(
    headers: &HeaderMap,
    body: Body,
    limits: &BodyLimits,
) -> Result<SubmitRequest, ApiError> {
    let mut body = MeteredBody::new(body, limits.body);
    body.share = Some(limits.uploads.share(limits.client));
    let outcome = match Promised::of(headers) {
        Ok(promised) => {
            body.promised = promised;
            read(headers, &mut body, limits).await
        }
        Err(refusal) => Err(refusal),
    };
    let outcome = match outcome {
        Ok(envelope) => body.verify().await.map(|()| envelope),
        refused => refused,
    };
    // The meter knows better than the parser why the body ended early.
    let outcome = match body.refusal.take() {
        Some(refusal) => Err(refusal),
        None => outcome,
    };
    match outcome {
        Ok(envelope) => {
            let (share, json) = (body.share.take(), limits.json);
            let unpacking = tokio::task::spawn_blocking(move || envelope.unpack(json));
            let request = unpacking.await.map_err(ApiError::internal)??;
            Ok(SubmitRequest { share, ..request })
        }
        Err(refusal) => {
            body.share = None;
            body.drain(headers);
            Err(refusal)
        }
    }
}

/// Discards an unwanted body, so the client can read the response.
pub fn discard(headers: &HeaderMap, body: Body, limit: usize) {
    MeteredBody::new(body, limit).drain(headers);
}

/// A body that was received but not unpacked.
enum Envelope {
    Form(Box<Form>),
    /// In pieces.
    Json(Vec<Bytes>),
}

/// The fields of a form, as received.
#[derive(Default)]
struct Form {
    parts: [Option<Bytes>; FORM_FIELDS.len()],
    errors: Vec<FieldError>,
}

impl Envelope {
    /// Unpacks the body; may take long.
    fn unpack(self, json: usize) -> Result<SubmitRequest, ApiError> {
        match self {
            Self::Form(form) => form.unpack(),
            Self::Json(pieces) => unpack_json(&join(pieces), json),
        }
    }
}

async fn read(
    headers: &HeaderMap,
    body: &mut MeteredBody,
    limits: &BodyLimits,
) -> Result<Envelope, ApiError> {
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
        return Err(ApiError::UnsupportedType(format!("the Content-Type header is missing; {WANTED}")));
    };
    let parsed = content_type.parse::<Mime>().ok();
    let form = match parsed.as_ref().map(Mime::essence_str) {
        Some("multipart/form-data") => true,
        Some("application/json") => false,
        _ => {
            let detail = format!("Content-Type \"{}\" is not supported; {WANTED}", cut(content_type));
            return Err(ApiError::UnsupportedType(detail));
        }
    };
    body.weight = if form { 1 } else { JSON_WEIGHT };
    let announced = declared.unwrap_or_default().saturating_mul(body.weight);
    if body.share.as_ref().is_some_and(|share| !share.has_room(announced)) {
        return Err(ApiError::TooManyUploads);
    }
    if form {
        let boundary = multer::parse_boundary(content_type).map_err(|error| malformed_form(&error))?;
        read_form(Multipart::new(body, boundary), limits.json)
            .await
            .map(|form| Envelope::Form(Box::new(form)))
    } else {
        let (mut pieces, mut outside) = (Vec::new(), Outside::default());
        while let Some(piece) = body.next().await {
            // The meter has the reason.
            let piece = piece.map_err(|error| ApiError::Malformed(error.to_string()))?;
            if outside.count(&piece) > limits.json {
                return Err(ApiError::JsonTooLong { what: envelope::WHAT, limit: limits.json });
            }
            pieces.push(piece);
        }
        Ok(Envelope::Json(pieces))
    }
}

/// The fields of a form; a JSON body has the same members.
const FORM_FIELDS: [&str; 9] =
    ["image", "mask", "guide", "spec", FROM, "priority", "deadline_seconds", "webhook", "webhook_events"];

async fn read_form(mut form: Multipart<'_>, json: usize) -> Result<Form, ApiError> {
    let mut read = Form::default();
    let mut count = 0;
    while let Some(field) = form.next_field().await.map_err(|error| malformed_form(&error))? {
        count += 1;
        if count > MAX_PARTS {
            return Err(ApiError::Malformed(format!("the form has more than {MAX_PARTS} parts")));
        }
        let name = field.name().unwrap_or_default();
        let Some(index) = FORM_FIELDS.iter().position(|known| *known == name) else {
            let detail = format!("unknown field; allowed are {}", FORM_FIELDS.join(", "));
            note(&mut read.errors, FieldError::new(pointer("", name), detail));
            continue;
        };
        let nameless = field.file_name().is_none_or(str::is_empty);
        let bytes = match FORM_FIELDS[index] {
            "spec" => {
                let too_long = || ApiError::JsonTooLong { what: "the field \"spec\"", limit: json };
                collect(field, json).await?.ok_or_else(too_long)?
            }
            name if name == FROM || job_fields::NAMES.contains(&name) => {
                let too_long = || ApiError::Malformed(format!("the field \"{name}\" is too long"));
                collect(field, job_fields::LONGEST).await?.ok_or_else(too_long)?
            }
            // The meter counts it.
            _ => collect(field, usize::MAX).await?.unwrap_or_default(),
        };
        // What an HTML form sends for a file input or a field that was left empty.
        if bytes.is_empty() && nameless {
            continue;
        }
        if read.parts[index].replace(bytes).is_some() {
            note(
                &mut read.errors,
                FieldError::new(pointer("", FORM_FIELDS[index]), "was sent more than once"),
            );
        }
    }
    Ok(read)
}

/// Reads the content of a field; `None` beyond `most` bytes. Pieces are kept as they arrive and joined at the
/// end: memory reserved up front would let a client take much memory with a few bytes.
async fn collect(mut field: Field<'_>, most: usize) -> Result<Option<Bytes>, ApiError> {
    let (mut pieces, mut length) = (Vec::new(), 0_usize);
    while let Some(piece) = field.chunk().await.map_err(|error| malformed_form(&error))? {
        length += piece.len();
        if length > most {
            return Ok(None);
        }
        pieces.push(piece);
    }
    Ok(Some(join(pieces)))
}

/// Joins all pieces.
fn join(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => pieces.concat().into(),
    }
}

impl Form {
    fn unpack(self) -> Result<SubmitRequest, ApiError> {
        let Self { parts: [image, mask, guide, spec, from, job_parts @ ..], mut errors } = self;
        let spec = match spec {
            Some(bytes) => parse_json("the field \"spec\"", &bytes)?,
            None => Value::Null,
        };
        // As with a member of a JSON body, null means none.
        let spec = if spec.is_null() { Value::Object(Map::new()) } else { spec };
        let from = from.map(|bytes| parse_json("the field \"from\"", &bytes)).transpose()?;
        let from = from.filter(|from| !from.is_null());
        let (options, webhook, wrong) = job_fields::read_form(job_parts);
        note_all(&mut errors, wrong);
        Ok(SubmitRequest { image, mask, guide, spec, from, options, webhook, errors, share: None })
    }
}

fn unpack_json(bytes: &[u8], limit: usize) -> Result<SubmitRequest, ApiError> {
    let envelope::Json { rest, files } = envelope::open(bytes, limit)?;
    let mut fields = Fields::new("", rest);
    let [image, mask, guide] = files.map(|(name, content)| {
        fields.known(name);
        match content? {
            Ok(content) => Some(content),
            Err(problem) => {
                fields.error(name, problem);
                None
            }
        }
    });
    let spec = fields.raw("spec").unwrap_or_else(|| Value::Object(Map::new()));
    let from = fields.raw(FROM);
    let (options, webhook) = job_fields::read(&mut fields);
    let errors = fields.finish();
    Ok(SubmitRequest { image, mask, guide, spec, from, options, webhook, errors, share: None })
}

fn malformed_form(error: &multer::Error) -> ApiError {
    ApiError::Malformed(format!("the form cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;
    use serde_json::json;

    use super::{super::uploads::Uploads, *};

    async fn send(content_type: &str, body: impl Into<Body>) -> Result<SubmitRequest, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let limits = BodyLimits { body: 1000, json: 500, uploads: Uploads::new(1, 0), client: None };
        read_submit_request(&headers, body.into(), &limits).await
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
            let request = send(FORM, form(&parts)).await.unwrap();
            assert_eq!((request.image.as_deref(), &request.spec), (Some(&b"PNG"[..]), &json!({"seed": 1})));
            assert!(request.errors.is_empty());
        }
        let body = json!({"image": "data:image/png;base64,UE5H"}).to_string();
        let request = send("application/json; charset=utf-8", body).await.unwrap();
        assert_eq!((request.image.as_deref(), &request.spec), (Some(&b"PNG"[..]), &json!({})));
    }

    #[tokio::test]
    async fn options_are_read_from_both_envelopes() {
        let wanted = JobOptions { priority: -3, deadline: Some(Duration::from_secs(90)) };
        let parts = [("image", "PNG"), ("priority", "-3"), ("deadline_seconds", "90")];
        assert_eq!(send(FORM, form(&parts)).await.unwrap().options, wanted);
        let body = json!({"image": "data:,PNG", "priority": -3, "deadline_seconds": 90}).to_string();
        assert_eq!(send("application/json", body).await.unwrap().options, wanted);
        let parts = [("image", "PNG"), ("priority", "11"), ("deadline_seconds", "soon")];
        let request = send(FORM, form(&parts)).await.unwrap();
        let pointers: Vec<&str> = request.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/priority", "/deadline_seconds"]);
        let body = json!({"image": "data:,PNG", "priority": "high", "deadline_seconds": 0.5}).to_string();
        assert_eq!(send("application/json", body).await.unwrap().errors.len(), 2);
    }

    #[tokio::test]
    async fn mistakes_in_the_envelope_are_collected() {
        let parts = [("picture", "?"), ("image", "PNG"), ("image", "PNG"), ("spec", "{}")];
        let request = send(FORM, form(&parts)).await.unwrap();
        let pointers: Vec<&str> = request.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/picture", "/image"]);
        let body = json!({"imagine": 1, "image": "not a uri"}).to_string();
        let errors = send("application/json", body).await.unwrap().errors;
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_ignored() {
        let request = send("application/json", "\u{feff}{\"spec\": {\"seed\": 1}}").await.unwrap();
        assert_eq!(request.spec, json!({ "seed": 1 }));
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
