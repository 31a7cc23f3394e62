//! A colour in the notation of HTML and CSS: `#rrggbb`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

/// A colour as a regular expression.
pub(super) const COLOR_PATTERN: &str = "^#[0-9A-Fa-f]{6}$";

/// An sRGB colour; in JSON a string such as `"#ff8000"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Color(pub [u8; 3]);

impl Color {
    /// White, which is behind transparent areas by default.
    pub const WHITE: Self = Self([255; 3]);

    /// Whether it is [`Color::WHITE`].
    pub fn is_white(&self) -> bool {
        *self == Self::WHITE
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl From<Color> for String {
    fn from(color: Color) -> Self {
        color.to_string()
    }
}

impl PartialSchema for Color {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(COLOR_PATTERN));
        text.description(Some("An sRGB colour, such as `#ff8000`.")).into()
    }
}

impl ToSchema for Color {}

/// The text is not a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a colour as \"#rrggbb\", six hexadecimal digits after the sign, such as \"#ffffff\"")]
pub struct NotAColor;

impl TryFrom<String> for Color {
    type Error = NotAColor;

    fn try_from(text: String) -> Result<Self, NotAColor> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or(NotAColor)?;
        // Parsing a number would take a sign, too.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAColor);
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| NotAColor)?;
        let [_, rgb @ ..] = number.to_be_bytes();
        Ok(Self(rgb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_hexadecimal_digits() {
        assert_eq!(Color::try_from("#fF8000".to_owned()), Ok(Color([255, 128, 0])));
        assert_eq!(Color([255, 128, 0]).to_string(), "#ff8000");
        for wrong in ["", "#", "white", "ff8000", "#fff", "#ff80000", "#+f8000", "#ff800é", "rgb(1,2,3)"] {
            assert_eq!(Color::try_from(wrong.to_owned()), Err(NotAColor), "{wrong}");
        }
    }
}
