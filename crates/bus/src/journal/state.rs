//! What the journal's readers and its writer share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::watch;

use super::Options;
use super::files::Files;
use super::frame::{Ends, Meta, Stages};
use super::segment::{Segment, consumable};
use super::snapshot::Snapshot;
use crate::topic::COUNT;
use crate::{Error, Positions, Topic};

pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) options: Options,
    /// Random for each journal; see `frame`.
    pub(super) salt: u64,
    state: RwLock<State>,
    cache: Mutex<Cache>,
    /// The address up to which everything is durable; readers wait for it to move.
    pub(super) durable: watch::Sender<u64>,
    /// Held for writing while files are removed: who holds it for reading finds the files that the
    /// state names. Taken before `state`.
    removal: RwLock<()>,
}

pub(super) struct State {
    pub(super) sealed: VecDeque<Segment>,
    pub(super) active: Segment,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) ends: Ends,
    pub(super) stages: Stages,
    /// Where open readers began whose stage has stored nothing yet.
    pub(super) holds: HashMap<u64, (Arc<str>, Positions)>,
    pub(super) next_reader: u64,
    /// Why no more commits are taken.
    pub(super) closed: Option<String>,
}

/// A commit that is durable.
pub(super) struct Group {
    pub(super) address: u64,
    pub(super) len: u64,
    pub(super) meta: Meta,
    pub(super) body: Bytes,
}

/// The newest groups, so that readers who keep up never touch the disk.
struct Cache {
    groups: VecDeque<Arc<Group>>,
    bytes: usize,
    limit: usize,
}

impl Shared {
    pub(super) fn new(files: Arc<dyn Files>, options: Options, salt: u64, state: State) -> Shared {
        let cache = Cache { groups: VecDeque::new(), bytes: 0, limit: options.cache_bytes };
        Shared {
            files,
            salt,
            durable: watch::Sender::new(state.end()),
            state: RwLock::new(state),
            cache: Mutex::new(cache),
            removal: RwLock::new(()),
            options,
        }
    }

    // Nothing between lock and unlock leaves the state half changed, so a poisoned lock is as good
    // as any.

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_files(&self) -> RwLockReadGuard<'_, ()> {
        self.removal.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove_files(&self) -> RwLockWriteGuard<'_, ()> {
        self.removal.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group that begins at an address, when it is one of the newest.
    pub(super) fn cached(&self, address: u64) -> Option<Arc<Group>> {
        let cache = self.cache();
        let place = cache.groups.binary_search_by_key(&address, |group| group.address);
        Some(cache.groups[place.ok()?].clone())
    }

    /// Keeps a group for readers who keep up.
    pub(super) fn remember(&self, group: Group) {
        let mut cache = self.cache();
        cache.bytes += group.body.len();
        cache.groups.push_back(Arc::new(group));
        // Even groups without a body take some memory.
        while cache.bytes + cache.groups.len() * 256 > cache.limit {
            let Some(oldest) = cache.groups.pop_front() else {
                break;
            };
            cache.bytes -= oldest.body.len();
        }
    }
}

impl State {
    /// The address behind the newest durable byte.
    pub(super) fn end(&self) -> u64 {
        self.active.end()
    }

    /// Bytes of all files but the indexes of damaged disks that could not be written.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.sealed.iter().chain([&self.active]);
        let segments: u64 = segments.map(|segment| segment.len + segment.index_len).sum();
        segments + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.len)
    }

    pub(super) fn oldest_segment(&self) -> &Segment {
        self.sealed.front().unwrap_or(&self.active)
    }

    /// The segment that holds an address, and where the next one begins if there is one.
    pub(super) fn segment_at(&self, address: u64) -> Option<(&Segment, Option<&Segment>)> {
        if address >= self.active.base {
            return Some((&self.active, None));
        }
        let behind = self.sealed.partition_point(|segment| segment.base <= address);
        let place = behind.checked_sub(1)?;
        Some((&self.sealed[place], Some(self.sealed.get(behind).unwrap_or(&self.active))))
    }

    /// An address at or before the group that holds a position, and not before its segment.
    pub(super) fn address_of(&self, topic: Topic, position: u64) -> u64 {
        let slot = topic.index();
        if position >= self.ends[slot] {
            return self.end();
        }
        let segment = if position >= self.active.firsts[slot] {
            &self.active
        } else {
            let behind = self.sealed.partition_point(|segment| segment.firsts[slot] <= position);
            let place = behind.checked_sub(1);
            place.map_or(self.oldest_segment(), |place| &self.sealed[place])
        };
        segment.base + segment.offset_before(topic, position)
    }

    /// Where a topic begins for those who have no position.
    pub(super) fn oldest(&self, topic: Topic) -> u64 {
        if topic.is_compacted() {
            return 0;
        }
        self.oldest_segment().firsts[topic.index()]
    }

    /// Refuses positions that are not, or no longer, on the bus.
    pub(super) fn check(&self, positions: &Positions) -> Result<(), Error> {
        for (topic, partition, position) in positions.iter() {
            if partition != 0 {
                return Err(Error::NoPartition { topic, partition, partitions: 1 });
            }
            let end = self.ends[topic.index()];
            if position > end {
                return Err(Error::Ahead { topic, position, end });
            }
            let oldest = self.oldest(topic);
            if position < oldest {
                return Err(Error::Gone { topic, position, oldest });
            }
        }
        Ok(())
    }

    /// For each topic the position from which on records must stay, and the stage that needs them.
    ///
    /// A compacted topic holds nothing back: its values move into the snapshot.
    pub(super) fn floors(&self) -> [(u64, Option<Arc<str>>); COUNT] {
        let mut floors = self.ends.map(|end| (end, None));
        let stored = self.stages.iter();
        let holds = self.holds.values().map(|(stage, hold)| (stage, hold));
        for topic in consumable() {
            let slot = &mut floors[topic.index()];
            let holds = holds.clone().filter(|(stage, _)| self.stored(stage, topic).is_none());
            for (stage, positions) in stored.clone().chain(holds) {
                if let Some(position) =
                    positions.get(topic, 0).filter(|position| *position < slot.0)
                {
                    *slot = (position, Some(stage.clone()));
                }
            }
        }
        floors
    }

    fn stored(&self, stage: &str, topic: Topic) -> Option<u64> {
        self.stages.get(stage)?.get(topic, 0)
    }
}
