//! What every bus promises, run on each implementation.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use hubwarden_bus::topic::{CURSORS, EVENTS, FINDINGS, RAW};
use hubwarden_bus::{
    Bus, Delivered, Error, Journal, Limit, MAX_BODY, Memory, Options, Positions, Record, Sink,
    Source,
};
use support::{bodies, next, read_all, record};

/// One implementation, with the data of one test.
trait Subject {
    type Bus: Bus;
    /// A handle, after everything of before was closed where the data outlives that.
    fn open(&mut self) -> Self::Bus;
    /// Makes the bus drop everything that it may drop.
    fn retain(&self, bus: &Self::Bus) -> impl Future<Output = ()>;
}

struct InMemory(Memory);

impl Subject for InMemory {
    type Bus = Memory;

    fn open(&mut self) -> Memory {
        self.0.clone()
    }

    async fn retain(&self, bus: &Memory) {
        // The budget is small, so this makes it drop the rest.
        bus.writer("retain")
            .commit(vec![record(FINDINGS, "room")], &Positions::none())
            .await
            .unwrap();
    }
}

struct InFolder {
    folder: tempfile::TempDir,
    options: Options,
}

impl Subject for InFolder {
    type Bus = Journal;

    fn open(&mut self) -> Journal {
        Journal::open(self.folder.path(), self.options.clone()).unwrap()
    }

    async fn retain(&self, bus: &Journal) {
        assert!(bus.retain().await.unwrap() > 0);
    }
}

fn memory(budget: usize) -> InMemory {
    InMemory(Memory::new(budget))
}

fn journal(budget_bytes: u64) -> InFolder {
    let options = Options { budget_bytes, free_floor_bytes: 0, ..Options::default() };
    InFolder { folder: tempfile::tempdir().unwrap(), options }
}

/// Makes a test of each promise, for each implementation.
macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test] async fn $promise() { super::$promise(super::memory(usize::MAX)).await; })*
        }
        mod in_a_folder {
            $(#[tokio::test] async fn $promise() { super::$promise(super::journal(u64::MAX)).await; })*
        }
    };
}

contract!(
    commits_over_topics_as_one,
    resumes_at_the_stored_position,
    hands_out_again_what_was_not_committed,
    serves_many_readers,
    counts_positions_without_a_hole,
    ends_a_batch_at_the_limit,
    reads_from_given_positions,
    stores_positions_without_outputs,
    takes_what_the_latest_commit_says,
    waits_for_records,
    loses_nothing_when_a_wait_is_dropped,
    knows_its_ends,
    keeps_keys_headers_and_bodies,
    takes_big_records_and_refuses_bigger,
    refuses_positions_beyond_the_end,
    reads_single_records,
    knows_the_newest_values,
);

#[tokio::test]
async fn memory_keeps_newest_values_through_retention() {
    keeps_newest_values_through_retention(memory(60)).await;
}

#[tokio::test]
async fn journal_keeps_newest_values_through_retention() {
    let mut subject = journal(u64::MAX);
    let clock = std::sync::atomic::AtomicI64::new(0);
    subject.options.clock =
        Arc::new(move || clock.fetch_add(10, std::sync::atomic::Ordering::SeqCst));
    subject.options.keep = std::time::Duration::ZERO;
    keeps_newest_values_through_retention(subject).await;
}

async fn commits_over_topics_as_one(mut subject: impl Subject) {
    let bus = subject.open();
    let mut both = bus.reader("both", &[RAW, EVENTS]).unwrap();
    let outputs = vec![record(RAW, "a"), record(EVENTS, "b"), record(RAW, "c")];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let batch = next(&mut both, Limit::default()).await.unwrap();
    assert_eq!(bodies(&batch), ["a", "b", "c"]);

    // One part that cannot pass keeps all of it out.
    let too_large = Record::new(EVENTS, "", vec![0; MAX_BODY + 1]);
    let refused = both.commit(vec![record(RAW, "d"), too_large], &batch.consumed()).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(bus.ends().get(RAW, 0), Some(2));
    assert_eq!(bus.stage_positions(), []);
}

