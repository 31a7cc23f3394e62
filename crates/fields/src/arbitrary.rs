//! For property tests: JSON of any shape, and how such tests run.

use proptest::{
    collection::{hash_map, vec},
    prelude::*,
    test_runner::Config,
};
use serde_json::Value;

/// The default number of cases. No files: a failure that is found becomes a plain test.
pub fn quick() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

/// A value without members: numbers of every size, texts in every script.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2.0..200.0).prop_map(|number: f64| Value::from(number.round())),
        ".{0,12}".prop_map(Value::from),
    ]
}

/// Any JSON, a few levels deep.
pub fn json() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            hash_map(".{0,8}", inner, 0..6).prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}
