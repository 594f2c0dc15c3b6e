//! The bus on a Kafka cluster.
//!
//! Commits are transactions, of a reader with the positions of its group, so outputs and positions
//! are there together or not at all; everybody reads what is committed. The client's calls block,
//! so each reader has a thread of its own (`worker`), and all writers of a handle share one
//! (`writer`). `transactions` says what is done about each error, `topics` what the cluster must
//! look like, `lookup` asks it questions, `context` hears what it tells.
//!
//! *Ownership.* The partitions of a group belong to one member each, and a commit that names
//! consumed positions is refused once they belong to another: [`Error::Reassigned`]. Whoever wants
//! to own something else, as a connection that must be polled by one collector, opens
//! [`Bus::keeping_reader`] on a topic (`cursors`), owns what falls into its partitions, and names
//! such a partition in every commit that is made in that right.

mod context;
mod lag;
mod lookup;
mod places;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod topics;
mod transactions;
mod worker;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::BaseConsumer;

use self::context::AskContext;
use self::lag::Counters;
pub use self::lag::{Counts, Lag};
pub use self::reader::KafkaReader;
use self::settings::Names;
pub use self::settings::{Mechanism, Sasl, Settings, Tls};
use self::writer::Entrance;
pub use self::writer::KafkaWriter;
use crate::{Bus, Delivered, Error, Member, Positions, Record, Topic};

/// A bus on a Kafka cluster.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
    /// The name of this process among the members of its groups, when it keeps one over restarts.
    member: Option<Arc<str>>,
}

pub(crate) struct Inner {
    settings: Settings,
    names: Arc<Names>,
    /// Asks what is committed.
    asking: BaseConsumer<AskContext>,
    /// Asks what is written, committed or not.
    written: BaseConsumer<AskContext>,
    entrance: Mutex<Option<Arc<Entrance>>>,
    counts: Arc<Counters>,
    readers: AtomicU64,
}

impl Kafka {
    /// Reaches a cluster, creates the topics that are missing and checks those that are there.
    ///
    /// # Errors
    /// [`Error::Settings`] for settings that cannot work, [`Error::Refused`] when the brokers do
    /// not let this client in, [`Error::Topics`] when a topic is not laid out as it must be, and
    /// [`Error::Unavailable`] when no broker answers in time.
    pub async fn connect(settings: Settings) -> Result<Kafka, Error> {
        settings.check()?;
        let inner = Arc::new(Inner::new(settings)?);
        topics::prepare(&inner).await?;
        Ok(Kafka { inner, member: None })
    }

    /// The same bus, whose readers keep their place in the group over a short absence.
    ///
    /// For stages whose partitions should not move when a process restarts: the name must be the
    /// same after it, and no other process may have it, as the ordinal name of a pod.
    pub fn member(&self, name: &str) -> Kafka {
        Kafka { inner: self.inner.clone(), member: Some(name.into()) }
    }

    /// How far the readers of this process are behind, as of the last figures of their clients.
    pub fn lag(&self) -> Vec<Lag> {
        self.inner.counts.lag()
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.inner.counts.counts()
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = self.inner.clone();
        let asked = tokio::task::spawn_blocking(move || what(&inner)).await;
        asked.unwrap_or_else(|error| Err(Error::Closed { reason: error.to_string() }))
    }
}

impl Inner {
    fn new(settings: Settings) -> Result<Inner, Error> {
        Ok(Inner {
            names: Arc::new(Names::new(&settings.topic_prefix)),
            asking: lookup::client(&settings, None)?,
            written: lookup::client_of_written(&settings)?,
            settings,
            entrance: Mutex::default(),
            counts: Arc::default(),
            readers: AtomicU64::new(0),
        })
    }

    /// Refuses what no partition takes.
    fn check(&self, outputs: &[Record]) -> Result<(), Error> {
        for record in outputs {
            record.check_size()?;
            record.partition_among(record.topic.partitions(self.settings.partitions))?;
        }
        Ok(())
    }

    fn entrance(&self) -> Result<Arc<Entrance>, Error> {
        let mut entrance = self.entrance.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*entrance {
            return Ok(open.clone());
        }
        Ok(entrance.insert(Arc::new(Entrance::open(self)?)).clone())
    }

    fn next_reader(&self) -> u64 {
        self.readers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Bus for Kafka {
    type Reader = KafkaReader;
    type Writer = KafkaWriter;

    fn partitions(&self, topic: Topic) -> u32 {
        topic.partitions(self.inner.settings.partitions)
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<KafkaReader, Error> {
        worker::open(&self.inner, stage, topics, false, self.member.as_deref())
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<KafkaReader, Error> {
        worker::open(&self.inner, stage, topics, true, self.member.as_deref())
    }

    fn writer(&self, stage: &str) -> KafkaWriter {
        KafkaWriter { inner: self.inner.clone(), stage: stage.into() }
    }

    async fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, Error> {
        self.ask(move |inner| inner.read_at(topic, partition, position)).await
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        self.ask(move |inner| inner.newest(topic)).await
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.ask(Inner::all_ends).await
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        self.ask(Inner::stage_positions).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        self.ask(Inner::members).await
    }

    async fn stage_position(&self, stage: &str) -> Result<Positions, Error> {
        let stage = stage.to_owned();
        self.ask(move |inner| inner.stage_position(&stage)).await
    }
}
