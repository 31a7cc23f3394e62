//! What a parameter of a dream is: the types of the table, and the macro that makes struct, table and reader out of
//! one definition. The contract, the command line and the README are made from the table, so a parameter is written
//! once, in `dream_spec.rs` (or `objective.rs`).

use reverie_fields::choice::NamedValue;
use serde_json::Value;

use super::{objective::MAX_OBJECTIVES, schedule::MAX_CHANGES};

/// One parameter, as the contract, the command line and the README describe it.
#[derive(Debug)]
pub struct Parameter {
    /// Name of the member in JSON.
    pub name: &'static str,
    /// What it is for, in one sentence or two: its doc comment.
    pub about: &'static str,
    /// Which values it may have.
    pub shape: Shape,
    /// Its value where a request has none, in words; `None` where nothing stands for it.
    pub default: Option<String>,
    /// Its option on the command line.
    pub option: Option<CommandOption>,
}

impl Parameter {
    /// Which values are allowed, in words (Markdown); `None` where the type says all.
    pub fn allowed(&self) -> Option<String> {
        match self.shape {
            Shape::Flag | Shape::Name => None,
            Shape::Whole(low, high) => Some(format!("{low} to {high}")),
            Shape::Number(low, high) => Some(format!("{low} to {high}")),
            Shape::Count(low, high) => Some(format!("{low} to {high}, or `auto`")),
            Shape::Class(low, high) => Some(format!("{low} to {high}, or a name")),
            Shape::Share => Some("0 to 1, `true` or `false`".to_owned()),
            Shape::Wholes(low, high) => Some(format!("a list, each {low} to {high}")),
            Shape::Weights(last, most) => {
                Some(format!("an object of numbers -{most} to {most}, named 0 to {last}"))
            }
            Shape::Choice { values, .. } => {
                let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.name)).collect();
                let (last, others) = names.split_last()?;
                Some(format!("{} or {last}", others.join(", ")))
            }
            Shape::Color => Some("`#rrggbb`".to_owned()),
            Shape::Object { members, .. } => {
                let of = |member: &Parameter| {
                    let allowed = member.allowed().unwrap_or_default();
                    let default = member.default.as_ref().map(|default| format!(", by default {default}"));
                    format!("`{}`: {allowed}{}", member.name, default.unwrap_or_default())
                };
                Some(format!("an object of {}", members().iter().map(of).collect::<Vec<_>>().join("; ")))
            }
            Shape::Objectives => Some(format!("a list of 1 to {MAX_OBJECTIVES} objectives")),
            Shape::Schedule => Some(format!("a list of at most {MAX_CHANGES} changes")),
        }
    }
}

/// Which values a parameter may have.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// True or false.
    Flag,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A whole number from the first to the second, or `auto`.
    Count(u64, u64),
    /// A whole number from the first to the second, or the name of a class.
    Class(u64, u64),
    /// A number from 0 to 1, or true or false for 1 and 0.
    Share,
    /// A list of whole numbers, each from the first to the second.
    Wholes(u64, u64),
    /// An object of numbers from minus the second to the second, whose names are whole numbers up to the first.
    Weights(u64, f64),
    /// One of a few names.
    Choice {
        /// Name of the enum.
        name: &'static str,
        /// Doc comment of the enum.
        about: &'static str,
        /// The names.
        values: &'static [NamedValue],
    },
    /// The name of something.
    Name,
    /// A colour, see [`super::Color`].
    Color,
    /// An object with parameters of its own.
    Object {
        /// Name of the object's type.
        name: &'static str,
        /// The parameters.
        members: fn() -> &'static [Parameter],
    },
    /// A list of objectives, see [`super::WrittenObjective`].
    Objectives,
    /// A list of changes, see [`super::Change`].
    Schedule,
}

/// How the command line sets a parameter.
#[derive(Clone, Copy, Debug)]
pub struct CommandOption {
    /// Name without the dashes, where it is not that of the parameter.
    pub name: Option<&'static str>,
    /// What follows the name.
    pub form: OptionForm,
    /// Help text, where the parameter's doc comment does not fit.
    pub help: Option<&'static str>,
}

