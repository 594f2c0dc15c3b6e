use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hubwarden_event::{EventId, RunId};

/// So many (run, event id) are remembered unless told otherwise, over all partitions.
pub(crate) const REMEMBERED: usize = 200_000;

type Key = (u64, EventId);

/// A bounded memory of which events a run has brought already; the oldest are forgotten first.
///
/// Each partition of `raw` has a memory of its own: an event's repeats come on its partition, and
/// when the partition goes to another member its memory goes too. What a batch adds stands on
/// trial until [`keep`](Self::keep): if the batch is not committed it comes again, and its events
/// must not be taken for repeats of themselves.
#[derive(Debug)]
pub(crate) struct Repeats {
    limit: usize,
    partitions: HashMap<u32, Memory, RandomState>,
    runs: RandomState,
}

#[derive(Debug, Default)]
struct Memory {
    known: HashSet<Key, RandomState>,
    order: VecDeque<Key>,
    /// How many at the end of `order` are on trial.
    on_trial: usize,
}

impl Repeats {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, partitions: HashMap::default(), runs: RandomState::default() }
    }

    /// Whether this run has brought the event before, as far as is remembered; remembers it on trial.
    pub(crate) fn is_repeat(&mut self, partition: u32, run: &RunId, id: EventId) -> bool {
        let key = (self.runs.hash_one(run), id);
        let memory = self.partitions.entry(partition).or_default();
        if !memory.known.insert(key) {
            return true;
        }
        memory.order.push_back(key);
        memory.on_trial += 1;
        false
    }

    /// Remembers for good what is on trial, and forgets the oldest beyond the limit.
    pub(crate) fn keep(&mut self) {
        let share = self.limit / self.partitions.len().max(1);
        for memory in self.partitions.values_mut() {
            memory.on_trial = 0;
            while memory.order.len() > share {
                if let Some(oldest) = memory.order.pop_front() {
                    memory.known.remove(&oldest);
                }
            }
        }
    }

    /// Forgets what is on trial, as if it had never been asked for.
    pub(crate) fn undo(&mut self) {
        for memory in self.partitions.values_mut() {
            for _ in 0..std::mem::take(&mut memory.on_trial) {
                if let Some(newest) = memory.order.pop_back() {
                    memory.known.remove(&newest);
                }
            }
        }
    }

    /// Forgets the partitions that are not among these.
    pub(crate) fn retain(&mut self, owned: &[u32]) {
        self.partitions.retain(|partition, _| owned.contains(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> EventId {
        EventId::from_bytes([number; 16])
    }

    #[test]
    fn remembers_by_run_and_forgets_the_oldest() {
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
            assert_eq!(repeats.is_repeat(0, run, id(number)), repeat, "{run} {number}");
            repeats.keep();
        }
        assert_eq!(repeats.partitions[&0].known.len(), 3);
    }

    #[test]
    fn what_was_not_kept_is_new_when_it_comes_again() {
        let live = RunId::live();
        let mut repeats = Repeats::new(2);
        assert!(!repeats.is_repeat(0, &live, id(1)) && !repeats.is_repeat(0, &live, id(2)));
        repeats.keep();
        for _ in 0..3 {
            assert!(repeats.is_repeat(0, &live, id(1)), "the oldest stays until others are kept");
            assert!(!repeats.is_repeat(0, &live, id(3)) && !repeats.is_repeat(1, &live, id(3)));
            assert!(repeats.is_repeat(0, &live, id(3)), "within the batch it is a repeat");
            repeats.undo();
        }
    }

    #[test]
    fn partitions_are_apart_and_share_the_limit() {
        let live = RunId::live();
        let mut repeats = Repeats::new(4);
        for number in 0..4 {
            assert!(!repeats.is_repeat(0, &live, id(number)));
            assert!(!repeats.is_repeat(1, &live, id(number)));
            repeats.keep();
        }
        assert!(repeats.partitions.values().all(|memory| memory.known.len() == 2));
        repeats.retain(&[1]);
        assert!(!repeats.is_repeat(0, &live, id(3)) && repeats.is_repeat(1, &live, id(3)));
    }
}
