//! Cuts JSON into the parts that become cells, without building a tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{Rejected, quick};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is, without quotes.
    Plain,
    /// As JSON text between quotes, certainly without escapes.
    Quoted,
    /// As JSON text of any kind.
    Json,
}

/// One name and value of an object.
#[derive(Debug)]
pub(crate) struct Member<'de> {
    /// The name, unescaped.
    pub(crate) key: Cow<'de, str>,
    /// What stands behind it.
    pub(crate) value: &'de str,
    /// How the value is written.
    pub(crate) form: Form,
    /// The dictionary's id of its full name, once that has been looked up.
    pub(crate) id: Option<u16>,
}

/// The members of the one object that `text` is, in their order, repeated names included.
///
/// Values are checked to be JSON and skipped iteratively, so that depth costs no stack here.
pub(crate) fn members(text: &str) -> Result<Vec<Member<'_>>, Rejected> {
    match quick::members(text) {
        Some(members) => Ok(members),
        None => checked_members(text),
    }
}

/// As [`members`], by `serde_json` alone, which says what is wrong.
pub(crate) fn checked_members(text: &str) -> Result<Vec<Member<'_>>, Rejected> {
    let start = text.trim_ascii_start().as_bytes().first();
    let what = match start {
        Some(b'{') => {
            let mut json = serde_json::Deserializer::from_str(text);
            let members = (&mut json).deserialize_map(Members);
            return members
                .and_then(|members| json.end().map(|()| members))
                .map_err(|error| Rejected::new(format!("not a JSON object: {error}")));
        }
        None => "nothing",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b'0'..=b'9' | b'-') => "a number",
        Some(_) => "something else",
    };
    Err(Rejected::new(format!("not a JSON object but {what}")))
}

/// The elements of an array.
pub(crate) fn elements(text: &str) -> Result<Vec<&RawValue>, Rejected> {
    serde_json::from_str(text).map_err(|error| Rejected::new(format!("broken array: {error}")))
}

/// The text that a JSON string stands for; half of a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(text: &str) -> Result<Cow<'_, str>, Rejected> {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    let bytes = serde_json::Deserializer::from_str(text)
        .deserialize_byte_buf(Bytes)
        .map_err(|error| Rejected::new(format!("broken text: {error}")))?;
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Cow::Owned(text))
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// Most audit events have fewer fields.
        const USUAL: usize = 40;
        let mut members = Vec::with_capacity(USUAL);
        while let Some(key) = map.next_key_seed(Key)? {
            let value: &RawValue = map.next_value()?;
            members.push(Member { key, value: value.get(), form: Form::Json, id: None });
        }
        Ok(members)
    }
}

/// Borrows a key where it holds no escape.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong() {
        for (text, reason) in [
            ("", "not a JSON object but nothing"),
            ("[{}]", "not a JSON object but an array"),
            ("\"{}\"", "not a JSON object but a text"),
            ("-1", "not a JSON object but a number"),
            ("nonsense", "not a JSON object but something else"),
            ("{} {}", "not a JSON object: trailing characters at line 1 column 4"),
            ("{\"a\":1", "not a JSON object: EOF while parsing an object at line 1 column 6"),
            (
                "{\"a\":\"\u{1}\"}",
                "not a JSON object: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 6",
            ),
        ] {
            assert_eq!(members(text).unwrap_err().to_string(), reason, "{text}");
        }
    }

    #[test]
    fn keeps_order_repeats_and_digits() {
        let text = r#" {"a": 1.50, "\u0062": [ 1 ], "a": 123456789012345678901234567890} "#;
        let members = members(text).unwrap();
        let shown: Vec<_> =
            members.iter().map(|member| format!("{}={}", member.key, member.value)).collect();
        assert_eq!(shown, ["a=1.50", "b=[ 1 ]", "a=123456789012345678901234567890"]);
    }

    #[test]
    fn unescapes_what_json_allows_and_more() {
        for (text, value) in
            [(r#""""#, ""), (r#""plain""#, "plain"), (r#""a\n\"\u00e9\ud83d\ude00""#, "a\n\"é😀")]
        {
            assert_eq!(unescape(text).unwrap(), value);
        }
        let half = unescape(r#""x\ud83dy""#).unwrap();
        assert!(half.starts_with('x') && half.ends_with('y') && half.contains('\u{fffd}'));
        assert!(unescape(r#""\x""#).is_err());
    }
}
