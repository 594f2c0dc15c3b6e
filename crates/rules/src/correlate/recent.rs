use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::segment::Value;

/// The distinct values of the newest window of a group, each with its last time.
///
/// With it an event that arrives in order costs as much as it pushes out, not a look at the window.
#[derive(Debug, Default)]
pub(super) struct Recent {
    head: i64,
    last: HashMap<Value, i64, RandomState>,
    order: BTreeSet<(i64, Value)>,
}

impl Recent {
    /// The end of the window it is about.
    pub(super) fn head(&self) -> i64 {
        self.head
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        self.last.len() * 96
    }

    /// Moves the window's end to `time`, not before where it is, and returns how much went out of it.
    pub(super) fn advance(&mut self, time: i64, span: i64) -> usize {
        self.head = time;
        let mut gone = 0;
        while let Some(&(last, value)) = self.order.first().filter(|oldest| oldest.0 < time - span)
        {
            self.order.remove(&(last, value));
            self.last.remove(&value);
            gone += 1;
        }
        gone
    }

    /// Notes that a value was seen, in order or not.
    pub(super) fn see(&mut self, time: i64, value: Value) {
        let last = self.last.entry(value).or_insert(time);
        if *last < time {
            self.order.remove(&(*last, value));
            *last = time;
        }
        self.order.insert((*last, value));
    }

    /// How many values the window holds.
    pub(super) fn distinct(&self) -> u64 {
        self.order.len() as u64
    }
}
