//! Reads JSON text and refuses objects that name a member twice.
//!
//! `serde_json` keeps the last of two members with the same name, other readers keep the first (RFC 8259, section 4):
//! a client that sends `{"seed": 1, "seed": 2}` would get a dream that it did not mean. Everything else is read as
//! `serde_json` reads it, in one pass.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Characters of a repeated name that the message shows.
const SHOWN: usize = 100;

/// Reads one JSON document. A byte order mark in front of it is the caller's concern.
///
/// # Errors
/// Text that is not JSON, and a member that is given twice, which the message names; both with line and column.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).map(|Unambiguous(value)| value)
}

/// A value in which every object names each of its members once.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

/// Builds a [`Value`] as `serde_json` does.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(value)) = members.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                // Before its value is read, so that the position is that of the name.
                return Err(A::Error::custom(format_args!("the member {} is given twice", quoted(&name))));
            }
            let Unambiguous(value) = members.next_value()?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// A name as JSON writes it, cut where it is long.
fn quoted(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", Value::from(&name[..end])),
        None => Value::from(name).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary::{json, quick};

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn repeated_members_are_refused_by_name_at_any_depth() {
        for (text, name) in [
            (r#"{"seed": 1, "seed": 2}"#, "\"seed\""),
            (r#"{"a": [{"b": {"c": 1, "d": 2, "c": 1}}]}"#, "\"c\""),
            // The same name, written in two ways.
            (r#"{"layer": 1, "\u006cayer": 1}"#, "\"layer\""),
            (r#"{"": 1, "": 2}"#, "\"\""),
        ] {
            let told = refusal(text);
            assert!(told.starts_with(&format!("the member {name} is given twice at line 1")), "{told}");
        }
        // Different objects may use the same names.
        assert!(parse(br#"[{"a": 1}, {"a": {"a": 2}}]"#).is_ok());
        let long = format!(r#"{{"{0}": 1, "{0}": 2}}"#, "ä".repeat(5000));
        assert!(refusal(&long).len() < 300);
    }

    #[test]
    fn what_is_not_json_is_refused_and_deep_nesting_too() {
        for text in ["", "{", "{a: 1}", "[1,]", "1 2", "\"\\ud800\"", "NaN"] {
            refusal(text);
        }
        refusal(&"[".repeat(1_000_000));
        refusal(&r#"{"a":"#.repeat(1_000_000));
    }

    /// A quadratic search for repeated names would take minutes.
    #[test]
    fn many_members_take_no_longer_each_than_few() {
        let members: Vec<String> = (0..300_000).map(|index| format!("\"member {index}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        assert_eq!(parse(text.as_bytes()).unwrap().as_object().map(Map::len), Some(members.len()));
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn everything_else_is_read_as_serde_reads_it(value in json()) {
            let text = value.to_string();
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
        }

        #[test]
        fn arbitrary_text_is_read_alike_or_refused(text in "[\\[\\]{}\":,0-9.eE+ a-c\\\\u-]{0,40}") {
            match (parse(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
                (Err(ours), Ok(_)) => prop_assert!(ours.to_string().contains("is given twice"), "{}", ours),
                (ours, Err(_)) => prop_assert!(ours.is_err()),
            }
        }
    }
}
