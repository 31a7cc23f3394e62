//! What a model's file, or an index, says of itself, for a terminal. A layer's name may hold any character, and a terminal obeys
//! some: they are written as Rust writes them, such as `\u{1b}`.

/// The text with every character visible.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // Only a string in a source would need these escaped.
            '"' | '\'' | '\\' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        for plain in ["mixed4c/3x3 \"a\\b\" 'c'", "größer…", "層", ""] {
            assert_eq!(visible(plain), plain);
        }
        let hostile = "a\u{1b}]0;title\u{7}\r\nb\u{9b}2J\u{202e}c\u{7f}";
        assert_eq!(visible(hostile), "a\\u{1b}]0;title\\u{7}\\r\\nb\\u{9b}2J\\u{202e}c\\u{7f}");
    }
}
