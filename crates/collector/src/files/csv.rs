use hubwarden_event::ContentType;
use memchr::{memchr, memchr2};

use super::{Item, cut::Cut};

/// A row whose quotes do not close within this many bytes is given up.
const MAX_ROW: usize = 1 << 20;

/// The first line, when it is the header of an export of the audit log.
pub(super) fn header(start: &[u8]) -> Option<&[u8]> {
    let line = start.trim_ascii_start();
    let line = line[..row_end(line).unwrap_or(line.len())].trim_ascii_end();
    let names = |cell: &[u8]| cell.trim_ascii().trim_ascii_quotes().eq_ignore_ascii_case(b"action");
    let cells = line.split(|byte| *byte == b',');
    (memchr(b',', line).is_some() && cells.into_iter().any(names)).then_some(line)
}

trait TrimQuotes {
    fn trim_ascii_quotes(&self) -> &[u8];
}

impl TrimQuotes for [u8] {
    fn trim_ascii_quotes(&self) -> &[u8] {
        self.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(self)
    }
}

/// Cuts whole rows; each item is the header, a line feed, and the row.
pub(super) fn cut(header: &[u8], text: &[u8], last: bool, cut: &mut Cut) {
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first_line = memchr(b'\n', rest);
        let (row, next, damage) = match row_end(rest) {
            Some(end) => (&rest[..end], end + 1, None),
            None if last && closed(rest) => (rest, rest.len(), None),
            None if last || rest.len() > MAX_ROW => {
                let Some(end) = first_line.or(last.then_some(rest.len())) else { break };
                let damage = "a quote in this row is never closed; correct the row".to_owned();
                (&rest[..end], (end + 1).min(rest.len()), Some(damage))
            }
            None => break,
        };
        if !row.trim_ascii().is_empty() {
            let start = out.len();
            out.extend_from_slice(header);
            out.push(b'\n');
            out.extend_from_slice(row.strip_suffix(b"\r").unwrap_or(row));
            cut.items.push(Item {
                range: start..out.len(),
                line: cut.line,
                content_type: ContentType::CsvRow,
                damage,
                whole: None,
            });
        }
        cut.advance(&rest[..next]);
        at += next;
    }
    cut.rewritten = Some(out);
}

/// Where the row's line feed stands; a quote opens only at the start of a cell.
fn row_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            at = quoted_end(text, at)?;
        }
        let offset = memchr2(b',', b'\n', text.get(at..)?)?;
        at += offset;
        if text[at] == b'\n' {
            return Some(at);
        }
        at += 1;
    }
}

/// One past the quote that closes the one at `at`.
fn quoted_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr(b'"', text.get(at..)?)? + 1;
        match text.get(at) {
            Some(b'"') => at += 1,
            _ => return Some(at),
        }
    }
}

/// Whether the last row of a file, which lacks its line feed, has all its quotes closed.
fn closed(text: &[u8]) -> bool {
    let mut at = 0;
    loop {
        if text.get(at) == Some(&b'"') {
            match quoted_end(text, at) {
                Some(end) => at = end,
                None => return false,
            }
        }
        match memchr(b',', text.get(at..).unwrap_or_default()) {
            Some(offset) => at += offset + 1,
            None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_outside_quotes() {
        for (text, end) in [
            ("a,b\nc", Some(3)),
            ("\"a\nb\",c\n", Some(7)),
            ("\"a\"\"\n\"\"\",c\n", Some(10)),
            ("a\"b,c\n", Some(5)),
            ("\"a\nb,c\n", None),
            ("a,b", None),
        ] {
            assert_eq!(row_end(text.as_bytes()), end, "{text}");
        }
    }
}
