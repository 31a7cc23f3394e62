//! Reads a JSON object field by field and remembers every mistake with its JSON pointer, where serde alone
//! would stop at the first. Requests and configuration are both read this way, so that a person can mend
//! everything in one go.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod choice;
pub mod json;

// For the macro `choices!`, which other crates expand.
#[doc(hidden)]
pub use utoipa;

use std::borrow::Cow;

use serde::de::{self, DeserializeOwned, IntoDeserializer};
use serde_json::{Map, Value};

/// One thing that is wrong with a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the value at fault.
    pub pointer: String,
    /// What was wrong and what is allowed.
    pub detail: String,
}

impl FieldError {
    /// A mistake at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Mistakes that are listed. A document with more was not written by a person, and a longer list is of no use.
pub const MOST_MISTAKES: usize = 64;

/// Bytes of a name that are looked up. Anything longer is refused before it is compared with what there is, since a
/// comparison that looks for similar names takes time in proportion to both.
pub const LONGEST_NAME: usize = 128;

/// Bytes of a client's own words that are repeated in a message.
const SHOWN: usize = 100;

/// Adds a mistake, while there is room for one.
pub fn note(errors: &mut Vec<FieldError>, error: FieldError) {
    if errors.len() < MOST_MISTAKES {
        errors.push(error);
    }
}

/// Adds mistakes, while there is room for them.
pub fn note_all(errors: &mut Vec<FieldError>, more: impl IntoIterator<Item = FieldError>) {
    more.into_iter().for_each(|error| note(errors, error));
}

/// `text` as a message repeats it: cut at 100 bytes.
pub fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(SHOWN)]).into()
}

/// JSON pointer to the member `name` of what is at `parent` (RFC 6901); a long name is cut.
pub fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", cut(name).replace('~', "~0").replace('/', "~1"))
}

/// An object being read. Fields are taken out one after another; [`Fields::finish`] reports what is left.
#[derive(Debug)]
pub struct Fields {
    pointer: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Starts reading `value`, which stands at `pointer` (empty for the whole document).
    pub fn new(pointer: &str, value: Value) -> Self {
        let mut errors = Vec::new();
        let map = match value {
            Value::Object(map) => map,
            other => {
                errors.push(FieldError::new(pointer, format!("must be an object, not {}", kind_of(&other))));
                Map::new()
            }
        };
        Self { pointer: pointer.to_owned(), map, known: Vec::new(), errors }
    }

    /// Pointer of a field of this object.
    pub fn at(&self, name: &str) -> String {
        pointer(&self.pointer, name)
    }

    /// Takes a field's raw value out; `null` counts as absent.
    pub fn raw(&mut self, name: &'static str) -> Option<Value> {
        self.known(name);
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A field's value before it is taken out; `null` counts as absent.
    pub fn peek(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Gives a field that is absent a value.
    pub fn fill(&mut self, name: &str, value: Value) {
        if self.peek(name).is_none() {
            self.map.insert(name.to_owned(), value);
        }
    }

    /// Names a field that is read elsewhere, or later. Unknown fields are told the names in the order of their first
    /// mention.
    pub fn known(&mut self, name: &'static str) {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
    }

    /// Takes a text; here as in all that follow, a value of the wrong type is noted and reads as absent.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.raw(name)? {
            Value::String(text) => Some(text),
            other => self.unfit(name, &other, "give a string"),
        }
    }

    /// Takes a name that will be looked up: a text of at most [`LONGEST_NAME`] bytes.
    pub fn name(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        if text.len() <= LONGEST_NAME {
            return Some(text);
        }
        self.error(
            name,
            format!("a name of {} bytes is too long; at most {LONGEST_NAME} are allowed", text.len()),
        );
        None
    }

