//! Log lines on standard error, and the same events as OTLP log records.

use std::io::Write;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::logs::SdkLogger;
use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::{FieldValue, Fields};
use crate::LogFormat;

/// Writes one line for each event.
pub(crate) struct Lines<W> {
    format: LogFormat,
    service: &'static str,
    to: W,
}

impl<W> Lines<W> {
    pub(crate) fn new(format: LogFormat, service: &'static str, to: W) -> Self {
        Self { format, service, to }
    }
}

/// Opens what a line is written to.
pub(crate) trait Open {
    fn open(&self) -> impl Write;
}

/// Standard error, locked for a line.
pub(crate) struct StandardError;

impl Open for StandardError {
    fn open(&self) -> impl Write {
        std::io::stderr().lock()
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Open + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let mut line = match self.format {
            LogFormat::Text => text(level, &fields),
            LogFormat::Json => json(self.service, event.metadata().target(), level, &fields),
        };
        line.push('\n');
        // where standard error is closed there is nobody to tell
        let _ = self.to.open().write_all(line.as_bytes());
    }
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn text(level: Level, fields: &Fields) -> String {
    let mut line = format!("{} {level:>5} {}", now(), fields.message);
    for (name, value) in &fields.others {
        line.push_str(&match value {
            FieldValue::Text(text) => format!(" {name}={text:?}").replace("\\\\", "\\"),
            FieldValue::Int(value) => format!(" {name}={value}"),
            FieldValue::Unsigned(value) => format!(" {name}={value}"),
            FieldValue::Float(value) => format!(" {name}={value}"),
            FieldValue::Bool(value) => format!(" {name}={value}"),
        });
    }
    line
}

fn json(service: &str, target: &str, level: Level, fields: &Fields) -> String {
    let mut line = Map::new();
    line.insert("time".into(), now().into());
    line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    line.insert("service".into(), service.into());
    line.insert("target".into(), target.into());
    line.insert("message".into(), fields.message.as_str().into());
    if let Some(span) = current_span() {
        line.insert("trace_id".into(), span.trace_id().to_string().into());
        line.insert("span_id".into(), span.span_id().to_string().into());
    }
    if !fields.others.is_empty() {
        let others = fields.others.iter().map(|(name, value)| {
            let value = match value {
                FieldValue::Text(text) => Value::from(text.as_str()),
                FieldValue::Int(value) => Value::from(*value),
                FieldValue::Unsigned(value) => Value::from(*value),
                FieldValue::Float(value) => Value::from(*value),
                FieldValue::Bool(value) => Value::from(*value),
            };
            ((*name).to_owned(), value)
        });
        line.insert("fields".into(), Value::Object(others.collect()));
    }
    Value::Object(line).to_string()
}

/// The span in which the thread works, if it belongs to a trace.
fn current_span() -> Option<SpanContext> {
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.clone())
    })
}

/// Hands each event to an OTLP logger.
pub(crate) struct Records {
    logger: SdkLogger,
}

impl Records {
    pub(crate) fn new(logger: SdkLogger) -> Self {
        Self { logger }
    }
}

impl<S> Layer<S> for Records
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut record = self.logger.create_log_record();
        record.set_timestamp(std::time::SystemTime::now());
        record.set_target(metadata.target().to_owned());
        let (number, name) = match *metadata.level() {
            Level::ERROR => (Severity::Error, "ERROR"),
            Level::WARN => (Severity::Warn, "WARN"),
            Level::INFO => (Severity::Info, "INFO"),
            Level::DEBUG => (Severity::Debug, "DEBUG"),
            Level::TRACE => (Severity::Trace, "TRACE"),
        };
        record.set_severity_number(number);
        record.set_severity_text(name);
        record.set_body(fields.message.into());
        for (name, value) in fields.others {
            let value = match value {
                FieldValue::Text(text) => AnyValue::from(text),
                FieldValue::Int(value) => AnyValue::from(value),
                FieldValue::Unsigned(value) => i64::try_from(value)
                    .map_or_else(|_| AnyValue::from(value.to_string()), AnyValue::from),
                FieldValue::Float(value) => AnyValue::from(value),
                FieldValue::Bool(value) => AnyValue::from(value),
            };
            record.add_attribute(name, value);
        }
        self.logger.emit(record); // the SDK adds the trace
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Open for Buffer {
        fn open(&self) -> impl Write {
            self.clone()
        }
    }

    fn written(format: LogFormat, work: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry()
            .with(crate::telemetry::span_layer(provider.tracer("test")))
            .with(Lines::new(format, "hubwarden-test", buffer.clone()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_is_one_line_with_its_trace_whatever_a_value_says() {
        let hostile = format!("x\n{{\"level\":\"error\"}}\u{1b}[2J{}", "y".repeat(9_000));
        let mut trace = String::new();
        let text = written(LogFormat::Json, || {
            tracing::info_span!("batch").in_scope(|| {
                trace = current_span().unwrap().trace_id().to_string();
                tracing::warn!(actor = %hostile, count = 3, ratio = 0.5, yes = true, "saw \n it");
            });
            tracing::info!("outside");
        });
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        let (inside, outside) = (&lines[0], &lines[1]);
        assert_eq!(inside["trace_id"], trace);
        assert_eq!(inside["span_id"].as_str().unwrap().len(), 16);
        assert_eq!((&inside["level"], &inside["message"]), (&"warn".into(), &"saw \\n it".into()));
        assert_eq!(inside["service"], "hubwarden-test");
        assert_eq!(inside["fields"]["count"], 3);
        assert_eq!(inside["fields"]["yes"], true);
        let actor = inside["fields"]["actor"].as_str().unwrap();
        assert!(actor.starts_with("x\\n{") && actor.len() <= 1024 + 8, "{actor}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(outside.get("trace_id").is_none(), "{outside}");
    }

    #[test]
    fn an_error_is_told_with_its_sources_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the stage stopped")]
        struct Outer(#[source] std::io::Error);
        let text = written(LogFormat::Text, || {
            let error = Outer(std::io::Error::other("disk\nfull"));
            tracing::error!(error = &error as &dyn std::error::Error, "giving up");
        });
        let end = " ERROR giving up error=\"the stage stopped: disk\\nfull\"\n";
        assert!(text.ends_with(end), "{text}");
    }
}
