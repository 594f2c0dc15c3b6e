//! The bus on a real Kafka: its contract, and what only a cluster can do.
#![allow(clippy::unwrap_used)]

#[macro_use]
#[path = "../../../crates/bus/tests/promises/mod.rs"]
mod promises;

mod child;
mod faults;
mod group;
mod layout;
mod security;
mod stages;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hubwarden_bus::Kafka as Bus;
use hubwarden_bus::kafka::Settings;
use hubwarden_testkit::{Kafka, KafkaOptions};
use promises::Subject;

/// Partitions of the topics in tests.
const PARTITIONS: u32 = 3;

/// The broker that all tests share; no test stops it.
fn cluster() -> &'static Kafka {
    static CLUSTER: OnceLock<Kafka> = OnceLock::new();
    CLUSTER.get_or_init(|| Kafka::start_with(KafkaOptions { brokers: 1, secured: true }))
}

/// Topics of one test.
fn settings(brokers: Vec<String>) -> Settings {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let topic_prefix = format!("test-{}.", TESTS.fetch_add(1, Ordering::Relaxed));
    let figures_every = Duration::from_millis(200);
    let replication = 1;
    let partitions = PARTITIONS;
    Settings {
        brokers,
        topic_prefix,
        partitions,
        replication,
        figures_every,
        ..Settings::default()
    }
}

/// A bus with topics of its own on the shared broker.
async fn fresh() -> Bus {
    let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
    Bus::connect(settings(kafka.addresses())).await.unwrap()
}

struct OnCluster(Settings);

impl Subject for OnCluster {
    type Bus = Bus;

    async fn open(&mut self) -> Bus {
        Bus::connect(self.0.clone()).await.unwrap()
    }
}

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod contract {
            use super::*;
            $(#[tokio::test] async fn $promise() {
                let kafka = tokio::task::spawn_blocking(cluster).await.unwrap();
                promises::$promise(OnCluster(settings(kafka.addresses()))).await;
            })*
        }
    };
}

all_promises!(contract);
