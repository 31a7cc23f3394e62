//! Reads the parameters of a query as fields, so that their mistakes are told as those of a JSON body are.

use serde_json::{Map, Value};

use reverie_fields::{FieldError, Fields, note, pointer};

/// The parameters as fields, with values as `value` reads them. One that is given twice is a mistake.
pub(super) fn fields(query: &str, value: impl Fn(&str) -> Value) -> Fields {
    let (mut map, mut errors) = (Map::new(), Vec::new());
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        if map.insert(name.to_string(), value(&text)).is_some() {
            note(&mut errors, FieldError::new(pointer("", &name), "was given more than once"));
        }
    }
    let mut fields = Fields::new("", Value::Object(map));
    fields.extend(errors);
    fields
}
