//! Settings of the version before: renamed ones work for one version, with a warning, and one is gone.

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

/// Replaces old names by new ones, with a warning for each, and takes out what is gone.
///
/// # Errors
/// [`ConfigError::Invalid`] if a setting is given under both names, or was given a meaning that is gone.
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
    take_absolute_links(&mut value, &mut warnings, &mut errors);
    if errors.is_empty() { Ok((value, warnings)) } else { Err(ConfigError::Invalid(errors)) }
}

/// `server.absolute_links` made links from what requests said; `server.public_url` says it instead. Without
/// absolute links nothing changes, so files that spell out the old default still work.
fn take_absolute_links(value: &mut Value, warnings: &mut Vec<String>, errors: &mut Vec<FieldError>) {
    let server = value.get_mut("server").and_then(Value::as_object_mut);
    match server.and_then(|server| server.remove("absolute_links")) {
        None => {}
        Some(Value::Bool(false)) => {
            warnings.push(
                "server.absolute_links is gone; links are paths unless server.public_url is set".into(),
            );
        }
        Some(_) => errors.push(FieldError::new(
            "/server/absolute_links",
            "was replaced by server.public_url: set that to the URL that clients use, such as \
             https://dreams.example.org",
        )),
    }
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

    #[test]
    fn absolute_links_need_a_public_url() {
        let (value, warnings) = with_new_names(json!({ "server": { "absolute_links": false } })).unwrap();
        assert_eq!(value, json!({ "server": {} }));
        assert!(warnings.len() == 1 && warnings[0].contains("server.public_url"), "{warnings:?}");
        let error = with_new_names(json!({ "server": { "absolute_links": true } })).unwrap_err().to_string();
        assert!(error.contains("server.absolute_links: was replaced by server.public_url"), "{error}");
    }
}
