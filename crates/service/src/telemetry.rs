//! Traces, metrics and logs: to a collector by OTLP where one is configured, to Prometheus and
//! standard error always.

mod fields;
mod lines;
pub(crate) mod names;
pub(crate) mod sampling;

use std::path::Path;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{ClientTls, Invalid, LogConfig, Validate, metrics};

/// What may be late when the process stops is given so long.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// A collector that does not answer an export within this time has failed it.
const EXPORT: Duration = Duration::from_secs(5);
/// Exporting traces of these would trace the exporter.
const EXPORTERS: [&str; 6] = ["h2", "hyper", "tonic", "reqwest", "tower", "opentelemetry"];

/// Section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Address of a collector that speaks OTLP over gRPC, such as `http://collector:4317`; empty: none.
    pub otlp: String,
    /// How many of the traces that begin here are exported, from 0 to 1; errors and findings always are.
    pub sample_ratio: f64,
    /// Name of this process among its replicas; empty: host name and process id.
    pub instance: String,
    /// How often metrics are sent to the collector, in seconds.
    pub metrics_every_s: u64,
    /// Certificates for an `https` collector.
    pub tls: Option<ClientTls>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp: String::new(),
            sample_ratio: 0.01,
            instance: String::new(),
            metrics_every_s: 15,
            tls: None,
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if !self.otlp.is_empty()
            && !["http://", "https://"].iter().any(|scheme| self.otlp.starts_with(scheme))
        {
            let reason = format!("`{}` is no address; write http://HOST:4317", self.otlp);
            return Err(Invalid::new("telemetry.otlp", reason));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(Invalid::new("telemetry.sample_ratio", "must be from 0 to 1"));
        }
        if self.metrics_every_s == 0 {
            return Err(Invalid::new("telemetry.metrics_every_s", "must be at least 1"));
        }
        match &self.tls {
            Some(tls) => tls.validate_at("telemetry.tls"),
            None => Ok(()),
        }
    }
}

impl TelemetryConfig {
    /// The same, relative files being taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        Self { tls: self.tls.map(|tls| tls.relative_to(folder)), ..self }
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The exporter refuses its settings.
    #[error("cannot export telemetry to {endpoint}; correct telemetry.otlp or leave it empty")]
    Exporter {
        /// The collector's address.
        endpoint: String,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// The exporters would never send.
    #[error(
        "telemetry.otlp needs a runtime with at least two worker threads; give this process two, or leave it empty"
    )]
    Runtime,
    /// What was pending could not be sent.
    #[error("the last telemetry did not reach the collector: {0}; nothing else is lost")]
    Shutdown(String),
}

/// Running telemetry; [`shutdown`](Self::shutdown) sends what is still pending.
#[derive(Debug)]
#[must_use = "shutdown sends what is still pending"]
pub struct Telemetry {
    traces: SdkTracerProvider,
    logs: Option<SdkLoggerProvider>,
}

/// Starts logs, metrics and traces for `service`, such as `hubwarden-collector`.
///
/// Call it once, inside a runtime with at least two worker threads, before any other work: what is
/// logged or counted before is lost. Where a subscriber is set already, that one stays.
///
/// # Errors
/// An address or certificates that cannot be used; an unreachable collector is no error.
pub fn init(
    service: &'static str,
    config: &TelemetryConfig,
    log: &LogConfig,
) -> Result<Telemetry, TelemetryError> {
    let resource = resource(service, config);
    let mut traces = SdkTracerProvider::builder()
        .with_sampler(sampling::Sampler::new(config.sample_ratio))
        .with_resource(resource.clone());
    let mut logs = None;
    let mut reader = None;
    if !config.otlp.is_empty() {
        let workers = tokio::runtime::Handle::try_current().map(|it| it.metrics().num_workers());
        if workers.unwrap_or(0) < 2 {
            return Err(TelemetryError::Runtime);
        }
        let exporters = exporters(config)?;
        let batches = BatchSpanProcessor::builder(exporters.spans).build();
        traces = traces.with_span_processor(sampling::Keeping::new(batches));
        let provider = SdkLoggerProvider::builder().with_resource(resource.clone());
        logs = Some(provider.with_batch_exporter(exporters.logs).build());
        let every = Duration::from_secs(config.metrics_every_s);
        reader = Some(PeriodicReader::builder(exporters.metrics).with_interval(every).build());
    }
    let traces = traces.build();
    metrics::install(resource, reader);
    let records = logs.as_ref().map(|provider| {
        use opentelemetry::logs::LoggerProvider as _;
        let own = filter_fn(|metadata: &Metadata<'_>| !is_exporter(metadata.target()));
        lines::Records::new(provider.logger("hubwarden")).with_filter(own.and(filter(log)))
    });
    let lines = lines::Lines::new(log.format, service, lines::StandardError);
    let set = tracing_subscriber::registry()
        .with(span_layer(traces.tracer("hubwarden")))
        .with(lines.with_filter(filter(log)))
        .with(records)
        .try_init();
    if set.is_err() {
        tracing::debug!("the program has a subscriber of its own; it stays");
    }
    Ok(Telemetry { traces, logs })
}

impl Telemetry {
    /// Sends what is pending, for at most five seconds; call it last.
    ///
    /// # Errors
    /// What could not be sent; the service itself has ended well.
    pub async fn shutdown(self) -> Result<(), TelemetryError> {
        // the providers block, and their exports need the runtime's threads
        let all = tokio::task::spawn_blocking(move || {
            let mut failed = Vec::new();
            failed.extend(self.traces.shutdown_with_timeout(SHUTDOWN).err().map(|e| e.to_string()));
            failed.extend(metrics::shutdown().err());
            if let Some(logs) = self.logs {
                failed.extend(logs.shutdown_with_timeout(SHUTDOWN).err().map(|e| e.to_string()));
            }
            failed
        });
        match tokio::time::timeout(SHUTDOWN, all).await {
            Ok(Ok(failed)) if failed.is_empty() => Ok(()),
            Ok(Ok(failed)) => Err(TelemetryError::Shutdown(failed.join(", "))),
            Ok(Err(panic)) => Err(TelemetryError::Shutdown(panic.to_string())),
            Err(_) => Err(TelemetryError::Shutdown("it took longer than 5 s".into())),
        }
    }
}

/// Sends log lines only to standard error from here on; a second call changes nothing.
pub(crate) fn init_lines(log: &LogConfig) {
    let lines = lines::Lines::new(log.format, "hubwarden", lines::StandardError);
    let set = tracing_subscriber::registry().with(lines.with_filter(filter(log))).try_init();
    // An embedding program or an earlier call has its own subscriber: that one stays.
    drop(set);
}

/// What is logged; `validate` has refused a filter that cannot be read.
fn filter(log: &LogConfig) -> EnvFilter {
    EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("warn"))
}

