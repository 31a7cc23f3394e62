//! The dream spec as options, made from the tables of parameters: options become members of a spec, and errors of the
//! spec become errors of the options.

use std::ffi::OsStr;

use clap::{
    Arg, ArgAction, ArgMatches, Command, FromArgMatches, ValueHint,
    builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser},
    error::ErrorKind,
    value_parser,
};
use serde_json::{Map, Value, json};

use super::help;
use reverie_dream::spec::{
    CommandOption, DreamSpec, Format, FormulaTerm, OptionForm, Parameter, Shape, WrittenObjective,
    parse_formula,
};
use reverie_fields::{FieldError, choice::NamedValue};

/// The options of the dream spec that were given; the preset and the model stand for the others.
#[derive(Clone, Debug, Default)]
pub(super) struct DreamArgs {
    /// Members of the spec, but for the objectives.
    fields: Map<String, Value>,
    /// Members of the one objective that options can say.
    objective: Map<String, Value>,
    /// The objectives of a formula, which stands for that one.
    formula: Vec<FormulaTerm>,
}

/// The value of `--objective`.
#[derive(Clone, Debug)]
enum Measured {
    /// A kind of objective; other options say the rest.
    Kind(String),
    /// Whole objectives.
    Formula(Vec<FormulaTerm>),
}

