//! Files of audit events, read as a stream in constant memory.
//!
//! The compression and the form of a file are found by looking at its first bytes, never by its
//! name: a REST array, NDJSON, values one after the other, the exports of the web pages as JSON or
//! CSV, the objects and envelopes of a stream, and syslog lines of GitHub Enterprise Server, each
//! plain, gzip or zstd.

mod csv;
mod cut;
mod decode;
mod form;
mod lines;
mod reader;
pub(crate) mod scanner;
mod values;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use hubwarden_event::{ContentType, Hash};

pub use reader::{Consumed, Reader, open};
pub(crate) use values::cut_array;

/// A record longer than this is kept only in part, in bytes.
pub const MAX_ITEM: usize = 16 << 20;

/// How much is kept of a record that is too long, in bytes.
pub const KEPT: usize = hubwarden_event::MAX_DEAD_BYTES;

const NOT_A_RECORD: &str = "neither a JSON object, a row of a CSV export nor a syslog line";

/// Where to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Input {
    /// Takes `-` as standard input and everything else as a path.
    pub fn from_argument(argument: impl Into<PathBuf>) -> Self {
        let path = argument.into();
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }

    /// The name as it stands in origins and messages.
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Path(path) => path.to_string_lossy().into(),
            Self::Stdin => "-".into(),
        }
    }
}

/// A piece of a file with the records that were cut out of it.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The file's name as given, or `-`.
    pub file: Arc<str>,
    /// The bytes that the ranges of `items` point into.
    pub bytes: Bytes,
    /// The records, in the order of the file.
    pub items: Vec<Item>,
    /// Syslog lines of other programs that were passed over.
    pub foreign: u64,
}

impl Chunk {
    /// The payload of one of the items, without a copy.
    pub fn payload(&self, item: &Item) -> Bytes {
        self.bytes.slice(item.range.clone())
    }
}

/// One array element, line or row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it stands in the bytes of its chunk.
    pub range: Range<usize>,
    /// The line of the file it began at, from 1.
    pub line: u64,
    /// How it is written.
    pub content_type: ContentType,
    /// Why it is only a part of a record, or none.
    pub damage: Option<String>,
    /// The measure of the whole record, when only its beginning was kept.
    pub whole: Option<Whole>,
}

/// A record that was too long to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of all of it.
    pub hash: Hash,
}
