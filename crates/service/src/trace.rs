//! Trace context in record headers, and the spans of everything that moves records or answers calls.
//!
//! A batch has a span of its own that links to the contexts of its records. A record whose sender
//! asked for a trace has its spans in that trace, at most [`RECORDS_PER_SECOND`] of them.

mod headers;

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::telemetry::names;
use headers::{HttpHeaders, is_sampled};

pub(crate) use headers::outgoing;
pub use headers::{
    Headers, RecordContext, TRACEPARENT, TRACESTATE, extract, inject, inject_all, inject_from,
    pass_on,
};

/// No more spans of single records than this are made in a second.
pub const RECORDS_PER_SECOND: u32 = 100;
/// A span links to no more records than this.
const MAX_LINKS: usize = 128;

/// Where records move: goes into the attributes of every span about them.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition, where there is just one.
    pub partition: Option<u32>,
    /// The consumer group or stage that reads, if this is about reading.
    pub group: Option<&'a str>,
}

/// A kind of bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Apache Kafka.
    Kafka,
    /// The embedded log, in memory or on disk.
    Log,
}

static SYSTEM: OnceLock<System> = OnceLock::new();

/// Says on which kind of bus this process works, once, where `main` chooses it; until then spans
/// name the embedded log.
pub fn set_system(system: System) {
    // a process has one bus: what came first stays
    let _ = SYSTEM.set(system);
}

impl Channel<'_> {
    fn attributes(&self, span: &Span, operation: &'static str, kind: &'static str) {
        span.set_attribute(
            names::MESSAGING_SYSTEM,
            match SYSTEM.get() {
                Some(System::Kafka) => "kafka",
                Some(System::Log) | None => "hubwarden_log",
            },
        );
        span.set_attribute(names::MESSAGING_OPERATION_NAME, operation);
        span.set_attribute(names::MESSAGING_OPERATION_TYPE, kind);
        span.set_attribute(names::MESSAGING_DESTINATION_NAME, self.topic.to_owned());
        if let Some(partition) = self.partition {
            span.set_attribute(names::MESSAGING_DESTINATION_PARTITION_ID, partition.to_string());
        }
        if let Some(group) = self.group {
            span.set_attribute(names::MESSAGING_CONSUMER_GROUP_NAME, group.to_owned());
        }
    }
}

/// The span of committing `count` records, inside the present one.
pub fn send(channel: &Channel<'_>, count: usize) -> Span {
    let name = format!("send {}", channel.topic);
    let span = tracing::info_span!("send", otel.name = name, otel.kind = "producer");
    channel.attributes(&span, "send", "send");
    span.set_attribute(names::MESSAGING_BATCH_MESSAGE_COUNT, as_int(count));
    span
}

/// Lets the span of publishing findings lead to what they were made of: a link to the trace of
/// each, with its id, for the first hundred or so whose sender asked for a trace.
pub fn link_findings<'h>(span: &Span, findings: impl IntoIterator<Item = (&'h str, &'h Headers)>) {
    let sampled = findings.into_iter().filter(|(_, headers)| is_sampled(headers));
    for (id, headers) in sampled.take(MAX_LINKS) {
        if let Some(context) = extract(headers) {
            let id = KeyValue::new(names::FINDING_ID, id.to_owned());
            span.add_link_with_attributes(context.0, vec![id]);
        }
    }
}

/// The span of waiting for a batch and taking it; it begins a trace of its own.
pub fn poll(channel: &Channel<'_>) -> Span {
    let name = format!("poll {}", channel.topic);
    let span = tracing::info_span!(parent: None, "poll", otel.name = name, otel.kind = "client");
    channel.attributes(&span, "poll", "receive");
    span
}

/// The span of working through a batch: a trace of its own that links to the traces of its records.
pub fn process<'h>(
    channel: &Channel<'_>,
    count: usize,
    headers: impl IntoIterator<Item = &'h Headers>,
) -> Span {
    let name = format!("process {}", channel.topic);
    let span =
        tracing::info_span!(parent: None, "process", otel.name = name, otel.kind = "consumer");
    channel.attributes(&span, "process", "process");
    span.set_attribute(names::MESSAGING_BATCH_MESSAGE_COUNT, as_int(count));
    let sampled = headers.into_iter().filter(|headers| is_sampled(headers));
    for context in sampled.filter_map(extract).take(MAX_LINKS) {
        span.add_link(context.0);
    }
    span
}

