//! The fields of a submission beside its files and its spec, from a form or from JSON.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::deliveries::WebhookFields;
use crate::jobs::JobOptions;
use reverie_fields::{FieldError, Fields};

/// Their names in a form; a JSON body has the same members.
pub(super) const NAMES: [&str; 4] = ["priority", "deadline_seconds", "webhook", "webhook_events"];

/// Longest text of one of them in a form, in bytes.
pub(super) const LONGEST: usize = 4096;

/// Reads them; records errors in `fields`.
pub(super) fn read(fields: &mut Fields) -> (JobOptions, WebhookFields) {
    let (priorities, deadlines) = (JobOptions::PRIORITIES, JobOptions::DEADLINE_SECONDS);
    let priority = fields.number("priority", *priorities.start(), *priorities.end());
    let deadline = fields.number("deadline_seconds", *deadlines.start(), *deadlines.end());
    let options =
        JobOptions { priority: priority.unwrap_or_default(), deadline: deadline.map(Duration::from_secs) };
    (options, WebhookFields::read(fields))
}

/// Reads them from the parts of a form, in the order of [`NAMES`]. Returns every error too.
pub(super) fn read_form(parts: [Option<Bytes>; NAMES.len()]) -> (JobOptions, WebhookFields, Vec<FieldError>) {
    let mut map = Map::new();
    for (name, part) in NAMES.into_iter().zip(parts) {
        let Some(text) = part else { continue };
        let value = match name {
            "webhook" => String::from_utf8_lossy(&text).into(),
            "webhook_events" => list(&text),
            _ => number_or_text(&text),
        };
        map.insert(name.to_owned(), value);
    }
    let mut fields = Fields::new("", Value::Object(map));
    let (options, webhook) = read(&mut fields);
    (options, webhook, fields.finish())
}

/// Forms have no numbers, only text that may look like one.
fn number_or_text(bytes: &[u8]) -> Value {
    let number = serde_json::from_slice(bytes).ok().filter(Value::is_number);
    number.unwrap_or_else(|| String::from_utf8_lossy(bytes).into())
}

/// Nor have they lists: a JSON array, or texts with commas between them.
fn list(bytes: &[u8]) -> Value {
    let array = serde_json::from_slice(bytes).ok().filter(Value::is_array);
    array.unwrap_or_else(|| {
        String::from_utf8_lossy(bytes).split(',').map(|text| Value::from(text.trim())).collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_says_the_same_as_json() {
        let body = json!({
            "priority": -3, "deadline_seconds": 90, "webhook": "https://example.org/7",
            "webhook_events": ["failed", "expired"],
        });
        let mut fields = Fields::new("", body);
        let (options, webhook) = read(&mut fields);
        assert!(fields.finish().is_empty());
        assert_eq!(options, JobOptions { priority: -3, deadline: Some(Duration::from_secs(90)) });
        for events in ["failed, expired", "[\"failed\", \"expired\"]"] {
            let texts = ["-3", "90", "https://example.org/7", events];
            let parts = texts.map(|text| Some(Bytes::from(text.to_owned())));
            let (from_form, hook, errors) = read_form(parts);
            assert_eq!((from_form, hook), (options, webhook.clone()));
            assert!(errors.is_empty(), "{errors:?}");
        }
        let (_, nothing, errors) = read_form([None, None, None, None]);
        assert_eq!((nothing, errors), (WebhookFields::default(), Vec::new()));
    }
}
