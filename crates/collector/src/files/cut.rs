use memchr::memchr_iter;

use super::Item;

/// What was cut out of a piece of text, and how far.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) items: Vec<Item>,
    /// Bytes of the piece that are dealt with; the rest waits for more.
    pub(super) used: usize,
    /// The line that stands at `used`, from 1.
    pub(super) line: u64,
    /// Syslog lines of other programs, which are passed over.
    pub(super) foreign: u64,
    /// The bytes that ranges point into, when that is not the piece itself.
    pub(super) rewritten: Option<Vec<u8>>,
}

impl Cut {
    pub(super) fn at_line(line: u64) -> Self {
        Self { items: Vec::new(), used: 0, line, foreign: 0, rewritten: None }
    }

    /// Passes over these bytes, which follow `used`.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        self.line += memchr_iter(b'\n', bytes).count() as u64;
        self.used += bytes.len();
    }
}
