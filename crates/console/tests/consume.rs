//! Findings reach the store exactly once, whatever happens between the bus and the store.
#![allow(missing_docs, clippy::unwrap_used)]

mod samples;

use std::path::Path;
use std::time::Duration;

use hubwarden_bus::{Batch, Bus, Limit, Memory, Positions, Record, Sink, Source, Topic, topic};
use hubwarden_console::consume::{STAGE, run};
use hubwarden_console::{Error, FindingQuery, FindingStore, Intake, SqliteStore};
use hubwarden_event::{Finding, FindingId, Timestamp};
use hubwarden_proto::encode_finding;
use tokio_util::sync::CancellationToken;

const NOW: Timestamp = Timestamp::from_millis(1_741_611_463_961);

fn records(findings: &[Finding]) -> Vec<Record> {
    let record = |finding: &Finding| {
        Record::new(topic::FINDINGS, finding.id.to_string(), encode_finding(finding.clone()))
    };
    findings.iter().map(record).collect()
}

async fn publish(bus: &Memory, records: Vec<Record>) {
    bus.writer("test").commit(records, &Positions::none()).await.unwrap();
}

/// Runs the stage until the bus knows that everything has been consumed.
async fn drain(bus: &Memory, store: &SqliteStore) {
    let reader = bus.reader(STAGE, &[topic::FINDINGS]).unwrap();
    drain_with(bus, store, reader).await;
}

async fn drain_with(bus: &Memory, store: &SqliteStore, reader: impl Source + Sink) {
    let stop = CancellationToken::new();
    let mut ends = Positions::none();
    for (topic, partition, end) in bus.ends().await.unwrap().iter() {
        if topic == topic::FINDINGS && end > 0 {
            ends.set(topic, partition, end);
        }
    }
    let caught_up = async {
        loop {
            let stages = bus.stage_positions().await.unwrap();
            let mine = stages.iter().find(|(name, _)| name == STAGE);
            if mine.is_some_and(|(_, positions)| *positions == ends) {
                stop.cancel();
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::join!(run(reader, store, stop.clone()), caught_up) };
    let (outcome, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    outcome.unwrap();
}

async fn total(store: &SqliteStore) -> u64 {
    store.count(FindingQuery::default()).await.unwrap()
}

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("findings.db")).unwrap()
}

#[tokio::test]
async fn findings_and_position_arrive_together() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::default(), open(folder.path()));
    let findings = samples::many(30, NOW);
    publish(&bus, records(&findings)).await;
    publish(&bus, records(&findings[..5])).await;
    drain(&bus, &store).await;
    assert_eq!(total(&store).await, 30, "repeats are one");
    assert_eq!(store.positions().await.unwrap(), Positions::of(topic::FINDINGS, 0, 35));
}

/// A crash between the store's commit and the bus's: the bus would hand out again, the store knows.
#[tokio::test]
async fn the_store_decides_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::default(), open(folder.path()));
    let findings = samples::many(10, NOW);
    publish(&bus, records(&findings)).await;
    let consumed = Positions::of(topic::FINDINGS, 0, 6);
    // Only the position is there, so whatever is read again would show.
    store.take_in(Intake { consumed, ..Intake::default() }).await.unwrap();
    drain(&bus, &store).await;
    assert_eq!(total(&store).await, 4);
}

/// A new store beside an old bus: what is kept is read again, although the stage has consumed it.
#[tokio::test]
async fn a_fresh_store_is_filled_from_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Memory::default();
    publish(&bus, records(&samples::many(10, NOW))).await;
    drain(&bus, &open(folder.path())).await;
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path());
    publish(&bus, records(&[samples::finding(500, NOW)])).await;
    drain(&bus, &store).await;
    assert_eq!(total(&store).await, 11);
}

#[tokio::test]
async fn a_record_that_is_no_finding_blocks_nothing_and_does_not_vanish() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::default(), open(folder.path()));
    let mut records = records(&samples::many(3, NOW));
    records.insert(1, Record::new(topic::FINDINGS, "x", vec![0xff; 100_000]));
    publish(&bus, records).await;
    drain(&bus, &store).await;
    assert_eq!((total(&store).await, store.unreadable().await.unwrap()), (3, 1));
}

#[tokio::test]
async fn findings_that_were_missed_are_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::new(1), open(folder.path()));
    let consumed = Positions::of(topic::FINDINGS, 0, 1);
    store.take_in(Intake { consumed, ..Intake::default() }).await.unwrap();
    let mut reader = bus.reader("other", &[topic::FINDINGS]).unwrap();
    for number in 0..4 {
        let next = Positions::of(topic::FINDINGS, 0, number);
        reader.commit(records(&[samples::finding(number as usize, NOW)]), &next).await.unwrap();
    }
    reader.commit(Vec::new(), &Positions::of(topic::FINDINGS, 0, 4)).await.unwrap();
    publish(&bus, records(&[samples::finding(9, NOW)])).await;
    let reader = bus.reader(STAGE, &[topic::FINDINGS]).unwrap();
    let error = run(reader, &store, CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Missed { position: 1, .. }), "{error}");
}

