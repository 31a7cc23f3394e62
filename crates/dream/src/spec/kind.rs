//! How the values of parameters are read and checked: what a definition in `dream_spec.rs` writes after `read:`.

use std::{collections::BTreeMap, marker::PhantomData};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Color, Count, Share, WrittenClass,
    parameter::{Parameter, Shape},
    values::AUTO,
};
use reverie_fields::{Fields, Number as Numeric, choice::Choices, read_number};

/// A way to read a value.
pub(super) trait Kind {
    /// Type of the value.
    type Value;

    /// Takes the value out of a request; a mistake is noted in `fields` and reads as absent.
    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Self::Value>;

    /// Which values there are.
    fn shape(&self) -> Shape;
}

/// True or false.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<bool> {
        fields.flag(name)
    }

    fn shape(&self) -> Shape {
        Shape::Flag
    }
}

/// A number type with its ranges.
pub(super) trait Range: Numeric + Copy {
    /// The range as a shape.
    fn range(low: Self, high: Self) -> Shape;
}

impl Range for f64 {
    fn range(low: Self, high: Self) -> Shape {
        Shape::Number(low, high)
    }
}

macro_rules! whole_ranges {
    ($($number:ty),+) => {
        $(impl Range for $number {
            fn range(low: Self, high: Self) -> Shape {
                Shape::Whole(low.into(), high.into())
            }
        })+
    };
}

whole_ranges!(u8, u32, u64);

/// A number from the first to the second.
pub(super) struct Number<T>(pub(super) T, pub(super) T);

impl<T: Range> Kind for Number<T> {
    type Value = T;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<T> {
        fields.number(name, self.0, self.1)
    }

    fn shape(&self) -> Shape {
        T::range(self.0, self.1)
    }
}

/// How many, from the first to the second, or `auto`.
pub(super) struct Counted(pub(super) u32, pub(super) u32);

impl Kind for Counted {
    type Value = Count;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Count> {
        let Self(low, high) = self;
        let wanted = format!("give {} from {low} to {high}, or \"{AUTO}\"", u32::KIND);
        fields.other(name, &wanted, |value| match value.as_str() {
            Some(word) => (word == AUTO).then_some(Count::Auto),
            None => read_number(value, low, high).map(Count::Of),
        })
    }

    fn shape(&self) -> Shape {
        Shape::Count(self.0.into(), self.1.into())
    }
}

/// A share from 0 to 1; `true` is 1 and `false` is 0.
pub(super) struct Shared;

impl Kind for Shared {
    type Value = Share;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Share> {
        fields.other(name, "give a number from 0 to 1, true or false", |value| match value.as_bool() {
            Some(flag) => Some(Share(f64::from(u8::from(flag)))),
            None => read_number(value, &0.0, &1.0).map(Share),
        })
    }

    fn shape(&self) -> Shape {
        Shape::Share
    }
}

/// A list of whole numbers, each from the first to the second.
pub(super) struct Numbers(pub(super) u32, pub(super) u32);

impl Kind for Numbers {
    type Value = Vec<u32>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Vec<u32>> {
        fields.numbers(name, self.0, self.1)
    }

    fn shape(&self) -> Shape {
        Shape::Wholes(self.0.into(), self.1.into())
    }
}

/// Numbers from minus the second to the second, by whole numbers up to the first.
pub(super) struct Weights(pub(super) u32, pub(super) f64);

impl Kind for Weights {
    type Value = BTreeMap<u32, f64>;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<BTreeMap<u32, f64>> {
        let Self(last, most) = self;
        let wanted = format!(
            "give an object whose names are whole numbers from 0 to {last} and whose values are numbers from -{most} to {most}"
        );
        let weight = |(index, weight): (&String, &Value)| {
            // Each number has one name: no sign, no zero in front.
            let number = index.parse().ok().filter(|number: &u32| number.to_string() == *index);
            Some((number.filter(|number| number <= last)?, read_number(weight, &-most, most)?))
        };
        fields.other(name, &wanted, |value| value.as_object()?.iter().map(weight).collect())
    }

    fn shape(&self) -> Shape {
        Shape::Weights(self.0.into(), self.1)
    }
}

/// One of the names of an enum.
pub(super) struct OneOf<T>(PhantomData<T>);

/// One of the names of the enum `T`.
pub(super) const fn one_of<T>() -> OneOf<T> {
    OneOf(PhantomData)
}

impl<T: Choices + DeserializeOwned> Kind for OneOf<T> {
    type Value = T;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<T> {
        fields.choice(name)
    }

    fn shape(&self) -> Shape {
        Shape::Choice { name: T::NAME, about: T::ABOUT, values: T::VALUES }
    }
}

/// A class: a number from the first to the second, or a name that is looked up.
pub(super) struct ClassOf(pub(super) u32, pub(super) u32);

impl Kind for ClassOf {
    type Value = WrittenClass;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<WrittenClass> {
        if fields.peek(name).is_some_and(Value::is_string) {
            return fields.name(name).map(WrittenClass::Name);
        }
        let Self(low, high) = self;
        let wanted = format!("give {} from {low} to {high}, or a name", u32::KIND);
        fields.other(name, &wanted, |value| read_number(value, low, high).map(WrittenClass::Number))
    }

    fn shape(&self) -> Shape {
        Shape::Class(self.0.into(), self.1.into())
    }
}

/// A name that is looked up.
pub(super) struct Name;

impl Kind for Name {
    type Value = String;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<String> {
        fields.name(name)
    }

    fn shape(&self) -> Shape {
        Shape::Name
    }
}

/// A colour.
pub(super) struct Hex;

impl Kind for Hex {
    type Value = Color;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Color> {
        let text = fields.text(name)?;
        Color::try_from(text).map_err(|wrong| fields.error(name, wrong.to_string())).ok()
    }

    fn shape(&self) -> Shape {
        Shape::Color
    }
}

/// An object with parameters of its own, given by name and table. Whether it is read at all depends on more than the
/// object, so its value is what was written.
pub(super) struct Object(pub(super) &'static str, pub(super) fn() -> &'static [Parameter]);

impl Kind for Object {
    type Value = Value;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Value> {
        fields.raw(name)
    }

    fn shape(&self) -> Shape {
        Shape::Object { name: self.0, members: self.1 }
    }
}

/// The list of changes, as it was written.
pub(super) struct Schedule;

impl Kind for Schedule {
    type Value = Value;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Value> {
        fields.raw(name)
    }

    fn shape(&self) -> Shape {
        Shape::Schedule
    }
}

/// The list of objectives, as it was written.
pub(super) struct Objectives;

impl Kind for Objectives {
    type Value = Value;

    fn read(&self, fields: &mut Fields, name: &'static str) -> Option<Value> {
        fields.raw(name)
    }

    fn shape(&self) -> Shape {
        Shape::Objectives
    }
}
