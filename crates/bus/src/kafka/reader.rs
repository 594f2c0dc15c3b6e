//! The async side of a reader; its thread is in `worker`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::Inner;
use super::worker::{Answer, Begun, Done, Order};
use crate::{Batch, Delivered, Error, Limit, Positions, Record, Sink, Source, Topic};

/// Reads topics of a [`Kafka`](super::Kafka) for a stage, and commits for it.
///
/// It owns nothing before its first batches: the group shares out inside
/// [`Source::next_batch`], and an empty batch tells of it.
pub struct KafkaReader {
    inner: Arc<Inner>,
    orders: Sender<Order>,
    answers: UnboundedReceiver<Answer>,
    /// Whether the thread owes an answer.
    asked: bool,
    /// At which turn reading began elsewhere on a partition: what was read there before is void.
    since: BTreeMap<(Topic, u32), u64>,
    owned: Vec<(Topic, u32)>,
    next: Positions,
    /// Handed over by the thread, but more than the last batch took.
    ahead: VecDeque<Delivered>,
}

impl KafkaReader {
    /// The side of a thread that takes these orders and gives these answers.
    pub(super) fn new(
        inner: Arc<Inner>,
        orders: Sender<Order>,
        answers: UnboundedReceiver<Answer>,
    ) -> KafkaReader {
        KafkaReader {
            inner,
            orders,
            answers,
            asked: false,
            since: BTreeMap::new(),
            owned: Vec::new(),
            next: Positions::none(),
            ahead: VecDeque::new(),
        }
    }

    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Starts over at other positions; what is not named stays as it is.
    fn begin(&mut self, Begun { turn, at }: Begun) {
        self.ahead.retain(|record| at.get(record.topic, record.partition).is_none());
        self.since.extend(at.iter().map(|(topic, partition, _)| ((topic, partition), turn)));
        self.next.overwrite(&at);
    }

    /// Takes in what the thread tells, but for partitions where reading began elsewhere meanwhile.
    fn hear(&mut self, answer: Answer) -> Result<(), Error> {
        let Answer { turn, records, owned, mut next } = answer;
        self.since.retain(|_, since| *since > turn);
        for &(topic, partition) in self.since.keys().filter(|at| owned.contains(at)) {
            if let Some(stands) = self.next.get(topic, partition) {
                next.set(topic, partition, stands);
            }
        }
        self.next = next;
        self.owned = owned;
        self.ahead = records?.into();
        self.ahead.retain(|record| !self.since.contains_key(&(record.topic, record.partition)));
        Ok(())
    }

    fn take(&mut self, limit: Limit) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(record) = self.ahead.front()
            && limit.admits(batch.records.len(), bytes, record.size())
        {
            bytes += record.size();
            batch.records.extend(self.ahead.pop_front());
        }
        batch
    }
}

fn ended() -> Error {
    Error::Closed { reason: "the thread that reads has ended".to_owned() }
}

impl Source for KafkaReader {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, Error> {
        loop {
            if !self.ahead.is_empty() {
                return Ok(self.take(limit));
            }
            if !self.asked {
                self.orders.send(Order::Next(limit)).map_err(|_| ended())?;
                self.asked = true;
            }
            let answer = self.answers.recv().await.ok_or_else(ended)?;
            self.asked = false;
            let tells_more = answer.records.as_ref().map_or(true, Vec::is_empty);
            self.hear(answer)?;
            if self.ahead.is_empty() && tells_more {
                return Ok(Batch::default());
            }
        }
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let positions = positions.clone();
        let done = self.ask(|done| Order::ReadFrom(positions, done)).await?;
        self.begin(done?);
        Ok(())
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.owned.clone()
    }

    fn positions(&self) -> Positions {
        let mut positions = self.next.clone();
        for record in self.ahead.iter().rev() {
            positions.set(record.topic, record.partition, record.position);
        }
        positions
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.ask(Order::Ends).await?
    }
}

impl Sink for KafkaReader {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        self.inner.check(&outputs)?;
        for (topic, partition, _) in consumed.iter() {
            let partitions = topic.partitions(self.inner.settings.partitions);
            if partition >= partitions {
                return Err(Error::NoPartition { topic, partition, partitions });
            }
        }
        if outputs.is_empty() && consumed.is_empty() {
            return Ok(());
        }
        let consumed = consumed.clone();
        let Done { result, rewound } =
            self.ask(|done| Order::Commit { outputs, consumed, done }).await?;
        if let Some(begun) = rewound {
            self.begin(begun);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Settings;
    use super::*;
    use crate::topic::RAW;

    #[tokio::test]
    async fn what_was_read_before_reading_began_elsewhere_counts_for_the_other_partitions() {
        let settings = Settings { brokers: vec!["127.0.0.1:1".into()], ..Settings::default() };
        let (orders, inbox) = std::sync::mpsc::channel();
        let (answers, outbox) = tokio::sync::mpsc::unbounded_channel();
        let mut reader = KafkaReader::new(Arc::new(Inner::new(settings).unwrap()), orders, outbox);
        let record = |partition, position| Delivered {
            topic: RAW,
            partition,
            position,
            appended_at_ms: 0,
            key: "k".into(),
            headers: Vec::new(),
            body: "x".into(),
        };
        let both = |first, second| {
            let mut at = Positions::of(RAW, 0, first);
            at.set(RAW, 1, second);
            at
        };
        // A wait is dropped; its answer comes all the same.
        let dropped =
            tokio::time::timeout(Duration::ZERO, reader.next_batch(Limit::default())).await;
        dropped.unwrap_err();
        let records = Ok(vec![record(0, 4), record(1, 7)]);
        let owned = vec![(RAW, 0), (RAW, 1)];
        answers.send(Answer { turn: 1, records, owned, next: both(5, 8) }).unwrap();
        let thread = std::thread::spawn(move || {
            let Ok(Order::Next(_)) = inbox.recv() else { panic!("a wait") };
            let Ok(Order::ReadFrom(at, done)) = inbox.recv() else { panic!("reading elsewhere") };
            assert!(done.send(Ok(Begun { turn: 2, at })).is_ok());
            inbox
        });
        reader.read_from(&Positions::of(RAW, 1, 0)).await.unwrap();
        let batch = reader.next_batch(Limit::default()).await.unwrap();
        assert_eq!(batch.records, [record(0, 4)]);
        assert_eq!(reader.positions(), both(5, 0));
        // What comes afterwards counts for both.
        let records = Ok(vec![record(1, 0)]);
        let owned = vec![(RAW, 0), (RAW, 1)];
        answers.send(Answer { turn: 2, records, owned, next: both(5, 1) }).unwrap();
        assert_eq!(reader.next_batch(Limit::default()).await.unwrap().records, [record(1, 0)]);
        assert_eq!(reader.positions(), both(5, 1));
        drop(thread.join().unwrap());
    }
}
