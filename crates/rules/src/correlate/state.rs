use std::fmt;

use hubwarden_event::{ConnectionId, Finding, FindingId, RunId};

use super::run::GroupHash;

/// What belongs and expires together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// What has been folded into findings, over all runs; the newest event time of any run.
    Findings(ConnectionId),
    /// The windows of one run; event time of the run.
    Run(ConnectionId, RunId),
}

/// A name for the store, different for different scopes.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(connection, run) => {
                write!(f, "run/{}/{connection}/{run}", connection.as_str().len())
            }
            Self::Findings(connection) => write!(f, "findings/{connection}"),
        }
    }
}

/// One piece of state within its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    /// The watermark, and for a run the marks heard.
    Time,
    /// Matching events of one rule and group in one stretch of time.
    Segment(GroupHash, i64),
    /// What has been folded into a finding.
    Finding(FindingId),
}

/// Names one piece of state in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// What it belongs to.
    pub scope: Scope,
    /// Which piece.
    pub item: Item,
}

impl StateKey {
    /// The key within the scope as bytes, different for different items.
    pub fn item_bytes(&self) -> Vec<u8> {
        match &self.item {
            Item::Time => vec![b't'],
            Item::Segment(group, index) => {
                let mut bytes = vec![b's'];
                bytes.extend(group);
                bytes.extend(index.to_be_bytes());
                bytes
            }
            Item::Finding(id) => {
                let mut bytes = vec![b'f'];
                bytes.extend(id.as_str().as_bytes());
                bytes
            }
        }
    }
}

/// A piece of state as a store hands it back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The event time at which it is freed.
    pub expires_at: i64,
    /// Its parts, in the order of their numbers, which have no gap.
    pub parts: Vec<Vec<u8>>,
}

/// A change of one piece of state: its expiry, and those of its parts that are new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Which piece.
    pub key: StateKey,
    /// The event time at which it is freed.
    pub expires_at: i64,
    /// Whether parts that the store has of it go first.
    pub replace: bool,
    /// Number and bytes of each new or changed part.
    pub parts: Vec<(u32, Vec<u8>)>,
}

/// What a batch has changed. A store applies the fields in their order, in one transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Everything in these scopes goes: their run has ended.
    pub dropped: Vec<Scope>,
    /// New and changed state.
    pub put: Vec<Put>,
    /// State of these scopes that expires then or before goes.
    pub freed: Vec<(Scope, i64)>,
    /// New and changed findings, each once, in order of their ids.
    pub findings: Vec<Finding>,
}
