//! The bus that lives and dies with the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;

use crate::topic::{self, COUNT};
use crate::{Batch, Bus, Delivered, Error, Limit, Positions, Record, Sink, Source, Topic};

/// A bus in memory: for tests and for runs that leave nothing behind.
///
/// It holds what readers have not consumed, and up to its budget what they have. While readers
/// hold more than the budget, commits that consume nothing wait until somebody has caught up;
/// commits that consume always pass, for they make room. So the entrance is slowed down and the
/// line cannot block itself. Open the readers before writing more than the budget.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    budget: usize,
    state: Mutex<State>,
    /// Counts commits; whoever waits for records or for room waits here.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    logs: [Log; COUNT],
    stages: BTreeMap<Arc<str>, Positions>,
    /// Where open readers stand whose stage has stored nothing yet.
    holds: HashMap<u64, (Arc<str>, Positions)>,
    next_reader: u64,
    bytes: usize,
    sequence: u64,
}

#[derive(Default)]
struct Log {
    /// Position of the first of `records`.
    first: u64,
    /// With their place in the order of all topics.
    records: VecDeque<(u64, Delivered)>,
    /// A compacted topic's newest values among the records that were dropped.
    kept: BTreeMap<u64, (u64, Delivered)>,
    kept_keys: HashMap<Bytes, u64>,
}

impl Log {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The first record at or after a position that is still there.
    fn at_or_after(&self, position: u64) -> Option<&(u64, Delivered)> {
        if position < self.first
            && let Some((_, kept)) = self.kept.range(position..).next()
        {
            return Some(kept);
        }
        let place = position.saturating_sub(self.first);
        self.records.get(usize::try_from(place).ok()?)
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

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(usize::MAX)
    }
}

impl Memory {
    /// An empty bus that holds `budget` bytes of records before it drops what is consumed.
    pub fn new(budget: usize) -> Memory {
        let shared = Shared { budget, state: Mutex::default(), changed: watch::Sender::new(0) };
        Memory { shared: Arc::new(shared) }
    }
}

impl Bus for Memory {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<MemoryReader, Error> {
        let mut state = self.shared.lock();
        let stage: Arc<str> = stage.into();
        let stored = state.stages.get(&stage).cloned().unwrap_or_default();
        let mut next = Positions::none();
        for &topic in topics {
            let log = &state.logs[topic.index()];
            let oldest = if topic.is_compacted() { 0 } else { log.first };
            next.set(topic, 0, stored.get(topic, 0).unwrap_or(oldest));
        }
        state.check(&next)?;
        let id = state.next_reader;
        state.next_reader += 1;
        state.holds.insert(id, (stage.clone(), next.clone()));
        drop(state);
        Ok(MemoryReader {
            id,
            next,
            changed: self.shared.changed.subscribe(),
            writer: MemoryWriter { stage, shared: self.shared.clone() },
        })
    }

    fn writer(&self, stage: &str) -> MemoryWriter {
        MemoryWriter { stage: stage.into(), shared: self.shared.clone() }
    }

    fn read_at(&self, topic: Topic, position: u64) -> Result<Option<Delivered>, Error> {
        let state = self.shared.lock();
        let found = state.logs[topic.index()].at_or_after(position);
        let found = found.map(|(_, record)| record);
        Ok(found.filter(|record| record.position == position).cloned())
    }

    fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        let state = self.shared.lock();
        let log = &state.logs[topic.index()];
        let mut newest = HashMap::new();
        for (_, record) in log.kept.values().chain(&log.records) {
            newest.insert(record.key.clone(), record);
        }
        let mut newest: Vec<Delivered> = newest.into_values().cloned().collect();
        newest.sort_unstable_by_key(|record| record.position);
        Ok(newest)
    }

    fn ends(&self) -> Positions {
        let state = self.shared.lock();
        let mut ends = Positions::none();
        for topic in topic::ALL {
            ends.set(topic, 0, state.logs[topic.index()].end());
        }
        ends
    }

    fn stage_positions(&self) -> Vec<(String, Positions)> {
        let state = self.shared.lock();
        let stages = state.stages.iter();
        stages.map(|(stage, positions)| (stage.to_string(), positions.clone())).collect()
    }
}

/// Reads topics of a [`Memory`] for a stage, and commits for it.
pub struct MemoryReader {
    id: u64,
    next: Positions,
    changed: watch::Receiver<u64>,
    writer: MemoryWriter,
}

