//! What operators do while events come: more and fewer replicas, restarts, brokers away, an owner
//! that sleeps.

use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, topic};
use hubwarden_testkit::{Kafka, KafkaOptions, Postgres};
use hubwarden_tests::{assert_same, scanned};

use crate::cluster::Cluster;
use crate::events::{bus, events_of, every_raw_record_once, longest_gap};
use crate::{ALONE, life};

const EVENTS: u64 = 16_000;
const PATIENCE: Duration = Duration::from_secs(400);
/// Each page of 100 events takes so long: the load lasts for some minutes.
const PAGE: Duration = Duration::from_millis(1200);
/// Under load with as many replicas as stand there.
const UNDER_LOAD: Duration = Duration::from_secs(12);
/// So long the brokers are away, and so long the owner of the connection sleeps.
const AWAY: Duration = Duration::from_secs(20);
const ASLEEP: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scaling_restarts_outages_and_sleep_change_nothing() {
    let _alone = ALONE.lock().await;
    let life = life(EVENTS);
    let expected = scanned(&life);
    let three = || Kafka::start_with(KafkaOptions { brokers: 3, secured: false });
    let (kafka, postgres) =
        tokio::task::spawn_blocking(move || (three(), Postgres::start())).await.unwrap();
    let mut cluster = Cluster::new(&life, &kafka, &postgres).await;
    cluster.slow_down(PAGE);
    let always =
        ["normalizer-0", "match-0", "correlate-0", "correlate-1", "console-0", "collector-0"];
    always.into_iter().for_each(|name| cluster.start(name));
    let bus = bus(&kafka).await;
    let started = Instant::now();
    while bus.ends().await.unwrap().get(topic::MATCHES, 0) < Some(20) {
        cluster.wait(Duration::from_millis(500)).await;
        assert!(started.elapsed() < PATIENCE, "no match has come");
    }

    let scaled_at = now_ms();
    let more = ["normalizer-1", "normalizer-2", "match-1", "match-2"];
    more.into_iter().for_each(|name| cluster.start(name));
    cluster.wait(UNDER_LOAD).await;
    let stops: Vec<Duration> = more.into_iter().map(|name| cluster.stop(name)).collect();
    cluster.wait(UNDER_LOAD).await;
    let scaled_until = now_ms();

    let mut restarts = Vec::new();
    for name in always {
        restarts.push(cluster.stop(name));
        cluster.start(name);
        cluster.wait(Duration::from_secs(2)).await;
    }
    assert_eq!(cluster.restarts, 0, "a service ended although it was not told to");

    (0..3).for_each(|broker| kafka.freeze(broker));
    cluster.wait(AWAY).await;
    (0..3).for_each(|broker| kafka.thaw(broker));
    let back = Instant::now();
    let ends = loop {
        match bus.ends().await {
            Ok(ends) => break ends,
            Err(error) => assert!(back.elapsed() < PATIENCE, "{error}"),
        }
        cluster.supervise();
    };
    let raw = ends.iter().filter(|(of, _, _)| *of == topic::RAW);
    let raw: Vec<_> = raw.collect();
    loop {
        let stands = bus.stage_position("normalizer").await.unwrap_or_default();
        if raw.iter().all(|(of, partition, end)| stands.get(*of, *partition) >= Some(*end)) {
            break;
        }
        cluster.wait(Duration::from_millis(200)).await;
        assert!(back.elapsed() < PATIENCE, "what waited is not consumed");
    }
    let drained = back.elapsed();
    let ended_by_themselves = cluster.restarts;

    cluster.start("collector-1");
    cluster.wait(Duration::from_secs(5)).await;
    cluster.signal("collector-0", "STOP");
    let before = written(&bus).await;
    cluster.wait(ASLEEP).await;
    assert!(written(&bus).await > before + 100, "nobody took the connection over");
    cluster.signal("collector-0", "CONT");
    cluster.slow_down(Duration::ZERO);
    let woken = Instant::now();
    let found = cluster.wait_for(&expected, PATIENCE).await;
    if found != expected {
        cluster.keep();
    }
    assert_same("four services under operations and one process", &found, &expected);
    let events = events_of(&kafka).await;
    every_raw_record_once(&events);
    let longest = |times: &[Duration]| times.iter().max().unwrap().as_secs_f64();
    eprintln!(
        "{} findings of {EVENTS} events are equal. Normalizers and matchers 1, 3, 1: nothing written for at \
         most {:.1} s; a replica stops within {:.2} s. Rolling restart: each stops within {:.2} s. Brokers \
         away {} s: consumed {:.1} s after they were back, {ended_by_themselves} services ended and were \
         started again. Collector asleep {} s, another took over; equal {:.1} s after it woke.",
        found.len(),
        longest_gap(&events, scaled_at, scaled_until).as_secs_f64(),
        longest(&stops),
        longest(&restarts),
        AWAY.as_secs(),
        drained.as_secs_f64(),
        ASLEEP.as_secs(),
        woken.elapsed().as_secs_f64(),
    );
}

/// How much stands in `raw`.
async fn written(bus: &impl Bus) -> u64 {
    let ends = bus.ends().await.unwrap();
    ends.iter().filter(|(of, _, _)| *of == topic::RAW).map(|(_, _, end)| end).sum()
}

fn now_ms() -> i64 {
    hubwarden_console::web::now().as_millis()
}
