//! Processes die, sleep and lose their disks, brokers fail, and the findings stay the same.
//!
//! `HUBWARDEN_CHAOS_EVENTS` and `HUBWARDEN_CHAOS_FAULTS` set over how many events and how many faults; the
//! recorded run is 60,000 events and 60 faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hubwarden_testkit::{Kafka, KafkaOptions, Postgres};
use hubwarden_tests::{assert_same, scanned};

use crate::cluster::{ALL, Cluster};
use crate::events::{events_of, every_raw_record_once};
use crate::{ALONE, life};

/// Given after the last fault, and so much more for each thousand events.
const PATIENCE: Duration = Duration::from_secs(240);
const EACH_THOUSAND: Duration = Duration::from_secs(8);

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap())
}

/// What happens next; the kinds take turns, so that each comes to every service.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// kill -9, and started again at once.
    Kill(&'static str),
    /// kill -9 and started again without its disk.
    LoseDisk(&'static str),
    /// Sleeps for so many seconds, then goes on as if nothing had happened.
    Freeze(&'static str, u64),
    /// Ends in good order, and is started again.
    Restart(&'static str),
    /// A broker is killed and started again.
    KillBroker(usize),
    /// A broker ends in good order and is started again.
    RestartBroker(usize),
    /// A broker says nothing for so many seconds.
    FreezeBroker(usize, u64),
}

fn fault(number: usize) -> Fault {
    let round = number / 10;
    let of = |step: usize| ALL[(round * 3 + step) % ALL.len()];
    let correlate = ["correlate-0", "correlate-1"][round % 2];
    match number % 10 {
        0 => Fault::Kill(of(0)),
        1 => Fault::Freeze(of(1), 4 + (number as u64 * 7) % 9),
        2 => Fault::KillBroker(round % 3),
        3 => Fault::Kill(of(2)),
        4 => Fault::LoseDisk(correlate),
        5 => Fault::FreezeBroker((round + 1) % 3, 4),
        6 => Fault::Restart(of(3)),
        7 => Fault::Kill(of(4)),
        8 => Fault::RestartBroker((round + 2) % 3),
        _ if round == 0 => Fault::Freeze(correlate, 60),
        _ => Fault::Freeze(of(5), 4 + (number as u64 * 5) % 9),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_dies_sleeps_or_loses_its_disk_the_findings_stay_the_same() {
    let (events, faults) =
        (setting("HUBWARDEN_CHAOS_EVENTS", 20_000), setting("HUBWARDEN_CHAOS_FAULTS", 10));
    let _alone = ALONE.lock().await;
    let life = life(events);
    let expected = scanned(&life);
    let three = || Kafka::start_with(KafkaOptions { brokers: 3, secured: false });
    let (mut kafka, postgres) =
        tokio::task::spawn_blocking(move || (three(), Postgres::start())).await.unwrap();
    let mut cluster = Cluster::new(&life, &kafka, &postgres).await;
    let started = Instant::now();
    cluster.start_all();
    let mut frozen: Vec<(&'static str, Instant)> = Vec::new();
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for fault in (0..faults as usize).map(fault) {
        // Something has to be under way before it is disturbed.
        let pause = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < pause {
            cluster.supervise();
            thaw(&cluster, &mut frozen, Instant::now());
            tokio::time::sleep(Duration::from_millis(100)).await; // between two looks
        }
        let kind = format!("{fault:?}");
        eprintln!("{:.1} s: {kind}", started.elapsed().as_secs_f64());
        *kinds.entry(kind.split('(').next().unwrap().to_owned()).or_default() += 1;
        thaw_named(&cluster, &mut frozen, fault);
        tokio::task::block_in_place(|| happen(fault, &mut cluster, &mut kafka, &mut frozen));
    }
    let last = frozen.iter().map(|(_, until)| *until).max();
    while last.is_some_and(|last| Instant::now() < last) {
        cluster.supervise();
        thaw(&cluster, &mut frozen, Instant::now());
        tokio::time::sleep(Duration::from_millis(100)).await; // the fault itself
    }
    thaw(&cluster, &mut frozen, Instant::now());
    let disturbed = started.elapsed();
    let found =
        cluster.wait_for(&expected, PATIENCE + EACH_THOUSAND * (events / 1000) as u32).await;
    if found != expected {
        cluster.keep();
    }
    assert_same("four services under faults and one process", &found, &expected);
    every_raw_record_once(&events_of(&kafka).await);
    eprintln!(
        "{} findings of {events} events are equal after {faults} faults {kinds:?} in {:.0} s, {} services \
         ended by themselves and were started again, equal {:.0} s after the last fault",
        found.len(),
        disturbed.as_secs_f64(),
        cluster.restarts,
        (started.elapsed() - disturbed).as_secs_f64(),
    );
}

fn happen(
    fault: Fault,
    cluster: &mut Cluster,
    kafka: &mut Kafka,
    frozen: &mut Vec<(&'static str, Instant)>,
) {
    match fault {
        Fault::Kill(name) => {
            cluster.kill(name);
            cluster.start(name);
        }
        Fault::LoseDisk(name) => {
            cluster.kill(name);
            let number = name.split_once('-').unwrap().1;
            let state = cluster.path().join(format!("state-{number}"));
            // It may not have opened a partition yet.
            drop(std::fs::remove_dir_all(state));
            cluster.start(name);
        }
        Fault::Freeze(name, seconds) => {
            cluster.signal(name, "STOP");
            frozen.push((name, Instant::now() + Duration::from_secs(seconds)));
        }
        Fault::Restart(name) => {
            cluster.stop(name);
            cluster.start(name);
        }
        Fault::KillBroker(number) => {
            kafka.kill(number);
            kafka.start_again(number);
        }
        Fault::RestartBroker(number) => {
            kafka.stop(number);
            kafka.start_again(number);
        }
        Fault::FreezeBroker(number, seconds) => {
            kafka.freeze(number);
            std::thread::sleep(Duration::from_secs(seconds)); // the fault itself
            kafka.thaw(number);
        }
    }
}

/// Lets those go on whose time is over.
fn thaw(cluster: &Cluster, frozen: &mut Vec<(&'static str, Instant)>, now: Instant) {
    frozen.retain(|(name, until)| {
        if *until <= now {
            cluster.signal(name, "CONT");
        }
        *until > now
    });
}

/// Lets a service go on before something else happens to it.
fn thaw_named(cluster: &Cluster, frozen: &mut Vec<(&'static str, Instant)>, fault: Fault) {
    let (Fault::Kill(of) | Fault::LoseDisk(of) | Fault::Freeze(of, _) | Fault::Restart(of)) = fault
    else {
        return;
    };
    frozen.retain(|(name, _)| {
        if *name == of {
            cluster.signal(name, "CONT");
        }
        *name != of
    });
}
