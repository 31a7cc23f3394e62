//! `reverie parameters`: prints the parameters of a dream as the README and the fuzzer's dictionary have them. Both are
//! made from the tables of `reverie_dream::spec`, so a parameter is described in one place; `scripts/renew` writes the
//! files, and a test compares them.

use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
};

use super::{ExitCode, Failure};
use reverie_dream::spec::{
    CommandOption, DreamSpec, OptionForm, Parameter, Shape, WrittenChange, WrittenObjective, WrittenPlace,
};

/// What to print.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The tables of the README, in Markdown.
    Readme,
    /// The names and values for libFuzzer.
    Dictionary,
}

/// Prints the text.
pub(super) fn run(command: Command) -> Result<ExitCode, Failure> {
    let text = match command {
        Command::Readme => readme()?,
        Command::Dictionary => dictionary()?,
    };
    stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The table of a spec, that of an objective, and that of a change in a schedule.
fn readme() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "| field | option | default | |\n|---|---|---|---|")?;
    DreamSpec::parameters().iter().try_for_each(|parameter| row(&mut text, parameter))?;
    writeln!(text, "\nAn objective:\n\n| field | option | default | |\n|---|---|---|---|")?;
    WrittenObjective::parameters().iter().try_for_each(|parameter| row(&mut text, parameter))?;
    writeln!(text, "\nA change in a schedule:\n\n| field | option | default | |\n|---|---|---|---|")?;
    let change = WrittenPlace::parameters().iter().chain(WrittenChange::parameters());
    change.into_iter().try_for_each(|parameter| row(&mut text, parameter))?;
    Ok(text)
}

fn row(text: &mut String, parameter: &Parameter) -> std::fmt::Result {
    let own = parameter.option.as_ref().map(|option| shown(parameter, option));
    let inner = match parameter.shape {
        Shape::Object { members, .. } => {
            let options = members().iter().filter_map(|member| Some(shown(member, member.option.as_ref()?)));
            options.collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    let option = own.unwrap_or(inner);
    let default = parameter.default.clone().unwrap_or_default();
    let about = parameter.about.replace('|', "\\|");
    let allowed = parameter.allowed().map(|allowed| format!(" Allowed: {allowed}.")).unwrap_or_default();
    writeln!(text, "| `{}` | {option} | {default} | {about}{allowed} |", parameter.name)
}

/// The option as one writes it.
fn shown(parameter: &Parameter, option: &CommandOption) -> String {
    let name = option.name_of(parameter);
    match option.form {
        OptionForm::Takes(value)
        | OptionForm::Repeats(value)
        | OptionForm::Formula(value)
        | OptionForm::Size(value) => {
            format!("`--{name} {}`", value.replace('|', "\\|"))
        }
        OptionForm::On | OptionForm::Off => format!("`--{name}`"),
        OptionForm::OnOff => format!("`--{name}[=false]`"),
        OptionForm::OnShare => format!("`--{name}[=SHARE]`"),
    }
}

/// Names as they stand in JSON before their values, choices as they stand after.
fn dictionary() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut parameters: Vec<&Parameter> = Vec::new();
    for parameter in DreamSpec::parameters() {
        parameters.push(parameter);
        match parameter.shape {
            Shape::Object { members, .. } => parameters.extend(members()),
            Shape::Objectives => parameters.extend(WrittenObjective::parameters()),
            Shape::Schedule => {
                let change = WrittenPlace::parameters().iter().chain(WrittenChange::parameters());
                parameters.extend(change.filter(|member| ["octave", "frame", "fade"].contains(&member.name)));
            }
            _ => {}
        }
    }
    let within = |parameter: &&Parameter| match parameter.shape {
        Shape::Object { members, .. } => members(),
        _ => &[],
    };
    parameters.extend(WrittenObjective::parameters().iter().flat_map(|parameter| within(&parameter)));
    for parameter in &parameters {
        writeln!(text, "\"\\x22{}\\x22:\"", parameter.name)?;
    }
    for parameter in &parameters {
        if let Shape::Choice { values, .. } = parameter.shape {
            values.iter().try_for_each(|value| writeln!(text, "\"\\x22{}\\x22\"", value.name))?;
        }
    }
    Ok(text)
}