async fn resumes_at_the_stored_position(mut subject: impl Subject) {
    let bus = subject.open();
    let outputs = ["a", "b", "c"].map(|body| record(RAW, body)).to_vec();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::records(2)).await.unwrap();
    reader.commit(vec![record(EVENTS, "x")], &batch.consumed()).await.unwrap();
    drop((reader, bus));
    let bus = subject.open();
    assert_eq!(bus.stage_positions(), [("stage".to_owned(), Positions::of(RAW, 0, 2))]);
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(reader.positions(), Positions::of(RAW, 0, 2));
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["c"]);
}

async fn hands_out_again_what_was_not_committed(mut subject: impl Subject) {
    let bus = subject.open();
    bus.writer("w")
        .commit(vec![record(RAW, "a"), record(RAW, "b")], &Positions::none())
        .await
        .unwrap();
    let mut first = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut first, Limit::records(1)).await.unwrap();
    first.commit(Vec::new(), &batch.consumed()).await.unwrap();
    assert_eq!(bodies(&next(&mut first, Limit::default()).await.unwrap()), ["b"]);
    drop((first, bus)); // as a killed process would
    let bus = subject.open();
    let mut second = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut second, Limit::default()).await.unwrap()), ["b"]);
}

async fn serves_many_readers(mut subject: impl Subject) {
    let bus = subject.open();
    let mut readers = Vec::new();
    for place in 0..5 {
        readers.push(bus.reader(&format!("stage {place}"), &[RAW]).unwrap());
    }
    let mut writer = bus.writer("w");
    for number in 0..20 {
        writer.commit(vec![record(RAW, number)], &Positions::none()).await.unwrap();
    }
    for (place, reader) in readers.iter_mut().enumerate() {
        let mut seen = Vec::new();
        while seen.len() < 20 {
            let batch = next(reader, Limit::records(place + 1)).await.unwrap();
            seen.extend(bodies(&batch));
            reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
        }
        let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected);
    }
}

async fn counts_positions_without_a_hole(mut subject: impl Subject) {
    let bus = subject.open();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let mut writer = bus.writer("w");
            tokio::spawn(async move {
                for number in 0..25 {
                    let outputs =
                        vec![record(RAW, format!("{task} {number}")), record(EVENTS, number)];
                    writer.commit(outputs, &Positions::none()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for topic in [RAW, EVENTS] {
        let records = read_all(&bus, topic).await.unwrap();
        let positions: Vec<u64> = records.iter().map(|record| record.position).collect();
        assert_eq!(positions, (0..100).collect::<Vec<u64>>());
    }
}

async fn ends_a_batch_at_the_limit(mut subject: impl Subject) {
    let bus = subject.open();
    let body = |len: usize| Record::new(RAW, "", vec![b'x'; len]);
    let outputs = vec![body(40), body(60), body(1), body(500), body(5)];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let limit = Limit { records: 10, bytes: 100 };
    for expected in [vec![40, 60], vec![1], vec![500], vec![5]] {
        let batch = next(&mut reader, limit).await.unwrap();
        let sizes: Vec<usize> = batch.records.iter().map(Delivered::size).collect();
        assert_eq!(sizes, expected);
        let behind = batch.records.last().unwrap().position + 1;
        assert_eq!(reader.positions(), Positions::of(RAW, 0, behind));
    }
}

async fn reads_from_given_positions(mut subject: impl Subject) {
    let bus = subject.open();
    let outputs = ["a", "b", "c"].map(|body| record(RAW, body)).to_vec();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["a", "b", "c"]);
    reader.read_from(&Positions::of(RAW, 0, 1)).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::records(1)).await.unwrap()), ["b"]);
    let ahead = reader.read_from(&Positions::of(RAW, 0, 4));
    assert!(matches!(ahead, Err(Error::Ahead { position: 4, end: 3, .. })), "{ahead:?}");
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["c"]);
}

