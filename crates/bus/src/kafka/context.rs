//! What clients of the cluster tell: sharing out, figures, trouble.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use super::Inner;
use super::lookup::{self, Which};
use super::settings::{Names, Settings};
use crate::{Error, Topic};

/// How long a gained partition may need to say where its stage stands.
///
/// The member before may have a transaction open that has to end first.
const START: Duration = Duration::from_secs(15);
/// When what seems to be pending is passed over.
///
/// No transaction lives longer than its ten seconds and the ten that a cluster needs to notice.
const PENDING: Duration = Duration::from_secs(30);
/// Between two questions, when the first was refused at once: a coordinator moves.
const AGAIN: Duration = Duration::from_millis(200);

/// The context of clients that write.
#[derive(Default)]
pub(super) struct WriterContext {
    trouble: AtomicBool,
}

impl WriterContext {
    /// Whether a connection broke, or an answer was not waited for, since the client began.
    pub(super) fn had_trouble(&self) -> bool {
        self.trouble.load(Ordering::Relaxed)
    }
}

impl ClientContext for WriterContext {
    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.store(true, Ordering::Relaxed);
        tracing::debug!(%error, reason, "the Kafka client that writes has trouble");
    }
}

impl ProducerContext for WriterContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {
        // A record that is not delivered fails its transaction.
    }
}

/// The context of clients that ask.
#[derive(Default)]
pub(super) struct AskContext {
    trouble: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl AskContext {
    /// What went wrong last.
    pub(super) fn trouble(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.trouble).clone()
    }
}

impl ClientContext for AskContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client that asks has trouble");
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut trouble = lock(&self.trouble);
        // That nobody is reached says less than why.
        let says_why = |code| {
            !matches!(
                code,
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure
            )
        };
        if trouble.as_ref().is_none_or(|(known, _)| says_why(code) || !says_why(*known)) {
            *trouble = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for AskContext {}

/// The context of a reader; everything runs on the reader's thread, inside its polls.
pub(super) struct ReaderContext {
    names: Arc<Names>,
    settings: Settings,
    stage: String,
    /// The stage says itself where partitions start.
    keeps: bool,
    news: Mutex<News>,
}

/// What happened since the thread last looked.
#[derive(Default)]
pub(super) struct News {
    /// Partitions gained, with where their stage stands; `None` when it keeps that itself.
    pub(super) gained: BTreeMap<(Topic, u32), Option<u64>>,
    pub(super) lost: Vec<(Topic, u32)>,
    pub(super) rebalanced: bool,
    pub(super) figures: Option<Statistics>,
    pub(super) failure: Option<Error>,
}

impl ReaderContext {
    pub(super) fn new(inner: &Inner, stage: &str, keeps: bool) -> ReaderContext {
        ReaderContext {
            names: inner.names.clone(),
            settings: inner.settings.clone(),
            stage: stage.to_owned(),
            keeps,
            news: Mutex::default(),
        }
    }

    /// What is new, once.
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *lock(&self.news))
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<(Topic, u32)> {
        let elements = list.elements();
        let known = elements.iter().filter_map(|element| {
            Some((self.names.topic(element.topic())?, u32::try_from(element.partition()).ok()?))
        });
        known.collect()
    }

    fn gain(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let gained = self.partitions(list);
        let mut starts: BTreeMap<(Topic, u32), Option<u64>> =
            gained.iter().map(|at| (*at, None)).collect();
        let mut failure = None;
        if !self.keeps && !gained.is_empty() {
            match self.starts(consumer, &gained) {
                Ok(found) => starts.extend(found.into_iter().map(|(at, start)| (at, Some(start)))),
                Err(error) => failure = Some(unavailable("asking where a stage stands", &error)),
            }
        }
        let mut places = TopicPartitionList::new();
        for (&(topic, partition), start) in &starts {
            let offset = start.map_or(Offset::End, offset);
            let added =
                places.add_partition_offset(self.names.of(topic), number(partition), offset);
            if let Err(error) = added {
                failure = Some(unavailable("starting a partition", &error));
            }
        }
        let assigned = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&places),
            _ => consumer.assign(&places),
        };
        let held = match (self.keeps || failure.is_some()) && places.count() > 0 {
            true => consumer.pause(&places),
            false => Ok(()),
        };
        if let Err(error) = assigned.and(held) {
            failure = Some(unavailable("starting a partition", &error));
        }
        let mut news = lock(&self.news);
        news.rebalanced = true;
        news.lost.retain(|at| !starts.contains_key(at));
        news.gained.extend(starts);
        news.failure = failure.or(news.failure.take());
    }

    /// The stored positions, else the oldest record.
    fn starts(
        &self,
        consumer: &BaseConsumer<Self>,
        gained: &[(Topic, u32)],
    ) -> KafkaResult<lookup::Offsets> {
        let stored = || lookup::stored(consumer, &self.names, gained, START);
        let mut starts = match again_for(PENDING, stored) {
            Ok(starts) => starts,
            Err(_) => again_for(START, || self.left(gained))?,
        };
        let fresh: Vec<_> = gained.iter().filter(|at| !starts.contains_key(at)).copied().collect();
        if !fresh.is_empty() {
            let oldest = || lookup::bounds(consumer, &self.names, &fresh, Which::Oldest, START);
            starts.extend(again_for(START, oldest)?);
        }
        Ok(starts)
    }

    /// The stored positions without what a transaction left behind that can no longer be open.
    fn left(&self, gained: &[(Topic, u32)]) -> KafkaResult<lookup::Offsets> {
        tracing::warn!(stage = self.stage, "positions seem to wait for a transaction that is gone");
        let mut config = self.settings.reading();
        config.set("group.id", self.names.group(&self.stage));
        config.set("isolation.level", "read_uncommitted");
        let other: BaseConsumer = config.create()?;
        lookup::stored(&other, &self.names, gained, START)
    }

    fn lose(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let lost = self.partitions(list);
        let dropped = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = dropped {
            tracing::debug!(%error, "a revoked partition was not held");
        }
        let mut news = lock(&self.news);
        news.rebalanced = true;
        news.gained.retain(|at, _| !lost.contains(at));
        news.lost.extend(lost);
    }
}

