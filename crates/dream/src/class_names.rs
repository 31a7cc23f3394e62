//! Classes by name: which class of a model a person means by a word.
//!
//! Stored specs hold numbers, so that a dream stays what it is when a list of names changes; names are for requests. A name
//! is a class's where it is its whole name, else one of its names between commas, else where its words stand in one class's name only.
//! Letters' case and everything that is neither letter nor digit make no difference: `golden-retriever` is `Golden Retriever`.

use crate::model::Model;

/// Classes that a message names at most.
const SHOWN: usize = 3;

/// Longest word, in characters, that similar names are looked for. A longer one is no typing mistake, and comparing takes time in
/// proportion to its length.
const LONGEST_GUESS: usize = 48;

/// Names that are compared for similarity at most.
const MOST_COMPARED: usize = 10_000;

/// A name that is no class's, or not one class's alone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownClass {
    /// The layer has no names.
    #[error("the classes of layer \"{layer}\" have no names; give a number from 0 to {last}")]
    NoNames {
        /// The layer.
        layer: String,
        /// Its last class.
        last: usize,
    },
    /// Several classes have the name.
    #[error("\"{name}\" is ambiguous: it may be {}; give the whole name, or the number", listed(.classes, *.others))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The first of them, with their numbers.
        classes: Vec<String>,
        /// How many more there are.
        others: usize,
    },
    /// No class has it.
    #[error("there is no class \"{name}\"{}", closest(.nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The classes with the closest names, the closest first, with their numbers.
        nearest: Vec<String>,
    },
}

fn listed(classes: &[String], others: usize) -> String {
    match others {
        0 => classes.join(", "),
        others => format!("{} or {others} more", classes.join(", ")),
    }
}

fn closest(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        nearest => format!("; the closest are {}", nearest.join(", ")),
    }
}

impl Model {
    /// The class of `layer` that is called `name`.
    ///
    /// # Errors
    /// [`UnknownClass`] with the closest names, or with those that the name fits.
    pub fn class_named(&self, name: &str, layer: &str) -> Result<u32, UnknownClass> {
        let width = self.network.find(layer).map_or(0, |id| self.network.channels(id));
        match self.labels.as_deref().filter(|labels| labels.len() == width) {
            Some(labels) => find(name, labels),
            None => Err(UnknownClass::NoNames { layer: layer.to_owned(), last: width.saturating_sub(1) }),
        }
    }
}

fn find(name: &str, labels: &[String]) -> Result<u32, UnknownClass> {
    let wanted = words(name);
    let fits_of = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let all = labels.iter().enumerate();
        all.filter(|(_, label)| fits(label)).map(|(class, _)| class).collect()
    };
    let spaced = format!(" {wanted} ");
    let ways: [&dyn Fn(&str) -> bool; 3] = [
        &|label| words(label) == wanted,
        &|label| label.split(',').any(|part| words(part) == wanted),
        &|label| format!(" {} ", words(label)).contains(&spaced),
    ];
    for fits in ways.into_iter().filter(|_| !wanted.is_empty()) {
        match &fits_of(fits)[..] {
            [] => {}
            &[class] => return Ok(class as u32),
            classes => {
                return Err(UnknownClass::Ambiguous {
                    name: name.to_owned(),
                    classes: classes.iter().take(SHOWN).map(|&class| shown(class, labels)).collect(),
                    others: classes.len().saturating_sub(SHOWN),
                });
            }
        }
    }
    Err(UnknownClass::Unknown { name: name.to_owned(), nearest: nearest(&wanted, labels) })
}

/// The classes whose names, or a word of them, are the fewest keystrokes away.
fn nearest(wanted: &str, labels: &[String]) -> Vec<String> {
    if wanted.is_empty() || wanted.chars().count() > LONGEST_GUESS {
        return Vec::new();
    }
    let distance = |label: &String| {
        let whole = words(label);
        let parts = whole.split(' ').chain([whole.as_str()]);
        parts.map(|part| strsim::osa_distance(wanted, part)).min().unwrap_or(usize::MAX)
    };
    let mut scored: Vec<(usize, usize)> = labels
        .iter()
        .take(MOST_COMPARED)
        .map(distance)
        .enumerate()
        .map(|(class, far)| (far, class))
        .collect();
    scored.sort_unstable();
    scored.into_iter().take(SHOWN).map(|(_, class)| shown(class, labels)).collect()
}

fn shown(class: usize, labels: &[String]) -> String {
    format!("{} ({class})", labels.get(class).map_or("", String::as_str))
}

/// The words of a name in lower case, with a space between two.
fn words(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        let names = [
            "tench, Tinca tinca",
            "golden retriever",
            "Labrador retriever",
            "flat-coated retriever",
            "curly-coated retriever",
            "lion, king of beasts",
            "sea lion",
            "crane",
            "crane bird",
            "crane",
        ];
        names.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_name_is_a_class_by_its_whole_its_parts_or_its_words() {
        let labels = labels();
        for (name, class) in [
            ("golden retriever", 1),
            ("Golden-Retriever", 1),
            ("tinca TINCA", 0),
            // Of two that have the word, the one that is called so.
            ("lion", 5),
            ("sea_lion", 6),
            ("labrador", 2),
            ("crane bird", 8),
            ("beasts", 5),
        ] {
            assert_eq!(find(name, &labels), Ok(class), "{name}");
        }
    }

    #[test]
    fn other_names_are_told_what_was_meant() {
        let labels = labels();
        let told = |name: &str| find(name, &labels).unwrap_err().to_string();
        assert_eq!(
            told("retriever"),
            "\"retriever\" is ambiguous: it may be golden retriever (1), Labrador retriever (2), \
             flat-coated retriever (3) or 1 more; give the whole name, or the number"
        );
        assert_eq!(
            told("crane"),
            "\"crane\" is ambiguous: it may be crane (7), crane (9); give the whole name, or the number"
        );
        let nearest = |name| match find(name, &labels) {
            Err(UnknownClass::Unknown { nearest, .. }) => nearest,
            other => panic!("{other:?}"),
        };
        assert_eq!(nearest("lino")[..2], ["lion, king of beasts (5)", "sea lion (6)"]);
        assert_eq!(nearest("retreiver")[0], "golden retriever (1)");
        // Part of a word is no name: "retrieve" is a mistake as any other.
        assert_eq!(nearest("retrieve")[0], "golden retriever (1)");
        for nothing in ["", " ,-", &"x".repeat(LONGEST_GUESS + 1)] {
            assert_eq!(told(nothing), format!("there is no class \"{nothing}\""));
        }
    }
}