async fn stores_positions_without_outputs(mut subject: impl Subject) {
    let bus = subject.open();
    bus.writer("w").commit(vec![record(RAW, "a")], &Positions::none()).await.unwrap();
    let ends = bus.ends();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
    assert_eq!(bus.ends(), ends);
    drop((reader, bus));
    let bus = subject.open();
    assert_eq!(bus.stage_positions(), [("stage".to_owned(), Positions::of(RAW, 0, 1))]);
}

async fn takes_what_the_latest_commit_says(mut subject: impl Subject) {
    let bus = subject.open();
    let mut writer = bus.writer("stage");
    writer.commit(vec![record(RAW, "a"), record(EVENTS, "b")], &Positions::none()).await.unwrap();
    let mut all = Positions::of(RAW, 0, 1);
    all.set(EVENTS, 0, 1);
    writer.commit(Vec::new(), &all).await.unwrap();
    writer.commit(Vec::new(), &Positions::of(RAW, 0, 0)).await.unwrap();
    all.set(RAW, 0, 0);
    assert_eq!(bus.stage_positions(), [("stage".to_owned(), all)]);
}

async fn waits_for_records(mut subject: impl Subject) {
    let bus = subject.open();
    let mut reader = bus.reader("stage", &[EVENTS]).unwrap();
    let waiting = tokio::spawn(async move { next(&mut reader, Limit::default()).await.unwrap() });
    let mut writer = bus.writer("w");
    writer.commit(vec![record(RAW, "of another topic")], &Positions::none()).await.unwrap();
    assert!(!waiting.is_finished());
    writer.commit(vec![record(EVENTS, "a")], &Positions::none()).await.unwrap();
    assert_eq!(bodies(&waiting.await.unwrap()), ["a"]);
}

async fn loses_nothing_when_a_wait_is_dropped(mut subject: impl Subject) {
    let bus = subject.open();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    for number in 0..50 {
        {
            // Polled until it waits, then dropped.
            let mut wait = Box::pin(reader.next_batch(Limit::default()));
            let polled =
                std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready()));
            assert!(!polled.await);
        }
        bus.writer("w").commit(vec![record(RAW, number)], &Positions::none()).await.unwrap();
        assert_eq!(
            bodies(&next(&mut reader, Limit::default()).await.unwrap()),
            [number.to_string()]
        );
    }
}

async fn knows_its_ends(mut subject: impl Subject) {
    let bus = subject.open();
    let reader = bus.reader("stage", &[RAW, EVENTS]).unwrap();
    let outputs = vec![record(RAW, "a"), record(RAW, "b"), record(FINDINGS, "c")];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut expected = Positions::of(RAW, 0, 2);
    expected.set(EVENTS, 0, 0);
    assert_eq!(reader.ends(), expected);
    assert_eq!(bus.ends().get(FINDINGS, 0), Some(1));
}

async fn keeps_keys_headers_and_bodies(mut subject: impl Subject) {
    let bus = subject.open();
    let full = Record {
        topic: RAW,
        key: vec![0, 255].into(),
        headers: vec![("traceparent".into(), "00-1".into()), (String::new(), "".into())],
        body: vec![0, 1, 254].into(),
    };
    let empty = Record::new(RAW, "", "");
    bus.writer("w").commit(vec![full.clone(), empty.clone()], &Positions::none()).await.unwrap();
    drop(bus);
    let bus = subject.open();
    let read = read_all(&bus, RAW).await.unwrap();
    let again = read.iter().map(|record| Record {
        topic: record.topic,
        key: record.key.clone(),
        headers: record.headers.clone(),
        body: record.body.clone(),
    });
    assert_eq!(again.collect::<Vec<_>>(), [full, empty]);
    assert!(
        read.iter()
            .all(|record| record.partition == 0 && record.appended_at_ms > 1_600_000_000_000)
    );
}

async fn takes_big_records_and_refuses_bigger(mut subject: impl Subject) {
    let bus = subject.open();
    let mut writer = bus.writer("w");
    let big = Record::new(RAW, "big", vec![7; MAX_BODY]);
    writer.commit(vec![record(RAW, "small"), big.clone()], &Positions::none()).await.unwrap();
    let bigger = Record::new(RAW, "bigger", vec![7; MAX_BODY + 1]);
    let labelled = Record::new(RAW, vec![0; 65 << 10], "");
    for refused in [bigger, labelled] {
        let refused = writer.commit(vec![refused], &Positions::none()).await;
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    drop((writer, bus));
    let bus = subject.open();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["small"]);
    assert_eq!(next(&mut reader, Limit::default()).await.unwrap().records[0].body, big.body);
}

