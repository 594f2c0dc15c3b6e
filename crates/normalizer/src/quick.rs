//! Cuts the usual object fast; whatever is unusual is left to `serde_json`.
//!
//! It only accepts what `serde_json` accepts, and cuts it the same way. Texts without escapes,
//! integers and the three words are cut here, other values by `serde_json` one by one. For anything
//! else there is no answer, so that what is wrong is always said by one parser.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Form, Member};

/// Most audit events have fewer fields.
const USUAL: usize = 48;
/// Objects inside events have few.
const FEW: usize = 4;
/// Texts shorter than this are objects inside events.
const SHORT: usize = 160;

/// The members of the one object that `text` is, or none when `serde_json` has to look.
pub(crate) fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut cutter = Cutter { text, at: 0 };
    cutter.blanks();
    cutter.take(b'{')?;
    cutter.blanks();
    let mut members = Vec::with_capacity(if text.len() < SHORT { FEW } else { USUAL });
    if cutter.take(b'}').is_none() {
        loop {
            let key = Cow::Borrowed(cutter.plain()?);
            cutter.blanks();
            cutter.take(b':')?;
            cutter.blanks();
            let (value, form) = cutter.value()?;
            members.push(Member { key, value, form, id: None });
            cutter.blanks();
            if cutter.take(b',').is_none() {
                cutter.take(b'}')?;
                break;
            }
            cutter.blanks();
        }
    }
    cutter.blanks();
    (cutter.at == text.len()).then_some(members)
}

struct Cutter<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Cutter<'de> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// What stands between the quotes of a text without escapes and control characters.
    fn plain(&mut self) -> Option<&'de str> {
        self.take(b'"')?;
        let start = self.at;
        let length = special(&self.text.as_bytes()[start..])?;
        self.at += length;
        self.take(b'"')?;
        self.text.get(start..start + length)
    }

    fn value(&mut self) -> Option<(&'de str, Form)> {
        let start = self.at;
        let cut = match self.peek()? {
            b'"' if self.plain().is_some() => {
                return Some((self.text.get(start..self.at)?, Form::Quoted));
            }
            b'-' | b'0'..=b'9' => self.integer(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => None,
        };
        if cut.is_none() {
            self.at = start;
            self.other()?;
        }
        Some((self.text.get(start..self.at)?, Form::Json))
    }

    fn integer(&mut self) -> Option<()> {
        let _sign = self.take(b'-');
        match self.peek()? {
            b'0' => self.at += 1, // a digit behind it fits into no object
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        (!matches!(self.peek(), Some(b'.' | b'e' | b'E'))).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        found.then(|| self.at += word.len())
    }

    fn other(&mut self) -> Option<()> {
        let mut json = serde_json::Deserializer::from_str(self.text.get(self.at..)?);
        let value = <&RawValue>::deserialize(&mut json).ok()?;
        self.at += value.get().len();
        Some(())
    }
}

/// Where the first quote, backslash or control character stands.
///
/// Looks at eight bytes at a time: names and values are too short for a search that has to be set up.
fn special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // the lowest marked byte is right: a borrow can only mark bytes above one that is marked
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & HIGH;
    // with bit 1 turned, a quote comes right behind the control characters
    let quote_or_control = |word: u64| below(word ^ (ONES * 2), b' ' + 1);
    let backslash = |word: u64| below(word ^ (ONES * u64::from(b'\\')), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marked = quote_or_control(word) | backslash(word);
        if marked != 0 {
            return Some(place * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let place = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(bytes.len() - rest.len() + place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    /// Whatever is cut here is cut the same way by `serde_json`.
    fn check(text: &str) -> bool {
        let Some(quick) = members(text) else { return false };
        let slow = json::checked_members(text)
            .unwrap_or_else(|error| panic!("{text:?} was cut, but is {error}"));
        let parts = |members: Vec<Member<'_>>| -> Vec<(String, String)> {
            members.into_iter().map(|one| (one.key.into(), one.value.into())).collect()
        };
        let quoted = quick.iter().filter(|one| one.form == Form::Quoted);
        for text in quoted.map(|one| one.value) {
            assert_eq!(json::unescape(text).unwrap(), text[1..text.len() - 1], "{text:?}");
        }
        assert_eq!(parts(quick), parts(slow), "{text:?}");
        true
    }

    #[test]
    fn cuts_the_usual_and_leaves_the_rest() {
        for text in [
            "{}",
            " { \"a\" : 1 , \"b\":-0,\"c\":true,\"d\":null,\"e\":false,\"f\":\"\" }\n",
            r#"{"a":{"b":["c\"",{}]},"d":[],"e":"x\u00e9","f":1.50,"g":-2e+3,"é":"日本語"}"#,
            r#"{"a":123456789012345678901234567890,"a":2}"#,
        ] {
            assert!(check(text), "{text:?}");
        }
        for text in [
            "",
            "{",
            "[]",
            "{} {}",
            "{,}",
            r#"{"a":1,}"#,
            r#"{"a"}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":-}"#,
            r#"{"a":tru}"#,
            r#"{"a":nulls}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":[1,}"#,
            r#"{"\u0061":1}"#,
            "{\"a\":\"\u{1}\"}",
            "{\"a\u{1f}\":1}",
            "{\"a\":1}\u{a0}",
        ] {
            assert!(!check(text), "{text:?}");
        }
    }

    #[test]
    fn every_damage_at_every_byte_is_seen_as_serde_json_sees_it() {
        let text = r#"{"action":"repo.access","n":-120,"t":true,"x":null,"o":{"c":"US"},"l":[1,"a"],"e":"a\n","f":0.5}"#;
        assert!(check(text));
        for at in 0..text.len() {
            check(&text[..at]);
            for byte in (0..0x80).map(char::from) {
                let damaged = format!("{}{byte}{}", &text[..at], &text[at + 1..]);
                check(&damaged);
                check(&format!("{}{byte}{}", &text[..at], &text[at..]));
            }
        }
    }

    #[test]
    fn finds_the_first_special_byte() {
        for length in 0..40 {
            for special_byte in [b'"', b'\\', 0, 0x1f] {
                let mut bytes = vec![b'a'; length];
                assert_eq!(special(&bytes), None);
                bytes.push(special_byte);
                bytes.extend([b'!', b'"', 0xff, b'\\', 0x80, 0x7f]);
                assert_eq!(special(&bytes), Some(length), "{special_byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[{}\[\]":,\\a0-9.eE+\- tfnurlse\n\u{1}é]{0,40}"#) {
            check(&text);
            check(&format!("{{\"a\":{text}}}"));
            check(&format!("{{\"a\":\"{text}\"}}"));
        }

        #[test]
        fn finds_what_a_plain_search_finds(bytes: Vec<u8>) {
            let plain = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            prop_assert_eq!(special(&bytes), plain);
        }
    }
}