/// The span of one record, in its sender's trace; nothing if the sender did not ask for a trace or
/// there have been enough in this second.
///
/// Enter it or [`inject_from`] it, so that what is made of the record stays in that trace.
pub fn record(channel: &Channel<'_>, offset: Option<u64>, headers: &Headers) -> Option<Span> {
    static RATE: Rate = Rate::new(RECORDS_PER_SECOND);
    if !is_sampled(headers) || !RATE.allows(Instant::now()) {
        return None;
    }
    let context = extract(headers)?;
    let name = format!("process {}", channel.topic);
    let span =
        tracing::info_span!(parent: None, "process", otel.name = name, otel.kind = "consumer");
    set_parent(&span, Context::new().with_remote_span_context(context.0));
    channel.attributes(&span, "process", "process");
    if let Some(offset) = offset {
        span.set_attribute(
            names::MESSAGING_KAFKA_OFFSET,
            i64::try_from(offset).unwrap_or(i64::MAX),
        );
    }
    Some(span)
}

/// The span of an HTTP request, in the trace of its headers or in a new one; `route` is the
/// pattern, not the path.
pub fn http(method: &str, route: &str, headers: &HeaderMap) -> Span {
    let name = format!("{method} {route}");
    let span = tracing::info_span!(parent: None, "http", otel.name = name, otel.kind = "server");
    set_parent(&span, TraceContextPropagator::new().extract(&HttpHeaders(headers)));
    span.set_attribute(names::HTTP_REQUEST_METHOD, method.to_owned());
    span.set_attribute(names::HTTP_ROUTE, route.to_owned());
    span
}

/// The status with which an HTTP request was answered; from 500 on the span has failed.
pub fn http_status(span: &Span, status: u16) {
    span.set_attribute(names::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
    if status >= 500 {
        failed(span, "http");
    }
}

/// The span of a gRPC call, in the trace of its metadata or in a new one.
pub(crate) fn rpc(method: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        parent: None, "rpc", otel.name = method, otel.kind = "server", caller = Empty);
    set_parent(&span, TraceContextPropagator::new().extract(&HttpHeaders(headers)));
    span.set_attribute(names::RPC_SYSTEM_NAME, "grpc");
    span.set_attribute(names::RPC_METHOD, method.to_owned());
    span
}

/// Marks a span as failed: it is exported whatever the sampling says. The type is from a closed set.
pub fn failed(span: &Span, error_type: &'static str) {
    span.set_attribute(names::ERROR_TYPE, error_type);
    span.set_status(Status::error(error_type));
}

/// Marks a span, such as one that made a finding, as exported whatever the sampling says.
pub fn keep(span: &Span) {
    span.set_attribute(names::KEEP, true);
}

/// The id of the trace in which this thread works, in hex.
pub fn current_trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    span.span_context().is_valid().then(|| span.span_context().trace_id().to_string())
}

fn set_parent(span: &Span, parent: Context) {
    // without a subscriber for traces there is no trace to belong to
    let _ = span.set_parent(parent);
}

