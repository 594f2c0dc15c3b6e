use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use hubwarden_event::{EventId, RunId};

/// So many (run, event id) are remembered unless told otherwise.
pub(crate) const REMEMBERED: usize = 200_000;

type Key = (u64, EventId);

/// A bounded memory of which events a run has brought already; the oldest are forgotten first.
#[derive(Debug)]
pub(crate) struct Repeats {
    limit: usize,
    known: HashSet<Key, foldhash::fast::RandomState>,
    order: VecDeque<Key>,
    runs: foldhash::fast::RandomState,
}

impl Repeats {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            known: HashSet::default(),
            order: VecDeque::new(),
            runs: foldhash::fast::RandomState::default(),
        }
    }

    /// Whether this run has brought the event before, as far as is remembered; remembers it.
    pub(crate) fn is_repeat(&mut self, run: &RunId, id: EventId) -> bool {
        let key = (self.runs.hash_one(run), id);
        if !self.known.insert(key) {
            return true;
        }
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_by_run_and_forgets_the_oldest() {
        let id = |number: u8| EventId::from_bytes([number; 16]);
        let (live, import) = (RunId::live(), RunId::from("import-1"));
        let mut repeats = Repeats::new(3);
        for (run, number, repeat) in [
            (&live, 1, false),
            (&live, 1, true),
            (&import, 1, false), // the same event in another run passes
            (&live, 2, false),
            (&live, 1, true),
            (&live, 3, false), // forgets the first
            (&live, 1, false),
            (&live, 3, true),
        ] {
            assert_eq!(repeats.is_repeat(run, id(number)), repeat, "{run} {number}");
        }
        assert_eq!(repeats.known.len(), 3);
    }
}
