use memchr::{memchr, memmem};

use super::csv;
use super::scanner::{Found, Scanner};

/// How a text is made of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A record or several on each line.
    Lines,
    /// JSON values one after the other, or in arrays, with line breaks anywhere.
    Values {
        /// Whether the reading stands inside an array whose elements are records.
        in_array: bool,
    },
    /// A CSV export; the header line is put before each row.
    Csv {
        /// The header line without its line end.
        header: Vec<u8>,
    },
    /// Not text at all, or not text that can be read here.
    Binary {
        /// What it is and what to do.
        reason: String,
    },
}

impl Form {
    /// Judges by the first bytes (about a megabyte of them, or the whole text when it is shorter).
    pub(super) fn of(start: &[u8]) -> Self {
        if let Some(reason) = binary(start) {
            return Self::Binary { reason };
        }
        let text = start.trim_ascii_start();
        match text.first() {
            Some(b'[') => Self::Values { in_array: false },
            Some(b'{') if !one_value_a_line(text) => Self::Values { in_array: false },
            Some(b'{') | None => Self::Lines,
            Some(_) => match csv::header(start) {
                Some(header) => Self::Csv { header: header.to_vec() },
                None => Self::Lines,
            },
        }
    }
}

/// Whether the first line holds its first value whole, or at least does not look pretty printed.
fn one_value_a_line(text: &[u8]) -> bool {
    let line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    match Scanner::default().scan(line) {
        // more values on a line of unknown length: concatenated without separators
        Found::End(end) => !line[end..].trim_ascii_start().starts_with(b"{"),
        _ => !matches!(line.trim_ascii_end().last(), Some(b'{' | b'[' | b',' | b':')),
    }
}

fn binary(start: &[u8]) -> Option<String> {
    let known: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"\xfd7zXZ\x00", "xz data; decompress it first (gzip and zstd are read as they are)"),
        (b"BZh", "bzip2 data; decompress it first (gzip and zstd are read as they are)"),
        (b"PAR1", "a Parquet file; export it as NDJSON"),
        (b"\xff\xfe", "text in UTF-16; convert it to UTF-8"),
        (b"\xfe\xff", "text in UTF-16; convert it to UTF-8"),
    ];
    if let Some((_, what)) = known.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(format!("the file is {what}"));
    }
    let sample = &start[..start.len().min(8 << 10)];
    let json = matches!(sample.trim_ascii_start().first(), Some(b'{' | b'['));
    if memmem::find(sample, b"ustar").is_some_and(|at| at == 257) {
        return Some("the file is a tar archive; unpack it first".into());
    }
    (!json && memchr(0, sample).is_some())
        .then(|| "the file is binary, not an export of an audit log".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_forms_apart() {
        let (lines, values) = (Form::Lines, Form::Values { in_array: false });
        for (text, form) in [
            ("", &lines),
            ("{\"a\":1}\n{\"a\":2}\n", &lines),
            ("{\"a\":1}", &lines),
            ("{\"a\":1\n{\"a\":2}\n", &lines),
            ("{\"a\":1}{\"a\":2}", &values),
            ("\n  [{\"a\":1},", &values),
            ("{\n  \"a\": 1\n}\n", &values),
            ("{\"a\": {\n  \"b\": 1}}\n", &values),
            ("<134>Nov 1 10:00:00 host github_audit[1]: {\"a\":1}\n", &lines),
            ("just text\n", &lines),
            (
                "action,actor\nrepo.create,octocat\n",
                &Form::Csv { header: b"action,actor".to_vec() },
            ),
        ] {
            assert_eq!(Form::of(text.as_bytes()), *form, "{text}");
        }
        for bytes in [b"PK\x03\x04....".as_slice(), b"\x7fELF\x02\x01\x01\0\0", b"\xff\xfea\0"] {
            assert!(matches!(Form::of(bytes), Form::Binary { .. }), "{bytes:?}");
        }
    }
}
