//! Dead letters: what could not be read, why, and putting it back once it can be.
//!
//! [`run`] keeps what stands on `raw.dead` and `events.dead` in the store; [`Letters`] are the
//! questions and the one order that pages, JSON API and command line share.

mod filter;
mod take;
mod view;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hubwarden_bus::{Bus, Positions, Record, Sink, topic};
use hubwarden_event::{DeadLetter, RawBody, RawRecord, Timestamp};
use hubwarden_proto as proto;
use serde::{Deserialize, Serialize};

pub use self::filter::{LetterFilter, MAX_LETTER_PAGE, page_text};
pub use self::take::{STAGE, run};
pub use self::view::{LetterPageView, LetterView, ReasonView, RetryView, TopicView};
use crate::store::letters::{KeptLetter, LetterAt, LetterPage, LetterQuery};
use crate::{Error, FindingStore};

/// Letters that go back in one commit.
const CHUNK: usize = 100;
/// Letters that one order puts back at most; a further order goes on.
const AT_ONCE: u64 = 1_000;
/// The bus is given so long for a commit; then nobody knows whether it happened.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name under which records are put back.
const WRITER: &str = "dead-letter-retry";

type Put = Arc<
    dyn Fn(Vec<Record>) -> Pin<Box<dyn Future<Output = Result<(), hubwarden_bus::Error>> + Send>>
        + Send
        + Sync,
>;

/// The questions about dead letters, and putting their records back.
#[derive(Clone)]
pub struct Letters {
    store: Arc<dyn FindingStore>,
    put: Put,
}

/// What became of an order to put letters back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Records that stand on their topic again.
    pub put: u64,
    /// Letters that do not hold their whole record.
    pub lost: u64,
    /// Letters that somebody else put back meanwhile.
    pub others: u64,
    /// Whether there are more that were not looked at.
    pub more: bool,
}

/// Why a record cannot be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Only its first 64 KiB are kept.
    Cut,
    /// The release that wrote the letter kept the payload and nothing around it.
    Bare,
    /// It is not a dead letter of this release.
    Foreign,
}

impl Lost {
    /// The reason as a sentence without a full stop.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "it was cut to its first 64 KiB, so there is no whole record to put back",
            Self::Bare => {
                "an earlier release kept only the payload, without what stood around it; \
                 import the payload instead"
            }
            Self::Foreign => {
                "it is not a dead letter of this release, so nothing is known of its record"
            }
        }
    }
}

impl KeptLetter {
    /// The letter itself, if this release can read it.
    pub fn letter(&self) -> Option<DeadLetter> {
        proto::decode_dead_letter(self.body.clone()).ok()
    }

    /// The record as it stood on the topic it came from.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn original(&self) -> Result<Record, Lost> {
        let letter = self.letter().ok_or(Lost::Foreign)?;
        if !letter.is_whole() {
            return Err(Lost::Cut);
        }
        let (partition, hash) = (letter.position.partition, letter.hash.0.to_vec());
        let record = match (self.at.topic, letter.envelope, letter.connection) {
            (topic::EVENTS_DEAD, ..) => Record::new(topic::EVENTS, hash, letter.record),
            (topic::RAW_DEAD, Some(envelope), _) => {
                let record = RawRecord { payload: letter.record, ..*envelope };
                let key = record.event_id().as_bytes().to_vec();
                Record::new(topic::RAW, key, proto::encode_raw(RawBody::Record(record)))
            }
            // What is no raw record at all was kept as it stood there.
            (topic::RAW_DEAD, None, None) => Record::new(topic::RAW, hash, letter.record),
            (topic::RAW_DEAD, None, Some(_)) => return Err(Lost::Bare),
            _ => return Err(Lost::Foreign),
        };
        Ok(record.at(partition))
    }
}

