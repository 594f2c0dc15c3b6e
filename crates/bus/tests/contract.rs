//! What every bus promises, run on each implementation.
//!
//! The cluster's run is in the workspace's scenario crate, where a broker can be started.

#![allow(clippy::unwrap_used, missing_docs)]

#[macro_use]
mod promises;

use std::sync::Arc;

use hubwarden_bus::topic::{CURSORS, EVENTS, FINDINGS, RAW};
use hubwarden_bus::{Bus, Delivered, Journal, Limit, Memory, Options, Positions, Record, Sink};
use promises::Subject;
use promises::records::{next, read_all, record};

struct InMemory(Memory);

impl Subject for InMemory {
    type Bus = Memory;

    async fn open(&mut self) -> Memory {
        self.0.clone()
    }
}

struct InFolder {
    folder: tempfile::TempDir,
    options: Options,
}

impl Subject for InFolder {
    type Bus = Journal;

    async fn open(&mut self) -> Journal {
        Journal::open(self.folder.path(), self.options.clone()).unwrap()
    }
}

fn journal() -> InFolder {
    let options = Options { free_floor_bytes: 0, ..Options::default() };
    InFolder { folder: tempfile::tempdir().unwrap(), options }
}

/// Makes a test of each promise, for each implementation.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test] async fn $promise() { promises::$promise(InMemory(Memory::default())).await; })*
        }
        mod in_memory_with_partitions {
            use super::*;
            $(#[tokio::test] async fn $promise() { promises::$promise(InMemory(Memory::with_partitions(4))).await; })*
        }
        mod in_a_folder {
            use super::*;
            $(#[tokio::test] async fn $promise() { promises::$promise(journal()).await; })*
        }
    };
}

all_promises!(contract);

#[tokio::test]
async fn memory_keeps_newest_values_through_retention() {
    let subject = InMemory(Memory::new(60));
    keeps_newest_values_through_retention(subject, async |bus| {
        // The budget is small, so this makes it drop the rest.
        bus.writer("retain")
            .commit(vec![record(FINDINGS, "room")], &Positions::none())
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn journal_keeps_newest_values_through_retention() {
    let mut subject = journal();
    let clock = std::sync::atomic::AtomicI64::new(0);
    subject.options.clock =
        Arc::new(move || clock.fetch_add(10, std::sync::atomic::Ordering::SeqCst));
    subject.options.keep = std::time::Duration::ZERO;
    keeps_newest_values_through_retention(subject, async |bus| {
        assert!(bus.retain().await.unwrap() > 0);
    })
    .await;
}

async fn keeps_newest_values_through_retention<S: Subject>(
    mut subject: S,
    retain: impl AsyncFn(&S::Bus),
) {
    let bus = subject.open().await;
    for round in 0..3 {
        let outputs = vec![
            Record::new(CURSORS, "moves", format!("moved {round}")),
            Record::new(CURSORS, format!("rests {round}"), "once"),
        ];
        bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
        retain(&bus).await;
    }
    drop(bus);
    let bus = subject.open().await;
    let values = |values: &[Delivered]| -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        values.iter().map(|value| format!("{}: {}", text(&value.key), text(&value.body))).collect()
    };
    let expected = ["rests 0: once", "rests 1: once", "moves: moved 2", "rests 2: once"];
    assert_eq!(values(&bus.newest(CURSORS).await.unwrap()), expected);
    // A reader gets them too; what it gets beside them is older values of the same keys.
    let read = read_all(&bus, CURSORS).await.unwrap();
    assert!(read.is_sorted_by_key(|value| value.position));
    let read = values(&read);
    assert!(expected.iter().all(|value| read.contains(&(*value).to_owned())), "{read:?}");
    assert_eq!(bus.ends().await.unwrap().get(CURSORS, 0), Some(6));
    assert_eq!(bus.read_at(CURSORS, 0, 1).await.unwrap().unwrap().body, "once");
}

#[tokio::test]
async fn journal_counts_positions_without_a_hole() {
    let mut subject = journal();
    let bus = subject.open().await;
    for number in 0..10 {
        let outputs = vec![record(RAW, number), record(EVENTS, number)];
        bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    }
    let read = read_all(&bus, RAW).await.unwrap();
    let positions: Vec<u64> = read.iter().map(|record| record.position).collect();
    assert_eq!(positions, (0..10).collect::<Vec<u64>>());
}

#[tokio::test]
async fn memory_holds_the_entrance_back_until_somebody_has_consumed() {
    let bus = Memory::new(1000);
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let fill = |_| Record::new(RAW, "", vec![0; 400]);
    let mut writer = bus.writer("w");
    writer.commit((0..4).map(fill).collect(), &Positions::none()).await.unwrap();
    let writes = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = writes.clone();
    let waiting = tokio::spawn(async move {
        writer.commit(vec![fill(0)], &Positions::none()).await.unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let batch = next(&mut reader, Limit::records(2)).await.unwrap();
    // A stage's own outputs always pass, so that the line cannot block itself.
    reader.commit(vec![record(EVENTS, "x")], &Positions::of(RAW, 0, 0)).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!writes.load(std::sync::atomic::Ordering::SeqCst));
    reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
    waiting.await.unwrap();
    assert_eq!(bus.ends().await.unwrap().get(RAW, 0), Some(5));
    assert_eq!(bus.read_at(RAW, 0, 0).await.unwrap(), None);
}
