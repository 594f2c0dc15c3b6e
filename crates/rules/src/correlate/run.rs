use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use foldhash::fast::RandomState;
use hubwarden_event::Kind;

use super::clock::Clock;
use super::codec::{Reader, StateError, Writer};
use super::group::Group;
use super::known::Threshold;
use super::segment::{Entry, Segment};

/// Identifies the windows of one rule, state and group within a run.
pub(super) type GroupHash = [u8; 32];

/// One run of one connection: the marks heard, and its windows in memory.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) clock: Clock,
    /// Per kind seen the newest mark of each source partition.
    kinds: BTreeMap<Kind, BTreeMap<u32, i64>>,
    ended: BTreeSet<u32>,
    pub(super) groups: HashMap<GroupHash, Group, RandomState>,
    /// What is in memory, by expiry at the time it was put in.
    queue: BinaryHeap<Reverse<(i64, GroupHash, i64)>>,
    /// Whether the store has nothing of the run that is not in memory.
    pub(super) resident: bool,
    pub(super) dirty: bool,
}

impl Run {
    /// A run of which the store knows nothing.
    pub(super) fn new(lateness: i64) -> Self {
        Self {
            clock: Clock::new(lateness),
            kinds: BTreeMap::new(),
            ended: BTreeSet::new(),
            groups: HashMap::default(),
            queue: BinaryHeap::new(),
            resident: true,
            dirty: true,
        }
    }

    /// Notes that the run has events of this kind, so that time waits for its marks.
    pub(super) fn see(&mut self, kind: Kind) {
        self.kinds.entry(kind).or_insert_with(|| {
            self.dirty = true;
            BTreeMap::new()
        });
    }

    /// Hears a mark; true when the watermark has moved.
    pub(super) fn hear(
        &mut self,
        kind: Kind,
        partition: u32,
        through: i64,
        partitions: u32,
        lateness: i64,
    ) -> bool {
        let mark = self.kinds.entry(kind).or_default().entry(partition).or_insert(i64::MIN);
        if *mark >= through {
            return false;
        }
        *mark = through;
        self.dirty = true;
        let slowest = self.kinds.values().map(|marks| {
            let complete = marks.len() >= partitions as usize;
            if complete { marks.values().min().copied() } else { None }
        });
        let slowest = slowest.collect::<Option<Vec<_>>>();
        let Some(slowest) = slowest.and_then(|marks| marks.into_iter().min()) else { return false };
        self.clock.advance(slowest.saturating_sub(lateness))
    }

    /// Notes that a source partition has no more of the run; true when none has.
    pub(super) fn end(&mut self, partition: u32, partitions: u32) -> bool {
        self.dirty |= self.ended.insert(partition);
        self.ended.len() >= partitions as usize
    }

    /// Takes an event up; true when the store now lacks something of a segment it had all of.
    pub(super) fn take_up(
        &mut self,
        hash: GroupHash,
        entry: Entry,
        rule: Threshold,
        batch: u64,
    ) -> bool {
        let index = rule.segment(entry.time);
        let expires_at = self.clock.expiry(rule.end(index));
        let group = self.groups.entry(hash).or_default();
        let added = group.get(index).is_none();
        if added {
            group.add(Segment::empty(index, expires_at));
        }
        let was_dirty = group.get(index).is_some_and(|segment| segment.dirty);
        let fresh = group.insert(entry, rule);
        let mut listed = false;
        if let Some(segment) = group.get_mut(index) {
            segment.used = batch;
            if fresh {
                segment.expires_at = segment.expires_at.max(expires_at);
            }
            listed = segment.dirty && !was_dirty;
        }
        if let Some(earlier) = group.get_mut(index - 1) {
            earlier.used = batch;
        }
        if added {
            self.queue(expires_at, hash, index);
        }
        listed
    }

    /// Notes that a segment is in memory.
    pub(super) fn queue(&mut self, expires_at: i64, group: GroupHash, index: i64) {
        self.queue.push(Reverse((expires_at, group, index)));
    }

    /// Forgets clean segments that no batch after `used` has used; returns how many bytes that was.
    pub(super) fn forget(&mut self, used: u64) -> usize {
        let mut bytes = 0;
        self.groups.retain(|_, group| {
            bytes += group.forget(used);
            group.segments().next().is_some()
        });
        if bytes > 0 {
            self.resident = false;
            // What is forgotten and comes back is queued again: without this the queue would only grow.
            let held = self.groups.iter().flat_map(|(hash, group)| {
                group.segments().map(|segment| Reverse((segment.expires_at, *hash, segment.index)))
            });
            self.queue = held.collect();
        }
        bytes
    }

    /// Drops what the watermark has freed and returns how many bytes that was.
    pub(super) fn free(&mut self) -> usize {
        let Some(freed) = self.clock.freed() else { return 0 };
        let mut bytes = 0;
        while let Some(Reverse((expires_at, hash, index))) = self.queue.peek().copied() {
            if expires_at > freed {
                break;
            }
            self.queue.pop();
            let Some(group) = self.groups.get_mut(&hash) else { continue };
            let Some(now) = group.get(index).map(|segment| segment.expires_at) else { continue };
            if now > freed {
                self.queue.push(Reverse((now, hash, index)));
                continue;
            }
            let before = group.size();
            group.remove(index);
            let left = group.size();
            bytes += before - left;
            if group.segments().next().is_none() {
                self.groups.remove(&hash);
            }
        }
        bytes
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.clock.encode(&mut out);
        out.u32(self.kinds.len() as u32);
        for (kind, marks) in &self.kinds {
            out.bytes(kind.as_str().as_bytes());
            out.u32(marks.len() as u32);
            for (partition, through) in marks {
                out.u32(*partition);
                out.i64(*through);
            }
        }
        out.u32(self.ended.len() as u32);
        self.ended.iter().for_each(|partition| out.u32(*partition));
        out.finish()
    }

    pub(super) fn decode(lateness: i64, bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(bytes)?;
        let clock = Clock::decode(lateness, &mut reader)?;
        let mut run = Self { clock, resident: false, dirty: false, ..Self::new(lateness) };
        for _ in 0..reader.u32()? {
            let kind = reader.text()?.parse();
            let kind = kind.map_err(|_| StateError::Damaged("kind of event"))?;
            let marks = (0..reader.u32()?).map(|_| Ok((reader.u32()?, reader.i64()?)));
            let marks = marks.collect::<Result<_, StateError>>()?;
            run.kinds.insert(kind, marks);
        }
        for _ in 0..reader.u32()? {
            run.ended.insert(reader.u32()?);
        }
        Ok(run)
    }
}
