//! Transactions, and what to do about each of their errors.

use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

use super::context::WriterContext;
use super::settings::{DELIVERY, Names, Settings};
use crate::{Error, Record};

/// How long one call may take before it is looked at again.
const TURN: Duration = Duration::from_secs(5);
/// When a call that should have come back after a turn never will.
const HANGS: Duration = Duration::from_secs(7);
/// How many clients may be left waiting before no other is made.
const MOST_LEFT: usize = 2;
/// How often a client may fail to get ready before another takes its place.
const TRIES: u32 = 5;
/// Between two looks at the queue of the client.
const QUEUE_WAIT: Duration = Duration::from_millis(1);

/// Writes in transactions under a name of its own, from one thread.
pub(super) struct Transactions {
    settings: Settings,
    /// The transactional id, also of a client that takes the place of another.
    name: String,
    producer: Arc<Client>,
    state: State,
    /// Clients before this one, of which some may never come back.
    left: Vec<Weak<Client>>,
    /// How often it could not be made ready since it was last.
    tries: u32,
}

type Client = ThreadedProducer<WriterContext>;

/// What a reader has consumed, as which member of its group.
pub(super) type Consumed = (TopicPartitionList, ConsumerGroupMetadata);

enum State {
    /// The cluster does not know it yet.
    New,
    Ready,
    /// A transaction is still to be taken back.
    Open,
    /// Another client has to take its place: the cluster no longer knows this one, or may still
    /// hold a request of it that was sent twice.
    Outlived,
    /// The outcome of a commit cannot be known.
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
    /// A client whose name begins so; nobody else ever has the same.
    pub(super) fn new(settings: &Settings, name: &str) -> Result<Transactions, Error> {
        let name = unique(name)?;
        let producer = producer(settings, &name)?;
        Ok(Transactions {
            settings: settings.clone(),
            name,
            producer,
            state: State::New,
            left: Vec::new(),
            tries: 0,
        })
    }

    /// Writes all of it as one, with offsets where a reader has consumed something.
    pub(super) fn run(
        &mut self,
        names: &Names,
        records: &[Record],
        consumed: Option<Consumed>,
    ) -> Result<(), Failed> {
        self.get_ready()?;
        if let Err(error) = self.producer.begin_transaction() {
            self.state = State::Outlived;
            return Err(Failed::NotBegun(said(&error)));
        }
        self.state = State::Open;
        let sent = records.iter().try_for_each(|record| self.send(names, record));
        if let Err(error) = sent {
            return Err(self.take_back(&error));
        }
        if let Some(consumed) = consumed {
            self.send_offsets(&Arc::new(consumed))?;
        }
        self.finish()
    }

    /// Makes the cluster know it, or ends what is left of the last transaction.
    fn get_ready(&mut self) -> Result<(), Failed> {
        loop {
            let done = match &self.state {
                State::Ready => return Ok(()),
                State::Dead(reason) => return Err(Failed::Fatal(reason.clone())),
                State::Outlived => {
                    self.left.retain(|client| client.strong_count() > 0);
                    if self.left.len() >= MOST_LEFT {
                        let reason =
                            "clients before this one still wait for the group's coordinator";
                        return Err(Failed::NotBegun(reason.to_owned()));
                    }
                    let new = producer(&self.settings, &self.name);
                    let new = new.map_err(|error| Failed::NotBegun(error.to_string()))?;
                    self.left.push(Arc::downgrade(&self.producer));
                    self.producer = new;
                    self.state = State::New;
                    self.tries = 0;
                    continue;
                }
                State::New => self.producer.init_transactions(TURN).map(|()| State::Ready),
                State::Open => self.producer.abort_transaction(TURN).map(|()| self.after_the_end()),
            };
            match done {
                Ok(state) => {
                    self.state = state;
                    self.tries = 0;
                }
                Err(error) => {
                    self.tries += 1;
                    // What is open can no longer be committed, so a new client may go on.
                    if !is_retriable(&error) || self.is_fatal(&error) || self.tries > TRIES {
                        self.state = State::Outlived;
                    }
                    return Err(Failed::NotBegun(said(&error)));
                }
            }
        }
    }

