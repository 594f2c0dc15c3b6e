//! What a broker, a network and a kill do in the middle of a commit.

use std::time::Duration;

use hubwarden_bus::kafka::Settings;
use hubwarden_bus::topic::{EVENTS, RAW};
use hubwarden_bus::{
    Batch, Bus, Error, Kafka as Cluster, Limit, Positions, Record, Sink, Source, commit_when_room,
};
use hubwarden_testkit::{Fault, Kafka, KafkaOptions, api};
use tokio::sync::Mutex;

use crate::child::Child;
use crate::promises::records::{next, read_all};
use crate::{cluster, settings};

const PATIENCE: Duration = Duration::from_secs(180);

/// The proxies of the shared broker, for one test at a time.
static PROXIES: Mutex<()> = Mutex::const_new(());

/// The same topics, reached through the proxies.
fn behind_proxies(kafka: &Kafka, direct: Settings) -> Settings {
    Settings { brokers: kafka.addresses_behind_proxies(), ..direct }
}

async fn write(bus: &Cluster, numbers: std::ops::Range<u32>) {
    let outputs = numbers.map(|number| {
        let number = number.to_string();
        Record::new(RAW, number.clone(), number)
    });
    commit_when_room(&mut bus.writer("w"), outputs.collect(), &Positions::none()).await.unwrap();
}

fn copies(batch: &Batch) -> Vec<Record> {
    let records = batch.records.iter();
    records.map(|of| Record::new(EVENTS, of.key.clone(), of.body.clone())).collect()
}

/// Copies `raw` to `events` as a stage does, until it has seen so many commits through.
async fn copy(bus: &Cluster, records: usize) {
    copy_with(bus.reader("stage", &[RAW]).unwrap(), records).await;
}