fn is_exporter(target: &str) -> bool {
    EXPORTERS.iter().any(|prefix| target.starts_with(prefix))
}

/// Makes our own spans from `info` on OpenTelemetry spans; an `error` inside marks them as failed.
pub(crate) fn span_layer<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Asked for every span: a fixed answer would be mixed up with that to `tracing::enabled!`, which
    // librdkafka's client asks when it is made, and the next span of the thread would be lost.
    let own = dynamic_filter_fn(|metadata: &Metadata<'_>, _| {
        let level = if metadata.is_span() { Level::INFO } else { Level::ERROR };
        *metadata.level() <= level && metadata.target().starts_with("hubwarden")
    });
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(own.with_max_level_hint(Level::INFO))
}

fn resource(service: &'static str, config: &TelemetryConfig) -> Resource {
    let instance = match config.instance.as_str() {
        "" => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        }
        instance => instance.to_owned(),
    };
    Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new(names::SERVICE_NAMESPACE, "hubwarden"),
            KeyValue::new(names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(names::SERVICE_INSTANCE_ID, instance),
        ])
        .build()
}

struct Exporters {
    spans: SpanExporter,
    metrics: MetricExporter,
    logs: LogExporter,
}

fn exporters(config: &TelemetryConfig) -> Result<Exporters, TelemetryError> {
    let tls = match (&config.tls, config.otlp.starts_with("https://")) {
        (Some(tls), true) => Some(tls.load()?),
        _ => None,
    };
    macro_rules! exporter {
        ($builder:expr) => {{
            let mut builder =
                $builder.with_tonic().with_endpoint(config.otlp.as_str()).with_timeout(EXPORT);
            if let Some(tls) = tls.clone() {
                builder = builder.with_tls_config(tls);
            }
            builder.build().map_err(|error| TelemetryError::Exporter {
                endpoint: config.otlp.clone(),
                source: Box::new(error),
            })?
        }};
    }
    Ok(Exporters {
        spans: exporter!(SpanExporter::builder()),
        metrics: exporter!(MetricExporter::builder()),
        logs: exporter!(LogExporter::builder()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogFormat;

    #[tokio::test]
    async fn one_worker_is_too_few_to_export() {
        let config = TelemetryConfig { otlp: "http://127.0.0.1:9".into(), ..Default::default() };
        let error = init("hubwarden-test", &config, &LogConfig::default()).unwrap_err();
        assert!(error.to_string().contains("two worker threads"), "{error}");
    }

    #[test]
    fn a_span_after_a_question_about_log_lines_is_not_lost() {
        let spans = sampling::tests::Exported::default();
        let traces = SdkTracerProvider::builder().with_span_processor(spans.clone()).build();
        let lines = lines::Lines::new(LogFormat::Json, "test", lines::StandardError);
        let log = LogConfig { filter: "info".into(), ..LogConfig::default() };
        let subscriber = tracing_subscriber::registry()
            .with(span_layer(traces.tracer("test")))
            .with(lines.with_filter(filter(&log)));
        tracing::subscriber::with_default(subscriber, || {
            for name in ["first", "second"] {
                assert!(tracing::enabled!(target: "librdkafka", Level::INFO));
                drop(tracing::info_span!("span", otel.name = name));
            }
        });
        assert_eq!(spans.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn senseless_values_name_their_key() {
        let fine = TelemetryConfig::default();
        fine.validate().unwrap();
        for (config, key) in [
            (TelemetryConfig { otlp: "collector:4317".into(), ..fine.clone() }, "telemetry.otlp"),
            (TelemetryConfig { sample_ratio: 1.5, ..fine.clone() }, "telemetry.sample_ratio"),
            (TelemetryConfig { metrics_every_s: 0, ..fine.clone() }, "telemetry.metrics_every_s"),
        ] {
            assert_eq!(config.validate().unwrap_err().key, key);
        }
    }
}
