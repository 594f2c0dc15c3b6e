//! A rule's value on its way through the modifiers: encoded, dashed, filled in from lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::modifier::Transform;
use crate::pattern::{Part, Pattern};
use crate::problem::{Flaw, flaw, quoted};

/// Alternatives that one rule may have after expansion.
pub(crate) const MAX_ALTERNATIVES: usize = 10_000;
/// A value of an event is cut at this length, so a longer one can never be equal.
const MAX_VALUE_BYTES: usize = hubwarden_event::MAX_VALUE_BYTES;
const DASHES: [char; 5] = ['-', '/', '–', '—', '―'];
const MAX_DASHES: usize = 3;

/// Looks a list up: its values, or why it cannot be used.
pub(crate) type ListOf<'a> = dyn FnMut(&str) -> Result<Vec<String>, Flaw> + 'a;

/// A value that is a text so far, or bytes after a change of encoding.
enum Stage {
    Pattern(Pattern),
    Bytes(Vec<u8>),
}

/// All alternatives that a value stands for, any of which may hold.
///
/// A list without values leaves none.
pub(crate) fn alternatives(
    text: &str,
    transforms: &[Transform],
    line: usize,
    lists: &mut ListOf<'_>,
) -> Result<Vec<Pattern>, Flaw> {
    if text.len() > MAX_VALUE_BYTES {
        return flaw(line, format!("a value is longer than {MAX_VALUE_BYTES} bytes"));
    }
    let first = match transforms.contains(&Transform::Expand) {
        true => Pattern::parse_with_lists(text),
        false => Pattern::parse(text),
    };
    // Placeholders are filled in at load time, before anything is done to the value.
    let filled = fill(first, line, lists)?;
    let mut stages: Vec<_> = filled.into_iter().map(Stage::Pattern).collect();
    for transform in transforms {
        let mut next = Vec::new();
        for stage in stages {
            apply(*transform, stage, line, &mut next)?;
            check_count(next.len(), line)?;
        }
        stages = next;
    }
    stages.into_iter().map(|stage| finish(stage, line)).collect()
}

pub(crate) fn check_count(count: usize, line: usize) -> Result<(), Flaw> {
    if count > MAX_ALTERNATIVES {
        return flaw(line, format!("more than {MAX_ALTERNATIVES} alternatives after expansion"));
    }
    Ok(())
}

fn finish(stage: Stage, line: usize) -> Result<Pattern, Flaw> {
    match stage {
        Stage::Pattern(pattern) => Ok(pattern),
        Stage::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Pattern::literal(&text)),
            Err(_) => flaw(line, "a change of encoding makes no text here: `base64` must follow"),
        },
    }
}

/// Puts every value of every list in; a value's own wildcards stay live.
fn fill(pattern: Pattern, line: usize, lists: &mut ListOf<'_>) -> Result<Vec<Pattern>, Flaw> {
    let mut done = vec![Pattern::default()];
    for part in pattern.parts {
        let Part::List(name) = part else {
            done.iter_mut().for_each(|pattern| pattern.push(part.clone()));
            continue;
        };
        let values = lists(&name)?;
        check_count(done.len().saturating_mul(values.len()), line)?;
        let mut next = Vec::with_capacity(done.len() * values.len());
        for before in &done {
            for value in &values {
                let mut pattern = before.clone();
                Pattern::parse(value).parts.into_iter().for_each(|part| pattern.push(part));
                next.push(pattern);
            }
        }
        done = next;
    }
    Ok(done)
}

