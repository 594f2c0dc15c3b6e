use hubwarden_event::ContentType;
use memchr::{memchr, memchr_iter, memchr3};

use super::cut::Cut;
use super::scanner::{Found, Scanner};
use super::{Item, NOT_A_RECORD};

/// Why a value at the end of a text is only a part.
pub(super) const UNCLOSED: &str = "the file ends inside this value; it was probably cut off";

/// Cuts JSON values that stand one after the other or in arrays.
///
/// `base` is the offset of `text` in the piece that ranges point into. The elements of an array are
/// records, whichever way they are separated, so a missing or additional comma harms nothing.
pub(super) fn cut(
    in_array: &mut bool,
    base: usize,
    text: &[u8],
    last: Option<&str>,
    cut: &mut Cut,
) {
    let mut at = 0;
    let mut line_end = 0; // looked up once a line, which may be the whole text
    loop {
        let blanks = text[at..].iter().take_while(|byte| is_separator(**byte)).count();
        cut.advance(&text[at..at + blanks]);
        at += blanks;
        let Some(first) = text.get(at) else { return };
        if line_end <= at {
            line_end = memchr(b'\n', &text[at..]).map_or(text.len(), |offset| at + offset);
        }
        let (length, content_type, damage) = match first {
            b'[' if !*in_array => {
                *in_array = true;
                cut.advance(b"[");
                at += 1;
                continue;
            }
            b']' if *in_array => {
                *in_array = false;
                cut.advance(b"]");
                at += 1;
                continue;
            }
            b'{' | b'[' | b'"' => match value_end(&text[at..], line_end - at) {
                Found::End(end) => (end, ContentType::Json, None),
                Found::Broken(end) => {
                    let damage = "a text in this value is not closed before the line ends";
                    (end, ContentType::Json, Some(damage))
                }
                Found::More if last.is_some() => (text.len() - at, ContentType::Json, last),
                Found::More => return,
            },
            b'}' | b']' => (1, ContentType::Unknown, Some(NOT_A_RECORD)),
            _ => {
                let end = text[at..].iter().position(|byte| matches!(byte, b',' | b']' | b'\n'));
                match end.or(last.map(|_| text.len() - at)) {
                    Some(end) => (end, ContentType::Unknown, Some(NOT_A_RECORD)),
                    None => return,
                }
            }
        };
        cut.items.push(Item {
            range: base + at..base + at + length,
            line: cut.line,
            content_type,
            damage: damage.map(str::to_owned),
            whole: None,
        });
        cut.advance(&text[at..at + length]);
        at += length;
    }
}

/// Where the value that `text` begins with ends; its first line is `line` bytes long.
fn value_end(text: &[u8], line: usize) -> Found {
    match object_on_a_line(&text[..line]) {
        Some(end) => Found::End(end),
        None => Scanner::default().scan(text),
    }
}

/// The end of an object that ends on its line: what the scanner finds, several times as fast.
///
/// It looks only at braces and backslashes, and counts the quotes between them to know which stand
/// in a text. Brackets can be left out, since those of a sound object are balanced inside it.
fn object_on_a_line(line: &[u8]) -> Option<usize> {
    if line.first() != Some(&b'{') {
        return None;
    }
    let (mut at, mut depth, mut in_text) = (0, 0u64, false);
    loop {
        let gap = memchr3(b'{', b'}', b'\\', line.get(at..)?)?;
        in_text ^= memchr_iter(b'"', &line[at..at + gap]).count() % 2 == 1;
        at += gap + 1;
        match line[at - 1] {
            b'\\' => at += 1, // what is escaped counts for nothing
            _ if in_text => {}
            b'{' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if depth == 0 && !in_text {
            return Some(at);
        }
    }
}

/// Whether more than one value stands on this line, which begins with `{`.
pub(super) fn several(line: &[u8]) -> bool {
    memchr_iter(b'}', line).any(|at| line[at + 1..].trim_ascii_start().starts_with(b"{"))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | 0x1e)
}

/// The elements of an answer that must be one whole JSON array.
///
/// # Errors
/// What it is instead, in words.
pub(crate) fn cut_array(text: &[u8]) -> Result<Vec<std::ops::Range<usize>>, &'static str> {
    let trimmed = text.trim_ascii_start();
    if !trimmed.starts_with(b"[") {
        return Err(match trimmed.first() {
            Some(b'<') => "an HTML or XML page",
            Some(b'{') => "an object",
            None => "an empty body",
            Some(_) => "something that is not JSON",
        });
    }
    let mut found = Cut::at_line(1);
    let mut in_array = false;
    cut(&mut in_array, 0, text, Some(UNCLOSED), &mut found);
    if in_array || found.items.iter().any(|item| item.damage.is_some()) {
        return Err("a JSON array that is cut off or damaged");
    }
    Ok(found.items.into_iter().map(|item| item.range).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_way_finds_what_the_scanner_finds() {
        for text in [
            r#"{"a":1},{"#,
            r#"{"a":"},{","b":{"c":[1,{"d":"\\"}]}}{"#,
            r#"{"a":"\"}","b":"\\"}x"#,
            r#"{}"#,
            r#"{"a":"{","b":"[\\\"{"}]"#,
            r#"{"a":"b"#,
            r#"{"a":{"b":1}"#,
            r#"{"a\"#,
            "{\"a\":\"x\n}\",\"b\":\"}\"}",
            "{\"a\":\n1}{",
        ] {
            let text = text.as_bytes();
            let line = memchr(b'\n', text).unwrap_or(text.len());
            assert_eq!(value_end(text, line), Scanner::default().scan(text), "{text:?}");
        }
    }
}
