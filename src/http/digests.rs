//! `Content-Digest` and `Repr-Digest` (RFC 9530): what an upload must be, and what a result is.

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256, Sha512};

use super::error::ApiError;

/// The digests that a client promises of its body. An upload has no content coding, so both headers mean the same bytes.
/// Algorithms that are not known here are left out, as the RFC has it.
#[derive(Debug, Default)]
pub(super) struct Promised {
    sha256: Vec<Vec<u8>>,
    sha512: Vec<Vec<u8>>,
    hashers: (Sha256, Sha512),
}

impl Promised {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut promised = Self::default();
        for name in ["content-digest", "repr-digest"] {
            for value in headers.get_all(name) {
                let text = value.to_str().unwrap_or_default();
                let malformed = || {
                    ApiError::Malformed(format!(
                        "{name} cannot be read; send it as sha-256=:BASE64: or sha-512=:BASE64:"
                    ))
                };
                for member in text.split(',') {
                    let (algorithm, digest) = member.trim().split_once('=').ok_or_else(malformed)?;
                    let list = match algorithm {
                        "sha-256" => &mut promised.sha256,
                        "sha-512" => &mut promised.sha512,
                        _ => continue,
                    };
                    let digest = digest.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
                    let digest = digest.and_then(|digest| STANDARD.decode(digest).ok());
                    list.push(digest.ok_or_else(malformed)?);
                }
            }
        }
        Ok(promised)
    }

    /// Whether anything is promised.
    pub fn is_any(&self) -> bool {
        !self.sha256.is_empty() || !self.sha512.is_empty()
    }

    /// Takes in the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        if !self.sha256.is_empty() {
            self.hashers.0.update(piece);
        }
        if !self.sha512.is_empty() {
            self.hashers.1.update(piece);
        }
    }

    /// Compares what was promised with what came.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if anything differs.
    pub fn check(self) -> Result<(), ApiError> {
        let (sha256, sha512) = (self.hashers.0.finalize(), self.hashers.1.finalize());
        let differs = |promised: &[Vec<u8>], found: &[u8]| promised.iter().any(|digest| digest != found);
        for (name, differs) in
            [("sha-256", differs(&self.sha256, &sha256)), ("sha-512", differs(&self.sha512, &sha512))]
        {
            if differs {
                return Err(ApiError::Malformed(format!(
                    "the body has another {name} digest than its header says; it was changed on its way, so send it again"
                )));
            }
        }
        Ok(())
    }
}

/// The value of `Repr-Digest` for a file with this SHA-256 in hexadecimal; `None` if that is no digest.
pub(super) fn of_result(hex: &str) -> Option<String> {
    let pairs =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = pairs.collect::<Option<Vec<u8>>>()?;
    Some(format!("sha-256=:{}:", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn check(name: &'static str, value: &str, body: &[u8]) -> Result<(), ApiError> {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_str(value).unwrap());
        let mut promised = Promised::of(&headers)?;
        body.chunks(3).for_each(|piece| promised.update(piece));
        promised.check()
    }

    /// The values of the examples in RFC 9530, whose body ends with a line feed.
    #[test]
    fn digests_of_the_rfc_are_checked() {
        let body = b"{\"hello\": \"world\"}\n";
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let sha512 = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";
        for value in
            [sha256, sha512, &format!("{sha512}, {sha256}"), "unixsum=:AAA=:", &format!("md5=:x:,{sha256}")]
        {
            for name in ["content-digest", "repr-digest"] {
                assert!(check(name, value, body).is_ok(), "{value}");
            }
        }
        for value in [sha256, sha512, &format!("{sha512}, {sha256}")] {
            assert!(
                matches!(check("content-digest", value, b"other"), Err(ApiError::Malformed(_))),
                "{value}"
            );
        }
        for value in ["sha-256", "sha-256=RK/0", "sha-256=:!:", "sha-512=:", "", ","] {
            assert!(matches!(check("repr-digest", value, body), Err(ApiError::Malformed(_))), "{value}");
        }
        let hex = "44aff4ab2d7c3250525675a08f0cfa9591168cffe51791c5f5bbc417c15a6c38";
        assert_eq!(of_result(hex).unwrap(), sha256);
        assert_eq!(of_result("no digest"), None);
    }
}
