use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ConnectionId, EventId, Hash, RawPosition, RunId, SourceId, Timestamp};

/// A dead letter keeps at most this much of the record, in bytes.
pub const MAX_DEAD_BYTES: usize = 64 * 1024;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as it is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownName(text.into())) }
            }
        }
    };
}

/// A name outside a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known name here")]
pub struct UnknownName(pub String);

names! {
    /// The way a record came.
    Feed {
        /// The audit log read over REST.
        AuditRest = "audit-rest",
        /// Files and pushes by hand.
        Import = "import",
    }
}

names! {
    /// What sort of thing an event reports; progress is told for each kind apart.
    Kind {
        /// A web event of the audit log.
        Audit = "audit",
        /// A Git event of the audit log (`git.*`).
        Git = "git",
    }
}

names! {
    /// How the payload of a raw record is written.
    ContentType {
        /// One JSON object.
        Json = "application/json",
        /// The header line of a CSV export, a line feed, and one row of it.
        CsvRow = "text/csv",
        /// A syslog line of GitHub Enterprise Server: a prefix, then one JSON object.
        SyslogLine = "text/x-syslog",
        /// Something that none of the above could be cut out of.
        Unknown = "application/octet-stream",
    }
}

/// Where an imported record stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file's name as given, or `-` for standard input.
    pub file: Arc<str>,
    /// The line it began at, from 1.
    pub line: u64,
}

/// One array element, line or delivery, byte for byte as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Whose record it is.
    pub connection: ConnectionId,
    /// The way it came.
    pub feed: Feed,
    /// The run that read it.
    pub run: RunId,
    /// What the sender calls it.
    pub source_id: SourceId,
    /// When the collector had it.
    pub received_at: Timestamp,
    /// How the payload is written.
    pub content_type: ContentType,
    /// The bytes as sent.
    pub payload: Bytes,
    /// What was removed from the payload before it was stored; empty when nothing was.
    pub scrubs: Vec<String>,
    /// File and line, for imports.
    pub origin: Option<Origin>,
    /// Why the collector could not cut a whole record, when it could not; the payload is then a part.
    pub damage: Option<String>,
}

impl RawRecord {
    /// The id of the event that this record stands for.
    pub fn event_id(&self) -> EventId {
        EventId::of(&self.connection, &self.run, &self.source_id)
    }
}

/// All records of `kind` up to `through` that this run will read have been written before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whose time it is.
    pub connection: ConnectionId,
    /// The run that read.
    pub run: RunId,
    /// The kind of event it speaks for.
    pub kind: Kind,
    /// Event time up to which the reading is complete.
    pub through: Timestamp,
}

/// A run has written its last record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Whose run it was.
    pub connection: ConnectionId,
    /// The run that ended.
    pub run: RunId,
}

/// What the topic `raw` carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawBody {
    /// Something GitHub sent.
    Record(RawRecord),
    /// How far a run has read.
    Progress(Progress),
    /// The end of a run.
    RunEnd(RunEnd),
}

/// A record that could not be read, kept with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the record stands in the topic it was taken from.
    pub position: RawPosition,
    /// Whose record it was, when that much could be read.
    pub connection: Option<ConnectionId>,
    /// File and line, for imports.
    pub origin: Option<Origin>,
    /// Why it could not be read: lower case, one sentence.
    pub reason: String,
    /// SHA-256 of the whole record.
    pub hash: Hash,
    /// Length of the whole record in bytes.
    pub length: u64,
    /// The record, at most [`MAX_DEAD_BYTES`] of it; only its payload where there is an envelope.
    pub record: Bytes,
    /// What stood around the payload of a raw record: the record itself, with an empty payload.
    pub envelope: Option<Box<RawRecord>>,
}

impl DeadLetter {
    /// Whether all of the record is kept.
    pub fn is_whole(&self) -> bool {
        self.record.len() as u64 == self.length
    }
}