/// Where the value of an option belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A member of the spec.
    Field(&'static str),
    /// A member of an object of the spec.
    Member(&'static str, &'static str),
    /// A member of the objective.
    Objective(&'static str),
}

/// Every option of the spec, with its parameter and its place.
fn options() -> impl Iterator<Item = (Place, &'static Parameter, &'static CommandOption)> + Clone {
    let placed = DreamSpec::parameters().iter().flat_map(|parameter| {
        let (members, place): (_, fn(_, _) -> Place) = match parameter.shape {
            Shape::Object { members, .. } => (members(), Place::Member),
            Shape::Objectives => (WrittenObjective::parameters(), |_, name| Place::Objective(name)),
            _ => (&[][..], Place::Member),
        };
        let members = members.iter().map(move |member| (place(parameter.name, member.name), member));
        std::iter::once((Place::Field(parameter.name), parameter)).chain(members)
    });
    placed.filter_map(|(place, parameter)| Some((place, parameter, parameter.option.as_ref()?)))
}

/// The option as clap knows it.
fn argument(parameter: &'static Parameter, option: &CommandOption) -> Arg {
    let name = option.name_of(parameter);
    let help = help(parameter, option);
    let argument = Arg::new(name.clone()).long(name).help(first_clause(&help).to_owned()).long_help(help);
    match option.form {
        OptionForm::Takes(value) => {
            let argument = argument.value_name(value);
            match parameter.shape {
                Shape::Whole(..) => argument.value_parser(value_parser!(u64)),
                Shape::Count(..) => argument.value_parser(parse_count),
                Shape::Class(..) => argument.value_parser(parse_class),
                Shape::Schedule => argument.value_parser(parse_json),
                // So that a negative number is refused with the range, and not as an unknown option.
                Shape::Number(..) => argument.value_parser(parse_number).allow_negative_numbers(true),
                Shape::Choice { values, .. } => {
                    argument.value_parser(Suggested(values)).hide_possible_values(true)
                }
                _ if value.contains("FILE") => {
                    argument.value_parser(value_parser!(String)).value_hint(ValueHint::AnyPath)
                }
                _ => argument.value_parser(value_parser!(String)),
            }
        }
        OptionForm::Repeats(value) => {
            argument.value_name(value).value_parser(value_parser!(u64)).action(ArgAction::Append)
        }
        // A formula may begin with a minus.
        OptionForm::Formula(value) => {
            let parse = move |text: &str| parse_measured(text, parameter);
            argument.value_name(value).value_parser(parse).allow_hyphen_values(true)
        }
        OptionForm::Size(value) => argument.value_name(value).value_parser(parse_size),
        OptionForm::On | OptionForm::Off => argument.action(ArgAction::SetTrue),
        OptionForm::OnOff => {
            let argument = argument.value_name("true|false").value_parser(value_parser!(bool));
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        OptionForm::OnShare => {
            let argument = argument.value_name("SHARE").value_parser(parse_share);
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        }
    }
}

/// What it is for, what is allowed, and what stands for it: `Number of scales (1 to 16) [default: 4; naive: 1]`.
fn help(parameter: &Parameter, option: &CommandOption) -> String {
    if let Some(help) = option.help {
        return help.to_owned();
    }
    let mut text = parameter.about.trim_end_matches('.').replace('`', "");
    if let Some(allowed) = parameter.allowed() {
        text += &format!(" ({})", allowed.replace('`', ""));
    }
    if let Some(default) = parameter.default.as_ref().filter(|_| matches!(option.form, OptionForm::Takes(_)))
    {
        text += &format!(" [default: {default}]");
    }
    text
}

/// A help text up to its first full stop, semicolon or bracket: the line of `-h`.
fn first_clause(help: &str) -> &str {
    let ends = [". ", "; ", " (", " ["].into_iter().filter_map(|end| help.find(end));
    ends.min().and_then(|end| help.get(..end)).unwrap_or(help)
}

/// Any text; shells complete these. The rules of the spec decide, so that all mistakes are told together.
#[derive(Clone)]
struct Suggested(&'static [NamedValue]);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|value| PossibleValue::new(value.name))))
    }
}

/// The value of an option, if it was given.
fn value_of(matches: &ArgMatches, parameter: &Parameter, option: &CommandOption) -> Option<Value> {
    let name = option.name_of(parameter);
    let name = name.as_str();
    match (option.form, parameter.shape) {
        (OptionForm::Takes(_), Shape::Whole(..)) => matches.get_one::<u64>(name).map(|value| json!(value)),
        (OptionForm::Takes(_), Shape::Number(..)) => matches.get_one::<f64>(name).map(|value| json!(value)),
        (OptionForm::Takes(_), Shape::Count(..) | Shape::Class(..) | Shape::Schedule) => {
            matches.get_one::<Value>(name).cloned()
        }
        (OptionForm::OnShare, _) => matches.get_one::<f64>(name).map(|value| json!(value)),
        (OptionForm::Takes(_), _) => matches.get_one::<String>(name).map(|value| json!(value)),
        (OptionForm::Repeats(_), _) => {
            matches.get_many::<u64>(name).map(|values| json!(values.collect::<Vec<_>>()))
        }
        // It may be more than a value: `update_from_arg_matches` reads it.
        (OptionForm::Formula(_), _) => None,
        (OptionForm::Size(_), _) => {
            let size = matches.get_one::<(u32, u32)>(name);
            size.map(|(width, height)| json!({ "width": width, "height": height }))
        }
        (OptionForm::On, _) => matches.get_flag(name).then_some(json!(true)),
        (OptionForm::Off, _) => matches.get_flag(name).then_some(json!(false)),
        (OptionForm::OnOff, _) => matches.get_one::<bool>(name).map(|value| json!(value)),
    }
}

impl clap::Args for DreamArgs {
    fn augment_args(command: Command) -> Command {
        let mut all: Vec<Arg> = options().map(|(_, parameter, option)| argument(parameter, option)).collect();
        // The help has its sections in the order in which their first options come.
        all.sort_by_key(help::position);
        command.args(all)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DreamArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (place, parameter, option) in options() {
            if let (Place::Objective(name), OptionForm::Formula(_)) = (place, option.form) {
                match matches.get_one::<Measured>(&option.name_of(parameter)) {
                    Some(Measured::Kind(kind)) => drop(self.objective.insert(name.into(), json!(kind))),
                    Some(Measured::Formula(terms)) => self.formula.clone_from(terms),
                    None => {}
                }
                continue;
            }
            let Some(value) = value_of(matches, parameter, option) else { continue };
            match place {
                Place::Field(name) => self.fields.insert(name.into(), value),
                Place::Member(field, name) => {
                    let object = self.fields.entry(field).or_insert_with(|| json!({}));
                    object.as_object_mut().and_then(|object| object.insert(name.into(), value))
                }
                Place::Objective(name) => self.objective.insert(name.into(), value),
            };
        }
        if !self.formula.is_empty() && !self.objective.is_empty() {
            let detail = "--objective is a sum that names its layers, channels and classes itself: leave out --layer, --channel \
                          and --class, or name one of the kinds with --objective\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, detail));
        }
        Ok(())
    }
}

impl DreamArgs {
    /// The model that the options name, by its id or as a file.
    pub(super) fn model(&self) -> Option<&str> {
        self.fields.get("model")?.as_str()
    }

    /// Whether the options ask for a start from noise.
    pub(super) fn starts_from_noise(&self) -> bool {
        self.fields.contains_key("noise")
    }

    /// Writes the given options over the fields of a spec; returns the names of those fields. Without a kind of
    /// objective, the rules of the spec choose one.
    pub(super) fn overlay(&self, fields: &mut Map<String, Value>) -> Vec<String> {
        let mut given = self.fields.clone();
        if !self.objective.is_empty() {
            given.insert("objectives".into(), json!([self.objective]));
        }
        if !self.formula.is_empty() {
            let objectives = self.formula.iter().map(|term| Value::from(term.objective.clone()));
            given.insert("objectives".into(), objectives.collect());
        }
        let names = given.keys().cloned().collect();
        for (name, value) in given {
            match (fields.get_mut(&name), value) {
                // Members that no option names stay, but a size is one value.
                (Some(Value::Object(before)), Value::Object(members)) if has_options(&name) => {
                    before.extend(members);
                }
                (_, value) => drop(fields.insert(name, value)),
            }
        }
        names
    }

    /// The option that sets the spec's field at `pointer`.
    fn option(&self, pointer: &str) -> String {
        let (field, last) = (pointer.split('/').nth(1).unwrap_or_default(), pointer.rsplit('/').next());
        let within = |name: Option<&str>| {
            options().find(|(place, ..)| matches!(place, Place::Objective(member) if Some(*member) == name))
        };
        // Without an explicit kind, it follows from the class.
        let implied = self.objective.contains_key("class") && !self.objective.contains_key("kind");
        let found = match field {
            "objectives" => within(last.filter(|last| *last != "kind"))
                .or_else(|| within(Some(if implied { "class" } else { "kind" }))),
            _ => {
                let of_field = |place: &Place| matches!(place, Place::Field(name) | Place::Member(name, _) if *name == field);
                let member = |place: &Place| matches!(place, Place::Member(_, name) if Some(*name) == last);
                let mut within = options().filter(|(place, ..)| of_field(place));
                within.clone().find(|(place, ..)| member(place)).or_else(|| within.next())
            }
        };
        match found {
            Some((_, parameter, option)) => format!("--{}", option.name_of(parameter)),
            None => format!("--{}", field.replace('_', "-")),
        }
    }

    /// An error of the objectives of a formula: the term and its member.
    fn describe_term(&self, pointer: &str, detail: &str) -> String {
        let mut parts = pointer.split('/').skip(2);
        let term = parts.next().and_then(|index| self.formula.get(index.parse::<usize>().ok()?));
        let place = term.map(|term| format!("in {}: ", term.text)).unwrap_or_default();
        let member = parts.next().map(|member| format!("{member}: ")).unwrap_or_default();
        format!("--objective: {place}{member}{detail}")
    }

    /// An error of a spec, in words for the command line. `given` are the fields set by options; `rest` is
    /// the source of the others, such as a file.
    pub(super) fn describe(&self, mistake: &FieldError, given: &[String], rest: Option<&str>) -> String {
        let FieldError { pointer, detail } = mistake;
        let field = pointer.split('/').nth(1).unwrap_or_default();
        match rest {
            _ if pointer == NO_INPUT => {
                "there is no input: give an image file, or --noise 224x224 to start from noise".into()
            }
            _ if pointer == NO_GUIDE => format!("--guide: {detail}"),
            _ if field == "objectives" && !self.formula.is_empty() => self.describe_term(pointer, detail),
            _ if given.iter().any(|name| name == field) => {
                // The one detail that names another member.
                let detail = detail.replace("in \"layer\"", "with --layer");
                format!("{}: {detail}", self.option(pointer))
            }
            Some(file) if pointer.is_empty() => format!("{file}: {detail}"),
            Some(file) => format!("{file}: {pointer}: {detail}"),
            None => format!("{}: {detail}", self.option(pointer)),
        }
    }
}

/// Whether options set members of the object `field`.
fn has_options(field: &str) -> bool {
    options().any(|(place, ..)| matches!(place, Place::Member(name, _) if name == field))
}

/// The pointer of the missing image in a spec's errors.
pub(super) const NO_INPUT: &str = "/INPUT";

/// The pointer of the guide image in a spec's errors; no member of a spec.
pub(super) const NO_GUIDE: &str = "/GUIDE";

/// A kind of objective, which are the choices of `parameter`, or a formula.
fn parse_measured(text: &str, parameter: &Parameter) -> Result<Measured, String> {
    if let Shape::Choice { values, .. } = parameter.shape
        && values.iter().any(|kind| kind.name == text)
    {
        return Ok(Measured::Kind(text.to_owned()));
    }
    parse_formula(text).map(Measured::Formula).map_err(|error| error.to_string())
}

/// A value as the API takes it.
fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))
}

