//! Figures about readers and transactions, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Topic;

/// How far a stage is behind on a partition that a reader of this process owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The stage.
    pub stage: String,
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Its stored position; where it began while it has stored none.
    pub position: u64,
    /// One past the newest record, also where that waits for the end of a transaction.
    pub end: u64,
    /// How long ago the bus took the record that it consumed last; nothing when nothing waits.
    pub behind: Duration,
}

impl Lag {
    /// How many records are left to consume; marks of transactions count until the reader has
    /// passed them.
    pub fn records(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

/// What happened on the cluster since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were taken back.
    pub taken_back: u64,
    /// How often partitions were shared out anew.
    pub rebalances: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    committed: AtomicU64,
    taken_back: AtomicU64,
    rebalances: AtomicU64,
    lag: Mutex<BTreeMap<u64, Vec<Lag>>>,
}

impl Counters {
    pub(super) fn transaction(&self, committed: bool) {
        let count = if committed { &self.committed } else { &self.taken_back };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rebalance(&self) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
    }

    /// What one reader says of its partitions now; nothing when it has ended.
    pub(super) fn set_lag(&self, reader: u64, lag: Vec<Lag>) {
        let mut all = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        if lag.is_empty() {
            all.remove(&reader);
        } else {
            all.insert(reader, lag);
        }
    }

    pub(super) fn lag(&self) -> Vec<Lag> {
        let all = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            committed: get(&self.committed),
            taken_back: get(&self.taken_back),
            rebalances: get(&self.rebalances),
        }
    }
}
