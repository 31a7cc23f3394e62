//! Request headers of a submission: `Idempotency-Key` and `Cancel-After`.

use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use reverie_dream::digest;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::jobs::{JobOptions, Webhook};

/// Maximum length of a key.
const MAX_KEY: usize = 255;

/// The headers about the job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JobHeaders {
    /// Makes the request safe to repeat.
    pub idempotency_key: Option<String>,
    /// Time until the job expires.
    pub deadline: Option<Duration>,
}

impl JobHeaders {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] with the allowed values.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let idempotency_key = single(headers, "idempotency-key")?.map(|text| read_key(&text)).transpose()?;
        let deadline = single(headers, "cancel-after")?.map(|text| read_duration(&text)).transpose()?;
        Ok(Self { idempotency_key, deadline })
    }
}

/// A header that may appear once.
fn single(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.trim().to_owned())),
        (Ok(_), Some(_)) => Err(ApiError::Malformed(format!("{name} was sent more than once"))),
        (Err(_), _) => Err(ApiError::Malformed(format!("{name} may contain only ASCII characters"))),
    }
}

/// A key is a quoted string (RFC 8941, section 3.3.3); many clients omit the quotes and mean the same.
fn read_key(text: &str) -> Result<String, ApiError> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let plain = inner.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b'\\'));
    if inner.is_empty() || inner.len() > MAX_KEY || !plain {
        return Err(ApiError::Malformed(format!(
            "Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters without quotes and backslashes, \
             such as a UUID"
        )));
    }
    Ok(inner.to_owned())
}

/// Longest duration that is read. `humantime` 2.4 panics where the seconds fill 64 bits and parts of a second add one
/// (`18446744073709551615s 1000ms`); the shortest such text has 21 characters.
const LONGEST_DURATION: usize = 20;

/// A number of seconds, or a duration with units such as `90s`, `5m` or `1h 30m`, as `humantime` reads them.
fn read_duration(text: &str) -> Result<Duration, ApiError> {
    let allowed = JobOptions::DEADLINE_SECONDS;
    let fits = |duration: &Duration| duration.subsec_nanos() == 0 && allowed.contains(&duration.as_secs());
    let read = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok().map(Duration::from_secs),
        false => humantime::parse_duration(text).ok(),
    };
    let duration = Some(text).filter(|text| text.len() <= LONGEST_DURATION).and_then(read).filter(fits);
    duration.ok_or_else(|| {
        ApiError::Malformed(format!(
            "Cancel-After must be a duration such as 90s, 5m or 1h30m, from {} to {} seconds",
            allowed.start(),
            allowed.end()
        ))
    })
}

