//! A small program through `service` and a real OpenTelemetry Collector: span, metric and log arrive.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hubwarden_service::metrics::NORMALIZER;
use hubwarden_service::trace::{self, Channel, System};
use hubwarden_service::{LogConfig, LogFormat, TelemetryConfig, metrics, telemetry};
use hubwarden_telemetry_tests::{Collector, arrived, attribute, every};
use serde_json::Value;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not arrive within 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_a_metric_and_a_log_line_arrive_at_a_real_collector() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path());
    let config = TelemetryConfig {
        otlp: collector.otlp(),
        sample_ratio: 0.0,
        instance: "test-0".into(),
        ..TelemetryConfig::default()
    };
    // the exporter's own lines are let through here, to see that they are not exported
    let log = LogConfig { filter: "warn,h2::client=debug".into(), format: LogFormat::Json };
    let running = telemetry::init("hubwarden-test", &config, &log).unwrap();

    trace::set_system(System::Kafka);
    let channel =
        Channel { topic: "hubwarden.raw.v1", partition: Some(0), group: Some("normalizer") };
    let headers = vec![(trace::TRACEPARENT.to_owned(), SAMPLED.into())];
    {
        let batch = trace::process(&channel, 1, [headers.as_slice()]);
        let _batch = batch.enter();
        trace::keep(&batch);
        trace::record(&channel, Some(7), &headers).unwrap().in_scope(|| {
            tracing::warn!(target: "hubwarden_test", actor = "a\nb", "a record was odd");
        });
    }
    drop(trace::poll(&channel)); // a root, sampled at 0
    NORMALIZER.consumed("hubwarden.raw.v1", 3, 300);
    running.shutdown().await.unwrap();

    let spans = until("a span", || {
        let exports = arrived(folder.path(), "traces.jsonl");
        let spans: Vec<Value> = every(&exports, "spans").into_iter().cloned().collect();
        (spans.len() >= 2).then_some(spans)
    });
    let spans = spans.await;
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["process hubwarden.raw.v1"; 2], "no other span, none of the exporter's own");
    let of_record = spans.iter().find(|span| span["parentSpanId"] == "b7ad6b7169203331").unwrap();
    assert_eq!(of_record["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(attribute(of_record, "messaging.system"), Some("kafka"));
    let of_batch = spans.iter().find(|span| span["links"].is_array()).unwrap();
    assert_eq!(of_batch["links"][0]["traceId"], of_record["traceId"]);
    assert_ne!(of_batch["traceId"], of_record["traceId"]);

    let records = until("a log line", || {
        let exports = arrived(folder.path(), "logs.jsonl");
        let all: Vec<Value> = every(&exports, "logRecords").into_iter().cloned().collect();
        let odd = |one: &&Value| one["body"]["stringValue"] == "a record was odd";
        all.iter().find(odd)?;
        Some(all)
    });
    let records = records.await;
    let odd = records.iter().find(|one| one["body"]["stringValue"] == "a record was odd").unwrap();
    assert_eq!(odd["traceId"], of_record["traceId"], "the line says in which trace it was written");
    assert_eq!(odd["spanId"], of_record["spanId"]);
    assert_eq!(odd["severityText"], "WARN");
    assert_eq!(attribute(odd, "actor"), Some("a\\nb"));

    let logs = std::fs::read_to_string(folder.path().join("logs.jsonl")).unwrap();
    assert!(!logs.contains("h2::"), "the exporter exports its own lines:\n{logs}");

    let metric = until("a metric", || {
        let exports = arrived(folder.path(), "metrics.jsonl");
        let name = "hubwarden_normalizer_records_in_total";
        every(&exports, "metrics").into_iter().find(|metric| metric["name"] == name).cloned()
    });
    let metric = metric.await;
    assert_eq!(metric["sum"]["dataPoints"][0]["asInt"], "3", "{metric}");
    assert_eq!(metric["unit"], "{record}");
    assert!(metrics::text().contains("hubwarden_normalizer_records_in_total{topic=\"raw\"} 3"));

    let exports = arrived(folder.path(), "traces.jsonl");
    let resource = &exports[0]["resourceSpans"][0]["resource"];
    for (key, value) in [
        ("service.name", "hubwarden-test"),
        ("service.namespace", "hubwarden"),
        ("service.instance.id", "test-0"),
    ] {
        assert_eq!(attribute(resource, key), Some(value));
    }
}
