//! Transactions, and what to do about each of their errors.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::context::WriterContext;
use super::settings::{Names, Settings, TRANSACTION};
use crate::{Error, Record};

/// How long one call may take before it is looked at again.
const TURN: Duration = Duration::from_secs(5);
/// Between two looks at a full queue.
const QUEUE_WAIT: Duration = Duration::from_millis(2);

/// Writes in transactions under a name of its own, from one thread.
pub(super) struct Transactions {
    producer: ThreadedProducer<WriterContext>,
    state: State,
}

enum State {
    /// The cluster does not know it yet.
    New,
    Ready,
    /// A transaction is still to be taken back.
    Open,
    /// Another has taken its place, or its outcome cannot be known.
    Dead(String),
}

/// Why a transaction is not on the bus.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was not begun.
    NotBegun(String),
    /// It was taken back, or will be: it is never going to be read.
    TakenBack(String),
    /// Nothing more can be written here.
    Fatal(String),
}

impl Transactions {
    pub(super) fn new(settings: &Settings, id: &str) -> Result<Transactions, Error> {
        let config = settings.writing(id);
        let producer = ThreadedProducer::from_config_and_context(&config, WriterContext)
            .map_err(|error| Error::Settings { reason: format!("the Kafka client says: {error}") })?;
        Ok(Transactions { producer, state: State::New })
    }

    /// Writes all of it as one, with offsets where a reader has consumed something.
    pub(super) fn run(
        &mut self,
        names: &Names,
        records: &[Record],
        offsets: Option<(&TopicPartitionList, &ConsumerGroupMetadata)>,
    ) -> Result<(), Failed> {
        self.get_ready()?;
        if let Err(error) = self.producer.begin_transaction() {
            return Err(self.failed(&error, Failed::NotBegun));
        }
        self.state = State::Open;
        let sent = records.iter().try_for_each(|record| self.send(names, record));
        let sent = sent.and_then(|()| {
            let Some((offsets, group)) = offsets else { return Ok(()) };
            self.send_offsets(offsets, group)
        });
        if let Err(error) = sent {
            return Err(self.take_back(&error));
        }
        self.finish()
    }

    /// Makes the cluster know it, or ends what is left of the last transaction.
    fn get_ready(&mut self) -> Result<(), Failed> {
        let done = match &self.state {
            State::Ready => return Ok(()),
            State::Dead(reason) => return Err(Failed::Fatal(reason.clone())),
            State::New => self.producer.init_transactions(TURN),
            State::Open => self.producer.abort_transaction(TURN),
        };
        match done {
            Ok(()) => self.state = State::Ready,
            Err(error) => return Err(self.failed(&error, Failed::NotBegun)),
        }
        Ok(())
    }

    fn send(&self, names: &Names, record: &Record) -> Result<(), KafkaError> {
        let mut message = BaseRecord::to(names.of(record.topic))
            .key(&record.key[..])
            .payload(&record.body[..]);
        if let Some(partition) = record.partition {
            message = message.partition(i32::try_from(partition).unwrap_or(i32::MAX));
        }
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: Some(&value[..]) });
            }
            message = message.headers(headers);
        }
        let deadline = Instant::now() + TRANSACTION;
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                // The thread of the client makes room.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again))
                    if Instant::now() < deadline =>
                {
                    message = again;
                    std::thread::sleep(QUEUE_WAIT);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), KafkaError> {
        let deadline = Instant::now() + TRANSACTION;
        loop {
            match self.producer.send_offsets_to_transaction(offsets, group, TURN) {
                Err(error) if is_retriable(&error) && Instant::now() < deadline => {}
                ended => return ended,
            }
        }
    }

    /// Commits, and asks until the outcome is known.
    ///
    /// A commit that was sent can no longer be taken back. While the cluster is away nobody can
    /// know how it ends, and whoever waits for it must not be told a guess; once it is back it
    /// either completes the commit or has taken it back when its time was over.
    fn finish(&mut self) -> Result<(), Failed> {
        loop {
            match self.producer.commit_transaction(TURN) {
                Ok(()) => {
                    self.state = State::Ready;
                    return Ok(());
                }
                Err(error) if is_retriable(&error) => {
                    tracing::debug!(%error, "asking again how a commit ended");
                }
                Err(error) => return Err(self.take_back(&error)),
            }
        }
    }

    fn take_back(&mut self, cause: &KafkaError) -> Failed {
        if let Some(fatal) = self.fatal(cause) {
            return fatal;
        }
        match self.producer.abort_transaction(TURN) {
            Ok(()) => self.state = State::Ready,
            // It will never be committed; the rest is done before the next one begins.
            Err(error) if is_retriable(&error) => {}
            Err(error) => {
                if let Some(fatal) = self.fatal(&error) {
                    return fatal;
                }
                self.state = State::Dead(said(&error));
                return Failed::Fatal(said(&error));
            }
        }
        Failed::TakenBack(said(cause))
    }

    fn failed(&mut self, error: &KafkaError, otherwise: impl FnOnce(String) -> Failed) -> Failed {
        self.fatal(error).unwrap_or_else(|| otherwise(said(error)))
    }

    fn fatal(&mut self, error: &KafkaError) -> Option<Failed> {
        let told = matches!(error, KafkaError::Transaction(error) if error.is_fatal());
        let found = self.producer.client().fatal_error();
        if !told && found.is_none() {
            return None;
        }
        let reason = found.map_or_else(|| said(error), |(code, reason)| format!("{code}: {reason}"));
        self.state = State::Dead(reason.clone());
        Some(Failed::Fatal(reason))
    }
}

/// Whether the same call may be made again.
fn is_retriable(error: &KafkaError) -> bool {
    match error {
        // The binding flushes first and says so; what is not delivered in time fails by itself.
        KafkaError::Flush(_) => true,
        KafkaError::Transaction(error) => error.is_retriable() && !error.txn_requires_abort(),
        _ => false,
    }
}

/// What the client says, with the name of the error.
fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => format!("{} ({})", error.string(), error.name()),
        error => error.to_string(),
    }
}