#[tokio::test]
async fn what_is_stored_is_counted() {
    hubwarden_service::metrics::enable();
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::default(), open(folder.path()));
    publish(&bus, records(&samples::many(3, NOW))).await;
    drain(&bus, &store).await;
    let text = hubwarden_service::metrics::text();
    for name in [
        "hubwarden_console_records_in_total{topic=\"findings\"}",
        "hubwarden_console_findings_stored_total{severity=",
        "hubwarden_console_store_duration_seconds_count",
        "hubwarden_console_stage_duration_seconds_count{step=\"commit\"}",
        "hubwarden_console_batch_size_records_count",
        "hubwarden_console_consumer_lag_records{partition=\"0\",topic=\"findings\"} 0",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

/// A bus that looks, at each commit, whether the store has what is told to the bus.
struct Watched<'a, B> {
    bus: B,
    store: &'a SqliteStore,
    /// How many commits are taken back, as when partitions went to another console.
    take_back: usize,
    commits: usize,
}

impl<B: Source + Sync> Source for Watched<'_, B> {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, hubwarden_bus::Error> {
        self.bus.next_batch(Limit { records: 4, ..limit }).await
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), hubwarden_bus::Error> {
        self.bus.read_from(positions).await
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.bus.assignment()
    }

    fn positions(&self) -> Positions {
        self.bus.positions()
    }

    async fn ends(&self) -> Result<Positions, hubwarden_bus::Error> {
        self.bus.ends().await
    }
}

impl<B: Source + Sink + Sync> Sink for Watched<'_, B> {
    async fn commit(
        &mut self,
        outputs: Vec<Record>,
        consumed: &Positions,
    ) -> Result<(), hubwarden_bus::Error> {
        let kept = self.store.positions().await.unwrap();
        for (topic, partition, next) in consumed.iter() {
            assert!(kept.get(topic, partition) >= Some(next), "told before it was stored");
            assert!(total(self.store).await >= next, "told before it was stored");
        }
        self.commits += 1;
        if self.commits <= self.take_back {
            // As the bus does: it stands at what was committed before, here nothing.
            self.bus.read_from(&Positions::of(topic::FINDINGS, 0, 0)).await?;
            return Err(hubwarden_bus::Error::Reassigned { reason: "test".into() });
        }
        self.bus.commit(outputs, consumed).await
    }
}

/// On a cluster another console may go on from what was committed, so nothing is before it is stored.
#[tokio::test]
async fn the_bus_is_told_after_the_store_has_the_findings() {
    for take_back in [0, 2] {
        let folder = tempfile::tempdir().unwrap();
        let (bus, store) = (Memory::default(), open(folder.path()));
        publish(&bus, records(&samples::many(10, NOW))).await;
        let reader = bus.keeping_reader(STAGE, &[topic::FINDINGS]).unwrap();
        let reader = Watched { bus: reader, store: &store, take_back, commits: 0 };
        drain_with(&bus, &store, reader).await;
        assert_eq!(total(&store).await, 10);
        assert_eq!(store.positions().await.unwrap(), Positions::of(topic::FINDINGS, 0, 10));
    }
}

/// Consoles share the partitions; each goes on in one where the store stands, not where the group does.
#[tokio::test]
async fn every_partition_goes_on_where_the_store_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::with_partitions(3), open(folder.path()));
    let mut records = records(&samples::many(30, NOW));
    for (number, record) in records.iter_mut().enumerate() {
        record.partition = Some(number as u32 % 3);
    }
    publish(&bus, records).await;
    // Another console has taken in the first of partition 1, and that without a trace in this test.
    let consumed = Positions::of(topic::FINDINGS, 1, 4);
    store.take_in(Intake { consumed, ..Intake::default() }).await.unwrap();
    let reader = bus.keeping_reader(STAGE, &[topic::FINDINGS]).unwrap();
    drain_with(&bus, &store, reader).await;
    assert_eq!(total(&store).await, 26);
    let positions = store.positions().await.unwrap();
    assert!((0..3).all(|partition| positions.get(topic::FINDINGS, partition) == Some(10)));
}

/// No store could keep it: PostgreSQL has no place for NUL and a limit for what it indexes.
#[tokio::test]
async fn an_id_that_is_none_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, store) = (Memory::default(), open(folder.path()));
    let with_id = |id: &str| Finding { id: FindingId::from_text(id), ..samples::finding(1, NOW) };
    let long = "F".repeat(10_000);
    publish(&bus, records(&["", "F-\0", "F-ä", "F A", &long, "F-GOOD"].map(with_id))).await;
    drain(&bus, &store).await;
    assert_eq!((total(&store).await, store.unreadable().await.unwrap()), (1, 5));
}
