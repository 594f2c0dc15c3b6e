//! The port: what a stage may ask of any bus.

use std::future::Future;

use bytes::Bytes;

use crate::{Error, Positions, Topic};

/// The largest body of a record, in bytes.
pub const MAX_BODY: usize = 32 << 20;

/// The most bytes that key and headers of a record may have together.
pub const MAX_LABELS: usize = 64 << 10;

/// A record on its way to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub topic: Topic,
    /// Decides the partition, and what a compacted topic keeps.
    pub key: Bytes,
    /// Names and values beside the body, such as trace context.
    pub headers: Vec<(String, Bytes)>,
    /// The content; the bus does not look inside.
    pub body: Bytes,
}

impl Record {
    /// A record without headers.
    pub fn new(topic: Topic, key: impl Into<Bytes>, body: impl Into<Bytes>) -> Record {
        Record { topic, key: key.into(), headers: Vec::new(), body: body.into() }
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
    /// Its place there, counted from 0.
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

/// Records that a stage works through as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// In the order in which they were committed.
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
    /// Waits for at least one record.
    ///
    /// The source then stands behind the batch. Dropping the future loses nothing: the next call
    /// hands out what this one would have.
    fn next_batch(&mut self, limit: Limit) -> impl Future<Output = Result<Batch, Error>> + Send;

    /// Starts again at positions that the caller keeps itself; topics not named stay where they are.
    ///
    /// # Errors
    /// [`Error::Ahead`] beyond the end, [`Error::Gone`] before what is kept; the source then
    /// stands where it stood.
    fn read_from(&mut self, positions: &Positions) -> Result<(), Error>;

    /// Where it stands: the next position of each of its topics.
    fn positions(&self) -> Positions;

    /// One past the newest readable record of each of its topics.
    fn ends(&self) -> Positions;
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
    /// [`Error::Full`] or [`Error::DiskFull`] when there is no room now, [`Error::TooLarge`] for a
    /// record that never passes.
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

    /// Reads these topics from the stage's stored position on, else from the oldest record.
    ///
    /// Each reader has its own position. Before its stage has stored one, everything from where the
    /// reader began is kept as long as it is open.
    ///
    /// # Errors
    /// [`Error::Ahead`] or [`Error::Gone`] when the stored position does not fit the bus.
    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<Self::Reader, Error>;

    /// Commits for a stage that reads nothing.
    fn writer(&self, stage: &str) -> Self::Writer;

    /// The record at one position of a topic's partition 0, if it is still kept.
    ///
    /// # Errors
    /// When it cannot be read back.
    fn read_at(&self, topic: Topic, position: u64) -> Result<Option<Delivered>, Error>;

    /// The newest value of each key of a compacted topic, by position.
    ///
    /// # Errors
    /// When a value cannot be read back.
    fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error>;

    /// One past the newest readable record, for every topic.
    fn ends(&self) -> Positions;

    /// The stored position of every stage, by name.
    fn stage_positions(&self) -> Vec<(String, Positions)>;
}
