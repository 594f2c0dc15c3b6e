use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, EventId, FlatRecord, Kind, Progress, RunEnd, RunId, Timestamp};

/// Where a record stands in the topic `raw`; its bytes are fetched by this.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RawPosition {
    /// The partition; always 0 on the embedded bus.
    pub partition: u32,
    /// The position in it, from 0.
    pub offset: u64,
}

/// One normalized thing that happened, as rules read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The same for every copy of the same record.
    pub id: EventId,
    /// When it happened: `@timestamp`, else `created_at`.
    pub occurred_at: Timestamp,
    /// When the collector had it.
    pub observed_at: Timestamp,
    /// Whose event it is.
    pub connection: ConnectionId,
    /// The run that read it.
    pub run: RunId,
    /// The sort of thing it reports.
    pub kind: Kind,
    /// For Sigma's log source: always `github` so far.
    pub product: Arc<str>,
    /// For Sigma's log source: `audit` or `webhook`.
    pub service: Arc<str>,
    /// Where its raw record stands.
    pub position: RawPosition,
    /// Whether its time cannot be right: more than five minutes after it was received.
    pub suspect: bool,
    /// Every field GitHub sent under its own name, and Hubwarden's own under `hw.`.
    pub record: Arc<FlatRecord>,
}

/// What the topic `events` carries.
#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// Something that happened.
    Event(Event),
    /// How far a run has been normalized.
    Progress(Progress),
    /// The end of a run.
    RunEnd(RunEnd),
}
