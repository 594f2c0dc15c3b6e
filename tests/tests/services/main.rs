//! Four services over a real Kafka and PostgreSQL find what one process finds, whatever happens.
#![allow(clippy::unwrap_used)]

mod chaos;
mod cluster;
mod events;
mod operations;

use std::time::{Duration, Instant};

use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::{Kafka, Postgres};
use hubwarden_tests::{assert_same, scanned};

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
    eprintln!("{} findings of {EVENTS} events are equal after {seconds:.1} s", found.len());
}
