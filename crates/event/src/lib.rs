//! The vocabulary of Hubwarden: raw records, events, matches, findings, their ids, the flat record, and
//! what is told of sources and rules.
//!
//! Nothing here reads a clock, does IO or waits. Times are arguments or fields, ids are derived
//! from content, so the same input gives the same bytes wherever and whenever it is processed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod canonical;
pub mod dictionary;
mod finding;
mod flat;
mod id;
mod matched;
mod normalized;
mod raw;
mod rules_status;
mod source;
mod time;

pub use canonical::canonical_json;
pub use finding::{
    Confidence, EVIDENCE_LIMIT, EntityRef, Evidence, Finding, Reason, RuleRef, Severity,
};
pub use flat::{
    CellKind, CellRef, FlatBuilder, FlatError, FlatRecord, MAX_RECORD_BYTES, MAX_VALUE_BYTES,
};
pub use id::{ConnectionId, EventId, FindingId, Hash, RunId, SourceId, hash_parts};
pub use matched::{GroupKey, Hit, Match, MatchBody, Watermark};
pub use normalized::{Event, EventBody, RawPosition};
pub use raw::{
    ContentType, DeadLetter, Feed, Kind, MAX_DEAD_BYTES, Origin, Progress, RawBody, RawRecord,
    RunEnd, UnknownName,
};
pub use rules_status::{BlindRule, RulesStatus};
pub use source::{Backfill, Reader, SourceHealth, SourceStatus};
pub use time::{InvalidTime, Timestamp};
