//! One root in a hundred, and always what failed or made a finding.

use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler as SdkSampler, SamplingDecision, SamplingResult, ShouldSample, Span, SpanData,
    SpanProcessor,
};

use super::names;

/// Follows the parent, else takes a ratio of roots; what is not taken is still recorded, so that
/// [`Keeping`] can decide when the span ends.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    ratio: f64,
}

impl Sampler {
    pub(crate) fn new(ratio: f64) -> Self {
        Self { ratio }
    }
}

impl ShouldSample for Sampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|context| context.span().span_context().is_valid());
        let (sampled, trace_state) = match parent {
            Some(context) => {
                let span = context.span();
                (span.span_context().is_sampled(), span.span_context().trace_state().clone())
            }
            None => {
                let roots = SdkSampler::TraceIdRatioBased(self.ratio);
                let result = roots.should_sample(None, trace_id, name, kind, attributes, links);
                let sampled = matches!(result.decision, SamplingDecision::RecordAndSample);
                (sampled, TraceState::default())
            }
        };
        let decision = match sampled || is_kept(attributes) {
            true => SamplingDecision::RecordAndSample,
            false => SamplingDecision::RecordOnly,
        };
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

fn is_kept(attributes: &[KeyValue]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.key.as_str() == names::KEEP && attribute.value == Value::Bool(true)
    })
}

/// Passes on what is sampled, and what turned out to have failed or to be marked as kept.
#[derive(Debug)]
pub(crate) struct Keeping<P> {
    next: P,
}

impl<P> Keeping<P> {
    pub(crate) fn new(next: P) -> Self {
        Self { next }
    }
}

impl<P: SpanProcessor> SpanProcessor for Keeping<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if !span.span_context.is_sampled() {
            let failed = matches!(span.status, Status::Error { .. });
            if !failed && !is_kept(&span.attributes) {
                return;
            }
            let context = &span.span_context;
            span.span_context = SpanContext::new(
                context.trace_id(),
                context.span_id(),
                context.trace_flags() | TraceFlags::SAMPLED,
                context.is_remote(),
                context.trace_state().clone(),
            );
        }
        self.next.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::trace;

    /// Takes sampled spans as an exporter would.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Exported(pub(crate) Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Exported {
        fn on_start(&self, _: &mut Span, _: &Context) {}
        fn on_end(&self, span: SpanData) {
            if span.span_context.is_sampled() {
                self.0.lock().unwrap().push(span);
            }
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// Runs `work` with spans sampled at this ratio and gives what would have been exported.
    pub(crate) fn exported(ratio: f64, work: impl FnOnce()) -> Vec<SpanData> {
        let spans = Exported::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::new(ratio))
            .with_span_processor(Keeping::new(spans.clone()))
            .build();
        let layer = crate::telemetry::span_layer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let spans = spans.0.lock().unwrap();
        spans.clone()
    }

    #[test]
    fn errors_and_findings_are_exported_whatever_the_ratio() {
        let spans = exported(0.0, || {
            drop(tracing::info_span!("quiet"));
            let failed = tracing::info_span!("failed");
            trace::failed(&failed, "bus");
            let kept = tracing::info_span!("finding");
            trace::keep(&kept);
            tracing::info_span!("logs").in_scope(|| tracing::error!("broken"));
        });
        let names: Vec<_> = spans.iter().map(|span| span.name.to_string()).collect();
        assert_eq!(names, ["logs", "finding", "failed"]);
        assert_eq!(exported(1.0, || drop(tracing::info_span!("quiet"))).len(), 1);
    }
}
