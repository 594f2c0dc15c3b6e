//! Members of a group that share the partitions of a memory bus, as they would share Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use hubwarden_bus::{
    Batch, Bus, Delivered, Error, Limit, Memory, MemoryReader, MemoryWriter, Positions, Record,
    Sink, Source, Topic,
};
use tokio::sync::watch;

/// A memory bus whose readers of one stage share its partitions.
#[derive(Clone)]
pub(crate) struct Shared {
    memory: Memory,
    groups: Arc<Mutex<BTreeMap<String, Group>>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Group {
    members: Vec<u64>,
    next: u64,
    /// Moves every partition to the next member.
    turn: usize,
    /// So many commits are given up, as by a broker that has lost its memory of a transaction.
    failing: u32,
    /// Commits that were given up.
    given_up: u32,
}

impl Group {
    fn owns(&self, member: u64, partition: u32) -> bool {
        let place = (partition as usize + self.turn) % self.members.len().max(1);
        self.members.get(place) == Some(&member)
    }
}

impl Shared {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory, groups: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    fn change<T>(&self, stage: &str, change: impl FnOnce(&mut Group) -> T) -> T {
        let mut groups = self.groups.lock().unwrap();
        let done = change(groups.entry(stage.into()).or_default());
        self.changed.send_modify(|count| *count += 1);
        done
    }

    /// Gives every partition of a stage to another of its members.
    pub(crate) fn rebalance(&self, stage: &str) {
        self.change(stage, |group| group.turn += 1);
    }

    /// Lets the next commits of a stage come to nothing.
    pub(crate) fn fail(&self, stage: &str, commits: u32) {
        self.change(stage, |group| group.failing += commits);
    }

    /// How many commits of a stage came to nothing.
    pub(crate) fn given_up(&self, stage: &str) -> u32 {
        self.change(stage, |group| group.given_up)
    }

    fn join(&self, stage: &str, topics: &[Topic], keeps_positions: bool) -> Result<Member, Error> {
        let inner = self.memory.reader(stage, topics)?;
        let id = self.change(stage, |group| {
            group.next += 1;
            group.members.push(group.next);
            group.next
        });
        Ok(Member {
            id,
            stage: stage.into(),
            topics: topics.into(),
            keeps_positions,
            inner,
            owned: BTreeSet::new(),
            silent: BTreeSet::new(),
            changed: self.changed.subscribe(),
            bus: self.clone(),
        })
    }
}

impl Bus for Shared {
    type Reader = Member;
    type Writer = MemoryWriter;

    fn partitions(&self, topic: Topic) -> u32 {
        self.memory.partitions(topic)
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<Member, Error> {
        self.join(stage, topics, false)
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<Member, Error> {
        self.join(stage, topics, true)
    }

    fn writer(&self, stage: &str) -> MemoryWriter {
        self.memory.writer(stage)
    }

    async fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, Error> {
        self.memory.read_at(topic, partition, position).await
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        self.memory.newest(topic).await
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.memory.ends().await
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        self.memory.stage_positions().await
    }

    async fn members(&self) -> Result<Vec<hubwarden_bus::Member>, Error> {
        self.memory.members().await
    }
}

/// One reader of a stage, and the partitions that it owns as far as it knows.
pub(crate) struct Member {
    id: u64,
    stage: String,
    topics: Vec<Topic>,
    keeps_positions: bool,
    /// Reads every partition; what belongs to others is passed over.
    inner: MemoryReader,
    owned: BTreeSet<(Topic, u32)>,
    /// Owned, and not yet named by `read_from`.
    silent: BTreeSet<(Topic, u32)>,
    changed: watch::Receiver<u64>,
    bus: Shared,
}

impl Member {
    fn assigned(&self) -> BTreeSet<(Topic, u32)> {
        let groups = self.bus.groups.lock().unwrap();
        let group = &groups[&self.stage];
        let all = self.topics.iter().flat_map(|topic| {
            (0..self.bus.memory.partitions(*topic)).map(|partition| (*topic, partition))
        });
        all.filter(|(_, partition)| group.owns(self.id, *partition)).collect()
    }

    async fn stand_at_committed(
        &mut self,
        partitions: &BTreeSet<(Topic, u32)>,
    ) -> Result<(), Error> {
        let stages = self.bus.memory.stage_positions().await?;
        let stored = stages.into_iter().find(|(stage, _)| *stage == self.stage);
        let stored = stored.map(|(_, stored)| stored).unwrap_or_default();
        let mut positions = Positions::none();
        for (topic, partition) in partitions {
            positions.set(*topic, *partition, stored.get(*topic, *partition).unwrap_or(0));
        }
        self.inner.read_from(&positions).await
    }
}

impl Source for Member {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, Error> {
        loop {
            self.changed.mark_unchanged();
            let assigned = self.assigned();
            if assigned != self.owned {
                let gained: BTreeSet<_> = assigned.difference(&self.owned).copied().collect();
                self.silent.retain(|partition| assigned.contains(partition));
                if self.keeps_positions {
                    self.silent.extend(gained);
                } else {
                    self.stand_at_committed(&gained).await?;
                }
                self.owned = assigned;
                return Ok(Batch::default());
            }
            let mut batch = tokio::select! {
                _ = self.changed.changed() => continue,
                batch = self.inner.next_batch(limit) => batch?,
            };
            batch.records.retain(|record| {
                let partition = (record.topic, record.partition);
                self.owned.contains(&partition) && !self.silent.contains(&partition)
            });
            if !batch.records.is_empty() {
                return Ok(batch);
            }
        }
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let mut owned = Positions::none();
        for (topic, partition, next) in positions.iter() {
            if self.owned.contains(&(topic, partition)) {
                owned.set(topic, partition, next);
            }
        }
        self.inner.read_from(&owned).await?;
        for (topic, partition, _) in owned.iter() {
            self.silent.remove(&(topic, partition));
        }
        Ok(())
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.owned.iter().copied().collect()
    }

    fn positions(&self) -> Positions {
        self.inner.positions()
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.inner.ends().await
    }
}

impl Sink for Member {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        let bus = self.bus.clone();
        let given_up = {
            let mut groups = bus.groups.lock().unwrap();
            let group = groups.entry(self.stage.clone()).or_default();
            let owns = consumed.iter().all(|(_, partition, _)| group.owns(self.id, partition));
            if owns && group.failing == 0 {
                // under the lock, so that no partition moves between the check and the commit
                return at_once(self.inner.commit(outputs, consumed));
            }
            group.failing = group.failing.saturating_sub(u32::from(owns));
            group.given_up += 1;
            Error::Reassigned { reason: "a test".into() }
        };
        let owned = self.owned.clone();
        self.stand_at_committed(&owned).await?;
        Err(given_up)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.bus.change(&self.stage, |group| group.members.retain(|id| *id != self.id));
    }
}

/// The outcome of what a memory bus without a budget never waits for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a memory bus without a budget waited"),
    }
}
