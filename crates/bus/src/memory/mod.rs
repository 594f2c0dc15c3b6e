//! The bus that lives and dies with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::state::State;
use crate::{
    Batch, Bus, Delivered, Error, Limit, Member, Positions, Record, Sink, Source, Topic, topic,
};

mod state;

pub(crate) use self::state::now_ms;

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

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(usize::MAX)
    }
}

impl Memory {
    /// An empty bus that holds `budget` bytes of records before it drops what is consumed; its
    /// topics have one partition each.
    pub fn new(budget: usize) -> Memory {
        Memory::make(budget, 1)
    }

    /// An empty bus without a budget whose topics have so many partitions, as on a cluster.
    pub fn with_partitions(partitions: u32) -> Memory {
        Memory::make(usize::MAX, partitions.max(1))
    }

    fn make(budget: usize, partitions: u32) -> Memory {
        let state = Mutex::new(State::new(partitions));
        let shared = Shared { budget, state, changed: watch::Sender::new(0) };
        Memory { shared: Arc::new(shared) }
    }

    fn open(&self, stage: &str, topics: &[Topic], keeps: bool) -> Result<MemoryReader, Error> {
        let mut state = self.shared.lock();
        let stage: Arc<str> = stage.into();
        let owned = state.all_of(topics);
        let start = state.start(&stage, &owned);
        state.check(&start)?;
        let id = state.next_reader;
        state.next_reader += 1;
        state.holds.insert(id, (stage.clone(), start.clone()));
        drop(state);
        Ok(MemoryReader {
            id,
            owned,
            next: if keeps { Positions::none() } else { start },
            changed: self.shared.changed.subscribe(),
            writer: MemoryWriter { stage, shared: self.shared.clone() },
        })
    }
}

impl Bus for Memory {
    type Reader = MemoryReader;
    type Writer = MemoryWriter;

    fn partitions(&self, topic: Topic) -> u32 {
        self.shared.lock().partitions(topic)
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<MemoryReader, Error> {
        self.open(stage, topics, false)
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<MemoryReader, Error> {
        self.open(stage, topics, true)
    }

    fn writer(&self, stage: &str) -> MemoryWriter {
        MemoryWriter { stage: stage.into(), shared: self.shared.clone() }
    }

    async fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, Error> {
        let state = self.shared.lock();
        let found = state.log(topic, partition).and_then(|log| log.at_or_after(position));
        let found = found.map(|(_, record)| record);
        Ok(found.filter(|record| record.position == position).cloned())
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        Ok(self.shared.lock().logs(topic).iter().flat_map(state::Log::newest).collect())
    }

    async fn ends(&self) -> Result<Positions, Error> {
        let state = self.shared.lock();
        Ok(state.ends(&state.all_of(&topic::ALL)))
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        let state = self.shared.lock();
        let stages = state.stages.iter();
        Ok(stages.map(|(stage, positions)| (stage.to_string(), positions.clone())).collect())
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        let state = self.shared.lock();
        let readers = state.holds.iter();
        let mut members: Vec<Member> =
            readers.map(|(number, (stage, owns))| Member::here(*number, stage, owns)).collect();
        members.sort_unstable();
        Ok(members)
    }
}

/// Reads topics of a [`Memory`] for a stage, and commits for it.
pub struct MemoryReader {
    id: u64,
    owned: Vec<(Topic, u32)>,
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
            let candidates = candidates.filter_map(|(topic, partition, next)| {
                state.log(topic, partition)?.at_or_after(next)
            });
            let Some((_, record)) = candidates.min_by_key(|(sequence, _)| *sequence) else {
                break;
            };
            if !limit.admits(batch.records.len(), bytes, record.size()) {
                break;
            }
            bytes += record.size();
            self.next.set(record.topic, record.partition, record.position + 1);
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

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let mut state = self.writer.shared.lock();
        state.check(positions)?;
        let hold = state.holds.get_mut(&self.id);
        let mut hold = hold.map(|(_, hold)| hold);
        for (topic, partition, next) in positions.iter() {
            if self.owned.contains(&(topic, partition)) {
                self.next.set(topic, partition, next);
                if let Some(hold) = &mut hold {
                    hold.set(topic, partition, next);
                }
            }
        }
        Ok(())
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.owned.clone()
    }

    fn positions(&self) -> Positions {
        self.next.clone()
    }

    async fn ends(&self) -> Result<Positions, Error> {
        Ok(self.writer.shared.lock().ends(&self.owned))
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
        let mut placed = Vec::with_capacity(outputs.len());
        for record in outputs {
            record.check_size()?;
            let partitions = self.shared.lock().partitions(record.topic);
            placed.push((record.partition_among(partitions)?, record));
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
                    consumed.is_empty() && !placed.is_empty() && state.bytes > self.shared.budget;
                if !waits {
                    state.append(&self.stage, placed, consumed);
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
