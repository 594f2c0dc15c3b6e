use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::RandomState;
use hubwarden_event::{FindingId, RunId};

use super::clock::Clock;
use super::codec::{Reader, StateError, Writer};
use super::folded::Folded;
use super::run::Run;

/// What has been folded into a finding is kept so long after it was last touched: 8 days.
const FOLDED_FOR_MS: i64 = 8 * 86_400_000;

/// A finding's place in memory.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Absent: known not to be in the store.
    pub(super) folded: Option<Folded>,
    /// The event time of the connection at which it is freed.
    pub(super) expires_at: i64,
    /// The batch that last used it.
    pub(super) used: u64,
    /// Whether the list of changes names it.
    pub(super) listed: bool,
}

impl Slot {
    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + 64 + self.folded.as_ref().map_or(0, Folded::size)
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.folded.as_ref().is_some_and(Folded::is_dirty)
    }
}

/// One connection: its runs, and what has been folded into its findings.
#[derive(Debug)]
pub(super) struct Connection {
    /// The newest watermark of any run.
    pub(super) clock: Clock,
    pub(super) findings: HashMap<FindingId, Slot, RandomState>,
    queue: BinaryHeap<Reverse<(i64, FindingId)>>,
    pub(super) runs: HashMap<RunId, Run, RandomState>,
    /// Whether the store has no finding that is not in memory.
    pub(super) resident: bool,
    pub(super) dirty: bool,
}

impl Connection {
    /// A connection of which the store knows nothing.
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::new(FOLDED_FOR_MS),
            findings: HashMap::default(),
            queue: BinaryHeap::new(),
            runs: HashMap::default(),
            resident: true,
            dirty: true,
        }
    }

    /// When a finding that is touched now is freed.
    pub(super) fn expiry(&self) -> i64 {
        self.clock.expiry(i64::MIN)
    }

    /// Puts a finding into memory.
    pub(super) fn add(&mut self, id: FindingId, slot: Slot) {
        self.queue.push(Reverse((slot.expires_at, id.clone())));
        self.findings.insert(id, slot);
    }

    /// Forgets clean findings that no batch after `used` has used; returns how many bytes that was.
    pub(super) fn forget(&mut self, used: u64) -> usize {
        let mut bytes = 0;
        self.findings.retain(|_, slot| {
            let keep = slot.is_dirty() || slot.used > used;
            bytes += if keep { 0 } else { slot.size() };
            keep
        });
        if bytes > 0 {
            self.resident = false;
            let held = self.findings.iter();
            self.queue = held.map(|(id, slot)| Reverse((slot.expires_at, id.clone()))).collect();
        }
        bytes
    }

    /// Drops the findings that time has freed and returns how many bytes that was.
    pub(super) fn free(&mut self) -> usize {
        let Some(freed) = self.clock.freed() else { return 0 };
        let mut bytes = 0;
        while self.queue.peek().is_some_and(|Reverse((expires_at, _))| *expires_at <= freed) {
            let Some(Reverse((_, id))) = self.queue.pop() else { break };
            let Some(slot) = self.findings.get(&id) else { continue };
            if slot.expires_at > freed {
                self.queue.push(Reverse((slot.expires_at, id)));
            } else {
                bytes += slot.size();
                self.findings.remove(&id);
            }
        }
        bytes
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.clock.encode(&mut out);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let clock = Clock::decode(FOLDED_FOR_MS, &mut Reader::new(bytes)?)?;
        Ok(Self { clock, resident: false, dirty: false, ..Self::new() })
    }
}
