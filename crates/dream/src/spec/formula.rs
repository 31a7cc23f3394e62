//! Objectives as a formula, for the command line: `mixed4c - 0.5*mixed3b:21 + guide(mixed4c)`.
//!
//! ```text
//! formula = [ "+" | "-" ] term { ( "+" | "-" ) term }
//! term    = [ number "*" ] ( layer [ ":" channel { "," channel } ]
//!                          | ( "mean" | "l2" | "guide" | "guide-cosine" ) "(" layer [ ":" channel { "," channel } ] ")"
//!                          | ( "class" | "probability" ) "(" class [ "," layer ] ")" )
//! layer   = letters, digits, "_", "." and "/", the first no digit; any other name in quotes
//! ```
//!
//! What a formula makes are objectives as a request writes them, so that the rules and the messages of requests hold for
//! them. The grammar has no nesting, so a reader of a few functions is shorter than one on a parser library would be, and tells
//! what it expected at each place.

use serde_json::{Map, Number, Value};

use super::{ObjectiveKind, objective::of_class};
use reverie_fields::choice::Choices;

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
const FUNCTION: &str = "one of the functions mean, l2, class, probability, guide and guide-cosine";

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
        let mut objective = match self.kind() {
            Some(kind) => self.function(kind)?,
            None => self.layer_and_channels(TERM)?,
        };
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
            self.expected("a number such as 0.5")
        })
    }

    /// The kind of objective whose function begins here; its name is read.
    fn kind(&mut self) -> Option<ObjectiveKind> {
        let calls = |name: &str| {
            self.rest().strip_prefix(name).is_some_and(|after| after.trim_start().starts_with('('))
        };
        let mut kinds = ObjectiveKind::ALL.iter().zip(ObjectiveKind::VALUES);
        let (kind, value) = kinds.find(|(_, value)| calls(value.name))?;
        self.at += value.name.len();
        Some(*kind)
    }

    fn function(&mut self, kind: ObjectiveKind) -> Result<Map<String, Value>, FormulaError> {
        self.need('(', "(")?;
        let mut objective = if of_class(kind) {
            let class = match self.peek() {
                Some(next) if next.is_ascii_digit() => self.whole("a class: a number, or a name")?,
                _ => self.name("a class: a number, or a name")?.into(),
            };
            let mut objective = Map::from_iter([("class".to_owned(), class)]);
            if self.eat(',') {
                objective.insert("layer".into(), self.name(LAYER)?.into());
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
            let mut channels = vec![self.whole("the number of a channel")?];
            while self.eat(',') {
                channels.push(self.whole("the number of a channel")?);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reverie_fields::arbitrary::quick;
    use serde_json::json;

    use super::*;

    fn objectives(text: &str) -> Vec<Value> {
        parse_formula(text).unwrap().into_iter().map(|term| term.objective.into()).collect()
    }

    #[test]
    fn sums_are_read_with_their_weights() {
        assert_eq!(
            objectives("mixed4c - 0.5*mixed3b:21 + guide(mixed4c)"),
            [
                json!({ "layer": "mixed4c" }),
                json!({ "layer": "mixed3b", "channels": [21], "weight": -0.5 }),
                json!({ "kind": "guide", "layer": "mixed4c" }),
            ]
        );
        assert_eq!(
            objectives(
                " -1e-2 * features.0/conv : 3 , 1+.5*mean( l2:7 )+class(291)-probability('tiger cat', \"a-b\")"
            ),
            [
                json!({ "layer": "features.0/conv", "channels": [3, 1], "weight": -0.01 }),
                json!({ "kind": "mean", "layer": "l2", "channels": [7], "weight": 0.5 }),
                json!({ "kind": "class", "class": 291 }),
                json!({ "kind": "probability", "class": "tiger cat", "layer": "a-b", "weight": -1.0 }),
            ]
        );
        assert_eq!(
            objectives("+guide-cosine (block2)-guide-class"),
            [
                json!({ "kind": "guide-cosine", "layer": "block2" }),
                json!({ "layer": "guide", "weight": -1.0 }),
                json!({ "layer": "class", "weight": -1.0 }),
            ]
        );
        let texts: Vec<String> =
            parse_formula("a - 2 * b:1 + class(3)").unwrap().into_iter().map(|term| term.text).collect();
        assert_eq!(texts, ["a", "2 * b:1", "class(3)"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        for (text, position, expected, found) in [
            ("", 1, "a layer", "the end"),
            ("a + ", 5, "a layer", "the end"),
            ("a ++ b", 4, "a layer", "'+'"),
            ("é b", 3, "+, -", "'b'"),
            ("2 a", 3, "* between", "'a'"),
            ("1..5*a", 1, "a number", "'1'"),
            ("1e999*a", 1, "a number", "'1'"),
            ("a:b", 3, "channel", "'b'"),
            ("a:1,", 5, "channel", "the end"),
            ("a:99999999999999999999", 3, "channel", "'9'"),
            ("guide a", 7, "+, -", "'a'"),
            ("guide()", 7, "a layer", "')'"),
            ("guide(a", 8, ")", "the end"),
            ("mean(a)(b)", 1, "functions", "'m'"),
            ("a + max(b)", 5, "functions", "'m'"),
            ("class(-1)", 7, "a class", "'-'"),
            ("'a", 3, "quote", "the end"),
            ("''", 2, "a layer", "'\\''"),
            ("3d", 2, "* between", "'d'"),
        ] {
            let error = parse_formula(text).unwrap_err();
            assert_eq!((error.position, error.found.as_str()), (position, found), "{text}: {error}");
            assert!(error.expected.contains(expected), "{text}: {error}");
        }
    }

    /// One term, and the objective that it stands for.
    fn term() -> impl Strategy<Value = (String, Value)> {
        let weight = prop_oneof![Just(1.0), (1_u32..2000).prop_map(|number| f64::from(number) / 16.0)];
        let layer = prop_oneof![
            ("[a-z_/][a-z0-9_./]{0,8}").prop_map(|name| (name.clone(), name)),
            ("[^']{1,8}").prop_map(|name| (format!("'{name}'"), name)),
        ];
        let channels = proptest::collection::vec(any::<u32>(), 0..3);
        let kind = prop_oneof![
            Just(None),
            proptest::sample::select(vec!["mean", "l2", "guide", "guide-cosine"]).prop_map(Some)
        ];
        (weight, layer, channels, kind, any::<bool>()).prop_map(
            |(weight, (written, layer), channels, kind, negative)| {
                let mut text = written;
                let mut objective = json!({ "layer": layer });
                if !channels.is_empty() {
                    let list = channels.iter().map(u32::to_string).collect::<Vec<_>>().join(" , ");
                    text = format!("{text}:{list}");
                    objective["channels"] = json!(channels);
                }
                if let Some(kind) = kind {
                    text = format!("{kind}({text})");
                    objective["kind"] = kind.into();
                }
                if weight != 1.0 {
                    text = format!("{weight}*{text}");
                }
                let weight = if negative { -weight } else { weight };
                if weight != 1.0 {
                    objective["weight"] = weight.into();
                }
                (format!("{} {text}", if negative { '-' } else { '+' }), objective)
            },
        )
    }

    proptest! {
        #![proptest_config(quick())]

        #[test]
        fn what_is_written_is_read_back(terms in proptest::collection::vec(term(), 1..6)) {
            let (texts, expected): (Vec<_>, Vec<_>) = terms.into_iter().unzip();
            prop_assert_eq!(objectives(&texts.join(" ")), expected);
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![
            ".{0,40}",
            "[-+*:,()'\" .0-9a-ceguidmnl]{0,40}",
        ]) {
            if let Err(error) = parse_formula(&text) {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
            }
        }
    }
}
