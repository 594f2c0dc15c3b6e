//! The thread of a reader: polls, shares out, commits.
//!
//! The calls of the client block, and a commit must not be mixed with polls that could move
//! partitions, so one thread does all of it in order. It polls only while a batch is asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Inner;
use super::context::{ReaderContext, unavailable};
use super::lookup::{self, Offsets};
use super::reader::KafkaReader;
use super::transactions::Transactions;
use crate::{Delivered, Error, Limit, Positions, Record, Topic};

/// How long the thread waits for the first record before it looks at its orders again.
const POLL: Duration = Duration::from_millis(20);
/// How long it gathers more after the first: a commit costs about as much.
const LINGER: Duration = Duration::from_millis(5);

/// What the thread is asked to do.
pub(super) enum Order {
    Next(Limit),
    Commit { outputs: Vec<Record>, consumed: Positions, done: oneshot::Sender<Done> },
    ReadFrom(Positions, oneshot::Sender<Result<Begun, Error>>),
    Ends(oneshot::Sender<Result<Positions, Error>>),
}

/// Reading begins elsewhere on some partitions.
pub(super) struct Begun {
    /// Answers of before this turn hold nothing of them that counts.
    pub(super) turn: u64,
    pub(super) at: Positions,
}

/// The end of a commit; with where the reader stands when it had to go back.
pub(super) struct Done {
    pub(super) result: Result<(), Error>,
    pub(super) rewound: Option<Begun>,
}

/// What a batch brings; no records when what is owned has changed.
pub(super) struct Answer {
    pub(super) turn: u64,
    pub(super) records: Result<Vec<Delivered>, Error>,
    pub(super) owned: Vec<(Topic, u32)>,
    pub(super) next: Positions,
}

/// Joins the group of a stage.
pub(super) fn open(
    inner: &Arc<Inner>,
    stage: &str,
    topics: &[Topic],
    keeps: bool,
    member: Option<&str>,
) -> Result<KafkaReader, Error> {
    let mut config = inner.settings.reading();
    config.set("group.id", inner.names.group(stage));
    let every = inner.settings.figures_every.as_millis().to_string();
    config.set("statistics.interval.ms", every);
    match member {
        Some(member) => {
            config.set("group.instance.id", member).set("session.timeout.ms", "30000");
        }
        None => {
            config.set("session.timeout.ms", "10000");
        }
    }
    let refused = |error: KafkaError| unavailable("joining the group of a stage", &error);
    let born = Instant::now();
    let context = ReaderContext::new(inner, stage, keeps);
    let consumer: BaseConsumer<ReaderContext> =
        config.create_with_context(context).map_err(refused)?;
    let names: Vec<&str> = topics.iter().map(|topic| inner.names.of(*topic)).collect();
    consumer.subscribe(&names).map_err(refused)?;
    let (orders, inbox) = channel();
    let (answers, outbox) = unbounded_channel();
    let worker = Worker {
        inner: inner.clone(),
        stage: stage.to_owned(),
        number: inner.next_reader(),
        keeps,
        born,
        consumer,
        transactions: None,
        turn: 0,
        owned: BTreeMap::new(),
        owing: None,
        seen: BTreeSet::new(),
        pending: VecDeque::new(),
        pending_bytes: 0,
        figures: None,
        failure: None,
        answers,
    };
    let thread = std::thread::Builder::new().name(format!("kafka-{stage}"));
    let started = thread.spawn(move || worker.run(&inbox));
    started.map_err(|error| Error::Settings { reason: format!("no thread to read: {error}") })?;
    Ok(KafkaReader::new(inner.clone(), orders, outbox))
}

pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    pub(super) stage: String,
    /// Tells it from other readers of the process.
    number: u64,
    pub(super) keeps: bool,
    /// Just before the client was.
    born: Instant,
    pub(super) consumer: BaseConsumer<ReaderContext>,
    /// Made for the first commit that has outputs.
    pub(super) transactions: Option<Transactions>,
    /// Counts the times that reading began elsewhere.
    pub(super) turn: u64,
    pub(super) owned: BTreeMap<(Topic, u32), Place>,
    /// Where it has to go back to before it reads on.
    pub(super) owing: Option<Offsets>,
    /// Every partition that it ever owned.
    seen: BTreeSet<(Topic, u32)>,
    /// Read, but not handed over.
    pub(super) pending: VecDeque<Delivered>,
    pending_bytes: usize,
    /// The newest of the client, with a time before which it was not made.
    pub(super) figures: Option<(Statistics, Instant)>,
    /// Told once what was read before it is handed over.
    pub(super) failure: Option<Error>,
    answers: UnboundedSender<Answer>,
}

