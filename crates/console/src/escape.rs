//! Makes text that strangers wrote safe to show: what could act is shown as text.
//!
//! HTML is escaped by `maud`; these cover what is dangerous although it is not markup: terminal
//! sequences, characters that reorder or hide text, and formulas in spreadsheets.

use std::borrow::Cow;

/// One line for a terminal or a page: no control character, no character that reorders or hides.
///
/// Such characters appear as `\n`, `\t` or `\u{202e}`, so that nothing vanishes.
pub fn terminal(text: &str) -> Cow<'_, str> {
    shown(text, is_active)
}

/// As [`terminal`], but line breaks stay: for prose of several lines.
pub fn terminal_lines(text: &str) -> Cow<'_, str> {
    shown(text, |c| c != '\n' && is_active(c))
}

/// One cell of a CSV file that no spreadsheet takes for a formula.
///
/// It is escaped as by [`terminal`]; if it begins like a formula a quote precedes it. Quoting the
/// separator is the CSV writer's part.
pub fn csv(text: &str) -> Cow<'_, str> {
    let shown = terminal(text);
    if text.starts_with(begins_formula) { Cow::Owned(format!("'{shown}")) } else { shown }
}

fn shown(text: &str, hide: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hide) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hide(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Whether a character does something instead of standing there.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'      // soft hyphen, Arabic mark, Mongolian separator
            | '\u{200b}'..='\u{200f}'              // zero width, direction marks
            | '\u{2028}'..='\u{202e}'              // line separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'              // invisible operators, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // byte order mark, annotations
            | '\u{e0000}'..='\u{e0fff}') // tags
}

/// Whether a spreadsheet would calculate a cell that begins so; full-width signs count in some.
fn begins_formula(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown() {
        for (name, text, expected) in [
            ("plain", "octo/app é 猫 🐈", "octo/app é 猫 🐈"),
            ("colour", "\x1b[31mred", r"\u{1b}[31mred"),
            ("title", "\x1b]0;owned\x07", r"\u{1b}]0;owned\u{7}"),
            ("C1 control", "\u{9b}2J", r"\u{9b}2J"),
            ("override", "app\u{202e}gpj.exe", r"app\u{202e}gpj.exe"),
            ("isolate", "\u{2066}x\u{2069}", r"\u{2066}x\u{2069}"),
            ("hidden", "pay\u{200b}pal", r"pay\u{200b}pal"),
            ("tags", "a\u{e0041}", r"a\u{e0041}"),
            ("lines", "one\ntwo\rthree\tfour", r"one\ntwo\rthree\tfour"),
        ] {
            assert_eq!(terminal(text), expected, "{name}");
        }
        assert_eq!(terminal_lines("one\n\x1b[2Jtwo"), "one\n\\u{1b}[2Jtwo");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, expected) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", r"'\t=1"),
            ("\r=1", r"'\r=1"),
            ("＝1", "'＝1"),
            ("a=1", "a=1"),
            ("\x1b[31m", r"\u{1b}[31m"),
            ("", ""),
        ] {
            assert_eq!(csv(text), expected, "{text:?}");
        }
    }
}
