//! The port: what a stage may ask of any bus.

use std::future::Future;

use bytes::Bytes;

use crate::{Error, Positions, Topic, partition_of};

/// The largest body of a record, in bytes.
pub const MAX_BODY: usize = 32 << 20;

/// The most bytes that key and headers of a record may have together.
pub const MAX_LABELS: usize = 64 << 10;

/// A record on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub topic: Topic,
    /// The partition it goes to; `None` lets the key decide ([`partition_of`](crate::partition_of)).
    pub partition: Option<u32>,
    /// Decides the partition where none is named, and what a compacted topic keeps.
    pub key: Bytes,
    /// Names and values beside the body, such as trace context.
    pub headers: Vec<(String, Bytes)>,
    /// The content; the bus does not look inside.
    pub body: Bytes,
}

impl Record {
    /// A record without headers, for the partition that its key decides.
    pub fn new(topic: Topic, key: impl Into<Bytes>, body: impl Into<Bytes>) -> Record {
        let (key, body) = (key.into(), body.into());
        Record { topic, partition: None, key, headers: Vec::new(), body }
    }

    /// The same record for exactly this partition.
    pub fn at(self, partition: u32) -> Record {
        Record { partition: Some(partition), ..self }
    }

    /// Where it goes on a bus whose topic has so many partitions.
    ///
    /// # Errors
    /// [`Error::NoPartition`] when it names one that is not there.
    pub(crate) fn partition_among(&self, partitions: u32) -> Result<u32, Error> {
        match self.partition {
            Some(partition) if partition >= partitions => {
                Err(Error::NoPartition { topic: self.topic, partition, partitions })
            }
            Some(partition) => Ok(partition),
            None => Ok(partition_of(&self.key, partitions)),
        }
    }

    /// Refuses what is larger than every implementation takes.
    pub(crate) fn check_size(&self) -> Result<(), Error> {
        let labels = labels_size(&self.key, &self.headers);
        for (what, size, limit) in [
            ("a record body", self.body.len(), MAX_BODY),
            ("key and headers of a record", labels, MAX_LABELS),
        ] {
            if size > limit {
                return Err(Error::TooLarge { what, size, limit });
            }
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> usize {
        labels_size(&self.key, &self.headers) + self.body.len()
    }
}

/// A record that the bus hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where it comes from.
    pub topic: Topic,
    /// The partition of that topic.
    pub partition: u32,
    /// Its place there: higher than all before it, not always by one.
    pub position: u64,
    /// When the bus took it, in milliseconds of Unix time.
    pub appended_at_ms: i64,
    /// As it was written.
    pub key: Bytes,
    /// As they were written.
    pub headers: Vec<(String, Bytes)>,
    /// As it was written.
    pub body: Bytes,
}

impl Delivered {
    /// Bytes of key, headers and body: what [`Limit::bytes`] counts.
    pub fn size(&self) -> usize {
        labels_size(&self.key, &self.headers) + self.body.len()
    }
}

/// Header lengths count too, or a record of empty headers would be free.
fn labels_size(key: &Bytes, headers: &[(String, Bytes)]) -> usize {
    let headers = headers.iter();
    key.len() + headers.map(|(name, value)| name.len() + value.len() + 6).sum::<usize>()
}

/// A reader of a stage, as the bus knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The stage that it reads for.
    pub stage: String,
    /// Tells it from others; stays as long as it reads.
    pub name: String,
    /// Where it runs, as the cluster sees it; empty on a bus of one process.
    pub host: String,
    /// The partitions that it owns, by topic, then partition.
    pub owns: Vec<(Topic, u32)>,
}

impl Member {
    /// The reader with this number, on a bus of one process.
    pub(crate) fn here(number: u64, stage: &str, owns: &Positions) -> Member {
        let owns = owns.iter().map(|(topic, partition, _)| (topic, partition)).collect();
        Member { stage: stage.into(), name: format!("reader {number}"), host: String::new(), owns }
    }
}

/// Records that a stage works through as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Those of a partition in the order in which they were committed.
    pub records: Vec<Delivered>,
}

impl Batch {
    /// What to commit once every record of this batch is dealt with.
    pub fn consumed(&self) -> Positions {
        let mut positions = Positions::none();
        for record in &self.records {
            positions.set(record.topic, record.partition, record.position + 1);
        }
        positions
    }
}

/// Where a batch ends: at either limit, but never before one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most records.
    pub records: usize,
    /// The most bytes of keys, headers and bodies; one larger record is a batch of its own.
    pub bytes: usize,
}

impl Default for Limit {
    fn default() -> Limit {
        Limit { records: 2000, bytes: 2 << 20 }
    }
}

impl Limit {
    /// The default limit with another number of records.
    pub fn records(records: usize) -> Limit {
        Limit { records, ..Limit::default() }
    }

    /// Whether a batch of `records` with `bytes` takes another of `size` bytes.
    pub(crate) fn admits(&self, records: usize, bytes: usize, size: usize) -> bool {
        records == 0 || (records < self.records && bytes.saturating_add(size) <= self.bytes)
    }
}