    fn send(&self, names: &Names, record: &Record) -> Result<(), KafkaError> {
        let mut message =
            BaseRecord::to(names.of(record.topic)).key(&record.key[..]).payload(&record.body[..]);
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
        let deadline = Instant::now() + DELIVERY;
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

    fn send_offsets(&mut self, consumed: &Arc<Consumed>) -> Result<(), Failed> {
        let deadline = Instant::now() + DELIVERY;
        loop {
            match try_offsets(&self.producer, consumed) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) if is_retriable(&error) && Instant::now() < deadline => {}
                Some(Err(error)) => return Err(self.take_back(&error)),
                None => {
                    self.state = State::Outlived;
                    return Err(Failed::TakenBack(format!(
                        "the Kafka client did not say within {HANGS:?} whether the group took the positions"
                    )));
                }
            }
        }
    }

    /// Commits, and asks until the outcome is known.
    ///
    /// A commit that was sent can no longer be taken back. While the cluster is away nobody can
    /// know how it ends, and whoever waits for it must not be told a guess. A client of a newer
    /// epoch that the cluster names here is none of ours, since nobody else has this name: the
    /// cluster raises the epoch itself when it takes back what was open for too long, and never
    /// once it has begun to carry out a commit. Any other client that is refused for good ends:
    /// what it asked for may have been done or not.
    fn finish(&mut self) -> Result<(), Failed> {
        loop {
            self.wait_for_delivery();
            match self.producer.commit_transaction(TURN) {
                Ok(()) => {
                    self.state = self.after_the_end();
                    return Ok(());
                }
                Err(error) if is_retriable(&error) => {
                    tracing::debug!(%error, "asking again how a commit ended");
                }
                Err(error) if is_fenced(&error) => {
                    self.state = State::Outlived;
                    return Err(Failed::TakenBack(said(&error)));
                }
                Err(error) if self.is_fatal(&error) => {
                    self.state = State::Dead(said(&error));
                    return Err(Failed::Fatal(said(&error)));
                }
                Err(error) => return Err(self.take_back(&error)),
            }
        }
    }

    /// Waits until nothing is on its way.
    ///
    /// The binding does that too before it commits, but looks at it every 100 ms only: each commit
    /// would take as long.
    fn wait_for_delivery(&self) {
        let deadline = Instant::now() + DELIVERY;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(QUEUE_WAIT);
        }
    }

    /// Takes a transaction back whose commit was not asked for, or was refused.
    ///
    /// It is never going to be read, whatever happens here: at the latest the cluster ends it when
    /// its time is over. It may have done so already, and then refuses this client as one of the
    /// past; since nobody else has its name, a new one may go on.
    fn take_back(&mut self, cause: &KafkaError) -> Failed {
        self.state = match self.producer.abort_transaction(TURN) {
            Ok(()) => self.after_the_end(),
            // The rest is done before the next one begins.
            Err(error) if is_retriable(&error) => State::Open,
            Err(_) => State::Outlived,
        };
        Failed::TakenBack(said(cause))
    }

    /// What follows a transaction that has ended.
    ///
    /// When a connection broke meanwhile, the client may have asked twice for the end, and a broker
    /// that was stuck may carry the first request out during the next transaction and end that
    /// (KIP-890, which this client lacks: confluentinc/librdkafka issue 5423). A new client under
    /// the same name gets a new epoch, with which the cluster refuses whatever is still on its way.
    fn after_the_end(&self) -> State {
        match self.producer.client().context().had_trouble() {
            true => State::Outlived,
            false => State::Ready,
        }
    }

    fn is_fatal(&self, error: &KafkaError) -> bool {
        let told = matches!(error, KafkaError::Transaction(error) if error.is_fatal());
        told || self.producer.client().fatal_error().is_some()
    }
}

