//! Names from files, for people. A layer's name may hold any character, and a terminal obeys some: they are written as Rust writes
//! them, such as `\u{1b}`. A layer is found by its name in that form, too.

/// The text with every character visible, on one line.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(QUOTES) {
        let plain = piece.strip_suffix(QUOTES).unwrap_or(piece);
        shown.extend(plain.escape_debug());
        // Only a string in a source would need these escaped.
        shown.push_str(&piece[plain.len()..]);
    }
    shown
}

/// A message of several lines with every other character visible.
pub fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

const QUOTES: [char; 3] = ['"', '\'', '\\'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_given_nothing_to_obey() {
        // Letters of two characters, too.
        for plain in ["mixed4c/3x3 \"a\\b\" 'c'", "größer…", "層", "", "gro\u{308}ßer", "\\\\", "चित्र"]
        {
            assert_eq!(visible(plain), plain);
        }
        let hostile = "a\u{1b}]0;title\u{7}\r\nb\u{9b}2J\u{202e}c\u{7f}";
        assert_eq!(visible(hostile), "a\\u{1b}]0;title\\u{7}\\r\\nb\\u{9b}2J\\u{202e}c\\u{7f}");
        assert_eq!(visible_lines("one\u{1b}\ntwo\r\n"), "one\\u{1b}\ntwo\\r\n");
        // What is visible stays as it is.
        assert_eq!(visible(&visible(hostile)), visible(hostile));
    }
}