/// Where the stage is on a partition.
#[derive(Default)]
pub(super) struct Place {
    /// The next position to read; none until the stage has named one.
    pub(super) next: Option<u64>,
    /// What the group has stored, or where the stage began.
    pub(super) stored: Option<u64>,
    /// One past the newest record that was read.
    pub(super) read_end: Option<u64>,
    /// The client had nothing of this partition before, so what it says now is of now.
    pub(super) fresh: bool,
    /// When the newest record was read here since reading began here.
    pub(super) read_at: Option<Instant>,
    /// When the bus took the record that was read last.
    pub(super) appended_at_ms: Option<i64>,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut asked = None;
        loop {
            let order = match asked {
                None => orders.recv().map_err(|_| TryRecvError::Disconnected),
                Some(_) => orders.try_recv(),
            };
            match order {
                Err(TryRecvError::Disconnected) => break,
                Ok(Order::Next(limit)) => asked = Some(limit),
                Ok(Order::Commit { outputs, consumed, done }) => {
                    let ended = self.commit(&outputs, &consumed);
                    // Nobody listens when the stage was stopped meanwhile.
                    let _ = done.send(ended);
                }
                Ok(Order::ReadFrom(positions, done)) => {
                    let _ = done.send(self.read_from(&positions));
                }
                Ok(Order::Ends(done)) => {
                    let _ = done.send(self.ends());
                }
                Err(TryRecvError::Empty) => {}
            }
            if let Some(limit) = asked
                && let Some(records) = self.gather(limit)
            {
                asked = None;
                let (owned, next) = (self.owned.keys().copied().collect(), self.positions());
                let answer = Answer { turn: self.turn, records, owned, next };
                if self.answers.send(answer).is_err() {
                    break;
                }
            }
        }
        self.inner.counts.set_lag(self.number, Vec::new());
    }

    /// Polls for a while; gives what there is to tell, if anything.
    ///
    /// No records: what is owned has changed, or where the reader stands.
    fn gather(&mut self, limit: Limit) -> Option<Result<Vec<Delivered>, Error>> {
        if let Err(error) = self.go_back() {
            return Some(Err(error));
        }
        let mut until: Option<Instant> = None;
        while self.pending.len() < limit.records && self.pending_bytes < limit.bytes {
            if until.is_none() && !self.pending.is_empty() {
                until = Some(Instant::now() + LINGER);
            }
            let began = Instant::now();
            let wait = until.map_or(POLL, |until| until.saturating_duration_since(began));
            let polled = self
                .consumer
                .poll(wait)
                .map(|polled| polled.map(|message| lookup::delivered(&self.inner.names, &message)));
            // A poll ends early for events that are no records, too.
            let idle = polled.is_none() && began.elapsed() >= wait;
            let rebalanced = self.hear();
            match polled {
                Some(Ok(Some(record))) => self.keep(record),
                Some(Err(error)) => {
                    let failure = self.why(&error);
                    self.failure = self.failure.take().or(failure);
                }
                Some(Ok(None)) | None => {}
            }
            if rebalanced {
                return Some(Ok(Vec::new()));
            }
            if idle && self.pending.is_empty() {
                return match self.failure.take() {
                    Some(failure) => Some(Err(failure)),
                    None => self.settle().then(|| Ok(Vec::new())),
                };
            }
            if idle {
                break;
            }
        }
        Some(Ok(self.take(limit)))
    }

    /// Keeps a record for a batch, unless it is not one that was asked for.
    fn keep(&mut self, record: Delivered) {
        let Some(place) = self.owned.get_mut(&(record.topic, record.partition)) else { return };
        if place.next.is_none_or(|next| record.position < next) {
            return;
        }
        place.next = Some(record.position + 1);
        place.read_end = place.next;
        place.read_at = Some(Instant::now());
        place.appended_at_ms = Some(record.appended_at_ms);
        self.pending_bytes += record.size();
        self.pending.push_back(record);
    }

    fn take(&mut self, limit: Limit) -> Vec<Delivered> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(record) = self.pending.front()
            && limit.admits(taken.len(), bytes, record.size())
        {
            bytes += record.size();
            taken.extend(self.pending.pop_front());
        }
        self.pending_bytes -= bytes;
        taken
    }

    /// Forgets what was read and not handed over, of some partitions.
    pub(super) fn forget(&mut self, of: impl Fn(&(Topic, u32)) -> bool) {
        self.pending.retain(|record| !of(&(record.topic, record.partition)));
        self.pending_bytes = self.pending.iter().map(Delivered::size).sum();
    }

    /// Where it stands behind what was handed over.
    pub(super) fn positions(&self) -> Positions {
        let mut positions = Positions::none();
        for (&(topic, partition), place) in &self.owned {
            if let Some(next) = place.next {
                positions.set(topic, partition, next);
            }
        }
        for record in self.pending.iter().rev() {
            positions.set(record.topic, record.partition, record.position);
        }
        positions
    }

    /// Takes in what the client told; gives whether partitions were shared out.
    fn hear(&mut self) -> bool {
        let news = self.consumer.context().take();
        self.failure = self.failure.take().or(news.failure);
        if let Some(figures) = news.figures {
            let age = u64::try_from(figures.age).unwrap_or(0);
            let made = self.born + Duration::from_micros(age);
            self.inner.counts.set_lag(self.number, self.lag(&figures));
            self.figures = Some((figures, made));
        }
        if !news.rebalanced {
            return false;
        }
        self.inner.counts.rebalance();
        self.forget(|at| news.lost.contains(at) || news.gained.contains_key(at));
        self.owned.retain(|at, _| !news.lost.contains(at));
        if let Some(owing) = &mut self.owing {
            owing.retain(|at, _| !news.lost.contains(at) && !news.gained.contains_key(at));
        }
        for (at, start) in news.gained {
            let fresh = self.seen.insert(at);
            self.owned.insert(at, Place { next: start, stored: start, fresh, ..Place::default() });
        }
        let owned: Vec<_> = self.owned.keys().collect();
        tracing::info!(stage = self.stage, ?owned, "partitions were shared out");
        true
    }
}
