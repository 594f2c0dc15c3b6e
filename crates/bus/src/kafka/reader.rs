//! The async side of a reader; its thread is in `worker`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::Inner;
use super::worker::{Answer, Done, Order};
use crate::{Batch, Delivered, Error, Limit, Positions, Record, Sink, Source, Topic};

/// Reads topics of a [`Kafka`](super::Kafka) for a stage, and commits for it.
///
/// It owns nothing before its first batches: the group shares out inside
/// [`Source::next_batch`], and an empty batch tells of it.
pub struct KafkaReader {
    pub(super) inner: Arc<Inner>,
    pub(super) orders: Sender<Order>,
    pub(super) answers: UnboundedReceiver<Answer>,
    /// Whether the thread owes an answer.
    pub(super) asked: bool,
    /// Counts the times that reading began elsewhere; what was read before does not count.
    pub(super) turn: u64,
    pub(super) owned: Vec<(Topic, u32)>,
    pub(super) next: Positions,
    /// Handed over by the thread, but more than the last batch took.
    pub(super) ahead: VecDeque<Delivered>,
}

impl KafkaReader {
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Error> {
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Starts over at other positions.
    fn turn(&mut self, turn: u64, next: Positions) {
        self.turn = turn;
        self.ahead.clear();
        self.next = next;
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
            if answer.turn < self.turn {
                continue; // read before reading began elsewhere
            }
            self.turn(answer.turn, answer.next);
            self.owned = answer.owned;
            self.ahead = answer.records?.into();
            if self.ahead.is_empty() {
                return Ok(Batch::default());
            }
        }
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let positions = positions.clone();
        let done = self.ask(|done| Order::ReadFrom(positions, done)).await?;
        let (turn, next) = done?;
        self.turn(turn, next);
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
        if let Some((turn, next)) = rewound {
            self.turn(turn, next);
        }
        result
    }
}
