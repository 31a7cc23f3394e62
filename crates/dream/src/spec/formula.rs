//! Objectives as a formula, for the command line: `mixed4c - 0.5*mixed3b:21 + guide(mixed4c)`.
//!
//! ```text
//! formula = [ "+" | "-" ] term { ( "+" | "-" ) term }
//! term    = [ number "*" ] ( measure | "at" "(" x "," y [ "," radius ] "," measure ")" )
//! measure = layer [ ":" channel { "," channel } ]
//!         | ( "mean" | "l2" | "guide" | "guide-cosine" ) "(" layer [ ":" channel { "," channel } ] ")"
//!         | ( "strongest" | "weakest" | "random" ) "(" layer [ "," count ] ")"
//!         | ( "class" | "probability" ) "(" class [ "," layer ] ")"
//!         | "direction" "(" layer "," weights [ "," power ] ")"
//! weights = [ "+" | "-" ] [ number "*" ] channel { ( "+" | "-" ) [ number "*" ] channel }
//! layer   = letters, digits, "_", "." and "/", the first no digit; any other name in quotes
//! ```
//!
//! What a formula makes are objectives as a request writes them, so that the rules and the messages of requests hold for
//! them. The grammar nests at one place, and there once, so a reader of a few functions is shorter than one on a parser library would be, and tells
//! what it expected at each place.

use serde_json::{Map, Number, Value};

use super::{ObjectiveKind, Pick};
use reverie_fields::choice::Choices;

#[cfg(test)]
mod tests;

/// One term of a formula.
#[derive(Clone, Debug, PartialEq)]
pub struct FormulaTerm {
    /// As it was written, without its sign.
    pub text: String,
    /// The objective that it stands for, as a request writes it.
    pub objective: Map<String, Value>,
}

/// A formula that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: expected {expected}, found {found}")]
pub struct FormulaError {
    /// Where, in characters from 1.
    pub position: usize,
    /// What is allowed there.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
}

const TERM: &str = "a layer, a number and *, or a function such as guide(LAYER)";
const LAYER: &str = "a layer: letters, digits, _ . and /, or any name in quotes";
const FUNCTION: &str = "one of the functions mean, l2, class, probability, guide, guide-cosine, direction, strongest, weakest, random and at";
const CHANNEL: &str = "the number of a channel";
const PLACE: &str = ", and what is to be where: at(X, Y, LAYER)";
const NUMBER: &str = "a number such as 0.5";

/// Reads a formula of at least one term.
///
/// # Errors
/// The first place where it cannot go on.
pub fn parse_formula(text: &str) -> Result<Vec<FormulaTerm>, FormulaError> {
    let mut reader = Reader { text, at: 0 };
    let mut terms = Vec::new();
    let mut negative = reader.eat('-');
    if !negative {
        reader.eat('+');
    }
    loop {
        terms.push(reader.term(negative)?);
        negative = reader.eat('-');
        if !negative && !reader.eat('+') {
            break;
        }
    }
    if reader.peek().is_none() { Ok(terms) } else { Err(reader.expected("+, - or the end")) }
}

