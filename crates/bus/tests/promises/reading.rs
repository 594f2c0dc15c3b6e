//! Promises of readers.

use std::future::Future;
use std::task::Poll;

use hubwarden_bus::topic::{EVENTS, FINDINGS, RAW};
use hubwarden_bus::{Bus, Delivered, Error, Limit, Positions, Record, Sink, Source};

use super::Subject;
use super::records::{bodies, next, read_all, record};

pub async fn resumes_at_the_stored_position(mut subject: impl Subject) {
    let bus = subject.open().await;
    let outputs = ["a", "b", "c"].map(|body| record(RAW, body)).to_vec();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::records(2)).await.unwrap();
    reader.commit(vec![record(EVENTS, "x")], &batch.consumed()).await.unwrap();
    drop((reader, bus));
    let bus = subject.open().await;
    let stored = bus.stage_positions().await.unwrap();
    assert_eq!(stored, [("stage".to_owned(), Positions::of(RAW, 0, 2))]);
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["c"]);
    assert!(reader.positions().get(RAW, 0) >= Some(3));
}

pub async fn hands_out_again_what_was_not_committed(mut subject: impl Subject) {
    let bus = subject.open().await;
    bus.writer("w")
        .commit(vec![record(RAW, "a"), record(RAW, "b")], &Positions::none())
        .await
        .unwrap();
    let mut first = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut first, Limit::records(1)).await.unwrap();
    first.commit(Vec::new(), &batch.consumed()).await.unwrap();
    assert_eq!(bodies(&next(&mut first, Limit::default()).await.unwrap()), ["b"]);
    drop((first, bus)); // as a killed process would
    let bus = subject.open().await;
    let mut second = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut second, Limit::default()).await.unwrap()), ["b"]);
}

pub async fn serves_many_readers(mut subject: impl Subject) {
    let bus = subject.open().await;
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

pub async fn counts_positions_upwards(mut subject: impl Subject) {
    let bus = subject.open().await;
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
        assert_eq!(records.len(), 100);
        assert!(records.is_sorted_by(|a, b| a.position < b.position));
    }
}

pub async fn ends_a_batch_at_the_limit(mut subject: impl Subject) {
    let bus = subject.open().await;
    let body = |len: usize| Record::new(RAW, "", vec![b'x'; len]).at(0);
    let outputs = vec![body(40), body(60), body(1), body(500), body(5)];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let limit = Limit { records: 10, bytes: 100 };
    for expected in [vec![40, 60], vec![1], vec![500], vec![5]] {
        let batch = next(&mut reader, limit).await.unwrap();
        let sizes: Vec<usize> = batch.records.iter().map(Delivered::size).collect();
        assert_eq!(sizes, expected);
        let behind = batch.records.last().unwrap().position + 1;
        // A cluster's own marks may follow the last record.
        assert!(reader.positions().get(RAW, 0) >= Some(behind));
    }
}

pub async fn reads_from_given_positions(mut subject: impl Subject) {
    let bus = subject.open().await;
    let outputs = ["a", "b", "c"].map(|body| record(RAW, body)).to_vec();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["a", "b", "c"]);
    reader.read_from(&Positions::of(RAW, 0, 1)).await.unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::records(1)).await.unwrap()), ["b"]);
    let end = reader.ends().await.unwrap().get(RAW, 0).unwrap();
    let ahead = reader.read_from(&Positions::of(RAW, 0, end + 1)).await;
    assert!(matches!(ahead, Err(Error::Ahead { .. })), "{ahead:?}");
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["c"]);
}

pub async fn waits_for_records(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut reader = bus.reader("stage", &[EVENTS]).unwrap();
    let waiting = tokio::spawn(async move { next(&mut reader, Limit::default()).await.unwrap() });
    let mut writer = bus.writer("w");
    writer.commit(vec![record(RAW, "of another topic")], &Positions::none()).await.unwrap();
    assert!(!waiting.is_finished());
    writer.commit(vec![record(EVENTS, "a")], &Positions::none()).await.unwrap();
    assert_eq!(bodies(&waiting.await.unwrap()), ["a"]);
}

pub async fn loses_nothing_when_a_wait_is_dropped(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    for number in 0..50 {
        {
            // Polled until it waits, then dropped.
            let mut wait = Box::pin(reader.next_batch(Limit::default()));
            let polled = std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context)));
            if let Poll::Ready(batch) = polled.await {
                assert!(batch.unwrap().records.is_empty());
            }
        }
        bus.writer("w").commit(vec![record(RAW, number)], &Positions::none()).await.unwrap();
        assert_eq!(
            bodies(&next(&mut reader, Limit::default()).await.unwrap()),
            [number.to_string()]
        );
    }
}

pub async fn knows_its_ends(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut reader = bus.reader("stage", &[RAW, EVENTS]).unwrap();
    let outputs = vec![record(RAW, "a"), record(RAW, "b"), record(FINDINGS, "c")];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    next(&mut reader, Limit::default()).await.unwrap();
    let (all, mine) = (bus.ends().await.unwrap(), reader.ends().await.unwrap());
    let partitions = bus.partitions(RAW) + bus.partitions(EVENTS);
    assert_eq!(mine.iter().count(), partitions as usize);
    assert!(mine.iter().all(|(topic, partition, end)| all.get(topic, partition) == Some(end)));
    assert!(mine.get(RAW, 0) >= Some(2));
    assert_eq!(mine.get(EVENTS, 0), Some(0));
    assert!(all.get(FINDINGS, 0) >= Some(1));
}

pub async fn reads_single_records(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut writer = bus.writer("w");
    for number in 0..30 {
        let outputs = vec![record(RAW, number), record(EVENTS, "e"), record(RAW, -number)];
        writer.commit(outputs, &Positions::none()).await.unwrap();
    }
    let all = read_all(&bus, RAW).await.unwrap();
    for place in [0, 1, 17, 58, 59] {
        let read = bus.read_at(RAW, 0, all[place].position).await.unwrap().unwrap();
        let number = (place / 2) as i64 * if place % 2 == 0 { 1 } else { -1 };
        assert_eq!(read, all[place]);
        assert_eq!(read.body.as_ref(), number.to_string().as_bytes());
    }
    let end = bus.ends().await.unwrap().get(RAW, 0).unwrap();
    assert_eq!(bus.read_at(RAW, 0, end).await.unwrap(), None);
    assert_eq!(bus.read_at(FINDINGS, 0, 0).await.unwrap(), None);
    assert_eq!(bus.read_at(RAW, bus.partitions(RAW), 0).await.unwrap(), None);
}