    /// Takes a truth value.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.raw(name)? {
            Value::Bool(flag) => Some(flag),
            other => self.unfit(name, &other, "give true or false"),
        }
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.raw(name)?;
        let texts = serde_json::from_value(value.clone()).ok();
        texts.or_else(|| self.unfit(name, &value, "give an array of strings"))
    }

    /// Takes one of a few names: the variants of an enum without values.
    pub fn choice<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.raw(name)?;
        // What is no text is no name either, and is told the same; neither is what is too long for one.
        let text = value.as_str().filter(|text| text.len() <= LONGEST_NAME).unwrap_or_default();
        match T::deserialize(IntoDeserializer::<NoSuchName>::into_deserializer(text)) {
            Ok(choice) => Some(choice),
            Err(NoSuchName(allowed)) => self.unfit(name, &value, &format!("give one of {allowed}")),
        }
    }

    /// Takes a number and checks that it lies in `low..=high`.
    pub fn number<T: Number>(&mut self, name: &'static str, low: T, high: T) -> Option<T> {
        let value = self.raw(name)?;
        let number = read_number(&value, &low, &high);
        number.or_else(|| self.unfit(name, &value, &format!("give {} from {low} to {high}", T::KIND)))
    }

    /// Takes a value of a form of its own: `read` gives `None` for what is not `wanted`, such as `give 1 or "auto"`.
    pub fn other<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        read(&value).or_else(|| self.unfit(name, &value, wanted))
    }

    /// Takes a list of numbers in `low..=high`; the first that is none of them is noted.
    pub fn numbers<T: Number>(&mut self, name: &'static str, low: T, high: T) -> Option<Vec<T>> {
        let value = self.raw(name)?;
        let wanted = format!("give an array, each member {} from {low} to {high}", T::KIND);
        let Value::Array(list) = &value else { return self.unfit(name, &value, &wanted) };
        match list.iter().map(|member| read_number(member, &low, &high).ok_or(member)).collect() {
            Ok(numbers) => Some(numbers),
            Err(wrong) => self.unfit(name, wrong, &wanted),
        }
    }

    /// Notes a field that belongs elsewhere, and where, if it is there.
    pub fn misplaced(&mut self, name: &str, hint: &str) {
        if self.map.remove(name).is_some() {
            self.error(name, hint);
        }
    }

    /// Notes that a value is not what a field may hold.
    fn unfit<T>(&mut self, name: &str, value: &Value, wanted: &str) -> Option<T> {
        // Long values are told by their type alone, and are not written out to find out how long they are.
        let short = match value {
            Value::String(text) => text.len() <= SHOWN,
            Value::Array(members) => members.len() <= SHOWN && !members.iter().any(is_nested),
            Value::Object(members) => members.is_empty(),
            _ => true,
        };
        let shown = short.then(|| value.to_string()).filter(|text| text.len() <= SHOWN);
        let shown = shown.unwrap_or_else(|| kind_of(value).to_owned());
        self.error(name, format!("{shown} is not allowed; {wanted}"));
        None
    }

    /// Notes a mistake in a field of this object.
    pub fn error(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.at(name);
        note(&mut self.errors, FieldError::new(pointer, detail));
    }

    /// Adds mistakes found elsewhere, pointers already complete.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        note_all(&mut self.errors, errors);
    }

    /// Ends the reading: every field that was not read is unknown.
    pub fn finish(mut self) -> Vec<FieldError> {
        let room = MOST_MISTAKES.saturating_sub(self.errors.len());
        for (index, name) in self.map.keys().take(room).enumerate() {
            let mut detail = "unknown field".to_owned();
            if index == 0 {
                // Once is enough for all.
                detail += "; allowed are ";
                detail += &self.known.join(", ");
            }
            self.errors.push(FieldError::new(self.at(name), detail));
        }
        self.errors
    }
}

/// A number that a field may hold.
pub trait Number: DeserializeOwned + PartialOrd + std::fmt::Display {
    /// What it is called in messages.
    const KIND: &'static str;
}

macro_rules! numbers {
    ($kind:literal: $($number:ty),+) => {
        $(impl Number for $number {
            const KIND: &'static str = $kind;
        })+
    };
}

numbers!("a whole number": u8, i8, u32, i32, u64, usize);
numbers!("a number": f64);

