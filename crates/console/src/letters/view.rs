//! Dead letters as JSON API, exports and command line show them.

use hubwarden_event::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::letters::{KeptLetter, LetterCount, LetterPage, TopicLetters, short_name};

use super::filter::page_text;

/// The first bytes of a record that a list shows.
const GLANCE_BYTES: usize = 160;

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterView {
    /// Its name, such as `raw.dead-3-17`.
    pub id: String,
    /// The topic it stands on: `raw.dead` or `events.dead`.
    pub topic: String,
    /// When it was written.
    pub at: Timestamp,
    /// Why the record could not be read.
    pub reason: String,
    /// Where the record stood, such as `raw-3-1042`; empty for what is no dead letter.
    pub source: String,
    /// Whose record it was, when that much could be read.
    pub connection: Option<String>,
    /// File and line, for imports.
    pub origin: Option<String>,
    /// Length of the whole record in bytes.
    pub length: u64,
    /// How many of them are kept.
    pub kept: u64,
    /// SHA-256 of the whole record.
    pub hash: String,
    /// The first bytes as text.
    pub glance: String,
    /// Why its record cannot be put back; nothing when it can.
    pub lost: Option<String>,
    /// The last time that it was put back, or that this was begun.
    pub retry: Option<RetryView>,
}

/// That a record was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryView {
    /// How often that was begun.
    pub times: u32,
    /// When it was begun last.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Whether the record is known to stand on its topic.
    pub arrived: bool,
}

/// One page of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterPageView {
    /// The newest first.
    pub letters: Vec<LetterView>,
    /// How many there are on all pages.
    pub total: u64,
    /// Names the next page, if there is one.
    pub next_page: Option<String>,
}

/// The dead letters of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicView {
    /// `raw.dead` or `events.dead`.
    pub topic: String,
    /// How many there are.
    pub letters: u64,
    /// How many of them nobody has put back.
    pub waiting: u64,
    /// When the oldest was written.
    pub oldest: Timestamp,
    /// When the newest was written.
    pub newest: Timestamp,
}

/// The dead letters of one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// `raw.dead` or `events.dead`.
    pub topic: String,
    /// The reason.
    pub reason: String,
    /// How many there are.
    pub letters: u64,
    /// How many of them nobody has put back.
    pub waiting: u64,
    /// When the newest was written.
    pub newest: Timestamp,
}

impl From<&KeptLetter> for LetterView {
    fn from(kept: &KeptLetter) -> Self {
        let letter = kept.letter();
        let record = letter.as_ref().map_or(&kept.body, |letter| &letter.record);
        let from = short_name(kept.at.topic).trim_end_matches(".dead");
        let source = letter.as_ref().map(|letter| {
            format!("{from}-{}-{}", letter.position.partition, letter.position.offset)
        });
        let origin = letter.as_ref().and_then(|letter| letter.origin.as_ref());
        Self {
            id: kept.at.to_string(),
            topic: short_name(kept.at.topic).into(),
            at: kept.appended_at,
            reason: kept.reason.clone(),
            source: source.unwrap_or_default(),
            connection: letter.as_ref().and_then(|one| Some(one.connection.as_ref()?.to_string())),
            origin: origin.map(|origin| format!("{}:{}", origin.file, origin.line)),
            length: letter.as_ref().map_or(record.len() as u64, |letter| letter.length),
            kept: record.len() as u64,
            hash: letter.as_ref().map(|letter| letter.hash.to_string()).unwrap_or_default(),
            glance: glance(record),
            lost: kept.original().err().map(|lost| lost.as_str().to_owned()),
            retry: kept.retry.as_ref().map(|retry| RetryView {
                times: retry.times,
                at: retry.at,
                by: retry.by.clone(),
                arrived: retry.arrived,
            }),
        }
    }
}

/// The first bytes as text, a replacement character for what is none.
fn glance(record: &[u8]) -> String {
    let part = &record[..record.len().min(GLANCE_BYTES)];
    let text = String::from_utf8_lossy(part);
    if part.len() < record.len() { format!("{text}…") } else { text.into_owned() }
}

impl From<&LetterPage> for LetterPageView {
    fn from(page: &LetterPage) -> Self {
        Self {
            letters: page.letters.iter().map(Into::into).collect(),
            total: page.total,
            next_page: page.next.map(page_text),
        }
    }
}

impl From<&TopicLetters> for TopicView {
    fn from(of: &TopicLetters) -> Self {
        let topic = short_name(of.topic).into();
        let TopicLetters { letters, waiting, oldest, newest, .. } = *of;
        Self { topic, letters, waiting, oldest, newest }
    }
}

impl From<&LetterCount> for ReasonView {
    fn from(count: &LetterCount) -> Self {
        Self {
            topic: short_name(count.topic).into(),
            reason: count.reason.clone(),
            letters: count.letters,
            waiting: count.waiting,
            newest: count.newest,
        }
    }
}
