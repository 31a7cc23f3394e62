//! Renamed settings. The old name works for one version, with a warning.

use reverie_fields::FieldError;
use serde_json::Value;

use super::ConfigError;

/// Section, old name, new name.
const RENAMED: [(&str, &str, &str); 4] = [
    ("server", "idle_seconds", "keep_alive_seconds"),
    ("server", "stall_seconds", "write_timeout_seconds"),
    ("storage", "patience_seconds", "connect_timeout_seconds"),
    ("worker", "together", "dynamic_batching"),
];

/// Replaces old names by new ones, with a warning for each.
///
/// # Errors
/// [`ConfigError::Invalid`] if a setting is given under both names.
pub(super) fn with_new_names(mut value: Value) -> Result<(Value, Vec<String>), ConfigError> {
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    for (section, old, new) in RENAMED {
        let Some(settings) = value.get_mut(section).and_then(Value::as_object_mut) else { continue };
        let Some(given) = settings.remove(old) else { continue };
        if settings.contains_key(new) {
            let detail = format!("is the old name of {section}.{new}, which is given too; remove this one");
            errors.push(FieldError::new(format!("/{section}/{old}"), detail));
            continue;
        }
        settings.insert(new.to_owned(), given);
        warnings.push(format!(
            "{section}.{old} is called {section}.{new} now; the old name works in this version only"
        ));
    }
    if errors.is_empty() { Ok((value, warnings)) } else { Err(ConfigError::Invalid(errors)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_names_work_with_a_warning_and_not_beside_new_ones() {
        let old = json!({ "server": { "idle_seconds": 9 }, "worker": { "together": true, "count": 2 } });
        let (value, warnings) = with_new_names(old).unwrap();
        let new = json!({ "server": { "keep_alive_seconds": 9 }, "worker": { "dynamic_batching": true, "count": 2 } });
        assert_eq!(value, new);
        assert!(warnings.len() == 2 && warnings[0].contains("server.keep_alive_seconds"), "{warnings:?}");
        let both = json!({ "storage": { "patience_seconds": 1, "connect_timeout_seconds": 2 } });
        let error = with_new_names(both).unwrap_err().to_string();
        assert!(error.contains("storage.patience_seconds: is the old name"), "{error}");
    }
}