/// A partitioned log, read from a position.
pub trait Source: Send {
    /// Waits for at least one record, or for a change of what the source owns.
    ///
    /// The source then stands behind the batch. An empty batch says: look at
    /// [`assignment`](Self::assignment) again, it may have changed; nothing is wrong. Dropping the
    /// future loses nothing: the next call hands out what this one would have.
    fn next_batch(&mut self, limit: Limit) -> impl Future<Output = Result<Batch, Error>> + Send;

    /// Starts again at positions that the caller keeps itself; what is not named stays as it is.
    ///
    /// What the source does not own, or no longer, is passed over.
    ///
    /// # Errors
    /// [`Error::Ahead`] beyond the end, [`Error::Gone`] before what is kept; the source then
    /// stands where it stood.
    fn read_from(
        &mut self,
        positions: &Positions,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The partitions that it owns, by topic, then partition; changes only inside
    /// [`next_batch`](Self::next_batch), which then gives an empty batch at once.
    fn assignment(&self) -> Vec<(Topic, u32)>;

    /// Where it stands: the next position of each partition that it owns and has a position for.
    fn positions(&self) -> Positions;

    /// One past the newest readable record of each partition that it owns.
    ///
    /// # Errors
    /// When the bus does not answer.
    fn ends(&self) -> impl Future<Output = Result<Positions, Error>> + Send;
}

/// `Ok` means that the log holds all outputs and knows what was consumed: both or neither.
pub trait Sink: Send {
    /// Appends outputs of any topics and stores `consumed` as the stage's position, as one.
    ///
    /// The stored position is what the latest commit says, also when that is lower. After an error
    /// nothing of it is on the bus, except that after [`Error::Closed`] it may come to light when
    /// the bus is opened again. The commit may still happen when the future is dropped.
    ///
    /// # Errors
    /// [`Error::is_retryable`] when the same commit may pass later, [`Error::TooLarge`] for a
    /// record that never passes. [`Error::Reassigned`] when other members took over what was
    /// consumed: the stage forgets the batch, with what it learned from it, and reads on from where
    /// the reader then stands. [`Error::Fatal`] when only a new process can go on.
    fn commit(
        &mut self,
        outputs: Vec<Record>,
        consumed: &Positions,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A bus: a cheap handle that gives stages their readers and writers.
pub trait Bus: Clone + Send + Sync + 'static {
    /// Reads topics for a stage, and commits for it.
    type Reader: Source + Sink + 'static;
    /// Commits for a stage that reads nothing.
    type Writer: Sink + 'static;

    /// How many partitions a topic has.
    fn partitions(&self, topic: Topic) -> u32;

    /// Reads these topics from the stage's stored position on, else from the oldest record.
    ///
    /// Each reader has its own position; on a cluster the readers of a stage share the partitions.
    /// Before its stage has stored a position, everything from where the reader began is kept as
    /// long as it is open.
    ///
    /// # Errors
    /// [`Error::Ahead`] or [`Error::Gone`] when the stored position does not fit the bus.
    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<Self::Reader, Error>;

    /// Reads these topics for a stage that keeps its positions itself.
    ///
    /// A partition delivers nothing until [`Source::read_from`] has named it, so the stage looks at
    /// [`Source::assignment`] first and after every empty batch.
    ///
    /// # Errors
    /// When the bus cannot open it.
    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<Self::Reader, Error>;

    /// Commits for a stage that reads nothing.
    fn writer(&self, stage: &str) -> Self::Writer;

    /// The record at one position of a partition, if it is still kept.
    ///
    /// # Errors
    /// When it cannot be read back.
    fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> impl Future<Output = Result<Option<Delivered>, Error>> + Send;

    /// The newest value of each key of a compacted topic, by partition and position.
    ///
    /// Everything that was committed before the call is in it.
    ///
    /// # Errors
    /// When a value cannot be read back.
    fn newest(&self, topic: Topic) -> impl Future<Output = Result<Vec<Delivered>, Error>> + Send;

    /// One past the newest readable record, for every partition of every topic.
    ///
    /// # Errors
    /// When the bus does not answer.
    fn ends(&self) -> impl Future<Output = Result<Positions, Error>> + Send;

    /// The stored position of every stage, by name.
    ///
    /// # Errors
    /// When the bus does not answer.
    fn stage_positions(
        &self,
    ) -> impl Future<Output = Result<Vec<(String, Positions)>, Error>> + Send;

    /// Every open reader with what it owns, by stage, then name.
    ///
    /// On a cluster those of all processes; one that died is named until the cluster gives it up.
    ///
    /// # Errors
    /// When the bus does not answer.
    fn members(&self) -> impl Future<Output = Result<Vec<Member>, Error>> + Send;

    /// The stored position of one stage; empty when it has stored none.
    ///
    /// # Errors
    /// When the bus does not answer.
    fn stage_position(&self, stage: &str) -> impl Future<Output = Result<Positions, Error>> + Send {
        async move {
            let stages = self.stage_positions().await?;
            let found = stages.into_iter().find(|(name, _)| name == stage);
            Ok(found.map(|(_, at)| at).unwrap_or_default())
        }
    }
}
