//! Commits of stages that read nothing.
//!
//! All writers of a handle share one thread and one transactional client. Commits that wait
//! together become one transaction, so that many small ones cost one round of the cluster.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Inner;
use super::transactions::{Failed, Transactions};
use crate::{Error, Positions, Record, Sink};

/// The queue, in shares of 64 KiB: 64 MiB of commits may wait.
const QUEUE: u32 = 1024;
const SHARE: usize = 64 << 10;
/// How many bytes share a transaction at most, so that it ends in time.
const MOST_TOGETHER: usize = 32 << 20;

/// Commits to a [`Kafka`](super::Kafka) for a stage.
#[derive(Clone)]
pub struct KafkaWriter {
    pub(super) inner: Arc<Inner>,
    pub(super) stage: Arc<str>,
}

impl Sink for KafkaWriter {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        self.inner.check(&outputs)?;
        if !consumed.is_empty() {
            // A writer belongs to no group, so nobody could refuse it the partition of another.
            let reason = format!("only a reader of {} may store positions", self.stage);
            return Err(Error::Fatal { doing: "a commit", reason });
        }
        if outputs.is_empty() {
            return Ok(());
        }
        let bytes: usize = outputs.iter().map(Record::size).sum();
        let entrance = self.inner.entrance()?;
        let shares = u32::try_from(bytes / SHARE + 1).unwrap_or(QUEUE).min(QUEUE);
        let closed = || Error::Closed { reason: "the thread that writes has ended".to_owned() };
        let room = entrance.room.clone().acquire_many_owned(shares).await;
        let room = room.map_err(|_| closed())?;
        let (done, answer) = oneshot::channel();
        let waiting = Waiting { outputs, bytes, done, _room: room };
        entrance.orders.send(waiting).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

/// Where commits wait for the thread.
pub(super) struct Entrance {
    orders: Sender<Waiting>,
    room: Arc<Semaphore>,
}

struct Waiting {
    outputs: Vec<Record>,
    bytes: usize,
    done: oneshot::Sender<Result<(), Error>>,
    _room: OwnedSemaphorePermit,
}

impl Entrance {
    /// Starts the thread; it ends when the entrance is dropped.
    pub(super) fn open(inner: &Inner) -> Result<Entrance, Error> {
        let transactions = Transactions::new(&inner.settings, &inner.names.group("writer"))?;
        let (orders, inbox) = channel();
        let (names, counts) = (inner.names.clone(), inner.counts.clone());
        let run = move || run(transactions, &names, &counts, &inbox);
        let thread = std::thread::Builder::new().name("kafka-writer".to_owned()).spawn(run);
        thread
            .map_err(|error| Error::Settings { reason: format!("no thread to write: {error}") })?;
        Ok(Entrance { orders, room: Arc::new(Semaphore::new(QUEUE as usize)) })
    }
}

fn run(
    mut transactions: Transactions,
    names: &super::Names,
    counts: &super::Counters,
    inbox: &Receiver<Waiting>,
) {
    while let Ok(first) = inbox.recv() {
        let mut bytes = first.bytes;
        let mut together = vec![first];
        while bytes < MOST_TOGETHER
            && let Ok(next) = inbox.try_recv()
        {
            bytes += next.bytes;
            together.push(next);
        }
        let mut outputs = Vec::new();
        let mut waiting = Vec::with_capacity(together.len());
        for next in together {
            outputs.extend(next.outputs);
            waiting.push((next.done, next._room));
        }
        let ended = transactions.run(names, &outputs, None);
        counts.transaction(ended.is_ok());
        for (done, _room) in waiting {
            // Nobody listens when the stage was stopped meanwhile.
            let _ = done.send(match &ended {
                Ok(()) => Ok(()),
                Err(Failed::NotBegun(reason) | Failed::TakenBack(reason)) => {
                    Err(Error::Unavailable { doing: "a commit", reason: reason.clone() })
                }
                Err(Failed::Fatal(reason)) => {
                    Err(Error::Fatal { doing: "a commit", reason: reason.clone() })
                }
            });
        }
    }
}
