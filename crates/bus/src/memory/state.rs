//! What is on the bus in memory, without waiting.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{Delivered, Error, Positions, Record, Topic, topic};

pub(super) struct State {
    /// Of each topic the logs of its partitions.
    logs: Vec<Vec<Log>>,
    pub(super) stages: BTreeMap<Arc<str>, Positions>,
    /// Where open readers stand whose stage has stored nothing yet.
    pub(super) holds: HashMap<u64, (Arc<str>, Positions)>,
    pub(super) next_reader: u64,
    pub(super) bytes: usize,
    sequence: u64,
}

#[derive(Default)]
pub(super) struct Log {
    /// Position of the first of `records`.
    first: u64,
    /// With their place in the order of all topics.
    records: VecDeque<(u64, Delivered)>,
    /// A compacted topic's newest values among the records that were dropped.
    kept: BTreeMap<u64, (u64, Delivered)>,
    kept_keys: HashMap<Bytes, u64>,
}

impl Log {
    pub(super) fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The first record at or after a position that is still there.
    pub(super) fn at_or_after(&self, position: u64) -> Option<&(u64, Delivered)> {
        if position < self.first
            && let Some((_, kept)) = self.kept.range(position..).next()
        {
            return Some(kept);
        }
        let place = position.saturating_sub(self.first);
        self.records.get(usize::try_from(place).ok()?)
    }

    /// The newest value of each key, by position.
    pub(super) fn newest(&self) -> Vec<Delivered> {
        let mut newest = HashMap::new();
        for (_, record) in self.kept.values().chain(&self.records) {
            newest.insert(&record.key, record);
        }
        let mut newest: Vec<Delivered> = newest.into_values().cloned().collect();
        newest.sort_unstable_by_key(|record| record.position);
        newest
    }

    /// Drops the oldest record and gives the bytes that this frees.
    fn drop_oldest(&mut self) -> usize {
        let Some((sequence, record)) = self.records.pop_front() else {
            return 0;
        };
        self.first += 1;
        if !record.topic.is_compacted() {
            return record.size();
        }
        let replaced = self.kept_keys.insert(record.key.clone(), record.position);
        self.kept.insert(record.position, (sequence, record));
        let replaced = replaced.and_then(|position| self.kept.remove(&position));
        replaced.map_or(0, |(_, old)| old.size())
    }
}

impl State {
    pub(super) fn new(partitions: u32) -> State {
        let logs = topic::ALL.map(|topic| {
            (0..topic.partitions(partitions)).map(|_| Log::default()).collect::<Vec<_>>()
        });
        State {
            logs: logs.into(),
            stages: BTreeMap::new(),
            holds: HashMap::new(),
            next_reader: 0,
            bytes: 0,
            sequence: 0,
        }
    }

    pub(super) fn partitions(&self, topic: Topic) -> u32 {
        u32::try_from(self.logs[topic.index()].len()).unwrap_or(u32::MAX)
    }

    pub(super) fn logs(&self, topic: Topic) -> &[Log] {
        &self.logs[topic.index()]
    }

    pub(super) fn log(&self, topic: Topic, partition: u32) -> Option<&Log> {
        self.logs[topic.index()].get(partition as usize)
    }

    /// Every partition of these topics.
    pub(super) fn all_of(&self, topics: &[Topic]) -> Vec<(Topic, u32)> {
        let mut all: Vec<_> = topics
            .iter()
            .flat_map(|&topic| (0..self.partitions(topic)).map(move |partition| (topic, partition)))
            .collect();
        all.sort_unstable();
        all
    }

    /// One past the newest record of each.
    pub(super) fn ends(&self, of: &[(Topic, u32)]) -> Positions {
        let mut ends = Positions::none();
        for &(topic, partition) in of {
            let end = self.log(topic, partition).map_or(0, Log::end);
            ends.set(topic, partition, end);
        }
        ends
    }

    /// Where a stage goes on: its stored position, else the oldest record.
    pub(super) fn start(&self, stage: &str, owned: &[(Topic, u32)]) -> Positions {
        let mut next = Positions::none();
        for &(topic, partition) in owned {
            let oldest = match self.log(topic, partition) {
                Some(log) if !topic.is_compacted() => log.first,
                _ => 0,
            };
            next.set(topic, partition, self.stored(stage, topic, partition).unwrap_or(oldest));
        }
        next
    }

    pub(super) fn check(&self, positions: &Positions) -> Result<(), Error> {
        for (topic, partition, position) in positions.iter() {
            let Some(log) = self.log(topic, partition) else {
                let partitions = self.partitions(topic);
                return Err(Error::NoPartition { topic, partition, partitions });
            };
            let end = log.end();
            if position > end {
                return Err(Error::Ahead { topic, position, end });
            }
            if position < log.first && !topic.is_compacted() {
                let oldest = log.first;
                return Err(Error::Gone { topic, position, oldest });
            }
        }
        Ok(())
    }

    /// Appends records that were checked, each to the partition that stands beside it.
    pub(super) fn append(
        &mut self,
        stage: &Arc<str>,
        outputs: Vec<(u32, Record)>,
        consumed: &Positions,
    ) {
        let appended_at_ms = now_ms();
        for (partition, record) in outputs {
            self.bytes += record.size();
            let log = &mut self.logs[record.topic.index()][partition as usize];
            let delivered = Delivered {
                topic: record.topic,
                partition,
                position: log.end(),
                appended_at_ms,
                key: record.key,
                headers: record.headers,
                body: record.body,
            };
            log.records.push_back((self.sequence, delivered));
            self.sequence += 1;
        }
        if !consumed.is_empty() {
            self.stages.entry(stage.clone()).or_default().overwrite(consumed);
        }
    }

    /// Drops consumed records, oldest of all topics first, until the budget holds.
    pub(super) fn drop_consumed(&mut self, budget: usize) {
        let floor = |topic: Topic, partition: u32, end: u64| {
            if topic.is_compacted() {
                return end;
            }
            let stored = self.stages.values().filter_map(|stored| stored.get(topic, partition));
            let holds = self.holds.values();
            let holds = holds.filter(|(stage, _)| self.stored(stage, topic, partition).is_none());
            let holds = holds.filter_map(|(_, hold)| hold.get(topic, partition));
            stored.chain(holds).fold(end, u64::min)
        };
        let mut floors = Vec::new();
        for topic in topic::ALL {
            for (partition, log) in (0..).zip(self.logs(topic)) {
                floors.push(floor(topic, partition, log.end()));
            }
        }
        while self.bytes > budget {
            let logs = self.logs.iter_mut().flatten().zip(&floors);
            let droppable = logs.filter(|(log, floor)| log.first < **floor);
            let oldest =
                droppable.min_by_key(|(log, _)| log.records.front().map(|(sequence, _)| *sequence));
            let Some((log, _)) = oldest else { break };
            self.bytes -= log.drop_oldest();
        }
    }

    fn stored(&self, stage: &str, topic: Topic, partition: u32) -> Option<u64> {
        self.stages.get(stage)?.get(topic, partition)
    }
}

/// Milliseconds of Unix time.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
