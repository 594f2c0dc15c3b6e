//! Four services over a real Kafka and PostgreSQL find what one process finds, whatever happens.
#![allow(clippy::unwrap_used)]

mod chaos;
mod cluster;
mod events;
mod operations;

use std::time::{Duration, Instant};

use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::{Home, Kafka, Postgres, VIEWER_TOKEN, until};
use hubwarden_tests::{assert_same, scanned};
use serde_json::Value;

use self::cluster::Cluster;

/// One cluster at a time, so that each has the processors for itself.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Five days that have just passed.
fn life(events: u64) -> Life {
    let now = hubwarden_console::web::now().as_millis();
    Life::new(Plan { events, days: 5, ..Plan::default() }.ending_at(now - 60_000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_services_find_what_one_process_finds() {
    const EVENTS: u64 = 12_000;
    const PATIENCE: Duration = Duration::from_secs(180);
    let _alone = ALONE.lock().await;
    let life = life(EVENTS);
    let expected = scanned(&life);
    assert!(expected.len() > 20, "{} findings", expected.len());
    let (kafka, postgres) =
        tokio::task::spawn_blocking(|| (Kafka::start(), Postgres::start())).await.unwrap();
    let mut cluster = Cluster::new(&life, &kafka, &postgres).await;
    let started = Instant::now();
    cluster.start_all();
    let found = cluster.wait_for(&expected, PATIENCE).await;
    let seconds = started.elapsed().as_secs_f64();
    if found != expected {
        cluster.keep();
    }
    assert_same("four services and one process", &found, &expected);
    assert_eq!(cluster.restarts, 0, "a service ended although nothing had happened");
    tokio::task::block_in_place(|| looks_well(&cluster.pages()));
    eprintln!("{} findings of {EVENTS} events are equal after {seconds:.1} s", found.len());
}

/// Asked from elsewhere, the console knows who reads for each stage, and that every stage goes on.
fn looks_well(pages: &str) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let away = Home::new("[remote]\ntoken = { file = \"token\" }\n");
    away.write("token", VIEWER_TOKEN);
    let top = || away.run(&["top", "--once", "-o", "json", "--server", pages]).expect(0).json();
    let stages = || top()["stages"].take().as_array().unwrap().clone();
    let column = |stages: &[Value], key: &str| -> Vec<u64> {
        let partitions = stages.iter().flat_map(|stage| stage["partitions"].as_array().unwrap());
        partitions.map(|partition| partition[key].as_u64().unwrap()).collect()
    };
    // GitHub is read on, so there is always something on its way.
    let there = until("the first look", PATIENCE, || {
        Some(column(&stages(), "end")).filter(|ends| ends.iter().any(|end| *end > 0))
    });
    let stages = until("every stage to pass what was there", PATIENCE, || {
        let stages = stages();
        let positions = column(&stages, "position");
        positions.iter().zip(&there).all(|(at, end)| at >= end).then_some(stages)
    });
    for (stage, replicas) in [("normalizer", 2), ("match", 2), ("correlate", 2), ("console", 1)] {
        let told = stages.iter().find(|told| told["name"] == stage).unwrap();
        let members = told["members"].as_array().unwrap();
        let owned = members.iter().map(|member| member["partitions"].as_array().unwrap().len());
        let owned: Vec<usize> = owned.collect();
        assert_eq!((owned.len(), owned.iter().sum::<usize>()), (replicas, 12), "{told:#}");
    }
    let status = away.run(&["status", "--server", pages]).expect(0).out;
    assert!(status.contains("stage correlate: "), "{status}");
    assert!(!status.contains("dead letters"), "{status}");
}
