//! One trace over four services: from the request that brings an event to the finding of it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hubwarden_collector::files::Input;
use hubwarden_collector::{Import, ToServer, import};
use hubwarden_console::PostgresStore;
use hubwarden_event::{Finding, Severity, Timestamp};
use hubwarden_telemetry_tests::{Collector, attribute, spans};
use hubwarden_testkit::{INGEST_TOKEN, Kafka, Postgres, Services};
use hubwarden_tests::all_findings;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

/// The sender's trace and span; it asks for the trace to be exported.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// The four services, the way of the event and the exporters are given so long.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often what has arrived is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// The way through the services: each span is the child of the one before, the first of the client.
const WAY: [(&str, &str, Kind, &str); 6] = [
    ("hubwarden-collector", "hubwarden.v1.IngestService/Ingest", Kind::Server, ""),
    ("hubwarden-collector", "send hubwarden.raw.v1", Kind::Producer, "hubwarden.raw.v1"),
    ("hubwarden-normalizer", "process hubwarden.raw.v1", Kind::Consumer, "hubwarden.raw.v1"),
    ("hubwarden-detector", "process hubwarden.events.v1", Kind::Consumer, "hubwarden.events.v1"),
    ("hubwarden-detector", "process hubwarden.matches.v1", Kind::Consumer, "hubwarden.matches.v1"),
    ("hubwarden-console", "process hubwarden.findings.v1", Kind::Consumer, "hubwarden.findings.v1"),
];

/// Kinds of spans, by their numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Server = 2,
    Producer = 4,
    Consumer = 5,
}

type Span = (String, Value);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_trace_leads_from_the_request_to_the_finding() {
    let (kafka, postgres) =
        tokio::task::spawn_blocking(|| (Kafka::start(), Postgres::start())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path());
    let url = postgres.database();
    // Every root, so that the spans of batches arrive as well, with their links.
    let telemetry = format!("[telemetry]\notlp = {:?}\nsample_ratio = 1.0\n", collector.otlp());
    let mut services = Services::new(&kafka.addresses(), &telemetry);
    services.start_all(&url);
    let grpc = services.grpc("collector");

    let file = folder.path().join("event.json");
    let event = json!({
        "_document_id": "one-event", "@timestamp": 1_790_000_000_000_i64, "business": "octo",
        "action": "audit_log_streaming.destroy", "actor": "mallory",
        "audit_log_stream_sink": "Amazon S3",
    });
    std::fs::write(&file, event.to_string()).unwrap();
    let channel = Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await.unwrap();
    let headers = move |mut request: tonic::Request<()>| {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", format!("Bearer {INGEST_TOKEN}").parse().unwrap());
        metadata.insert("traceparent", format!("00-{TRACE}-{CLIENT}-01").parse().unwrap());
        Ok(request)
    };
    let mut to = ToServer::open(InterceptedService::new(channel, headers)).await.unwrap();
    let inputs = vec![Input::from_argument(file)];
    let run = Import::new("octo".into(), &inputs, Timestamp::from_millis(1_790_000_100_000));
    let stop = CancellationToken::new();
    let advance = import(inputs, &run, &mut to, |_| {}, &stop).await.unwrap();
    assert_eq!(advance.records, 1);
    drop(to); // the call ends, and with it its span

    let store = PostgresStore::connect(&url.into(), 2).await.unwrap();
    let began = Instant::now();
    let (finding, spans) = loop {
        services.check();
        let findings = all_findings(&store).await;
        let spans = spans(folder.path());
        if let ([finding], Some(_)) = (&findings[..], published(&spans, findings.first()))
            && let Some(way) = way(&spans)
            && way.iter().all(|(_, span)| batch(&spans, span).is_some() || !is_consumer(span))
        {
            break (finding.clone(), spans);
        }
        assert!(began.elapsed() < PATIENCE, "{findings:#?}: {spans:#?}");
        tokio::time::sleep(LOOK).await;
    };

    assert_eq!(finding.rule.name.as_str(), "audit-log-stream-destroyed");
    assert_eq!(finding.severity, Severity::Critical);
    let way = way(&spans).unwrap();
    for ((service, span), (_, name, kind, topic)) in way.iter().zip(WAY) {
        assert_eq!(span["kind"], kind as u64, "{service}: {name}");
        if !topic.is_empty() {
            assert_eq!(attribute(span, "messaging.system"), Some("kafka"), "{name}");
            assert_eq!(attribute(span, "messaging.destination.name"), Some(topic), "{name}");
        }
        if kind == Kind::Consumer {
            let (of, batch) = batch(&spans, span).unwrap();
            assert_eq!((of, &batch["name"]), (service, &span["name"]));
            assert_ne!(batch["traceId"], TRACE, "a batch has a trace of its own");
            assert_eq!(attribute(batch, "messaging.destination.name"), Some(topic));
        }
        eprintln!("{TRACE} {} {service}: {name}", span["spanId"]);
    }
    let (service, sent) = published(&spans, Some(&finding)).unwrap();
    assert_eq!(service, "hubwarden-detector");
    assert_eq!(attribute(sent, "messaging.system"), Some("kafka"));
    let link = links(sent).find(|link| link["traceId"] == TRACE).unwrap();
    assert_eq!(link["spanId"], way[4].1["spanId"], "what was made of the match");
    eprintln!("{} {service}: {} links to {link}", sent["traceId"], sent["name"]);
}

/// The spans of the way in the sender's trace, once all of them are there.
fn way(spans: &[Span]) -> Option<Vec<&Span>> {
    let mut way = Vec::new();
    follow(spans, CLIENT, &mut way).then_some(way)
}

/// Goes on from a span to its children, and back where there is no way to the end.
fn follow<'a>(spans: &'a [Span], from: &str, way: &mut Vec<&'a Span>) -> bool {
    let Some((service, name, ..)) = WAY.get(way.len()) else { return true };
    for span in spans {
        let (of, itself) = span;
        let fits = of == service && itself["name"] == *name && itself["traceId"] == TRACE;
        if fits && itself["parentSpanId"] == from {
            way.push(span);
            if follow(spans, itself["spanId"].as_str().unwrap(), way) {
                return true;
            }
            way.pop();
        }
    }
    false
}

fn is_consumer(span: &Value) -> bool {
    span["kind"] == Kind::Consumer as u64
}

fn links(span: &Value) -> impl Iterator<Item = &Value> {
    span["links"].as_array().into_iter().flatten()
}

/// The batch to which the record of this span belongs: it links to what the record carries, the
/// parent of the record's span.
fn batch<'a>(spans: &'a [Span], of_record: &Value) -> Option<(&'a String, &'a Value)> {
    let found = spans.iter().find(|(_, span)| {
        let mut links = links(span);
        span["name"] == of_record["name"]
            && links
                .any(|link| link["traceId"] == TRACE && link["spanId"] == of_record["parentSpanId"])
    });
    found.map(|(service, span)| (service, span))
}

/// The span of publishing a finding, which names it in a link.
fn published<'a>(spans: &'a [Span], finding: Option<&Finding>) -> Option<(&'a String, &'a Value)> {
    let id = finding?.id.as_str();
    let found = spans.iter().find(|(_, span)| {
        let named = |link: &Value| attribute(link, "hubwarden.finding.id") == Some(id);
        span["name"] == "send hubwarden.findings.v1" && links(span).any(named)
    });
    found.map(|(service, span)| (service, span))
}
