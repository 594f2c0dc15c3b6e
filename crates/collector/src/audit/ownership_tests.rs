//! Two collectors and one connection, under paused time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hubwarden_bus::{
    Batch, Bus, Delivered, Error as BusError, Limit, Memory, MemoryReader, MemoryWriter, Positions,
    Record, Sink, Source, Topic, topic,
};
use hubwarden_event::RawBody;
use hubwarden_proto::{Message, v1};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::poller_tests::{Fake, HOUR, bodies, clock, connection};
use super::{Poll, Poller};

/// A bus on which one of several collectors owns the connection.
#[derive(Clone)]
struct Contended {
    memory: Memory,
    owner: Arc<watch::Sender<u32>>,
    me: u32,
    /// So many commits of this collector come to nothing.
    failing: Arc<AtomicU32>,
}

impl Contended {
    fn new() -> Self {
        let owner = Arc::new(watch::Sender::new(1));
        Self { memory: Memory::with_partitions(3), owner, me: 1, failing: Arc::default() }
    }

    fn other(&self) -> Self {
        Self { me: 2, failing: Arc::default(), ..self.clone() }
    }
}

impl Bus for Contended {
    type Reader = ContendedReader;
    type Writer = MemoryWriter;

    fn partitions(&self, topic: Topic) -> u32 {
        self.memory.partitions(topic)
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<ContendedReader, BusError> {
        let inner = self.memory.reader(stage, topics)?;
        let owner = self.owner.subscribe();
        Ok(ContendedReader { inner, bus: self.clone(), owner, owns: false })
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<ContendedReader, BusError> {
        self.reader(stage, topics) // a collector keeps no positions
    }

    fn writer(&self, stage: &str) -> MemoryWriter {
        self.memory.writer(stage)
    }

    async fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, BusError> {
        self.memory.read_at(topic, partition, position).await
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, BusError> {
        self.memory.newest(topic).await
    }

    async fn ends(&self) -> Result<Positions, BusError> {
        self.memory.ends().await
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, BusError> {
        self.memory.stage_positions().await
    }

    async fn members(&self) -> Result<Vec<hubwarden_bus::Member>, BusError> {
        self.memory.members().await
    }
}

struct ContendedReader {
    inner: MemoryReader,
    bus: Contended,
    owner: watch::Receiver<u32>,
    /// As far as it knows.
    owns: bool,
}

impl Source for ContendedReader {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, BusError> {
        let owns = *self.owner.borrow_and_update() == self.bus.me;
        if owns != self.owns {
            self.owns = owns;
            return Ok(Batch::default());
        }
        tokio::select! {
            _ = self.owner.changed() => {
                self.owns = *self.owner.borrow() == self.bus.me;
                Ok(Batch::default())
            }
            batch = self.inner.next_batch(limit) => batch,
        }
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), BusError> {
        self.inner.read_from(positions).await
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        if self.owns { self.inner.assignment() } else { Vec::new() }
    }

    fn positions(&self) -> Positions {
        self.inner.positions()
    }

    async fn ends(&self) -> Result<Positions, BusError> {
        self.inner.ends().await
    }
}

impl Sink for ContendedReader {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), BusError> {
        assert_eq!(consumed.iter().count(), 1, "a commit says what it depends on");
        let failing = self.bus.failing.load(Ordering::Relaxed);
        if failing > 0 {
            self.bus.failing.store(failing - 1, Ordering::Relaxed);
        } else if *self.bus.owner.borrow() == self.bus.me {
            return self.inner.commit(outputs, consumed).await;
        }
        Err(BusError::Reassigned { reason: "a test".into() })
    }
}

fn poll() -> Poll {
    Poll { backfill_days: 2, backfill_git_days: 1, ..Poll::default() }
}

async fn reading(fake: Fake, bus: Contended, stop: CancellationToken) {
    let poller = Poller::new(connection(poll()), HOUR, clock());
    poller.run_with(fake, &bus, stop).await.unwrap();
}

/// How often each event is on the bus, by run and name.
async fn events(bus: &Contended) -> BTreeMap<String, u32> {
    let mut events = BTreeMap::new();
    for body in bodies(&bus.memory).await {
        if let RawBody::Record(record) = body {
            let name = format!("{} {}", record.run, record.source_id);
            *events.entry(name).or_insert(0) += 1;
        }
    }
    events
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_commit_came_to_nothing_is_read_and_published_again() {
    let undisturbed = Contended::new();
    let stop = CancellationToken::new();
    let time = HOUR / 2;
    let run = |bus: &Contended| reading(Fake::new(3, vec![]), bus.clone(), stop.clone());
    tokio::time::timeout(time, run(&undisturbed)).await.unwrap_err();

    let disturbed = Contended::new();
    let failing = disturbed.failing.clone();
    let failures = async {
        for _ in 0..20 {
            failing.store(1, Ordering::Relaxed);
            tokio::time::sleep(HOUR / 60).await;
        }
    };
    let both = async { tokio::join!(run(&disturbed), failures) };
    tokio::time::timeout(time, both).await.unwrap_err();
    let (expected, found) = (events(&undisturbed).await, events(&disturbed).await);
    assert_eq!(expected.len(), 3 + 6);
    let names = |events: BTreeMap<String, u32>| events.into_keys().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
}

#[tokio::test(start_paused = true)]
async fn one_collector_reads_and_the_other_takes_over_where_the_cursor_stands() {
    let bus = Contended::new();
    let (first, second) = (Fake::new(9, vec![]), Fake::new(9, vec![]));
    let stop = CancellationToken::new();
    let asked = |fake: &Fake| fake.asked.lock().unwrap().len();
    let course = async {
        tokio::time::sleep(HOUR / 4).await;
        assert!(asked(&first) > 9 && asked(&second) == 0);
        bus.owner.send_replace(2);
        tokio::time::sleep(HOUR / 60).await;
        let before = asked(&first);
        tokio::time::sleep(HOUR / 4).await;
        assert_eq!(asked(&first), before, "who has lost a connection asks for nothing");
        assert!(asked(&second) > 0);
        let begun = second.asked.lock().unwrap()[0].1.to_string();
        bus.owner.send_replace(1);
        tokio::time::sleep(HOUR / 4).await;
        assert!(asked(&first) > before, "it wakes and goes on");
        stop.cancel();
        begun
    };
    let (one, two) = (
        reading(first.clone(), bus.clone(), stop.clone()),
        reading(second.clone(), bus.other(), stop.clone()),
    );
    let (_, _, begun) = tokio::join!(one, two, course);
    let fresh = first.asked.lock().unwrap()[0].1.to_string();
    assert_ne!(begun, fresh, "the second did not begin from the start");
    let found = events(&bus).await;
    assert_eq!(found.len(), 9 + 18, "{found:?}");

    let newest = bus.memory.newest(topic::CURSORS).await.unwrap();
    assert_eq!(newest.len(), 1);
    let cursor = v1::Cursor::decode(newest[0].body.clone()).unwrap();
    assert!(cursor.feeds[1..].iter().all(|feed| feed.done));
    let marks = |body: &RawBody| !matches!(body, RawBody::Record(_));
    let marks = bodies(&bus.memory).await.iter().filter(|body| marks(body)).count();
    assert_eq!(marks % 3, 0, "every mark is on all partitions");
}