impl Letters {
    /// Asks this store, and puts records back on this bus.
    pub fn new(store: Arc<dyn FindingStore>, bus: impl Bus) -> Self {
        let put = move |records: Vec<Record>| {
            let bus = bus.clone();
            let put: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
                let there = |record: Record| {
                    let partitions = bus.partitions(record.topic);
                    let partition = record.partition.filter(|number| *number < partitions);
                    Record { partition, ..record }
                };
                let records = records.into_iter().map(there).collect();
                bus.writer(WRITER).commit(records, &Positions::none()).await
            });
            put
        };
        Self { store, put: Arc::new(put) }
    }

    /// The store, for counts.
    pub fn store(&self) -> &dyn FindingStore {
        &*self.store
    }

    /// One page of the letters that pass the filter.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, query: LetterQuery) -> Result<LetterPage, Error> {
        self.store.letters(query).await
    }

    /// One letter.
    ///
    /// # Errors
    /// [`Error::NoLetter`], or when the store fails.
    pub async fn get(&self, at: LetterAt) -> Result<KeptLetter, Error> {
        self.store.letter(at).await?.ok_or(Error::NoLetter { at })
    }

    /// Puts the record of one letter on its topic again, if that was begun only `seen` times before.
    ///
    /// What reads it knows it by its content, so that coming twice changes nothing. The work goes on
    /// when the caller goes away.
    ///
    /// # Errors
    /// [`Error::NoLetter`], [`Error::LostRecord`], [`Error::RetriedMeanwhile`], or when the store or the
    /// bus fails; the letter then is as before, or says that nobody knows whether the record arrived.
    pub async fn retry(
        &self,
        at: LetterAt,
        seen: u32,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let letter = self.get(at).await?;
        let record = letter.original().map_err(|lost| Error::LostRecord { at, lost })?;
        let (letters, by) = (self.clone(), by.to_owned());
        let work = async move { letters.put_back(vec![(at, seen, record)], &by, now).await };
        let others = tokio::spawn(work).await.map_err(|_| Error::Closed)??;
        if others > 0 { Err(Error::RetriedMeanwhile { at }) } else { Ok(()) }
    }

    /// Puts the records of letters that nobody has put back on their topics again, at most a thousand.
    ///
    /// The query says of which topic and reason; its page and limit do not count. The work goes on when
    /// the caller goes away.
    ///
    /// # Errors
    /// When the store or the bus fails; what was put back by then stays so.
    pub async fn retry_all(
        &self,
        query: LetterQuery,
        by: &str,
        now: Timestamp,
    ) -> Result<Retried, Error> {
        let (letters, by) = (self.clone(), by.to_owned());
        let work = async move { letters.put_all_back(query, &by, now).await };
        tokio::spawn(work).await.map_err(|_| Error::Closed)?
    }

    async fn put_all_back(
        &self,
        query: LetterQuery,
        by: &str,
        now: Timestamp,
    ) -> Result<Retried, Error> {
        let mut query = LetterQuery { waiting: true, limit: CHUNK, page: None, ..query };
        let mut retried = Retried::default();
        loop {
            let page = self.list(query.clone()).await?;
            let mut chunk = Vec::new();
            for letter in &page.letters {
                match letter.original() {
                    Ok(record) => chunk.push((letter.at, 0, record)),
                    Err(_) => retried.lost += 1,
                }
            }
            let of = chunk.len() as u64;
            let others = self.put_back(chunk, by, now).await?;
            retried.put += of - others;
            retried.others += others;
            retried.more = page.next.is_some();
            query.page = page.next;
            if !retried.more || retried.put >= AT_ONCE {
                return Ok(retried);
            }
        }
    }

    /// Puts records back in one commit, and gives how many others had been quicker.
    ///
    /// The note that it was begun comes first: whoever looks while it goes on sees it, and after a crash
    /// in between the letter says that nobody knows.
    async fn put_back(
        &self,
        chunk: Vec<(LetterAt, u32, Record)>,
        by: &str,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let (mut begun, mut records, mut others) = (Vec::new(), Vec::new(), 0);
        for (at, seen, record) in chunk {
            if self.store.begin_retry(at, seen, by.to_owned(), now).await? {
                begun.push((at, seen + 1));
                records.push(record);
            } else {
                others += 1;
            }
        }
        if records.is_empty() {
            return Ok(others);
        }
        let count = records.len();
        let put = match tokio::time::timeout(PATIENCE, (self.put)(records)).await {
            Ok(put) => put,
            Err(_) => return Err(Error::NobodyKnows { letters: count }),
        };
        for (at, time) in &begun {
            self.store.end_retry(*at, *time, put.is_ok()).await?;
        }
        put.map_err(Error::NotPut)?;
        tracing::info!(letters = count, by, "put the records of dead letters back");
        Ok(others)
    }
}