async fn refuses_positions_beyond_the_end(mut subject: impl Subject) {
    let bus = subject.open();
    let mut writer = bus.writer("w");
    writer.commit(vec![record(RAW, "a")], &Positions::none()).await.unwrap();
    let ahead = writer.commit(vec![record(EVENTS, "x")], &Positions::of(RAW, 0, 2)).await;
    assert!(matches!(ahead, Err(Error::Ahead { position: 2, end: 1, .. })), "{ahead:?}");
    let elsewhere = writer.commit(Vec::new(), &Positions::of(RAW, 1, 0)).await;
    assert!(matches!(elsewhere, Err(Error::NoPartition { partition: 1, .. })), "{elsewhere:?}");
    assert_eq!(bus.ends().get(EVENTS, 0), Some(0));
}

async fn reads_single_records(mut subject: impl Subject) {
    let bus = subject.open();
    let mut writer = bus.writer("w");
    for number in 0..30 {
        let outputs = vec![record(RAW, number), record(EVENTS, "e"), record(RAW, -number)];
        writer.commit(outputs, &Positions::none()).await.unwrap();
    }
    for position in [0, 1, 17, 58, 59] {
        let read = bus.read_at(RAW, position).unwrap().unwrap();
        let number = (position / 2) as i64 * if position % 2 == 0 { 1 } else { -1 };
        assert_eq!((read.position, read.body.as_ref()), (position, number.to_string().as_bytes()));
    }
    assert_eq!(bus.read_at(RAW, 60).unwrap(), None);
    assert_eq!(bus.read_at(FINDINGS, 0).unwrap(), None);
}

async fn knows_the_newest_values(mut subject: impl Subject) {
    let bus = subject.open();
    let mut writer = bus.writer("w");
    for number in 0..10 {
        let outputs = vec![
            Record::new(CURSORS, format!("{}", number % 3), number.to_string()),
            record(RAW, number),
        ];
        writer.commit(outputs, &Positions::none()).await.unwrap();
    }
    let newest = bus.newest(CURSORS).unwrap();
    let newest: Vec<(&[u8], &[u8], u64)> =
        newest.iter().map(|value| (&value.key[..], &value.body[..], value.position)).collect();
    assert_eq!(newest, [(&b"1"[..], &b"7"[..], 7), (b"2", b"8", 8), (b"0", b"9", 9)]);
}

async fn keeps_newest_values_through_retention(mut subject: impl Subject) {
    let bus = subject.open();
    for round in 0..3 {
        let outputs = vec![
            Record::new(CURSORS, "moves", format!("moved {round}")),
            Record::new(CURSORS, format!("rests {round}"), "once"),
        ];
        bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
        subject.retain(&bus).await;
    }
    drop(bus);
    let bus = subject.open();
    let values = |values: &[Delivered]| -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        values.iter().map(|value| format!("{}: {}", text(&value.key), text(&value.body))).collect()
    };
    let expected = ["rests 0: once", "rests 1: once", "moves: moved 2", "rests 2: once"];
    assert_eq!(values(&bus.newest(CURSORS).unwrap()), expected);
    // A reader gets them too; what it gets beside them is older values of the same keys.
    let read = read_all(&bus, CURSORS).await.unwrap();
    assert!(read.is_sorted_by_key(|value| value.position));
    let read = values(&read);
    assert!(expected.iter().all(|value| read.contains(&(*value).to_owned())), "{read:?}");
    assert_eq!(bus.ends().get(CURSORS, 0), Some(6));
    assert_eq!(bus.read_at(CURSORS, 1).unwrap().unwrap().body, "once");
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
    assert_eq!(bus.ends().get(RAW, 0), Some(5));
    assert_eq!(bus.read_at(RAW, 0).unwrap(), None);
}
