//! Case folding: one function for rules and events, character by character.

/// Simple lower case of one character.
///
/// Not the whole-string function of the standard library, which lowers a final Greek sigma
/// differently, so that a prefix would stop being a prefix.
pub(crate) fn fold_char(letter: char) -> char {
    if letter.is_ascii() {
        letter.to_ascii_lowercase()
    } else {
        letter.to_lowercase().next().unwrap_or(letter)
    }
}

/// The text with every character folded.
pub(crate) fn fold(text: &str) -> String {
    if is_folded(text) {
        return text.into();
    }
    text.chars().map(fold_char).collect()
}

/// Whether folding certainly changes nothing: ASCII without capitals.
pub(crate) fn is_folded(text: &str) -> bool {
    text.bytes().all(|byte| byte < 0x80 && !byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_character_by_character() {
        for (text, folded) in [
            ("ABC-def", "abc-def"),
            ("ΟΔΟΣ", "οδοσ"),
            ("\u{212a}", "k"),
            ("ẞ", "ß"),
            ("ß", "ß"),
            ("İ", "i"),
            ("É", "é"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
        }
    }
}