/// The number, where it is one and lies in `low..=high`. JSON has one kind of number: 2.0 and 2e0 are as whole as 2.
pub fn read_number<T: Number>(value: &Value, low: &T, high: &T) -> Option<T> {
    let whole = |float: &f64| float.fract() == 0.0 && float.abs() <= EXACT;
    let value = match value.as_f64().filter(whole).filter(|_| value.is_f64()) {
        Some(float) => Value::from(float as i64),
        None => value.clone(),
    };
    serde_json::from_value::<T>(value).ok().filter(|number| low <= number && number <= high)
}

/// Up to here every whole number has a float of its own: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The text is no variant; these are, as they are told.
#[derive(Debug, thiserror::Error)]
#[error("not one of {0}")]
struct NoSuchName(String);

impl de::Error for NoSuchName {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected.join(", "))
    }
}

/// Whether a value is, or may be, long by itself.
fn is_nested(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_) | Value::String(_))
}

/// How JSON calls a value's type.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Png,
        Jpeg,
    }

    #[test]
    fn every_mistake_is_reported_with_its_pointer() {
        let mut fields = Fields::new("/spec", json!({"a": 11, "b": "x", "c/d": 1, "e": null}));
        assert_eq!(fields.number::<u32>("a", 1, 10), None);
        assert_eq!(fields.flag("b"), None);
        assert_eq!(fields.flag("e"), None);
        let errors = fields.finish();
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/a", "/spec/b", "/spec/c~1d"]);
        assert!(errors[0].detail.contains("from 1 to 10"), "{}", errors[0].detail);
        assert!(errors[2].detail.contains("allowed are a, b, e"), "{}", errors[2].detail);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_point() {
        let value =
            json!({"a": 2.0, "b": 1e2, "c": 2.5, "d": 1e300, "e": [1.0, 2, -1.0], "f": 3, "g": [3.0]});
        let mut fields = Fields::new("", value);
        assert_eq!((fields.number("a", 1, 10), fields.number("b", 1_u64, 100)), (Some(2), Some(100)));
        assert_eq!((fields.number("c", 1, 10), fields.number("d", 1_u64, u64::MAX)), (None, None));
        assert_eq!((fields.numbers("e", 0_u32, 9), fields.numbers("g", 0_u32, 9)), (None, Some(vec![3])));
        assert_eq!(fields.number("f", 0.5, 9.5), Some(3.0));
        let details: Vec<String> = fields.finish().into_iter().map(|error| error.detail).collect();
        assert_eq!(details[0], "2.5 is not allowed; give a whole number from 1 to 10");
        assert_eq!(details[2], "-1.0 is not allowed; give an array, each member a whole number from 0 to 9");
    }

    #[test]
    fn mistakes_and_names_are_bounded() {
        let members = (0..5000).map(|index| (format!("{index:0200}"), Value::from(1)));
        let errors = Fields::new("/spec", Value::Object(members.collect())).finish();
        assert_eq!(errors.len(), MOST_MISTAKES);
        let bytes: usize = errors.iter().map(|error| error.pointer.len() + error.detail.len()).sum();
        assert!(bytes < 16_000, "{bytes}");
        assert!(errors[0].detail.contains("allowed are") && errors[1].detail == "unknown field");
        let long = "ä".repeat(500_000);
        let mut fields =
            Fields::new("", json!({"layer": long, "kind": long, "count": [[long]], "flag": [long]}));
        assert_eq!(fields.name("layer"), None);
        assert_eq!(fields.choice::<Kind>("kind"), None);
        assert_eq!(fields.number("count", 1, 2), None);
        assert_eq!(fields.flag("flag"), None);
        for FieldError { detail, .. } in fields.finish() {
            assert!(detail.len() < 150, "{detail}");
        }
        assert_eq!(cut(&long).chars().count(), 51);
    }

    #[test]
    fn something_else_than_an_object_is_one_mistake() {
        let errors = Fields::new("", json!([1])).finish();
        assert_eq!(errors, [FieldError::new("", "must be an object, not an array")]);
    }
}
