//! One event being written: a JSON object grown key by key in a byte buffer.

use super::rng::Rng;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A JSON object in the making. Fragments and keys are appended after the opening ones.
///
/// Written by hand since the generator has to make more than half a million events a second on one core.
pub(crate) struct Line(Vec<u8>);

impl Line {
    /// An object that holds the three fields which every event has.
    pub(crate) fn event(at_ms: i64, document_id: &[u8; 22], action: &str) -> Self {
        let mut line = Self(Vec::with_capacity(1400));
        line.raw(b"{\"@timestamp\":");
        line.digits(at_ms);
        line.raw(b",\"_document_id\":\"");
        line.raw(document_id);
        line.raw(b"\",\"action\":\"");
        line.raw(action.as_bytes());
        line.raw(b"\"");
        line
    }

    /// A run of `,"key":value` pairs that is appended to events as it is.
    pub(crate) fn fragment() -> Self {
        Self(Vec::with_capacity(256))
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn key(&mut self, key: &str) {
        self.raw(b",\"").raw(key.as_bytes()).raw(b"\":");
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.quoted(value);
        self
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) -> &mut Self {
        self.key(key);
        self.raw(b"[");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.raw(b",");
            }
            self.quoted(value);
        }
        self.raw(b"]")
    }

    pub(crate) fn int(&mut self, key: &str, value: i64) -> &mut Self {
        self.key(key);
        self.digits(value);
        self
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key);
        self.raw(if value { b"true" } else { b"false" })
    }

    pub(crate) fn null(&mut self, key: &str) -> &mut Self {
        self.key(key);
        self.raw(b"null")
    }

    /// A value that is JSON already.
    pub(crate) fn json(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.raw(value.as_bytes())
    }

    /// `request_id` in GitHub's form of five groups of hexadecimal digits.
    pub(crate) fn request_id(&mut self, rng: &mut Rng) -> &mut Self {
        self.raw(b",\"request_id\":\"");
        let (first, second) = (rng.next(), rng.next());
        self.hex(first, 4).raw(b":");
        self.hex(first >> 16, 6).raw(b":");
        self.hex(first >> 40, 6).raw(b":");
        self.hex(second, 6).raw(b":");
        self.hex(second >> 24, 8).raw(b"\"")
    }

    /// Forty lower-case hexadecimal digits, as a commit has.
    pub(crate) fn sha(&mut self, key: &str, seed: u64) -> &mut Self {
        self.key(key);
        self.raw(b"\"");
        let start = self.0.len();
        let mut rng = Rng::new(seed);
        self.hex(rng.next(), 16).hex(rng.next(), 16).hex(rng.next(), 8);
        self.0[start..].make_ascii_lowercase();
        self.raw(b"\"")
    }

    fn hex(&mut self, value: u64, digits: u32) -> &mut Self {
        for place in (0..digits).rev() {
            self.0.push(HEX[(value >> (4 * place)) as usize & 15]);
        }
        self
    }

    fn digits(&mut self, value: i64) {
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        let mut rest = value.unsigned_abs();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            self.0.push(b'-');
        }
        self.raw(&digits[start..]);
    }

    fn quoted(&mut self, value: &str) {
        self.0.push(b'"');
        for &byte in value.as_bytes() {
            match byte {
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                0..0x20 => {
                    self.raw(b"\\u00").hex(u64::from(byte), 2);
                }
                _ => self.0.push(byte),
            }
        }
        self.0.push(b'"');
    }

    /// The finished object.
    pub(crate) fn close(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    pub(crate) fn into_fragment(self) -> Vec<u8> {
        self.0
    }
}

/// A `_document_id`: 22 characters of base64url.
pub(crate) fn document_id(rng: &mut Rng) -> [u8; 22] {
    letters(rng, BASE64URL)
}

/// A `hashed_token`: base64 with padding of 32 bytes.
pub(crate) fn hashed_token(rng: &mut Rng) -> [u8; 44] {
    let mut text: [u8; 44] = letters(rng, BASE64);
    // The last letter of 32 bytes carries four bits, so its two low bits are zero.
    text[42] = BASE64[rng.index(16) * 4];
    text[43] = b'=';
    text
}

fn letters<const N: usize>(rng: &mut Rng, alphabet: &[u8; 64]) -> [u8; N] {
    let mut text = [0; N];
    for part in text.chunks_mut(10) {
        let mut bits = rng.next();
        for letter in part {
            *letter = alphabet[(bits & 63) as usize];
            bits >>= 6;
        }
    }
    text
}
