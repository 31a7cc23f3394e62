//! Values of parameters that are more than a number: counts that may be left to the picture, shares that were once true or
//! false, and classes that have names.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, OneOfBuilder, Schema, Type},
    },
};

/// The word for a count that follows from the picture.
pub(super) const AUTO: &str = "auto";

/// How many; written as a number or as `"auto"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// As many as suit the size of the picture; [`plan`](crate::plan) decides.
    Auto,
    /// So many.
    Of(u32),
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Of(count) => serializer.serialize_u32(*count),
        }
    }
}

/// A number or a word.
#[derive(Deserialize)]
#[serde(untagged)]
enum Either<T> {
    Number(T),
    Word(String),
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Either::deserialize(deserializer)? {
            Either::Number(count) => Ok(Self::Of(count)),
            Either::Word(word) if word == AUTO => Ok(Self::Auto),
            Either::Word(_) => Err(serde::de::Error::custom("expected a whole number or \"auto\"")),
        }
    }
}

impl PartialSchema for Count {
    fn schema() -> RefOr<Schema> {
        let auto = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([AUTO]));
        let auto = auto.description(Some("As many as suit the size of the picture."));
        let count = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let about = "How many, or `auto`: as many as suit the size of the picture.";
        OneOfBuilder::new().description(Some(about)).item(count).item(auto).into()
    }
}

impl ToSchema for Count {}

/// A class as a request writes it. A complete spec has the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum WrittenClass {
    /// Its number, counted from 0.
    Number(u32),
    /// Its name.
    Name(String),
}

/// A share from 0 to 1. None of it is written as `false`, all of it as `true`: so it was before there was anything between.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0.0 || self.0 == 1.0 {
            serializer.serialize_bool(self.0 == 1.0)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A share as JSON has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Flag(bool),
    Number(f64),
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = match Written::deserialize(deserializer)? {
            Written::Flag(flag) => f64::from(u8::from(flag)),
            Written::Number(share) => share,
        };
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(serde::de::Error::custom("expected true, false or a number from 0 to 1"))
        }
    }
}

impl PartialSchema for Share {
    fn schema() -> RefOr<Schema> {
        let share = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.0)).maximum(Some(1.0));
        let about = "A share from 0 to 1. `false` is 0, `true` is 1.";
        let flag = ObjectBuilder::new().schema_type(Type::Boolean);
        OneOfBuilder::new().description(Some(about)).item(share).item(flag).into()
    }
}

impl ToSchema for Share {}
