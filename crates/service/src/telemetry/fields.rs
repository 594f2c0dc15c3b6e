use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

/// A value in a log line is cut here.
pub(crate) const MAX_VALUE_BYTES: usize = 1024;

/// What an event says, ready to be shown: escaped and cut.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) message: String,
    pub(crate) others: Vec<(&'static str, FieldValue)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldValue {
    Text(String),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl Fields {
    fn put(&mut self, field: &Field, value: FieldValue) {
        match (field.name(), value) {
            ("message", FieldValue::Text(text)) => self.message = text,
            // what the `log` crate puts beside its message
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, FieldValue::Float(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, FieldValue::Int(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, FieldValue::Unsigned(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, FieldValue::Bool(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, FieldValue::Text(clean(value)));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = Cut::default();
        // the chain is told once, here
        let mut next = Some(value);
        while let Some(error) = next {
            let written = match text.0.is_empty() {
                true => write!(text, "{error}"),
                false => write!(text, ": {error}"),
            };
            next = written.ok().and_then(|()| error.source());
        }
        self.put(field, FieldValue::Text(clean(&text.0)));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Cut::default();
        // a full cut is the only error
        let _ = write!(text, "{value:?}");
        self.put(field, FieldValue::Text(clean(&text.0)));
    }
}

/// Stops taking text a little after the cut, so that a huge value is never written out whole.
#[derive(Default)]
struct Cut(String);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (MAX_VALUE_BYTES + 1).saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
        match text.len() > room {
            true => {
                self.0.push('…');
                Err(fmt::Error)
            }
            false => Ok(()),
        }
    }
}

/// The text without anything that a terminal or a reader of logs could take for something else:
/// control characters, line ends and marks of direction are written out, and it is cut at 1 KiB.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len().min(MAX_VALUE_BYTES));
    for letter in text.chars() {
        if cleaned.len() >= MAX_VALUE_BYTES {
            cleaned.truncate(cleaned.floor_char_boundary(MAX_VALUE_BYTES));
            cleaned.push('…');
            break;
        }
        match letter {
            '\n' => cleaned.push_str("\\n"),
            '\r' => cleaned.push_str("\\r"),
            '\t' => cleaned.push_str("\\t"),
            letter if letter.is_control() || is_mark(letter) => {
                // writing into a String cannot fail
                let _ = write!(cleaned, "\\u{{{:x}}}", u32::from(letter));
            }
            letter => cleaned.push(letter),
        }
    }
    cleaned
}

/// Letters that cannot be seen and change how others look.
fn is_mark(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_outside_cannot_break_a_line_or_fill_it() {
        for (text, cleaned) in [
            ("plain ünïcode 漢字", "plain ünïcode 漢字"),
            ("a\nINFO forged\r\t", "a\\nINFO forged\\r\\t"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
        ] {
            assert_eq!(clean(text), cleaned);
        }
        for long in ["x".repeat(5000), "漢".repeat(5000), "\u{1b}".repeat(5000)] {
            let cut = clean(&long);
            assert!(cut.ends_with('…') && cut.len() <= MAX_VALUE_BYTES + 8, "{}", cut.len());
        }
        assert_eq!(clean(&"x".repeat(MAX_VALUE_BYTES)).len(), MAX_VALUE_BYTES);
    }
}
