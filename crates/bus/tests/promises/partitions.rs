//! Promises of topics with several partitions; a bus that has one keeps them too.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hubwarden_bus::topic::{EVENTS, RAW};
use hubwarden_bus::{Bus, Delivered, Error, Limit, Positions, Record, Sink, Source, partition_of};

use super::Subject;
use super::records::{any, bodies, next, read_all, record};

pub async fn puts_keys_where_they_belong(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut expected: BTreeMap<u32, Vec<Bytes>> = BTreeMap::new();
    let mut outputs = Vec::new();
    for number in 0..200_u32 {
        let key = Bytes::from(format!("{:x}", number.wrapping_mul(2_654_435_761)));
        let record = Record::new(RAW, key.clone(), number.to_string());
        let partition = partition_of(&key, bus.partitions(RAW));
        expected.entry(partition).or_default().push(record.body.clone());
        outputs.push(record);
    }
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut found: BTreeMap<u32, Vec<Bytes>> = BTreeMap::new();
    for record in read_all(&bus, RAW).await.unwrap() {
        found.entry(record.partition).or_default().push(record.body);
    }
    assert_eq!(found, expected);
    assert_eq!(found.len(), bus.partitions(RAW) as usize);
}

pub async fn puts_records_where_they_say(mut subject: impl Subject) {
    let bus = subject.open().await;
    let partitions = bus.partitions(RAW);
    let outputs = (0..partitions).map(|partition| record(RAW, partition).at(partition)).collect();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let outputs = vec![record(EVENTS, "x"), record(RAW, "y").at(partitions)];
    let refused = bus.writer("w").commit(outputs, &Positions::none()).await;
    assert!(matches!(refused, Err(Error::NoPartition { .. })), "{refused:?}");
    assert_eq!(bus.ends().await.unwrap().get(EVENTS, 0), Some(0));
    let mut read: Vec<Delivered> = read_all(&bus, RAW).await.unwrap();
    read.sort_unstable_by_key(|record| record.partition);
    let read: Vec<_> = read.iter().map(|record| (record.partition, &record.body[..])).collect();
    let expected: Vec<_> = (0..partitions).map(|number| (number, number.to_string())).collect();
    let expected: Vec<_> = expected.iter().map(|(at, body)| (*at, body.as_bytes())).collect();
    assert_eq!(read, expected);
}

pub async fn resumes_every_partition_by_itself(mut subject: impl Subject) {
    let bus = subject.open().await;
    let last = bus.partitions(RAW) - 1;
    let outputs = vec![record(RAW, "a"), record(RAW, "b").at(last), record(RAW, "c").at(last)];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let mut seen: Vec<Delivered> = Vec::new();
    while seen.len() < 3 {
        seen.extend(next(&mut reader, Limit::default()).await.unwrap().records);
    }
    let b = seen.iter().find(|record| record.body == "b").unwrap();
    reader.commit(Vec::new(), &Positions::of(RAW, last, b.position + 1)).await.unwrap();
    drop((reader, bus));
    let bus = subject.open().await;
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let mut again = Vec::new();
    while !again.contains(&"c".to_owned()) || (last > 0 && again.len() < 2) {
        again.extend(bodies(&next(&mut reader, Limit::default()).await.unwrap()));
    }
    again.sort_unstable();
    // With one partition the position covers `a` too.
    let expected: &[&str] = if last > 0 { &["a", "c"] } else { &["c"] };
    assert_eq!(again, expected);
}