/// What follows the name of an option. The words are those of the help text.
#[derive(Clone, Copy, Debug)]
pub enum OptionForm {
    /// A value.
    Takes(&'static str),
    /// A value; the option may be repeated, and the values make a list.
    Repeats(&'static str),
    /// One of the parameter's values, or a formula of whole objectives: see [`parse_formula`](super::parse_formula).
    Formula(&'static str),
    /// `WIDTHxHEIGHT`, for an object of the two.
    Size(&'static str),
    /// Nothing: the option alone means true.
    On,
    /// Nothing: the option is called `no-…` and means false.
    Off,
    /// Nothing for true, or `=true` or `=false`.
    OnOff,
    /// Nothing for all of it, or `=` and a share.
    OnShare,
}

impl CommandOption {
    const fn of(form: OptionForm) -> Self {
        Self { name: None, form, help: None }
    }

    /// The same with another name.
    pub(super) const fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// The same with a help text of its own.
    pub(super) const fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }

    /// The name of this option of `parameter`, without the dashes in front.
    pub fn name_of(&self, parameter: &Parameter) -> String {
        let name = self.name.map_or_else(|| parameter.name.replace('_', "-"), str::to_owned);
        if matches!(self.form, OptionForm::Off) { format!("no-{name}") } else { name }
    }
}

/// [`OptionForm::Takes`].
pub(super) const fn takes(value: &'static str) -> CommandOption {
    CommandOption::of(OptionForm::Takes(value))
}

/// [`OptionForm::Repeats`].
pub(super) const fn repeats(value: &'static str) -> CommandOption {
    CommandOption::of(OptionForm::Repeats(value))
}

/// [`OptionForm::Formula`].
pub(super) const fn formula(value: &'static str) -> CommandOption {
    CommandOption::of(OptionForm::Formula(value))
}

/// [`OptionForm::Size`].
pub(super) const fn size() -> CommandOption {
    CommandOption::of(OptionForm::Size("WxH"))
}

/// [`OptionForm::On`].
pub(super) const fn on() -> CommandOption {
    CommandOption::of(OptionForm::On)
}

/// [`OptionForm::Off`]; the doc comment says what is switched off, so `help` says it the other way round.
pub(super) const fn off(help: &'static str) -> CommandOption {
    CommandOption::of(OptionForm::Off).help(help)
}

/// [`OptionForm::OnOff`].
pub(super) const fn on_off() -> CommandOption {
    CommandOption::of(OptionForm::OnOff)
}

/// [`OptionForm::OnShare`].
pub(super) const fn on_share() -> CommandOption {
    CommandOption::of(OptionForm::OnShare)
}

/// The defaults in words, one for each parameter: `samples` are the values of a request that says nothing, under each
/// name of a set of defaults, the usual set first: `4; naive: 1; multiscale, lapnorm: 3`.
pub(super) fn defaults_in_words(samples: &[(&str, Vec<Value>)]) -> Vec<Option<String>> {
    let Some(((_, usual), others)) = samples.split_first() else { return Vec::new() };
    let of_one = |(index, usual): (usize, &Value)| {
        let mut text = in_words(usual)?;
        let mut others: Vec<_> = others.iter().map(|(name, values)| (*name, values.get(index))).collect();
        // The set's own name is none of its defaults.
        others.retain(|(name, value)| *value != Some(usual) && *value != Some(&Value::from(*name)));
        while let Some(&(_, first)) = others.first() {
            let (same, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, value)| *value == first);
            let names: Vec<&str> = same.into_iter().map(|(name, _)| name).collect();
            text += &format!(
                "; {}: {}",
                names.join(", "),
                first.and_then(in_words).unwrap_or_else(|| "none".to_owned())
            );
            others = rest;
        }
        Some(text)
    };
    usual.iter().enumerate().map(of_one).collect()
}

/// A value as a text; `None` for what says nothing.
fn in_words(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) | Value::Array(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| number.to_string()),
        other => Some(other.to_string()),
    }
}

/// Defines a struct of parameters, each once: doc comment, name, type, then
///
/// - `read`: how a request's value is read and checked, one of `kind.rs`;
/// - `default`: the value where there is none. It may name the parameters above, which are read already; or
/// - `settle`: a closure from what was read, or not, to the value, where that takes more than a default;
/// - `option`: how the command line sets it; none where it cannot.
///
/// Made of it: the struct, `parameters()` (the table) and `read(…)`, whose arguments the head of the definition names.
/// `samples()`, written by hand, gives the values of requests that say nothing, to describe the defaults with.
macro_rules! parameters {
    // The text of a doc comment; nothing for any other attribute.
    (@doc doc = $text:literal) => { $text };
    (@doc $($other:tt)*) => { "" };
    (
        $(#[$($attribute:tt)+])*
        $visibility:vis struct $struct:ident, read from ($fields:ident $(, $argument:ident: $argument_type:ty)*) {
            $(
                $(#[$($note:tt)+])*
                $name:ident: $type:ty {
                    read: $kind:expr,
                    $(default: $default:expr,)?
                    $(settle: $settle:expr,)?
                    $(option: $option:expr,)?
                }
            )+
        }
    ) => {
        $(#[$($attribute)+])*
        $visibility struct $struct {
            $( $(#[$($note)+])* pub $name: $type, )+
        }

        impl $struct {
            /// The table of its parameters, in the order of the fields.
            pub fn parameters() -> &'static [Parameter] {
                static TABLE: std::sync::LazyLock<Vec<Parameter>> = std::sync::LazyLock::new(|| {
                    let samples = $struct::samples();
                    let samples: Vec<_> = samples.iter().map(|(name, one)| (*name, one.values())).collect();
                    let mut defaults = defaults_in_words(&samples).into_iter();
                    vec![$(
                        Parameter {
                            name: stringify!($name),
                            about: concat!($(parameters!(@doc $($note)+)),*).trim_ascii(),
                            shape: {
                                let kind = $kind;
                                // Where nothing else says so, the field has the type of the numbers.
                                $( let _ = stringify!($default); let kind = of_type::<$type, _>(kind); )?
                                kind.shape()
                            },
                            default: defaults.next().flatten(),
                            option: [$( Some($option), )? None][0],
                        },
                    )+]
                });
                &TABLE
            }

            /// Its values as JSON, in the order of the table.
            fn values(&self) -> Vec<serde_json::Value> {
                vec![$( serde_json::to_value(&self.$name).unwrap_or_default() ),+]
            }

            /// Reads a request; mistakes are noted in the fields.
            pub(super) fn read($fields: &mut Fields $(, $argument: $argument_type)*) -> Self {
                $(
                    let written = $kind.read($fields, stringify!($name));
                    $( let $name: $type = written.unwrap_or($default); )?
                    $( let $name: $type = settle(written, $settle); )?
                )+
                Self { $($name),+ }
            }
        }
    };
}
pub(super) use parameters;

/// `settle(written)`; tells the compiler the closure's type.
pub(super) fn settle<W, T>(written: Option<W>, settle: impl FnOnce(Option<W>) -> T) -> T {
    settle(written)
}

/// `kind`, whose values are of type `T`.
pub(super) fn of_type<T, K: super::kind::Kind<Value = T>>(kind: K) -> K {
    kind
}
