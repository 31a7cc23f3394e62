//! Enums of plain names whose doc comments are known when the program runs: [`choices!`](crate::choices) defines
//! the enum once, and the contract, the command line and the README describe its values from it.

use utoipa::openapi::{
    RefOr,
    extensions::ExtensionsBuilder,
    schema::{ObjectBuilder, Schema, Type},
};

/// One value of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedValue {
    /// As JSON and the command line write it.
    pub name: &'static str,
    /// Its doc comment.
    pub about: &'static str,
}

/// An enum that [`choices!`](crate::choices) has defined.
pub trait Choices: Sized + 'static {
    /// Name of the enum, and of its schema in the contract.
    const NAME: &'static str;
    /// Doc comment of the enum.
    const ABOUT: &'static str;
    /// The variants in the order of their definition.
    const ALL: &'static [Self];
    /// Their names and doc comments, in the same order.
    const VALUES: &'static [NamedValue];
}

/// The schema of an enum. A generator of clients reads the names in `enum`; a person reads the description, which
/// lists what each means. `oneOf` of constants would say both in one place, but makes generators write a union of
/// types instead of an enum.
pub fn schema(about: &str, values: &[NamedValue]) -> RefOr<Schema> {
    let about_each = || values.iter().map(|value| value.about.trim());
    let lines = values.iter().zip(about_each()).map(|(value, about)| format!("- `{}`: {about}", value.name));
    let description = format!("{}\n\n{}", about.trim(), lines.collect::<Vec<_>>().join("\n"));
    let names = || values.iter().map(|value| value.name);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(names()))
        .examples(names())
        .extensions(Some(
            ExtensionsBuilder::new().add("x-enum-descriptions", about_each().collect::<Vec<_>>()).build(),
        ))
        .into()
}

/// Defines an enum of plain names with its [`Choices`] and its schema: each variant with its doc comment and its name
/// in JSON. `Serialize`, `Deserialize` and others are derived as usual.
///
/// ```
/// reverie_fields::choices! {
///     /// Where to go.
///     #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
///     pub enum Direction {
///         /// Towards the pole.
///         North = "north",
///         /// Away from it.
///         South = "south",
///     }
/// }
/// assert_eq!(<Direction as reverie_fields::choice::Choices>::VALUES[1].about.trim(), "Away from it.");
/// ```
#[macro_export]
macro_rules! choices {
    // The text of a doc comment; nothing for any other attribute.
    (@doc doc = $text:literal) => { $text };
    (@doc $($other:tt)*) => { "" };
    (
        $(#[$($attribute:tt)+])*
        $visibility:vis enum $enum:ident {
            $( $(#[$($note:tt)+])* $variant:ident = $name:literal, )+
        }
    ) => {
        $(#[$($attribute)+])*
        $visibility enum $enum {
            $( $(#[$($note)+])* #[serde(rename = $name)] $variant, )+
        }

        impl $crate::choice::Choices for $enum {
            const NAME: &'static str = stringify!($enum);
            const ABOUT: &'static str = concat!($($crate::choices!(@doc $($attribute)+)),*);
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            const VALUES: &'static [$crate::choice::NamedValue] = &[
                $($crate::choice::NamedValue {
                    name: $name,
                    about: concat!($($crate::choices!(@doc $($note)+)),*),
                },)+
            ];
        }

        impl $crate::utoipa::PartialSchema for $enum {
            fn schema() -> $crate::utoipa::openapi::RefOr<$crate::utoipa::openapi::schema::Schema> {
                use $crate::choice::Choices;
                $crate::choice::schema(Self::ABOUT, Self::VALUES)
            }
        }

        impl $crate::utoipa::ToSchema for $enum {}
    };
}