fn apply(
    transform: Transform,
    stage: Stage,
    line: usize,
    out: &mut Vec<Stage>,
) -> Result<(), Flaw> {
    match transform {
        Transform::Expand => out.push(stage),
        Transform::Windash => match stage {
            Stage::Pattern(pattern) => windash(&pattern, line, out)?,
            Stage::Bytes(_) => return flaw(line, "`windash` must stand before the encodings"),
        },
        Transform::Utf16 { big, mark } => {
            let Stage::Pattern(pattern) = stage else {
                return flaw(line, "a value can change its encoding once");
            };
            let text = literal(&pattern, line)?;
            let mut bytes = if mark { vec![0xff, 0xfe] } else { Vec::new() };
            for unit in text.encode_utf16() {
                bytes.extend(if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
            }
            out.push(Stage::Bytes(bytes));
        }
        Transform::Base64 => {
            let text = STANDARD.encode(bytes(&stage, line)?);
            out.push(Stage::Pattern(Pattern::literal(&text)));
        }
        Transform::Base64Offset => {
            for text in base64_offsets(&bytes(&stage, line)?, line)? {
                out.push(Stage::Pattern(Pattern::literal(&text)));
            }
        }
    }
    Ok(())
}

fn bytes(stage: &Stage, line: usize) -> Result<Vec<u8>, Flaw> {
    match stage {
        Stage::Pattern(pattern) => Ok(literal(pattern, line)?.as_bytes().to_vec()),
        Stage::Bytes(bytes) => Ok(bytes.clone()),
    }
}

fn literal(pattern: &Pattern, line: usize) -> Result<&str, Flaw> {
    match pattern.as_literal() {
        Some(text) => Ok(text),
        None => flaw(line, "a value with wildcards cannot be encoded"),
    }
}

/// The middle that stays the same, for each of the three alignments.
fn base64_offsets(bytes: &[u8], line: usize) -> Result<Vec<String>, Flaw> {
    let mut texts = Vec::new();
    for (shift, start) in [(0, 0), (1, 2), (2, 3)] {
        let shifted = [&b"  "[..shift], bytes].concat();
        let text = STANDARD.encode(&shifted);
        let cut = [0, 3, 2][shifted.len() % 3];
        match text.get(start..text.len() - cut) {
            Some(middle) if !middle.is_empty() => texts.push(middle.to_owned()),
            _ => {
                let value = quoted(&String::from_utf8_lossy(bytes));
                return flaw(line, format!("{value} is too short for `base64offset`"));
            }
        }
    }
    Ok(texts)
}

/// Every way to write the dashes that begin a word.
fn windash(pattern: &Pattern, line: usize, out: &mut Vec<Stage>) -> Result<(), Flaw> {
    let mut done = vec![Pattern::default()];
    let mut places = 0;
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    for part in &pattern.parts {
        let Part::Text(text) = part else {
            done.iter_mut().for_each(|pattern| pattern.push(part.clone()));
            continue;
        };
        let mut before = None;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let begins = matches!(letter, '-' | '/')
                && !before.is_some_and(is_word)
                && letters.peek().copied().is_some_and(is_word);
            before = Some(letter);
            if !begins {
                let part = Part::Text(letter.into());
                done.iter_mut().for_each(|pattern| pattern.push(part.clone()));
                continue;
            }
            places += 1;
            if places > MAX_DASHES {
                return flaw(
                    line,
                    format!("`windash` takes at most {MAX_DASHES} dashes in a value"),
                );
            }
            let with = |pattern: &Pattern, dash: char| {
                let mut pattern = pattern.clone();
                pattern.push(Part::Text(dash.into()));
                pattern
            };
            done = done.iter().flat_map(|one| DASHES.map(|dash| with(one, dash))).collect();
        }
    }
    out.extend(done.into_iter().map(Stage::Pattern));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, transforms: &[Transform]) -> Result<Vec<String>, String> {
        let mut lists = |name: &str| match name {
            "two" => Ok(vec!["a".into(), "b".into()]),
            "none" => Ok(vec![]),
            "big" => Ok((0..200).map(|n| n.to_string()).collect()),
            _ => flaw(1, "no such list"),
        };
        let found = alternatives(text, transforms, 1, &mut lists).map_err(|flaw| flaw.message)?;
        Ok(found.iter().map(|pattern| pattern.as_literal().unwrap_or("*").to_owned()).collect())
    }

    #[test]
    fn base64offset_follows_the_worked_example() {
        let texts = run("foobar", &[Transform::Base64Offset]).unwrap();
        assert_eq!(texts, ["Zm9vYmFy", "Zvb2Jhc", "mb29iYX"]);
        for text in ["hello", "hell", "abc", "péché"] {
            let middles = run(text, &[Transform::Base64Offset]).unwrap();
            for (before, middle) in ["", "x", "yz"].iter().zip(&middles) {
                for after in ["", "1", "22"] {
                    let whole = STANDARD.encode(format!("{before}{text}{after}"));
                    assert!(whole.contains(middle.as_str()), "{whole} {middle}");
                }
            }
        }
        assert!(run("a", &[Transform::Base64Offset]).unwrap_err().contains("too short"));
    }

    #[test]
    fn encodes() {
        let wide = Transform::Utf16 { big: false, mark: false };
        for (text, transforms, expected) in [
            ("foobar", vec![Transform::Base64], "Zm9vYmFy"),
            ("fo", vec![Transform::Base64], "Zm8="),
            (r"f\*", vec![Transform::Base64], "Zio="),
            ("ab", vec![wide, Transform::Base64], "YQBiAA=="),
            (
                "ab",
                vec![Transform::Utf16 { big: true, mark: false }, Transform::Base64],
                "AGEAYg==",
            ),
            (
                "ab",
                vec![Transform::Utf16 { big: false, mark: true }, Transform::Base64],
                "//5hAGIA",
            ),
            ("ab", vec![wide], "a\0b\0"),
        ] {
            assert_eq!(run(text, &transforms).unwrap(), [expected], "{text} {transforms:?}");
        }
        assert!(run("a*", &[Transform::Base64]).unwrap_err().contains("wildcards"));
    }

    #[test]
    fn dashes_only_where_a_word_begins() {
        for (text, count) in
            [(" -x", 5), ("-x", 5), ("a-b", 1), ("--x", 5), ("- x", 1), ("/a -b", 25), ("-*", 1)]
        {
            assert_eq!(run(text, &[Transform::Windash]).unwrap().len(), count, "{text}");
        }
        assert!(run(" -x", &[Transform::Windash]).unwrap().contains(&" ―x".to_owned()));
        assert!(run("-a -b -c -d", &[Transform::Windash]).is_err());
    }

    #[test]
    fn fills_lists_in() {
        assert_eq!(run("x%two%%two%", &[Transform::Expand]).unwrap(), ["xaa", "xab", "xba", "xbb"]);
        assert_eq!(run("%none%", &[Transform::Expand]).unwrap(), [""; 0]);
        assert_eq!(run("%two%", &[]).unwrap(), ["%two%"]);
        assert_eq!(run("%other%", &[Transform::Expand]).unwrap_err(), "no such list");
        let error = run("%big%%big%", &[Transform::Expand]).unwrap_err();
        assert!(error.contains("more than 10000 alternatives"));
    }
}