impl ClientContext for ReaderContext {
    fn stats(&self, statistics: Statistics) {
        lock(&self.news).figures = Some(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the Kafka client that reads has trouble");
    }
}

impl ConsumerContext for ReaderContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: Code,
        partitions: &mut TopicPartitionList,
    ) {
        match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.gain(consumer, partitions),
            _ => self.lose(consumer, partitions),
        }
    }
}

/// Asks again for so long, unless somebody has to change something before it works.
fn again_for<T>(time: Duration, ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    let until = Instant::now() + time;
    loop {
        match ask() {
            Err(error)
                if Instant::now() < until
                    && !error.rdkafka_error_code().is_some_and(is_refusal) =>
            {
                tracing::debug!(%error, "asking once more where a stage stands");
                std::thread::sleep(AGAIN);
            }
            ended => return ended,
        }
    }
}

/// An error of the client as one of the bus.
pub(super) fn unavailable(doing: &'static str, error: &KafkaError) -> Error {
    let reason = error.to_string();
    match error.rdkafka_error_code() {
        Some(code) if is_refusal(code) => Error::Refused { doing, reason },
        _ => Error::Unavailable { doing, reason },
    }
}

/// Whether somebody has to change something before this works.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Is;
    matches!(
        code,
        Is::Authentication
            | Is::SaslAuthenticationFailed
            | Is::SSL
            | Is::TopicAuthorizationFailed
            | Is::GroupAuthorizationFailed
            | Is::ClusterAuthorizationFailed
            | Is::TransactionalIdAuthorizationFailed
    )
}

pub(super) fn offset(position: u64) -> Offset {
    Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX))
}

/// A partition as the client counts it.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