async fn copy_with(mut reader: impl Source + Sink, records: usize) {
    let mut done = 0;
    while done < records {
        let batch = reader.next_batch(Limit::records(50)).await.unwrap();
        match commit_when_room(&mut reader, copies(&batch), &batch.consumed()).await {
            Ok(()) => done += batch.records.len(),
            Err(Error::Reassigned { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every number is there, once.
async fn check(bus: &Cluster, count: u32) {
    let events = read_all(bus, EVENTS).await.unwrap();
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap().parse::<u32>().unwrap();
    let mut numbers: Vec<u32> = events.iter().map(|event| text(&event.body)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_produce_and_commit_leaves_nothing() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let direct = settings(kafka.addresses());
    let bus = Cluster::connect(direct.clone()).await.unwrap();
    write(&bus, 0..10).await;
    {
        let _alone = PROXIES.lock().await;
        let behind = behind_proxies(kafka, direct);
        tokio::task::block_in_place(|| {
            let mut child = Child::start("copy", &behind);
            assert!(child.says().starts_with("read "));
            kafka.fault(Fault::Hold(api::END_TXN));
            child.go();
            kafka.proxy(0).wait_for_hits(1, PATIENCE);
            child.kill();
            kafka.fault(Fault::Cut);
            kafka.fault(Fault::None);
        });
    }
    assert!(bus.ends().await.unwrap().iter().all(|(topic, _, end)| topic != EVENTS || end == 0));
    assert_eq!(bus.stage_positions().await.unwrap(), []);
    tokio::time::timeout(PATIENCE, copy(&bus, 10)).await.unwrap();
    check(&bus, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_double_nothing() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let direct = settings(kafka.addresses());
    let bus = Cluster::connect(direct.clone()).await.unwrap();
    let _alone = PROXIES.lock().await;
    let flaky = Cluster::connect(behind_proxies(kafka, direct)).await.unwrap();
    let copying = tokio::spawn(async move { copy(&flaky, 150).await });
    for (round, kind) in (0..).zip([api::END_TXN, api::PRODUCE, api::TXN_OFFSET_COMMIT]) {
        kafka.fault(Fault::LoseAnswers(kind));
        write(&bus, 50 * round..50 * (round + 1)).await;
        tokio::task::block_in_place(|| kafka.proxy(0).wait_for_hits(1, PATIENCE));
        kafka.fault(Fault::None);
    }
    tokio::time::timeout(PATIENCE, copying).await.unwrap().unwrap();
    check(&bus, 150).await;
}

/// The cluster takes a transaction back while its commit is on the way, and then refuses that.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_too_late_is_delivered_again() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let direct = settings(kafka.addresses());
    let bus = Cluster::connect(direct.clone()).await.unwrap();
    write(&bus, 0..10).await;
    let _alone = PROXIES.lock().await;
    let flaky = Cluster::connect(behind_proxies(kafka, direct)).await.unwrap();
    let mut reader = flaky.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    kafka.fault(Fault::Hold(api::END_TXN));
    let committing = tokio::spawn(async move {
        let result = reader.commit(copies(&batch), &batch.consumed()).await;
        (reader, result)
    });
    tokio::task::block_in_place(|| kafka.proxy(0).wait_for_hits(1, PATIENCE));
    let taken_back = async {
        while bus.ends().await.unwrap().iter().all(|(topic, _, end)| topic != EVENTS || end == 0) {}
    };
    tokio::time::timeout(PATIENCE, taken_back).await.unwrap();
    assert_eq!(read_all(&bus, EVENTS).await.unwrap(), []);
    kafka.fault(Fault::None);
    let (reader, refused) = tokio::time::timeout(PATIENCE, committing).await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Reassigned { .. })), "{refused:?}");
    tokio::time::timeout(PATIENCE, copy_with(reader, 10)).await.unwrap();
    check(&bus, 10).await;
}

/// Each of three brokers fails once, in another way, while records are written one by one.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_time_only() {
    let three = || Kafka::start_with(KafkaOptions { brokers: 3, secured: false });
    let mut kafka = tokio::task::spawn_blocking(three).await.unwrap();
    let of_three = Settings { replication: 3, ..settings(kafka.addresses()) };
    let bus = Cluster::connect(of_three).await.unwrap();
    let copying = tokio::spawn({
        let bus = bus.clone();
        async move { copy(&bus, 300).await }
    });
    for number in 0..3 {
        let numbers = 100 * number..100 * (number + 1);
        let (tell, written) = tokio::sync::oneshot::channel();
        let writing = tokio::spawn({
            let bus = bus.clone();
            async move {
                write(&bus, numbers.start..numbers.start + 30).await;
                let _ = tell.send(()); // nobody listens when the test has failed
                for number in numbers.skip(30) {
                    write(&bus, number..number + 1).await;
                }
            }
        });
        tokio::time::timeout(PATIENCE, written).await.unwrap().unwrap();
        match number {
            0 => tokio::task::block_in_place(|| {
                kafka.stop(0);
                kafka.start_again(0);
            }),
            1 => tokio::task::block_in_place(|| {
                kafka.kill(1);
                kafka.start_again(1);
            }),
            _ => {
                kafka.freeze(2);
                tokio::time::sleep(Duration::from_secs(3)).await; // the outage itself
                kafka.thaw(2);
            }
        }
        tokio::time::timeout(PATIENCE, writing).await.unwrap().unwrap();
    }
    tokio::time::timeout(PATIENCE, copying).await.unwrap().unwrap();
    check(&bus, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_taken_back_is_delivered_again() {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    let direct = settings(kafka.addresses());
    let bus = Cluster::connect(direct.clone()).await.unwrap();
    write(&bus, 0..10).await;
    let _alone = PROXIES.lock().await;
    let flaky = Cluster::connect(behind_proxies(kafka, direct)).await.unwrap();
    let mut reader = flaky.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::records(3)).await.unwrap();
    let warm = reader.commit(copies(&batch), &Positions::none()).await;
    assert!(warm.is_ok(), "{warm:?}"); // the transactional client is known to the broker now
    let before = bus.ends().await.unwrap();
    // Records that are not delivered in time take their transaction with them.
    kafka.fault(Fault::Hold(api::PRODUCE));
    let refused = reader.commit(copies(&batch), &batch.consumed()).await;
    kafka.fault(Fault::Cut);
    kafka.fault(Fault::None);
    assert!(matches!(refused, Err(Error::Reassigned { .. })), "{refused:?}");
    let mut again = Vec::new();
    while !batch.records.iter().all(|record| again.contains(record)) {
        again.extend(next(&mut reader, Limit::default()).await.unwrap().records);
    }
    let readable = bus.ends().await.unwrap();
    assert!(
        before.iter().all(|(topic, at, end)| topic != RAW || readable.get(topic, at) == Some(end))
    );
    let again = Batch { records: again };
    reader.commit(copies(&again), &again.consumed()).await.unwrap();
}
