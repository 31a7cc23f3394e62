//! The contract as the page at `/docs` has it.
//!
//! That page fills every control of a form with an example, or with what it makes up from the schema: the smallest number, the first
//! choice. Sent like that, a photo is refused, or expires after a second. So here the optional controls are empty, and the spec
//! is one that suits any photo. `openapi.yaml`, which other programs read, stays as it is.

use serde_json::{Value, json};

/// Where the page finds it.
pub const URL: &str = "/docs/openapi.json";

/// The document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(super::document()).unwrap_or_default();
    for path in ["/v1/jobs", "/v1/dry-run"] {
        let operation = &mut document["paths"][path]["post"];
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            parameter.as_object_mut().map(|parameter| parameter.remove("example"));
        }
        let form = &mut operation["requestBody"]["content"]["multipart/form-data"];
        form.as_object_mut().map(|form| form.remove("example"));
    }
    let fields = &mut document["components"]["schemas"]["SubmitForm"]["properties"];
    for (name, field) in fields.as_object_mut().into_iter().flatten() {
        let description = field["description"].take();
        *field = match name.as_str() {
            "image" | "mask" | "guide" => json!({ "type": "string", "format": "binary" }),
            "spec" => json!({ "type": "object", "example": { "octaves": "auto", "iterations": "auto" } }),
            _ => json!({ "type": "string", "example": "" }),
        };
        field["description"] = description;
    }
    document
}
