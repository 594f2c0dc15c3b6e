//! A collector that is away costs its telemetry and nothing else.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use hubwarden_service::metrics::{NORMALIZER, Transaction};
use hubwarden_service::{LogConfig, TelemetryConfig, metrics, telemetry};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_and_stopping_takes_no_longer_than_its_limit() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = TelemetryConfig {
        otlp: format!("http://{closed}"),
        sample_ratio: 1.0,
        ..TelemetryConfig::default()
    };
    let log = LogConfig { filter: "off".into(), ..LogConfig::default() };
    let running = telemetry::init("hubwarden-test", &config, &log).unwrap();
    let began = Instant::now();
    for _ in 0..10_000 {
        let cycle = NORMALIZER.cycle("normalizer", []);
        cycle.span().in_scope(|| tracing::error!("a line that nobody takes"));
        cycle.ended(Transaction::Committed);
    }
    let worked = began.elapsed();
    assert!(worked < Duration::from_secs(10), "10,000 cycles took {worked:?}");
    let committed = "hubwarden_normalizer_transactions_total{result=\"committed\"} 10000";
    assert!(metrics::text().contains(committed), "Prometheus still sees everything");
    let began = Instant::now();
    let error = running.shutdown().await.unwrap_err().to_string();
    assert!(error.starts_with("the last telemetry did not reach the collector"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    println!("10,000 cycles with the collector away took {worked:?}");
}
