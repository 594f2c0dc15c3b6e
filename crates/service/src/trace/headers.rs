//! Trace context in the headers of records, requests and calls.

use axum::http::HeaderMap;
use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The W3C header that names trace and span.
pub const TRACEPARENT: &str = "traceparent";
/// The W3C header beside it with what vendors add.
pub const TRACESTATE: &str = "tracestate";
/// Headers of a record, as the bus keeps them.
pub type Headers = [(String, Bytes)];

/// Writes the present span's context into a record's headers, in place of what stands there.
pub fn inject(headers: &mut Vec<(String, Bytes)>) {
    inject_from(&Span::current(), headers);
}

/// Writes a span's context into a record's headers, in place of what stands there.
pub fn inject_from(span: &Span, headers: &mut Vec<(String, Bytes)>) {
    let context = span.context();
    // what is not sampled here is not followed anywhere: its records stay small
    if context.span().span_context().is_sampled() {
        headers.retain(|(name, _)| !is_trace_header(name));
        TraceContextPropagator::new().inject_context(&context, &mut RecordHeaders(headers));
    }
}

/// Writes a span's context into the headers of many records: the context is rendered once.
pub fn inject_all<'h>(span: &Span, all: impl Iterator<Item = &'h mut Vec<(String, Bytes)>>) {
    let mut context = Vec::new();
    inject_from(span, &mut context);
    if !context.is_empty() {
        all.for_each(|headers| pass_on(&context, headers));
    }
}

/// Copies a record's trace context, if it is sampled, to what was made of it where the record got no
/// span of its own.
pub fn pass_on(from: &Headers, to: &mut Vec<(String, Bytes)>) {
    if !is_sampled(from) {
        return;
    }
    let context: Vec<_> = from.iter().filter(|(name, _)| is_trace_header(name)).cloned().collect();
    if !context.is_empty() {
        to.retain(|(name, _)| !is_trace_header(name));
        to.extend(context);
    }
}

/// The trace context of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordContext(pub(super) SpanContext);

impl RecordContext {
    /// The id of the trace, in hex.
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// Whether its sender asked for the trace to be exported.
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }
}

/// The trace context in a record's headers; nothing where there is none or it is not well-formed.
pub fn extract(headers: &Headers) -> Option<RecordContext> {
    if !headers.iter().any(|(name, _)| name == TRACEPARENT) {
        return None;
    }
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &ReadHeaders(headers));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(RecordContext(span))
}

/// Whether the flags say so, without reading the rest: asked for every record.
pub(super) fn is_sampled(headers: &Headers) -> bool {
    let parent = headers.iter().find(|(name, _)| name == TRACEPARENT);
    let flags = parent.and_then(|(_, value)| value.get(53..55));
    flags.is_some_and(|flags| {
        matches!(flags[1], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f')
    })
}

fn is_trace_header(name: &str) -> bool {
    [TRACEPARENT, TRACESTATE].contains(&name)
}

struct RecordHeaders<'a>(&'a mut Vec<(String, Bytes)>);

impl Injector for RecordHeaders<'_> {
    fn set(&mut self, name: &str, value: String) {
        if !value.is_empty() {
            self.0.push((name.to_owned(), value.into()));
        }
    }
}

struct ReadHeaders<'a>(&'a Headers);

impl Extractor for ReadHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(have, _)| have == name)?;
        std::str::from_utf8(value).ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

pub(super) struct HttpHeaders<'a>(pub(super) &'a HeaderMap);

impl Extractor for HttpHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

/// The trace headers of the present span, for a call to another service.
pub(crate) fn outgoing() -> Vec<(String, String)> {
    struct Pairs(Vec<(String, String)>);
    impl Injector for Pairs {
        fn set(&mut self, name: &str, value: String) {
            self.0.push((name.to_owned(), value));
        }
    }
    let mut pairs = Pairs(Vec::new());
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut pairs);
    pairs.0.retain(|(_, value)| !value.is_empty());
    pairs.0
}
