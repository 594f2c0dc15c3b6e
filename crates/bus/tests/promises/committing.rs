//! Promises of commits.

use hubwarden_bus::topic::{CURSORS, EVENTS, RAW};
use hubwarden_bus::{Bus, Error, Limit, MAX_BODY, Positions, Record, Sink};

use super::Subject;
use super::records::{bodies, next, read_all, record};

pub async fn commits_over_topics_as_one(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut both = bus.reader("both", &[RAW, EVENTS]).unwrap();
    let outputs = vec![record(RAW, "a"), record(EVENTS, "b"), record(RAW, "c")];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut seen = Vec::new();
    let mut consumed = Positions::none();
    while seen.len() < 3 {
        let batch = next(&mut both, Limit::default()).await.unwrap();
        consumed.merge(&batch.consumed());
        seen.extend(batch.records.iter().map(|of| (of.topic, of.body.clone())));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(RAW, "a".into()), (RAW, "c".into()), (EVENTS, "b".into())]);

    // One part that cannot pass keeps all of it out.
    let ends = bus.ends().await.unwrap();
    let too_large = Record::new(EVENTS, "", vec![0; MAX_BODY + 1]);
    let refused = both.commit(vec![record(RAW, "d"), too_large], &consumed).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(bus.ends().await.unwrap(), ends);
    assert_eq!(bus.stage_positions().await.unwrap(), []);
}

pub async fn stores_positions_without_outputs(mut subject: impl Subject) {
    let bus = subject.open().await;
    bus.writer("w").commit(vec![record(RAW, "a")], &Positions::none()).await.unwrap();
    let ends = bus.ends().await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
    assert_eq!(bus.ends().await.unwrap(), ends);
    drop((reader, bus));
    let bus = subject.open().await;
    let stored = bus.stage_positions().await.unwrap();
    assert_eq!(stored, [("stage".to_owned(), batch.consumed())]);
}

pub async fn takes_what_the_latest_commit_says(mut subject: impl Subject) {
    let bus = subject.open().await;
    let outputs = vec![record(RAW, "a"), record(EVENTS, "b")];
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW, EVENTS]).unwrap();
    let mut all = Positions::none();
    while all.iter().count() < 2 {
        all.merge(&next(&mut reader, Limit::default()).await.unwrap().consumed());
    }
    reader.commit(Vec::new(), &all).await.unwrap();
    reader.commit(Vec::new(), &Positions::of(RAW, 0, 0)).await.unwrap();
    all.set(RAW, 0, 0);
    assert_eq!(bus.stage_positions().await.unwrap(), [("stage".to_owned(), all)]);
}

pub async fn keeps_keys_headers_and_bodies(mut subject: impl Subject) {
    let bus = subject.open().await;
    let full = Record {
        topic: RAW,
        partition: Some(0),
        key: vec![0, 255].into(),
        headers: vec![("traceparent".into(), "00-1".into()), ("empty".into(), "".into())],
        body: vec![0, 1, 254].into(),
    };
    let empty = Record::new(RAW, "", "").at(0);
    bus.writer("w").commit(vec![full.clone(), empty.clone()], &Positions::none()).await.unwrap();
    drop(bus);
    let bus = subject.open().await;
    let read = read_all(&bus, RAW).await.unwrap();
    let again = read.iter().map(|record| Record {
        topic: record.topic,
        partition: Some(record.partition),
        key: record.key.clone(),
        headers: record.headers.clone(),
        body: record.body.clone(),
    });
    assert_eq!(again.collect::<Vec<_>>(), [full, empty]);
    assert!(read.iter().all(|record| record.appended_at_ms > 1_600_000_000_000));
}

pub async fn takes_big_records_and_refuses_bigger(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut writer = bus.writer("w");
    // Not one that packs well: its size counts as it is.
    let mut state = 7_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let big = Record::new(RAW, "big", noise.take(MAX_BODY).collect::<Vec<u8>>()).at(0);
    writer.commit(vec![record(RAW, "small"), big.clone()], &Positions::none()).await.unwrap();
    let bigger = Record::new(RAW, "bigger", vec![7; MAX_BODY + 1]);
    let labelled = Record::new(RAW, vec![0; 65 << 10], "");
    for refused in [bigger, labelled] {
        let refused = writer.commit(vec![refused], &Positions::none()).await;
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    drop((writer, bus));
    let bus = subject.open().await;
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    assert_eq!(bodies(&next(&mut reader, Limit::default()).await.unwrap()), ["small"]);
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    assert!(batch.records[0].body == big.body, "the big record came back as another");
}

pub async fn refuses_positions_beyond_the_end(mut subject: impl Subject) {
    let bus = subject.open().await;
    bus.writer("w").commit(vec![record(RAW, "a")], &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    next(&mut reader, Limit::default()).await.unwrap();
    let end = bus.ends().await.unwrap().get(RAW, 0).unwrap();
    let beyond = Positions::of(RAW, 0, end + 1);
    let ahead = reader.commit(vec![record(EVENTS, "x")], &beyond).await;
    assert!(matches!(ahead, Err(Error::Ahead { .. })), "{ahead:?}");
    let elsewhere = Positions::of(RAW, bus.partitions(RAW), 0);
    let elsewhere = reader.commit(Vec::new(), &elsewhere).await;
    assert!(matches!(elsewhere, Err(Error::NoPartition { .. })), "{elsewhere:?}");
    assert_eq!(bus.ends().await.unwrap().get(EVENTS, 0), Some(0));
}

pub async fn knows_the_newest_values(mut subject: impl Subject) {
    let bus = subject.open().await;
    let mut writer = bus.writer("w");
    for number in 0..10 {
        let key = format!("{}", number % 3);
        let value = Record::new(CURSORS, key, number.to_string()).at(0);
        writer.commit(vec![value, record(RAW, number)], &Positions::none()).await.unwrap();
    }
    let newest = bus.newest(CURSORS).await.unwrap();
    assert!(newest.is_sorted_by_key(|value| value.position));
    let newest: Vec<(&[u8], &[u8])> =
        newest.iter().map(|value| (&value.key[..], &value.body[..])).collect();
    assert_eq!(newest, [(&b"1"[..], &b"7"[..]), (b"2", b"8"), (b"0", b"9")]);
}
