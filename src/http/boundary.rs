//! Quotes unquoted multipart boundaries.
//!
//! The boundary is a parameter of `Content-Type`. Its value (RFC 2046, section 5.1.1) may contain characters
//! that an unquoted parameter may not (RFC 9110, section 5.6.6): `=`, `/`, `:`, `?`, commas and blanks. Some
//! clients still omit the quotes, for example with `boundary=----=_Part_1`, and their meaning is clear.

use axum::http::{HeaderMap, HeaderValue, header};

/// Maximum length of a boundary (RFC 2046, section 5.1.1).
const LONGEST: usize = 70;

/// Quotes the boundary of a form if it is unquoted. Any other header stays unchanged.
pub fn quote(headers: &mut HeaderMap) {
    let quoted = headers.get(header::CONTENT_TYPE).and_then(|value| quoted(value.to_str().ok()?));
    if let Some(value) = quoted.and_then(|value| HeaderValue::from_str(&value).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

/// The form's content type with its boundary quoted; `None` if it is not a form, or has no boundary to quote.
fn quoted(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let (_, boundary) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    let boundary = boundary.trim();
    let fits = (1..=LONGEST).contains(&boundary.len()) && boundary.bytes().all(may_be_in_boundary);
    fits.then(|| format!("multipart/form-data; boundary=\"{boundary}\""))
}

/// `bcharsnospace` and the blank (RFC 2046, section 5.1.1), and other characters that clients use and that
/// need no escape in quotes. Quotes are excluded: the parser handles a boundary that has them.
fn may_be_in_boundary(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b';')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    /// The boundary that the form parser finds, called as the server calls it.
    fn found(content_type: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        quote(&mut headers);
        multer::parse_boundary(headers[header::CONTENT_TYPE].to_str().unwrap()).ok()
    }

    #[test]
    fn boundaries_are_found_with_and_without_quotes() {
        for (content_type, boundary) in [
            ("multipart/form-data; boundary=X", Some("X")),
            ("multipart/form-data; boundary=\"X\"", Some("X")),
            ("multipart/form-data; boundary=----=_Part_1_23.456", Some("----=_Part_1_23.456")),
            ("multipart/form-data; boundary=\"----=_Part_1\"", Some("----=_Part_1")),
            ("Multipart/Form-Data;BOUNDARY=a=b", Some("a=b")),
            ("multipart/form-data; charset=utf-8; boundary=a/b:c?d,e(f)", Some("a/b:c?d,e(f)")),
            ("multipart/form-data; boundary=a=b; charset=utf-8", Some("a=b")),
            ("multipart/form-data; boundary = a b ", Some("a b")),
            ("multipart/form-data; boundary=a;", Some("a")),
            ("multipart/form-data; boundary=\"a;b\"", Some("a;b")),
            ("multipart/form-data", None),
            ("application/json; boundary=a=b", None),
        ] {
            assert_eq!(found(content_type).as_deref(), boundary, "{content_type}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn every_boundary_of_the_standard_is_found(text in "[0-9A-Za-z'()+_,./:=? -]{0,68}[0-9A-Za-z'()+_,./:=?-]") {
            let boundary = text.trim();
            for content_type in [
                format!("multipart/form-data; boundary={boundary}"),
                format!("multipart/form-data; boundary=\"{boundary}\""),
            ] {
                prop_assert_eq!(found(&content_type), Some(boundary.to_owned()));
            }
        }

        #[test]
        fn any_header_is_survived(text in "[ -~]{0,40}|multipart/form-data; ?[ -~]{0,20}") {
            found(&text);
        }
    }
}