/// Tells the group what was consumed; nothing when the client does not come back.
///
/// It may wait for ever for a coordinator that went away, whatever time it is given
/// (confluentinc/librdkafka issues 5456 and 5511), so another thread waits for it. Such a client is
/// left to that thread: its transaction is never committed, and a new client under the same name
/// ends it.
fn try_offsets(producer: &Arc<Client>, consumed: &Arc<Consumed>) -> Option<Result<(), KafkaError>> {
    let (tell, told) = channel();
    let (producer, consumed) = (producer.clone(), consumed.clone());
    let waits = move || {
        let (offsets, group) = &*consumed;
        // Nobody listens when it took too long.
        let _ = tell.send(producer.send_offsets_to_transaction(offsets, group, TURN));
    };
    let thread = std::thread::Builder::new().name("kafka-offsets".to_owned());
    if let Err(error) = thread.spawn(waits) {
        tracing::warn!(%error, "no thread to tell a group what was consumed");
        return None;
    }
    told.recv_timeout(HANGS).ok()
}

fn unique(name: &str) -> Result<String, Error> {
    let mut random = [0_u8; 12];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Settings { reason: format!("no random numbers: {error}") })?;
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{name}.{random}"))
}

fn producer(settings: &Settings, name: &str) -> Result<Arc<Client>, Error> {
    let config = settings.writing(name);
    let client = Client::from_config_and_context(&config, WriterContext::default());
    client
        .map(Arc::new)
        .map_err(|error| Error::Settings { reason: format!("the Kafka client says: {error}") })
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

/// Whether the cluster knows a newer epoch of the same client.
fn is_fenced(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fenced)
}

/// What the client says, with the name of the error.
fn said(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => format!("{} ({})", error.string(), error.name()),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::mocking::{MockCluster, MockCoordinator};

    use super::*;
    use crate::topic::{EVENTS, RAW};

    #[test]
    fn a_client_that_waits_for_ever_for_the_coordinator_of_a_group_is_replaced() {
        let mock = MockCluster::new(2).unwrap();
        let settings = Settings { brokers: vec![mock.bootstrap_servers()], ..Settings::default() };
        let (names, records) = (Names::new(""), [Record::new(EVENTS, "k", "x")]);
        let mut transactions = Transactions::new(&settings, "test").unwrap();
        // Everything is at the first broker, but for what becomes of the group.
        mock.create_topic(EVENTS.name(), 1, 1).unwrap();
        mock.partition_leader(EVENTS.name(), 0, Some(1)).unwrap();
        mock.coordinator(MockCoordinator::Transaction(transactions.name.clone()), 1).unwrap();
        mock.coordinator(MockCoordinator::Group("group".into()), 2).unwrap();
        transactions.run(&names, &records, None).unwrap();
        mock.broker_down(2).unwrap();
        let reader: BaseConsumer = settings.reading().set("group.id", "group").create().unwrap();
        let mut consumed = TopicPartitionList::new();
        consumed.add_partition_offset(RAW.name(), 0, Offset::Offset(1)).unwrap();
        let mut run = |records: &[Record], all: bool| {
            let consumed = all.then(|| (consumed.clone(), reader.group_metadata().unwrap()));
            transactions.run(&names, records, consumed)
        };
        for _ in 0..MOST_LEFT {
            let ended = run(&records, true);
            let Err(Failed::TakenBack(reason)) = ended else { panic!("{ended:?}") };
            assert!(reason.contains("did not say"), "{reason}");
            run(&records, false).unwrap();
        }
        // It does not go on for ever: at the latest the client after the last makes no other.
        let refused = |_| matches!(run(&records, true), Err(Failed::NotBegun(_)));
        assert!((0..2).any(refused));
        mock.broker_up(2).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = run(&records, false) {
            assert!(Instant::now() < deadline, "{error:?}");
            std::thread::sleep(TURN / 50); // between two looks
        }
    }
}