pub async fn delivers_to_a_keeping_reader_what_it_named(mut subject: impl Subject) {
    let bus = subject.open().await;
    let last = bus.partitions(RAW) - 1;
    let outputs = ["a", "b", "c"].map(|body| record(RAW, body).at(last)).to_vec();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.keeping_reader("keeper", &[RAW]).unwrap();
    while reader.assignment().len() < bus.partitions(RAW) as usize {
        assert!(any(&mut reader, Limit::default()).await.unwrap().records.is_empty());
    }
    assert_eq!(reader.positions(), Positions::none());
    let waited = tokio::time::timeout(Duration::from_millis(300), async {
        loop {
            assert!(reader.next_batch(Limit::default()).await.unwrap().records.is_empty());
        }
    });
    waited.await.unwrap_err();
    reader.read_from(&Positions::of(RAW, last, 1)).await.unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::records(1)).await.unwrap()), ["b"]);
    // What it stores is for others to see; it goes on where it says itself.
    reader.commit(Vec::new(), &Positions::of(RAW, last, 2)).await.unwrap();
    let stored = [("keeper".to_owned(), Positions::of(RAW, last, 2))];
    assert_eq!(bus.stage_positions().await.unwrap(), stored);
    reader.read_from(&Positions::of(RAW, last, 0)).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(bodies(&next(&mut reader, Limit::default()).await.unwrap()));
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

pub async fn leaves_what_is_not_named_as_it_is(mut subject: impl Subject) {
    const EACH: usize = 20;
    let bus = subject.open().await;
    let partitions = bus.partitions(RAW);
    let everywhere = || (0..EACH as u32 * partitions).map(|number| (number, number % partitions));
    let outputs = everywhere().map(|(number, partition)| record(RAW, number).at(partition));
    bus.writer("w").commit(outputs.collect(), &Positions::none()).await.unwrap();
    let mut reader = bus.keeping_reader("keeper", &[RAW]).unwrap();
    while reader.assignment().len() < partitions as usize {
        any(&mut reader, Limit::default()).await.unwrap();
    }
    let mut seen: Vec<Delivered> = Vec::new();
    for partition in 0..partitions {
        reader.read_from(&Positions::of(RAW, partition, 0)).await.unwrap();
        // What is on its way when reading begins on the next partition is not lost by that.
        {
            let batch = std::pin::pin!(reader.next_batch(Limit::records(3)));
            if let Ok(batch) = tokio::time::timeout(Duration::ZERO, batch).await {
                seen.extend(batch.unwrap().records);
            }
        }
        bus.ends().await.unwrap();
    }
    while seen.len() < EACH * partitions as usize {
        seen.extend(next(&mut reader, Limit::records(3)).await.unwrap().records);
    }
    for partition in 0..partitions {
        let of = seen.iter().filter(|record| record.partition == partition);
        let read: Vec<&[u8]> = of.map(|record| &record.body[..]).collect();
        let expected = everywhere().filter(|(_, at)| *at == partition);
        let expected: Vec<String> = expected.map(|(number, _)| number.to_string()).collect();
        assert_eq!(read, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
}

pub async fn knows_who_reads(mut subject: impl Subject) {
    let bus = subject.open().await;
    assert_eq!(bus.members().await.unwrap(), []);
    let mut readers = Vec::new();
    for (stage, topics) in [("one", &[RAW][..]), ("other", &[EVENTS, RAW])] {
        let mut reader = bus.keeping_reader(stage, topics).unwrap();
        let all: u32 = topics.iter().map(|topic| bus.partitions(*topic)).sum();
        while reader.assignment().len() < all as usize {
            any(&mut reader, Limit::default()).await.unwrap();
        }
        readers.push((stage, reader));
    }
    let members = bus.members().await.unwrap();
    assert_eq!(members.len(), 2, "{members:?}");
    for (member, (stage, reader)) in members.iter().zip(&readers) {
        assert_eq!((member.stage.as_str(), &member.owns), (*stage, &reader.assignment()));
        assert!(!member.name.is_empty());
    }
    let (_, left) = readers.pop().unwrap();
    drop(left);
    // It says goodbye to a cluster, which takes a moment.
    let gone = async {
        loop {
            let members = bus.members().await.unwrap();
            if members.len() == 1 {
                return members;
            }
        }
    };
    let stayed = tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    assert_eq!(stayed[0], members[0], "its name stays as long as it reads");
}
