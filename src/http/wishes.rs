//! What a request for a dream may say in its headers: `Idempotency-Key` and `Cancel-After`.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::{jobs::JobOptions, spec::DreamSpec};

/// Longest key.
const MAX_KEY: usize = 255;

/// The headers that are about the job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Makes the request safe to repeat.
    pub key: Option<String>,
    /// How long the job may take.
    pub deadline: Option<Duration>,
}

impl Wishes {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] with what is allowed.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let key = single(headers, "idempotency-key")?.map(|text| read_key(&text)).transpose()?;
        let deadline = single(headers, "cancel-after")?.map(|text| read_duration(&text)).transpose()?;
        Ok(Self { key, deadline })
    }
}

/// A header that may be there once.
fn single(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim().to_owned())),
        (Ok(_), Some(_)) => Err(ApiError::Malformed(format!("{name} was sent more than once"))),
        (Err(_), _) => Err(ApiError::Malformed(format!("{name} has characters other than ASCII"))),
    }
}

/// A key is a quoted string (RFC 8941, section 3.3.3); many clients leave the quotes out, and mean the same.
fn read_key(text: &str) -> Result<String, ApiError> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let plain = inner.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\'));
    if inner.is_empty() || inner.len() > MAX_KEY || !plain {
        return Err(ApiError::Malformed(format!(
            "Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters without quotes and backslashes, \
             such as a UUID"
        )));
    }
    Ok(inner.to_owned())
}

/// A duration such as `90`, `90s`, `5m` or `1h30m`.
fn read_duration(text: &str) -> Result<Duration, ApiError> {
    let seconds = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { sum(text) };
    let allowed = JobOptions::DEADLINE_SECONDS;
    match seconds {
        Some(seconds) if allowed.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(ApiError::Malformed(format!(
            "Cancel-After must be a duration such as 90s, 5m or 1h30m, from {} to {} seconds",
            allowed.start(),
            allowed.end()
        ))),
    }
}

/// Adds up hours, minutes and seconds.
fn sum(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0_u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && !text.is_empty()).then_some(total)
}

/// Hash of everything that a request asks for. Requests that say the same in other words, such as a default
/// left out and spelled out, ask for the same.
pub fn fingerprint(
    pictures: [&Bytes; 2],
    spec: &DreamSpec,
    options: &JobOptions,
) -> Result<String, ApiError> {
    let seconds = options.deadline.map(|deadline| deadline.as_secs());
    let wish = serde_json::to_vec(&(spec, options.priority, seconds)).map_err(ApiError::internal)?;
    let mut digest = Sha256::new();
    // The lengths keep the parts apart.
    for part in [&wish[..], pictures[0], pictures[1]] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    Ok(crate::digest::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(name: &'static str, value: &str) -> Result<Wishes, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Wishes::of(&headers)
    }

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        for text in ["8e03978e-40d5", "\"8e03978e-40d5\"", " 8e03978e-40d5 "] {
            assert_eq!(of("idempotency-key", text).unwrap().key.as_deref(), Some("8e03978e-40d5"), "{text}");
        }
        for text in ["", "\"\"", "\"", "a\"b", "a\\b", &"x".repeat(256)] {
            assert!(matches!(of("idempotency-key", text), Err(ApiError::Malformed(_))), "{text}");
        }
        let mut twice = HeaderMap::new();
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        twice.append("idempotency-key", HeaderValue::from_static("b"));
        assert!(Wishes::of(&twice).is_err());
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1m1s", 61)] {
            let deadline = of("cancel-after", text).unwrap().deadline;
            assert_eq!(deadline, Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "0s", "s", "90 s", "5x", "1m30", "-5s", "8d", "604801", "99999999999999999999h"]
        {
            assert!(of("cancel-after", text).is_err(), "{text}");
        }
    }
}
