use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// SHA-256 over length-prefixed parts: two lists of parts give the same hash only if they are equal.
///
/// Each part is preceded by its length as a 64-bit big-endian number.
pub fn hash_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// RFC 4648 base32 in upper case without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut have) = (0u32, 0u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(*byte);
        have += 8;
        while have >= 5 {
            have -= 5;
            text.push(char::from(ALPHABET[(bits >> have) as usize & 31]));
        }
        bits &= (1 << have) - 1;
    }
    if have > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - have)) as usize & 31]));
    }
    text
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut have) = (0u32, 0u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        have += 5;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    Some(bytes)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// Names one `[[github]]` entry for ever: written once into the configuration, kept over renaming.
    ConnectionId
}
text_id! {
    /// Names one reading of the world: `live`, `drill`, or a backfill, gap fill or import of its own.
    RunId
}
text_id! {
    /// What the sender calls a record: GitHub's `_document_id`, a delivery id, or `h:` and a content hash.
    SourceId
}

impl RunId {
    /// The run that follows GitHub as it happens.
    pub fn live() -> Self {
        Self::new("live")
    }

    /// Whether the run is a drill, whose findings are labelled and never counted.
    pub fn is_drill(&self) -> bool {
        self.as_str() == "drill"
    }

    /// The part of the run that goes into ids: only real or drill.
    pub fn reality(&self) -> &'static str {
        if self.is_drill() { "drill" } else { "real" }
    }
}

/// A SHA-256 hash, printed as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of these bytes alone.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identifies one event of one connection, whichever way and however often it arrived.
///
/// 128 bits of SHA-256 over (connection, real or drill, source id); printed as `E-` and base32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of the event that this source record stands for.
    pub fn of(connection: &ConnectionId, run: &RunId, source: &SourceId) -> Self {
        let hash = hash_parts([
            connection.as_str().as_bytes(),
            run.reality().as_bytes(),
            source.as_str().as_bytes(),
        ]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// Rebuilds an id from its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E-{}", base32(&self.0))
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix("E-")
            .and_then(from_base32)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not an event id"))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Identifies one finding: rule, group and bucket of one connection; `F-` and 26 base32 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FindingId(String);

impl FindingId {
    /// The id of the finding of this rule (its `id`, else its name), group and bucket.
    ///
    /// `group` holds the folded values in the order of the rule's group-by fields.
    pub fn of<'a>(
        connection: &'a ConnectionId,
        run: &RunId,
        rule: &'a str,
        group: impl IntoIterator<Item = &'a str>,
        bucket: crate::Timestamp,
    ) -> Self {
        let bucket = bucket.as_millis().to_be_bytes();
        let head = [connection.as_str(), run.reality(), rule].map(str::as_bytes);
        let group: Vec<&str> = group.into_iter().collect();
        let hash = hash_parts(
            head.into_iter()
                .chain(group.iter().map(|value| value.as_bytes()))
                .chain([bucket.as_slice()]),
        );
        let mut text = base32(&hash);
        text.truncate(26);
        Self(format!("F-{text}"))
    }

    /// Wraps a text that came from a store, a page or a person.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `F-` and the first 8 characters, as pages show it.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn base32_follows_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
            assert_eq!(from_base32(text).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash_parts([b"ab".as_slice(), b"c"]), hash_parts([b"a".as_slice(), b"bc"]));
    }

    #[test]
    fn an_event_is_one_over_real_runs_and_another_in_a_drill() {
        let (connection, source) = (ConnectionId::from("c"), SourceId::from("s"));
        let id = |run: &str| EventId::of(&connection, &RunId::from(run), &source);
        assert_eq!(id("live"), id("backfill-1"));
        assert_ne!(id("live"), id("drill"));
        assert_eq!(id("live").to_string().parse(), Ok(id("live")));
    }

    #[test]
    fn a_finding_id_names_rule_group_and_bucket() {
        let id = |group: [&str; 2], bucket| {
            let (connection, run) = (ConnectionId::from("c"), RunId::live());
            FindingId::of(&connection, &run, "r", group, Timestamp::from_millis(bucket))
        };
        assert_eq!(id(["a", "b"], 0), id(["a", "b"], 0));
        assert_ne!(id(["a", "b"], 0), id(["ab", ""], 0));
        assert_ne!(id(["a", "b"], 0), id(["a", "b"], 1));
        assert_eq!(id(["a", "b"], 0).as_str().len(), 28);
        assert_eq!(id(["a", "b"], 0).short().len(), 10);
    }
}
