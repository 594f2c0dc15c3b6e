//! Dead letters in a store: what it keeps of them, and what it can be asked.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hubwarden_bus::{Positions, Topic, topic};
use hubwarden_event::Timestamp;

use crate::Error;

/// The most letters that a store keeps; beyond, the oldest go. The topics keep all for 30 days.
pub(crate) const MAX_LETTERS: u64 = 20_000;

/// Keeps dead letters as they stand on the bus, and which of them were put back.
///
/// Two stores that were given the same letters, in any order and any number of times, answer alike.
#[tonic::async_trait]
pub trait LetterStore: Send + Sync + 'static {
    /// Keeps letters that are new and stores the bus position, both or neither; gives how many were new.
    ///
    /// Then at most `keep.most` letters stay, none older than `keep.since`. A position never goes back.
    ///
    /// # Errors
    /// [`Error::is_retryable`] when the same may pass later; nothing of it is kept, or all.
    async fn take_letters(
        &self,
        letters: Vec<KeptLetter>,
        consumed: Positions,
        keep: Keep,
    ) -> Result<usize, Error>;

    /// One page of the letters that pass the filter, the newest first.
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, Error>;

    /// One letter.
    async fn letter(&self, at: LetterAt) -> Result<Option<KeptLetter>, Error>;

    /// The letters by topic and reason, the most frequent first, at most `limit` rows.
    async fn letter_counts(&self, limit: usize) -> Result<Vec<LetterCount>, Error>;

    /// The letters of each topic that has some.
    async fn letter_topics(&self) -> Result<Vec<TopicLetters>, Error>;

    /// Notes that somebody begins to put a letter back; false when it is gone, or when that was
    /// begun another number of times than `seen`.
    ///
    /// So of several who saw the same state only one goes on.
    async fn begin_retry(
        &self,
        at: LetterAt,
        seen: u32,
        by: String,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Notes how the time `begun`, counted from 1, ended: the record stands on its topic again, or it
    /// does not.
    ///
    /// That it arrived once stays, and what somebody else began since stays too.
    async fn end_retry(&self, at: LetterAt, begun: u32, arrived: bool) -> Result<(), Error>;
}

/// Which letters stay in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// None older than this.
    pub since: Timestamp,
    /// Not more than this.
    pub most: u64,
}

/// The place of a dead letter; written as `raw.dead-3-17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterAt {
    /// Its topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: u32,
    /// Its position there.
    pub position: u64,
}

/// The topics of dead letters with the short name of each.
pub(crate) const DEAD: [(Topic, &str); 2] =
    [(topic::RAW_DEAD, "raw.dead"), (topic::EVENTS_DEAD, "events.dead")];

impl fmt::Display for LetterAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", short_name(self.topic), self.partition, self.position)
    }
}

impl FromStr for LetterAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (rest, position) = text.rsplit_once('-')?;
            let (topic, partition) = rest.rsplit_once('-')?;
            Some(Self {
                topic: by_short_name(topic)?,
                partition: partition.parse().ok()?,
                position: position.parse().ok()?,
            })
        };
        read().ok_or_else(|| Error::BadQuery {
            field: "dead letter",
            value: text.into(),
            hint: "it is named like raw.dead-3-17; `hubwarden dead-letter list` shows those there are",
        })
    }
}

/// The short name of a topic of dead letters.
pub(crate) fn short_name(topic: Topic) -> &'static str {
    DEAD.iter().find(|(of, _)| *of == topic).map_or_else(|| topic.name(), |(_, name)| name)
}

/// The topic of that short name.
pub(crate) fn by_short_name(name: &str) -> Option<Topic> {
    DEAD.iter().find(|(_, short)| *short == name).map(|(topic, _)| *topic)
}

/// A letter as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLetter {
    /// Where it stands.
    pub at: LetterAt,
    /// When the bus took it.
    pub appended_at: Timestamp,
    /// Why the record could not be read.
    pub reason: String,
    /// The letter as it stands on the bus.
    pub body: Bytes,
    /// The last time that somebody put its record back, or began to.
    pub retry: Option<Retry>,
}

/// That a record was put on its topic again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often that was begun.
    pub times: u32,
    /// When it was begun last.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Whether the record is known to stand on its topic.
    pub arrived: bool,
}

/// Which letters to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// Only those of this topic.
    pub topic: Option<Topic>,
    /// Only those with exactly this reason.
    pub reason: Option<String>,
    /// Only those that nobody has put back.
    pub waiting: bool,
    /// At most so many.
    pub limit: usize,
    /// Where the previous page ended.
    pub page: Option<(Timestamp, LetterAt)>,
}

/// One page of letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterPage {
    /// The newest first.
    pub letters: Vec<KeptLetter>,
    /// Where the next page begins, if there is one.
    pub next: Option<(Timestamp, LetterAt)>,
    /// How many pass the filter on all pages.
    pub total: u64,
}

/// The letters of one reason in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterCount {
    /// The topic.
    pub topic: Topic,
    /// The reason.
    pub reason: String,
    /// How many there are.
    pub letters: u64,
    /// How many of them nobody has put back.
    pub waiting: u64,
    /// When the newest was written.
    pub newest: Timestamp,
}

/// The letters of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLetters {
    /// The topic.
    pub topic: Topic,
    /// How many there are.
    pub letters: u64,
    /// How many of them nobody has put back.
    pub waiting: u64,
    /// When the oldest was written.
    pub oldest: Timestamp,
    /// When the newest was written.
    pub newest: Timestamp,
}

/// The letters of a page from one more than it holds, and where the next begins.
pub(super) fn page(mut letters: Vec<KeptLetter>, limit: usize, total: u64) -> LetterPage {
    let more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| more).map(|last| (last.appended_at, last.at));
    LetterPage { letters, next, total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_named_by_its_place() {
        for text in ["raw.dead-3-17", "events.dead-0-18446744073709551615"] {
            assert_eq!(text.parse::<LetterAt>().unwrap().to_string(), text);
        }
        for text in ["", "raw-0-1", "raw.dead-1", "raw.dead--1-1", "raw.dead-0-x", "raw.dead-0-1-"]
        {
            assert!(text.parse::<LetterAt>().is_err(), "{text}");
        }
    }
}
