use std::sync::Arc;

use crate::{
    ConnectionId, EventId, FlatRecord, Hash, Kind, RawPosition, RunEnd, RunId, Severity, Timestamp,
    hash_parts,
};

/// The values by which matches of a rule are held together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The group-by fields, in the rule's order.
    pub names: Arc<[Arc<str>]>,
    /// Their text forms, folded; empty where a single-event rule's field is missing.
    pub values: Vec<String>,
}

impl GroupKey {
    /// The bus key of matches of this group: SHA-256 over (connection, names, folded values).
    pub fn bus_key(&self, connection: &ConnectionId) -> Hash {
        let names = self.names.iter().map(|name| name.as_bytes());
        let values = self.values.iter().map(String::as_bytes);
        let count = (self.names.len() as u64).to_be_bytes();
        let head = [connection.as_str().as_bytes(), count.as_slice()];
        Hash(hash_parts(head.into_iter().chain(names).chain(values)))
    }
}

/// One rule held for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Content hash of the rule document that makes the finding.
    pub rule: Hash,
    /// Hash of what decides match, group, window and fold of that rule.
    pub state: Hash,
    /// Severity of this event under the rule.
    pub severity: Severity,
    /// For `value_count`: the folded distinct value that the event adds; absent when it adds none.
    pub value: Option<String>,
}

/// All rules that held for one event under one group key, with the event's record once.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The event.
    pub event_id: EventId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Whose event it is.
    pub connection: ConnectionId,
    /// The run that read it.
    pub run: RunId,
    /// The sort of thing it reports.
    pub kind: Kind,
    /// Where its raw record stands.
    pub position: RawPosition,
    /// The group that it belongs to under these rules.
    pub group: GroupKey,
    /// The rules that held.
    pub hits: Vec<Hit>,
    /// The event's flat record.
    pub record: Arc<FlatRecord>,
}

/// Everything of this run and kind up to `through` has been matched on this source partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Whose time it is.
    pub connection: ConnectionId,
    /// The run.
    pub run: RunId,
    /// The kind of event it speaks for.
    pub kind: Kind,
    /// Event time up to which matching is complete.
    pub through: Timestamp,
    /// The partition of `events` that it speaks for.
    pub source_partition: u32,
}

/// What the topic `matches` carries.
#[derive(Debug, Clone, PartialEq)]
pub enum MatchBody {
    /// Rules that held.
    Match(Match),
    /// How far a source partition has been matched.
    Watermark(Watermark),
    /// The end of a run on one source partition.
    RunEnd {
        /// The run.
        end: RunEnd,
        /// The partition of `events` that it speaks for.
        source_partition: u32,
    },
}
