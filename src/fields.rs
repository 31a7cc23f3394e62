//! Reads a JSON object field by field and remembers every mistake with its JSON pointer, where serde alone
//! would stop at the first. Requests and configuration are both read this way, so that a person can mend
//! everything in one go.

use serde::de::DeserializeOwned;
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
        format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"))
    }

    /// Takes a field's raw value out; `null` counts as absent.
    pub fn raw(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field of any deserialisable type; a value of the wrong type is noted and reads as absent.
    pub fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.raw(name)?;
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(name, error.to_string());
                None
            }
        }
    }

    /// Takes a number and checks that it lies in `low..=high`.
    pub fn number<T>(&mut self, name: &'static str, low: T, high: T) -> Option<T>
    where
        T: DeserializeOwned + PartialOrd + std::fmt::Display,
    {
        let value: Value = self.raw(name)?;
        match serde_json::from_value::<T>(value.clone()) {
            Ok(number) if low <= number && number <= high => Some(number),
            _ => {
                self.error(name, format!("{value} is not allowed; give a number from {low} to {high}"));
                None
            }
        }
    }

    /// Notes a mistake in a field of this object.
    pub fn error(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.at(name);
        self.errors.push(FieldError::new(pointer, detail));
    }

    /// Adds mistakes found elsewhere, pointers already complete.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// Ends the reading: every field that nobody took is unknown.
    pub fn finish(mut self) -> Vec<FieldError> {
        let unknown: Vec<String> = self.map.keys().cloned().collect();
        for name in unknown {
            let detail = format!("unknown field; allowed are {}", self.known.join(", "));
            self.error(&name, detail);
        }
        self.errors
    }
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

    #[test]
    fn every_mistake_is_reported_with_its_pointer() {
        let mut fields = Fields::new("/spec", json!({"a": 11, "b": "x", "c/d": 1, "e": null}));
        assert_eq!(fields.number::<u32>("a", 1, 10), None);
        assert_eq!(fields.take::<bool>("b"), None);
        assert_eq!(fields.take::<bool>("e"), None);
        let errors = fields.finish();
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/a", "/spec/b", "/spec/c~1d"]);
        assert!(errors[0].detail.contains("from 1 to 10"), "{}", errors[0].detail);
        assert!(errors[2].detail.contains("allowed are a, b, e"), "{}", errors[2].detail);
    }

    #[test]
    fn something_else_than_an_object_is_one_mistake() {
        let errors = Fields::new("", json!([1])).finish();
        assert_eq!(errors, [FieldError::new("", "must be an object, not an array")]);
    }
}