fn as_int(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// At most so many in each second.
struct Rate {
    most: u32,
    second: Mutex<Option<(Instant, u32)>>,
}

impl Rate {
    const fn new(most: u32) -> Self {
        Self { most, second: Mutex::new(None) }
    }

    fn allows(&self, now: Instant) -> bool {
        let Ok(mut second) = self.second.lock() else { return false };
        let (began, used) = match *second {
            Some((began, used)) if now.duration_since(began) < Duration::from_secs(1) => {
                (began, used)
            }
            _ => (now, 0),
        };
        let allowed = used < self.most;
        *second = Some((began, used + u32::from(allowed)));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opentelemetry::trace::{SpanId, SpanKind};

    use super::*;
    use crate::telemetry::sampling::tests::exported;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const CHANNEL: Channel<'static> =
        Channel { topic: "hubwarden.raw.v1", partition: Some(3), group: Some("normalizer") };

    fn headers(traceparent: &str) -> Vec<(String, Bytes)> {
        vec![
            ("other".into(), "x".into()),
            (TRACEPARENT.into(), Bytes::copy_from_slice(traceparent.as_bytes())),
            (TRACESTATE.into(), "vendor=1".into()),
        ]
    }

    #[test]
    fn a_batch_links_to_its_records_and_a_record_stays_in_its_trace() {
        let incoming = headers(SAMPLED);
        let unsampled = headers(&SAMPLED.replace("-01", "-00"));
        let mut outgoing = vec![(TRACEPARENT.to_owned(), Bytes::from("old"))];
        let spans = exported(1.0, || {
            let batch = process(&CHANNEL, 2, [incoming.as_slice(), &unsampled, &[]]);
            batch.in_scope(|| {
                assert!(record(&CHANNEL, Some(7), &unsampled).is_none());
                let one = record(&CHANNEL, Some(7), &incoming).unwrap();
                inject_from(&one, &mut outgoing);
                one.in_scope(|| drop(send(&CHANNEL, 1)));
            });
        });
        let [sent, one, batch] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(batch.name, "process hubwarden.raw.v1");
        assert_eq!(
            (batch.parent_span_id, batch.span_kind.clone()),
            (SpanId::INVALID, SpanKind::Consumer)
        );
        let links: Vec<_> =
            batch.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
        assert_eq!(links, ["0af7651916cd43dd8448eb211c80319c"], "only what is sampled is linked");
        assert_ne!(batch.span_context.trace_id().to_string(), links[0]);
        assert_eq!(one.span_context.trace_id().to_string(), links[0]);
        assert_eq!(one.parent_span_id.to_string(), "b7ad6b7169203331");
        assert!(one.parent_span_is_remote);
        assert_eq!(sent.parent_span_id, one.span_context.span_id());
        let passed = extract(&outgoing).unwrap();
        assert_eq!(passed.0.span_id(), one.span_context.span_id());
        assert_eq!(passed.0.trace_state().header(), "vendor=1");
        assert_eq!(outgoing.iter().filter(|(name, _)| name == TRACEPARENT).count(), 1);
        let attribute = |name| {
            let all = one.attributes.iter();
            all.clone().find(|have| have.key.as_str() == name).map(|have| have.value.to_string())
        };
        for (name, value) in [
            ("messaging.system", "hubwarden_log"),
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", "hubwarden.raw.v1"),
            ("messaging.destination.partition.id", "3"),
            ("messaging.consumer.group.name", "normalizer"),
            ("messaging.kafka.offset", "7"),
        ] {
            assert_eq!(attribute(name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn publishing_leads_to_the_traces_of_the_findings() {
        let (asked, not) = (headers(SAMPLED), headers(&SAMPLED.replace("-01", "-00")));
        let findings = [("f-1", &asked[..]), ("f-2", &not), ("f-3", &[])];
        let spans = exported(1.0, || link_findings(&send(&CHANNEL, 3), findings));
        let [sent] = &spans[..] else { panic!("{spans:?}") };
        let [link] = &sent.links.links[..] else { panic!("{:?}", sent.links) };
        assert_eq!(link.span_context.span_id().to_string(), "b7ad6b7169203331");
        let id = link.attributes.iter().find(|have| have.key.as_str() == names::FINDING_ID);
        assert_eq!(id.unwrap().value.to_string(), "f-1");
    }

    #[test]
    fn a_header_that_is_no_context_is_ignored() {
        for text in [
            "",
            "x",
            "00-0-0-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "\u{fe}",
        ] {
            assert_eq!(extract(&headers(text)), None, "{text}");
        }
        assert_eq!(extract(&[]), None);
        assert!(extract(&headers(SAMPLED)).unwrap().is_sampled());
        let mut to = Vec::new();
        pass_on(&headers(SAMPLED), &mut to);
        assert_eq!(to.len(), 2, "the record's other headers are its own");
    }

    #[test]
    fn without_a_span_nothing_is_written() {
        let mut untouched = headers(SAMPLED);
        inject(&mut untouched);
        assert_eq!(untouched, headers(SAMPLED));
    }

    #[test]
    fn an_http_request_goes_on_with_its_callers_trace() {
        let mut map = HeaderMap::new();
        map.insert(TRACEPARENT, SAMPLED.parse().unwrap());
        let spans = exported(0.0, || {
            http_status(&http("POST", "/services/collector", &map), 200);
            http_status(&http("POST", "/webhook", &HeaderMap::new()), 503);
            http_status(&http("POST", "/webhook", &HeaderMap::new()), 200);
        });
        let [asked, failed] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(asked.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(asked.name, "POST /services/collector");
        assert_eq!(failed.name, "POST /webhook");
    }

    #[test]
    fn no_more_than_so_many_in_a_second() {
        let rate = Rate::new(3);
        let from = Instant::now();
        let allowed =
            |after| (0..5).filter(|_| rate.allows(from + Duration::from_millis(after))).count();
        assert_eq!((allowed(0), allowed(999), allowed(1000), allowed(5000)), (3, 0, 3, 3));
    }
}
