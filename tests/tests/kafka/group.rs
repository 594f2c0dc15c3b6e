//! Members of a group: sharing, owning, falling behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::topic::{CURSORS, EVENTS, RAW};
use hubwarden_bus::{Bus, Error, Kafka, Limit, Positions, Record, Sink, Source};

use crate::child::Child;
use crate::promises::records::{any, next, read_all, record};
use crate::{PARTITIONS, cluster, fresh, settings};

const PATIENCE: Duration = Duration::from_secs(90);

/// Numbered records, spread over the partitions.
fn numbered(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|number| record(RAW, number).at(number % PARTITIONS)).collect()
}

/// Copies until told to stop; gives the smallest number of partitions that it owned after it
/// first owned one.
async fn copy(bus: Kafka, stop: tokio_util::sync::CancellationToken) -> usize {
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let mut least = usize::MAX;
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return least,
            batch = reader.next_batch(Limit::records(20)) => batch.unwrap(),
        };
        let owned = reader.assignment().len();
        if owned > 0 || least < usize::MAX {
            least = least.min(owned);
        }
        let copies =
            batch.records.iter().map(|of| record(EVENTS, String::from_utf8_lossy(&of.body)));
        match reader.commit(copies.collect(), &batch.consumed()).await {
            Ok(()) | Err(Error::Reassigned { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_every_record_counts_once() {
    let bus = fresh().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let staying = tokio::spawn(copy(bus.clone(), stop.clone()));
    let mut written = 0;
    let mut write = async |count: u32| {
        for _ in 0..count / 5 {
            let outputs = numbered(written..written + 5);
            bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
            written += 5;
        }
    };
    write(100).await;
    let leave = tokio_util::sync::CancellationToken::new();
    let coming = tokio::spawn(copy(bus.clone(), leave.clone()));
    // Until the new member has a share, which it tells by what it is behind on.
    let shared = async || {
        let lag = bus.lag();
        let mut owned = BTreeMap::new();
        for of in &lag {
            *owned.entry(of.partition).or_insert(0) += 1;
        }
        lag.len() == PARTITIONS as usize && bus.counts().rebalances >= 3
    };
    let begun = std::time::Instant::now();
    while !shared().await {
        assert!(begun.elapsed() < PATIENCE, "the new member got no share: {:?}", bus.lag());
        write(5).await;
    }
    write(100).await;
    leave.cancel();
    let least_of_coming = coming.await.unwrap();
    write(100).await;
    let reached = async { while read_all(&bus, EVENTS).await.unwrap().len() < written as usize {} };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
    stop.cancel();
    let least = staying.await.unwrap();
    assert!(least >= 1, "sharing took everything from the member that stayed");
    assert!(least < PARTITIONS as usize, "the member that stayed gave nothing away");
    assert!(least_of_coming >= 1);
    let copies = read_all(&bus, EVENTS).await.unwrap();
    let mut numbers: Vec<u32> =
        copies.iter().map(|copy| String::from_utf8_lossy(&copy.body).parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..written).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_slept_is_refused_when_it_wakes() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let settings = settings(kafka.addresses());
    let bus = Kafka::connect(settings.clone()).await.unwrap();
    let mut child = tokio::task::block_in_place(|| {
        let mut child = Child::start("own", &settings);
        assert_eq!(child.says(), "owns");
        child.go();
        assert_eq!(child.says(), "committed");
        child.signal("STOP");
        child
    });
    let mut reader = bus.keeping_reader("owner", &[CURSORS]).unwrap();
    while reader.assignment().len() < PARTITIONS as usize {
        any(&mut reader, Limit::default()).await.unwrap();
    }
    // The new owner reads what the old one left, and goes on from there.
    let cursors = bus.newest(CURSORS).await.unwrap();
    assert_eq!(cursors.len(), 1);
    let at = Positions::of(CURSORS, 0, cursors[0].position + 1);
    let moved = Record::new(CURSORS, "connection", "moved by the new owner").at(0);
    reader.commit(vec![moved], &at).await.unwrap();
    let ends = bus.ends().await.unwrap();
    tokio::task::block_in_place(|| {
        child.signal("CONT");
        child.go();
        assert_eq!(child.says(), "reassigned");
    });
    let cursors = bus.newest(CURSORS).await.unwrap();
    assert_eq!(cursors[0].body, "moved by the new owner");
    let raw = read_all(&bus, RAW).await.unwrap();
    assert_eq!(raw.len(), 1, "only the commit of before the sleep counts");
    assert!(bus.ends().await.unwrap().get(CURSORS, 0) >= ends.get(CURSORS, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_of_the_same_name_ends_the_first() {
    let bus = fresh().await.member("correlate-0");
    bus.writer("w").commit(numbered(0..3), &Positions::none()).await.unwrap();
    let mut first = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut first, Limit::default()).await.unwrap();
    let mut second = bus.reader("stage", &[RAW]).unwrap();
    let taken_over = async {
        while second.assignment().len() < PARTITIONS as usize {
            second.next_batch(Limit::default()).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, taken_over).await.unwrap();
    let refused = first.commit(vec![record(EVENTS, "x")], &batch.consumed()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, Error::Reassigned { .. } | Error::Fatal { .. }), "{refused:?}");
    let ended = async {
        loop {
            if let Err(error) = first.next_batch(Limit::default()).await {
                return error;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(matches!(ended, Error::Fatal { .. }), "{ended:?}");
    assert_eq!(read_all(&bus, EVENTS).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_an_incident() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let settings = settings(kafka.addresses());
    let bus = Kafka::connect(settings.clone()).await.unwrap();
    let outputs = (0..10).map(|number| record(RAW, number)).collect();
    bus.writer("w").commit(outputs, &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::records(2)).await.unwrap();
    reader.commit(Vec::new(), &batch.consumed()).await.unwrap();
    drop(reader);
    tokio::task::block_in_place(|| {
        let file = kafka.folder().join("delete.json");
        let topic = format!("{}{RAW}", settings.topic_prefix);
        let order = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":0,"offset":7}}]}}"#
        );
        std::fs::write(&file, order).unwrap();
        let class = "org.apache.kafka.tools.DeleteRecordsCommand";
        kafka.tool(class, &["--offset-json-file", file.to_str().unwrap()]);
    });
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let gone = async {
        loop {
            match reader.next_batch(Limit::default()).await {
                Ok(batch) => assert!(batch.records.is_empty(), "records were passed over"),
                Err(error) => return error,
            }
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert!(matches!(gone, Error::Gone { position: 2, oldest: 7, .. }), "{gone:?}");
    let refused = reader.read_from(&Positions::of(RAW, 0, 2)).await;
    assert!(matches!(refused, Err(Error::Gone { oldest: 7, .. })), "{refused:?}");
    // Whoever accepts the loss says so.
    reader.read_from(&Positions::of(RAW, 0, 7)).await.unwrap();
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    assert_eq!(batch.records[0].position, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_is_told_and_reaches_zero() {
    let bus = fresh().await;
    bus.writer("w").commit(numbered(0..30), &Positions::none()).await.unwrap();
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let mut seen = Positions::none();
    let mut count = 0;
    while count < 30 {
        let batch = next(&mut reader, Limit::default()).await.unwrap();
        count += batch.records.len();
        seen.merge(&batch.consumed());
    }
    let behind = |lag: &[hubwarden_bus::kafka::Lag]| lag.iter().map(|of| of.records()).sum::<u64>();
    let reader = Arc::new(tokio::sync::Mutex::new(reader));
    let latest = Mutex::new(0);
    let poll_until = async |done: &dyn Fn(u64) -> bool| {
        let mut reader = reader.lock().await;
        let reached = async {
            loop {
                drop(
                    tokio::time::timeout(
                        Duration::from_millis(100),
                        reader.next_batch(Limit::default()),
                    )
                    .await,
                );
                let lag = bus.lag();
                *latest.lock().unwrap() = behind(&lag);
                if lag.len() == PARTITIONS as usize && done(behind(&lag)) {
                    return lag;
                }
            }
        };
        let lag = tokio::time::timeout(PATIENCE, reached).await;
        lag.unwrap_or_else(|_| panic!("{} records behind", latest.lock().unwrap()))
    };
    let lag = poll_until(&|behind| behind >= 30).await;
    assert!(lag.iter().all(|of| of.stage == "stage" && of.topic == RAW && of.position == 0));
    reader.lock().await.commit(Vec::new(), &seen).await.unwrap();
    // The marks of the transactions are passed too, in the group as well.
    poll_until(&|behind| behind == 0).await;
    let ends = bus.ends().await.unwrap();
    let stored = async {
        loop {
            let stored = bus.stage_positions().await.unwrap();
            let at = |partition| stored[0].1.get(RAW, partition) == ends.get(RAW, partition);
            if (0..PARTITIONS).all(at) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, stored).await.unwrap();
    drop(reader);
    let gone = async {
        while !bus.lag().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}