impl MemoryReader {
    /// Takes what is there, up to the limit, in the order of commits.
    fn take(&mut self, limit: Limit) -> Result<Batch, Error> {
        let state = self.writer.shared.lock();
        state.check(&self.next)?;
        let mut batch = Batch::default();
        let mut bytes = 0;
        loop {
            let candidates = self.next.iter();
            let candidates = candidates
                .filter_map(|(topic, _, next)| state.logs[topic.index()].at_or_after(next));
            let Some((_, record)) = candidates.min_by_key(|(sequence, _)| *sequence) else {
                break;
            };
            if !limit.admits(batch.records.len(), bytes, record.size()) {
                break;
            }
            bytes += record.size();
            self.next.set(record.topic, 0, record.position + 1);
            batch.records.push(record.clone());
        }
        Ok(batch)
    }
}

impl Source for MemoryReader {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, Error> {
        loop {
            self.changed.mark_unchanged();
            let batch = self.take(limit)?;
            if !batch.records.is_empty() {
                return Ok(batch);
            }
            // The sender lives in what this reader holds, so it cannot be gone.
            let _ = self.changed.changed().await;
        }
    }

    fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let mut state = self.writer.shared.lock();
        state.check(positions)?;
        let hold = state.holds.get_mut(&self.id);
        let mut hold = hold.map(|(_, hold)| hold);
        for (topic, partition, next) in positions.iter() {
            if self.next.get(topic, partition).is_some() {
                self.next.set(topic, partition, next);
                if let Some(hold) = &mut hold {
                    hold.set(topic, partition, next);
                }
            }
        }
        Ok(())
    }

    fn positions(&self) -> Positions {
        self.next.clone()
    }

    fn ends(&self) -> Positions {
        let state = self.writer.shared.lock();
        let mut ends = Positions::none();
        for (topic, partition, _) in self.next.iter() {
            ends.set(topic, partition, state.logs[topic.index()].end());
        }
        ends
    }
}

impl Sink for MemoryReader {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        self.writer.commit(outputs, consumed).await
    }
}

impl Drop for MemoryReader {
    fn drop(&mut self) {
        self.writer.shared.lock().holds.remove(&self.id);
        self.writer.shared.changed.send_modify(|count| *count += 1);
    }
}

/// Commits to a [`Memory`] for a stage.
#[derive(Clone)]
pub struct MemoryWriter {
    stage: Arc<str>,
    shared: Arc<Shared>,
}

impl Sink for MemoryWriter {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        for record in &outputs {
            record.check_size()?;
        }
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.mark_unchanged();
            {
                let mut state = self.shared.lock();
                state.check(consumed)?;
                if state.bytes > self.shared.budget {
                    state.drop_consumed(self.shared.budget);
                }
                let waits =
                    consumed.is_empty() && !outputs.is_empty() && state.bytes > self.shared.budget;
                if !waits {
                    state.append(&self.stage, outputs, consumed);
                    break;
                }
            }
            // The sender lives in what this writer holds, so it cannot be gone.
            let _ = changed.changed().await;
        }
        self.shared.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, positions: &Positions) -> Result<(), Error> {
        for (topic, partition, position) in positions.iter() {
            if partition != 0 {
                return Err(Error::NoPartition { topic, partition });
            }
            let log = &self.logs[topic.index()];
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

    fn append(&mut self, stage: &Arc<str>, outputs: Vec<Record>, consumed: &Positions) {
        let appended_at_ms = now_ms();
        for record in outputs {
            self.bytes += record.size();
            let log = &mut self.logs[record.topic.index()];
            let delivered = Delivered {
                topic: record.topic,
                partition: 0,
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
    fn drop_consumed(&mut self, budget: usize) {
        let mut floors = self.logs.each_ref().map(Log::end);
        for topic in topic::ALL.into_iter().filter(|topic| !topic.is_compacted()) {
            let stored = self.stages.values().filter_map(|stored| stored.get(topic, 0));
            let holds = self.holds.values();
            let holds = holds.filter(|(stage, _)| self.stored(stage, topic).is_none());
            let holds = holds.filter_map(|(_, hold)| hold.get(topic, 0));
            let floor = &mut floors[topic.index()];
            *floor = stored.chain(holds).fold(*floor, u64::min);
        }
        while self.bytes > budget {
            let logs = self.logs.iter_mut().zip(floors);
            let droppable = logs.filter(|(log, floor)| log.first < *floor);
            let oldest =
                droppable.min_by_key(|(log, _)| log.records.front().map(|(sequence, _)| *sequence));
            let Some((log, _)) = oldest else { break };
            self.bytes -= log.drop_oldest();
        }
    }

    fn stored(&self, stage: &str, topic: Topic) -> Option<u64> {
        self.stages.get(stage)?.get(topic, 0)
    }
}

/// Milliseconds of Unix time.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