/// Hash of a submission. Over the resolved spec, it is equal for requests that mean the same, for example
/// with a default omitted or spelled out. Over the spec as sent, it is equal for requests with the same text,
/// even in a version with other defaults.
pub fn fingerprint(
    pictures: &[Option<Bytes>; 3],
    spec: &impl serde::Serialize,
    options: &JobOptions,
    webhook: Option<&Webhook>,
) -> Result<String, ApiError> {
    let seconds = options.deadline.map(|deadline| deadline.as_secs());
    // A JSON value keeps its members sorted by name, whatever their order in the request.
    let text = match webhook {
        // As versions before webhooks wrote it.
        None => serde_json::to_vec(&(spec, options.priority, seconds)),
        Some(webhook) => serde_json::to_vec(&(spec, options.priority, seconds, webhook)),
    };
    let text = text.map_err(ApiError::internal)?;
    let mut digest = Sha256::new();
    let [image, mask, guide] = pictures;
    let [image, mask] = [image, mask].map(|file| file.as_deref().unwrap_or_default());
    // The lengths separate the parts. A guide comes last and only where there is one, so that a request without is hashed as
    // versions before guides did.
    for part in [&text[..], image, mask].into_iter().chain(guide.as_deref()) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    Ok(digest::hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use reverie_fields::arbitrary::quick;

    fn of(name: &'static str, value: &str) -> Result<JobHeaders, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        JobHeaders::of(&headers)
    }

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        for text in ["8e03978e-40d5", "\"8e03978e-40d5\"", " 8e03978e-40d5 "] {
            assert_eq!(
                of("idempotency-key", text).unwrap().idempotency_key.as_deref(),
                Some("8e03978e-40d5"),
                "{text}"
            );
        }
        for text in ["", "\"\"", "\"", "a b", "a\"b", "a\\b", &"x".repeat(256)] {
            assert!(matches!(of("idempotency-key", text), Err(ApiError::Malformed(_))), "{text}");
        }
        let mut twice = HeaderMap::new();
        twice.append("idempotency-key", HeaderValue::from_static("a"));
        twice.append("idempotency-key", HeaderValue::from_static("b"));
        assert!(JobHeaders::of(&twice).is_err());
    }

    #[test]
    fn the_order_of_members_is_no_other_wish() {
        let of = |spec: &str| {
            let spec: serde_json::Value = serde_json::from_str(spec).unwrap();
            fingerprint(&[None, None, None], &spec, &JobOptions::default(), None).unwrap()
        };
        assert_eq!(of(r#"{"seed":1,"octaves":{"b":2,"a":1}}"#), of(r#"{"octaves":{"a":1,"b":2},"seed":1}"#));
        assert_ne!(of(r#"{"seed":1}"#), of(r#"{"seed":2}"#));
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("1m1s", 61),
            ("90 min", 5400),
            ("7d", 604_800),
            ("604800", 604_800),
        ] {
            let deadline = of("cancel-after", text).unwrap().deadline;
            assert_eq!(deadline, Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "s",
            "5x",
            "1m30",
            "-5s",
            "+5",
            "8d",
            "169h",
            "1500ms",
            "1 month",
            "604801",
            "99999999999999999999",
            "99999999999999999999h",
            // Sums that would not fit into a duration.
            "18446744073709551615s 1000ms",
            "584542046090y1000ms",
        ] {
            assert!(of("cancel-after", text).is_err(), "{text}");
        }
    }

    /// What the patterns in the OpenAPI document allow is read.
    #[test]
    fn the_contract_says_what_is_read() {
        let contract = serde_json::to_value(crate::http::contract::document()).unwrap();
        let parameters = contract["paths"]["/v1/jobs"]["post"]["parameters"].as_array().unwrap();
        let pattern = |name: &str| {
            let found = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
            let text = found["schema"]["pattern"].as_str().unwrap();
            assert!(text.len() < 80, "a person must be able to read {text}");
            regex::Regex::new(text).unwrap()
        };
        // Every unit with its lowest and highest numbers, and numbers beyond them.
        let mut texts: Vec<String> = ["", "0", "-1", "1.5h", "h", "5x"].map(str::to_owned).into();
        for number in ["0", "1", "9", "10", "99", "100", "999", "9999", "10000", "99999", "100000"] {
            texts.extend(
                ["", "s", "m", "h", "h0m", "h1m", "h99m", "h100m", "d"].map(|unit| format!("{number}{unit}")),
            );
        }
        let allowed = pattern("Cancel-After");
        assert!(["90", "90s", "5m", "1h30m", "99h99m"].iter().all(|text| allowed.is_match(text)));
        for text in texts.iter().filter(|text| allowed.is_match(text)) {
            assert!(of("cancel-after", text).is_ok(), "{text}");
        }
        let allowed = pattern("Idempotency-Key");
        let long = [255, 256].map(|length| "k".repeat(length));
        for text in
            ["a", "\"a\"", "a b", "\"a b\"", "\"\"", "\"", "a\"b", "a\\b", "~!#[]", &long[0], &long[1]]
        {
            assert_eq!(of("idempotency-key", text).is_ok(), allowed.is_match(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn every_way_to_write_a_duration_is_read(hours in 0_u64..168, minutes in 0_u64..60, seconds in 0_u64..60) {
            let total = (hours * 60 + minutes) * 60 + seconds;
            prop_assume!(total > 0);
            let units = [(hours, 'h'), (minutes, 'm'), (seconds, 's')];
            let short: String =
                units.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
            for text in [total.to_string(), format!("{total}s"), short] {
                let deadline = of("cancel-after", &text).unwrap().deadline;
                prop_assert_eq!(deadline, Some(Duration::from_secs(total)), "{}", text);
            }
        }

        #[test]
        fn any_duration_is_within_bounds_or_refused(
            text in "([0-9]{0,21}(ns|ms|s|m|h|d|w|M|y)? ?){0,4}|[0-9.]{1,6}[a-z]{1,7}|[ -~]{0,20}",
        ) {
            if let Ok(JobHeaders { deadline: Some(deadline), .. }) = of("cancel-after", &text) {
                prop_assert!(JobOptions::DEADLINE_SECONDS.contains(&deadline.as_secs()), "{}", text);
            }
        }

        #[test]
        fn a_key_means_the_same_with_quotes_and_without(key in "[!#-\\[\\]-~]{1,255}") {
            for text in [key.clone(), format!("\"{key}\""), format!(" {key}\t")] {
                prop_assert_eq!(of("idempotency-key", &text).unwrap().idempotency_key, Some(key.clone()));
            }
        }

        #[test]
        fn any_key_is_plain_or_refused(text in "[ -~\t]{0,300}") {
            if let Ok(JobHeaders { idempotency_key: Some(key), .. }) = of("idempotency-key", &text) {
                prop_assert!((1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