/// A number; the options become JSON, which has neither NaN nor infinity.
fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "must be a number such as 1.5".into())
}

/// `auto` or a whole number.
fn parse_count(text: &str) -> Result<Value, String> {
    if text == "auto" {
        return Ok(json!(text));
    }
    text.parse::<u64>().map(|count| json!(count)).map_err(|_| "must be a whole number, or auto".into())
}

/// The number of a class, or its name.
fn parse_class(text: &str) -> Result<Value, std::convert::Infallible> {
    Ok(text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)))
}

/// `true`, `false` or a number.
fn parse_share(text: &str) -> Result<f64, String> {
    match text {
        "true" => Ok(1.0),
        "false" => Ok(0.0),
        _ => parse_number(text),
    }
}

/// `224x224` as width and height.
fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.ok_or_else(|| "must be a size such as 224x224".into())
}

/// Reads one of the output formats.
pub(super) fn parse_format() -> impl TypedValueParser<Value = Format> {
    let named = |name: &'static str| PossibleValue::new(name);
    let values =
        [named("png"), named("jpeg").alias("jpg"), named("webp"), named("gif"), named("mp4"), named("webm")];
    PossibleValuesParser::new(values).map(|name| match &*name {
        "jpeg" | "jpg" => Format::Jpeg,
        "webp" => Format::Webp,
        "gif" => Format::Gif,
        "mp4" => Format::Mp4,
        "webm" => Format::Webm,
        _ => Format::Png,
    })
}