/// What is left of a formula.
struct Reader<'a> {
    text: &'a str,
    /// Bytes that were read.
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// Reads `wanted`, if it is next.
    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.at += wanted.len_utf8();
        }
        there
    }

    fn need(&mut self, wanted: char, expected: &'static str) -> Result<(), FormulaError> {
        if self.eat(wanted) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// The error for what is next.
    fn expected(&mut self, expected: &'static str) -> FormulaError {
        let found = self.peek().map_or_else(|| "the end".to_owned(), |next| format!("{next:?}"));
        let position = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        FormulaError { position, expected, found }
    }

    /// Reads the characters that belong, up to the first that does not.
    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|next| !belongs(next)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn term(&mut self, negative: bool) -> Result<FormulaTerm, FormulaError> {
        let next = self.peek();
        let start = self.at;
        let mut weight = 1.0;
        if next.is_some_and(|next| next.is_ascii_digit() || next == '.') {
            weight = self.number()?;
            self.need('*', "* between a number and what it weighs")?;
        }
        self.peek();
        let mut objective = if self.calls("at") { self.at_a_place()? } else { self.measure(TERM)? };
        if self.peek() == Some('(') {
            self.at = start;
            return Err(self.expected(FUNCTION));
        }
        let weight = if negative { -weight } else { weight };
        if weight != 1.0
            && let Some(weight) = Number::from_f64(weight)
        {
            objective.insert("weight".into(), weight.into());
        }
        let text = self.text.get(start..self.at).unwrap_or_default().trim_end().to_owned();
        Ok(FormulaTerm { text, objective })
    }

    /// A number without a sign, such as `2`, `.5` or `1e-3`.
    fn number(&mut self) -> Result<f64, FormulaError> {
        let start = self.at;
        self.take(|next| next.is_ascii_digit() || next == '.');
        let mantissa = self.at;
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            if self.take(|next| next.is_ascii_digit()).is_empty() {
                self.at = mantissa;
            }
        }
        let number = self.text.get(start..self.at).and_then(|text| text.parse().ok());
        number.filter(|number: &f64| number.is_finite()).ok_or_else(|| {
            self.at = start;
            self.expected(NUMBER)
        })
    }

    /// Whether the function `name` begins here; its name is read then.
    fn calls(&mut self, name: &str) -> bool {
        let after = self.rest().strip_prefix(name);
        let called = after.is_some_and(|after| after.trim_start().starts_with('('));
        if called {
            self.at += name.len();
        }
        called
    }

    /// The one of `values` whose function begins here; its name is read then.
    fn one_of<T: Choices + Copy>(&mut self) -> Option<T> {
        let mut named = T::ALL.iter().zip(T::VALUES);
        named.find(|(_, value)| self.calls(value.name)).map(|(choice, _)| *choice)
    }

    /// What is measured, wherever it is in the picture.
    fn measure(&mut self, expected: &'static str) -> Result<Map<String, Value>, FormulaError> {
        self.peek();
        if let Some(kind) = self.one_of::<ObjectiveKind>() {
            return self.function(kind);
        }
        let Some(pick) = self.one_of::<Pick>() else { return self.layer_and_channels(expected) };
        self.need('(', "(")?;
        let mut objective = Map::from_iter([("layer".to_owned(), self.name(LAYER)?.into())]);
        if self.eat(',') {
            objective.insert("count".into(), self.whole("how many channels")?);
        }
        self.need(')', ")")?;
        objective.insert("pick".into(), serde_json::to_value(pick).unwrap_or_default());
        Ok(objective)
    }

    /// The arguments of `at`.
    fn at_a_place(&mut self) -> Result<Map<String, Value>, FormulaError> {
        self.need('(', "(")?;
        let mut place = Map::new();
        for name in ["x", "y", "radius"] {
            let is_number = self.peek().is_some_and(|next| next.is_ascii_digit() || next == '.');
            // What is measured may follow the place at once.
            if name == "radius" && !is_number {
                break;
            }
            place.insert(name.into(), self.number()?.into());
            self.need(',', PLACE)?;
        }
        let mut objective = self.measure(LAYER)?;
        self.need(')', ")")?;
        objective.insert("at".into(), place.into());
        Ok(objective)
    }

    /// Weights of channels, as a sum: those of a channel that is there several times are added up.
    fn weights(&mut self) -> Result<Map<String, Value>, FormulaError> {
        let mut weights = Map::new();
        let mut negative = self.eat('-');
        if !negative {
            self.eat('+');
        }
        loop {
            self.peek();
            let start = self.at;
            let mut weight = self.number()?;
            if !self.eat('*') {
                (self.at, weight) = (start, 1.0);
            }
            let channel = self.whole(CHANNEL)?.to_string();
            let weight = if negative { -weight } else { weight };
            let before = weights.get(&channel).and_then(Value::as_f64).unwrap_or(0.0);
            weights.insert(channel, (before + weight).into());
            negative = self.eat('-');
            if !negative && !self.eat('+') {
                return Ok(weights);
            }
        }
    }

    fn function(&mut self, kind: ObjectiveKind) -> Result<Map<String, Value>, FormulaError> {
        self.need('(', "(")?;
        let mut objective = if kind.is_of_class() {
            let class = match self.peek() {
                Some(next) if next.is_ascii_digit() => self.whole("a class: a number, or a name")?,
                _ => self.name("a class: a number, or a name")?.into(),
            };
            let mut objective = Map::from_iter([("class".to_owned(), class)]);
            if self.eat(',') {
                objective.insert("layer".into(), self.name(LAYER)?.into());
            }
            objective
        } else if kind == ObjectiveKind::Direction {
            let mut objective = Map::from_iter([("layer".to_owned(), self.name(LAYER)?.into())]);
            self.need(',', ", and weights of channels such as 21 - 0.5*43")?;
            objective.insert("direction".into(), self.weights()?.into());
            if self.eat(',') {
                objective.insert("cosine_power".into(), self.whole("the power of the cosine")?);
            }
            objective
        } else {
            self.layer_and_channels(LAYER)?
        };
        self.need(')', ")")?;
        objective.insert("kind".into(), serde_json::to_value(kind).unwrap_or_default());
        Ok(objective)
    }

    fn layer_and_channels(&mut self, expected: &'static str) -> Result<Map<String, Value>, FormulaError> {
        let mut objective = Map::from_iter([("layer".to_owned(), self.name(expected)?.into())]);
        if self.eat(':') {
            let mut channels = vec![self.whole(CHANNEL)?];
            while self.eat(',') {
                channels.push(self.whole(CHANNEL)?);
            }
            objective.insert("channels".into(), channels.into());
        }
        Ok(objective)
    }

    /// A whole number.
    fn whole(&mut self, expected: &'static str) -> Result<Value, FormulaError> {
        self.peek();
        let start = self.at;
        let number = self.take(|next| next.is_ascii_digit()).parse::<u64>();
        number.map(Value::from).map_err(|_| {
            self.at = start;
            self.expected(expected)
        })
    }

    /// A name, in quotes or without.
    fn name(&mut self, expected: &'static str) -> Result<String, FormulaError> {
        let start = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.at += quote.len_utf8();
                let name = self.take(|next| next != quote);
                if name.is_empty() {
                    return Err(self.expected(expected));
                }
                self.need(quote, "the quote that ends the name")?;
                return Ok(name.to_owned());
            }
            next => next,
        };
        if !start.is_some_and(|next| next.is_alphabetic() || matches!(next, '_' | '/')) {
            return Err(self.expected(expected));
        }
        Ok(self.take(|next| next.is_alphanumeric() || matches!(next, '_' | '.' | '/')).to_owned())
    }
}
