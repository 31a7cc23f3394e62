//! Settings from files: where `REVERIE__SECTION__KEY_FILE` names a file, its content is the setting `section.key`.
//!
//! It is for secrets, which an orchestrator mounts as files: environment variables show in listings of processes and
//! containers, and are handed on to child processes. Each line is a member where the setting is a list.

use std::{collections::HashMap, env, fs};

use reverie_fields::{FieldError, Fields};
use serde_json::Value;

use super::ConfigError;

const PREFIX: &str = "REVERIE__";
const SUFFIX: &str = "_FILE";

/// A setting of its own, whose name ends like this too.
const NOT_ONE: &str = "REVERIE__AUTH__BOOTSTRAP_KEY_FILE";

/// The variables of this process that are settings.
pub(super) fn of_process() -> HashMap<String, String> {
    let texts = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let is_ours =
        |name: &str| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    texts.filter(|(name, _)| is_ours(name)).collect()
}

/// The texts of a setting that holds secrets: one or a list. Unlike [`Fields::texts`] it never repeats a value.
pub(super) fn texts(fields: &mut Fields, name: &'static str) -> Option<Vec<String>> {
    let texts = match fields.raw(name)? {
        Value::String(text) => Some(vec![text]),
        list => serde_json::from_value(list).ok(),
    };
    if texts.is_none() {
        fields.error(name, "give an array of strings");
    }
    texts
}

/// Replaces the names of files by what is in them.
///
/// # Errors
/// [`ConfigError::Invalid`] for each file that cannot be read, and each setting that is given twice.
pub(super) fn with_contents(
    environment: HashMap<String, String>,
) -> Result<HashMap<String, String>, ConfigError> {
    let (mut read, mut errors) = (HashMap::with_capacity(environment.len()), Vec::new());
    for (name, value) in &environment {
        let setting = name.strip_suffix(SUFFIX).filter(|_| name.starts_with(PREFIX) && name != NOT_ONE);
        let Some(setting) = setting else {
            read.insert(name.clone(), value.clone());
            continue;
        };
        let pointer = format!("/{}", setting[PREFIX.len()..].to_lowercase().replace("__", "/"));
        if environment.contains_key(setting) {
            let detail = format!("is given by {setting} and by {name}; give one of them");
            errors.push(FieldError::new(pointer, detail));
            continue;
        }
        match fs::read_to_string(value) {
            Ok(text) => {
                let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                read.insert(setting.to_owned(), lines.join(","));
            }
            Err(error) => {
                errors.push(FieldError::new(
                    pointer,
                    format!("the file {value} ({name}) cannot be read: {error}"),
                ));
            }
        }
    }
    if errors.is_empty() { Ok(read) } else { Err(ConfigError::Invalid(errors)) }
}
