//! An event whose sender asked for a trace leads to a finding in the same trace, and is counted.
#![allow(clippy::unwrap_used)]

use std::num::NonZero;
use std::time::Duration;

use hubwarden_bus::{Bus, Limit, Memory, Positions, Record, Sink, Source, topic};
use hubwarden_detector::{Correlating, Readiness, Rulebook, run_correlate, run_match};
use hubwarden_event::{
    CellKind, Event, EventBody, EventId, FlatBuilder, Kind, RawPosition, RunId, Timestamp,
};
use hubwarden_proto as proto;
use hubwarden_rules::RuleFile;
use hubwarden_service::{LogConfig, TelemetryConfig, metrics, telemetry, trace};
use tokio_util::sync::CancellationToken;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn book() -> Rulebook {
    let text = "
title: A repository was made
name: made
logsource: { product: github, service: audit }
detection:
    selection: { action: repo.create }
    condition: selection
level: high
";
    let file = RuleFile { name: "made.yml".into(), text: text.into(), shipped: false };
    Rulebook { files: vec![file], ..Rulebook::default() }
}

fn event() -> Record {
    let mut builder = FlatBuilder::default();
    builder.push("action", CellKind::Text, "repo.create");
    builder.push("actor", CellKind::Text, "octocat");
    let at = Timestamp::from_millis(1_790_000_000_000);
    let event = Event {
        id: EventId::from_bytes([7; 16]),
        occurred_at: at,
        observed_at: at,
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        product: "github".into(),
        service: "audit".into(),
        position: RawPosition::default(),
        suspect: false,
        record: builder.finish(),
    };
    let mut record = Record::new(topic::EVENTS, "k", proto::encode_event(EventBody::Event(event)));
    record.headers.push((trace::TRACEPARENT.into(), PARENT.into()));
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_is_in_the_trace_of_its_event() {
    let log = LogConfig { filter: "off".into(), ..LogConfig::default() };
    let running = telemetry::init("hubwarden-test", &TelemetryConfig::default(), &log).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (bus, stop) = (Memory::default(), CancellationToken::new());
    book().publish(&bus).await.unwrap();
    let mut reader = bus.reader("reading", &[topic::FINDINGS]).unwrap();
    bus.writer("test").commit(vec![event()], &Positions::none()).await.unwrap();
    let ready = Readiness::default();
    let (threads, settings) = (NonZero::<usize>::MIN, Correlating::alone(folder.path().into(), 0));
    let matching = run_match(bus.clone(), threads, ready.clone(), stop.clone(), |_| ());
    let correlating = run_correlate(bus.clone(), settings, ready, stop.clone(), |_| ());
    let (matching, correlating) = (tokio::spawn(matching), tokio::spawn(correlating));
    let finding = async {
        loop {
            if let Some(record) = reader.next_batch(Limit::default()).await.unwrap().records.pop() {
                return record;
            }
        }
    };
    let finding = tokio::time::timeout(Duration::from_secs(60), finding).await.unwrap();
    stop.cancel();
    matching.await.unwrap().unwrap();
    correlating.await.unwrap().unwrap();

    let context = trace::extract(&finding.headers).unwrap();
    assert_eq!(context.trace_id(), &PARENT[3..35]);
    assert!(context.is_sampled());
    let headers = finding.headers.iter().find(|(name, _)| name == trace::TRACEPARENT).unwrap();
    assert_ne!(headers.1, PARENT, "each stage has a span of its own in it");
    let text = metrics::text();
    for name in [
        "hubwarden_match_records_in_total{topic=\"events\"} 1",
        "hubwarden_match_records_out_total{topic=\"matches\"} 1",
        "hubwarden_match_rules_loaded 1",
        "hubwarden_match_rule_eval_duration_seconds_count 1",
        "hubwarden_match_event_time_lag_seconds{partition=\"0\"}",
        "hubwarden_correlate_records_in_total{topic=\"matches\"} 1",
        "hubwarden_correlate_records_out_total{topic=\"findings\"} 1",
        "hubwarden_correlate_findings_total{severity=\"high\"} 1",
        "hubwarden_correlate_outbox_depth_records{partition=\"0\"} 0",
        "hubwarden_correlate_state_commit_duration_seconds_count",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    running.shutdown().await.unwrap();
}
