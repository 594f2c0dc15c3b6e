//! What can go wrong on the bus.

use std::io;
use std::path::PathBuf;

use crate::Topic;

/// Why the bus did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the journal.
    #[error("the journal in {} is in use by another process; stop that one or use another folder", folder.display())]
    InUse {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// A file of the journal does not hold what was written to it.
    #[error("journal file {} is damaged at byte {offset}: {reason}; nothing behind it is read until a repair", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the first bad byte range begins.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A later release wrote to the journal; nothing of it was changed.
    #[error("journal file {} holds {found} at byte {offset}, written by a later release; start that release again, or use the backup of before the upgrade", file.display())]
    Later {
        /// The file.
        file: PathBuf,
        /// Where it begins.
        offset: u64,
        /// What this release does not know.
        found: String,
    },
    /// The budget is used up by records that a stage has not consumed yet.
    #[error(
        "the bus holds {used} bytes, its budget is {budget}; waiting for {waiting_for} to catch up"
    )]
    Full {
        /// Bytes that are held now.
        used: u64,
        /// Bytes that may be held.
        budget: u64,
        /// The stage and topic that hold the oldest record, or what else keeps it.
        waiting_for: String,
    },
    /// The disk has no room; nothing of the commit was kept.
    #[error("no room on the disk of {}: {free} bytes are free; make room, nothing is lost meanwhile", folder.display())]
    DiskFull {
        /// The folder of the journal.
        folder: PathBuf,
        /// Free bytes on that disk.
        free: u64,
    },
    /// A record or a commit is larger than the bus takes.
    #[error("{what} of {size} bytes is larger than the {limit} that the bus takes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The largest size that passes.
        limit: usize,
    },
    /// Somebody stands, or wants to stand, where nothing has been written yet.
    #[error(
        "position {position} of {topic} is beyond the end {end} of the bus; was the data folder replaced by an older one?"
    )]
    Ahead {
        /// The topic.
        topic: Topic,
        /// The position asked for.
        position: u64,
        /// One past the newest record.
        end: u64,
    },
    /// The records asked for are no longer kept.
    #[error("position {position} of {topic} is no longer kept, the oldest is {oldest}")]
    Gone {
        /// The topic.
        topic: Topic,
        /// The position asked for.
        position: u64,
        /// The oldest position that is still kept.
        oldest: u64,
    },
    /// A topic has fewer partitions than that.
    #[error("partition {partition} of {topic} does not exist, the topic has {partitions}")]
    NoPartition {
        /// The topic.
        topic: Topic,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// Other members took over what was consumed, or the bus took the commit back for another
    /// reason that redelivery mends: nothing of it is there, the reader stands at the stored
    /// positions.
    #[error("the commit was taken back: {reason}; the records are delivered again")]
    Reassigned {
        /// What happened.
        reason: String,
    },
    /// The cluster does not answer now; nothing of the commit was kept.
    #[error("{doing} failed: {reason}; it is tried again, look at the brokers if this goes on")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What the client says.
        reason: String,
    },
    /// The cluster does not let this client do that.
    #[error(
        "{doing} was refused: {reason}; check the password, the certificates and the rights of this user"
    )]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// What the cluster says.
        reason: String,
    },
    /// Topics of the cluster are not laid out as they must be; nothing about them was changed.
    #[error("the topics do not fit: {wrong}; correct them, or name others with topic_prefix")]
    Topics {
        /// Each contradiction: what is, and what should be.
        wrong: String,
    },
    /// The settings of the cluster cannot work.
    #[error("{reason}")]
    Settings {
        /// The key and what is wrong with it.
        reason: String,
    },
    /// This process can no longer work on the bus, as when a newer one has taken its place.
    #[error("{doing} failed for good: {reason}; the process must start again")]
    Fatal {
        /// What was tried.
        doing: &'static str,
        /// What the client says.
        reason: String,
    },
    /// The journal was opened for reading only.
    #[error("the journal in {} is open for reading only", folder.display())]
    ReadOnly {
        /// The folder of the journal.
        folder: PathBuf,
    },
    /// A sync to disk failed, so nothing more is written until the journal is opened again.
    #[error("the journal takes no commits until it is opened again: {reason}")]
    Closed {
        /// What failed.
        reason: String,
    },
    /// The operating system refused.
    #[error("{doing} {} failed", file.display())]
    Io {
        /// What was tried, as "reading" or "writing".
        doing: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anything being repaired.
    ///
    /// Not so [`Error::Reassigned`]: there the stage reads on instead of asking again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::DiskFull { .. } | Self::Unavailable { .. })
    }
}
