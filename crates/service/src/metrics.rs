//! Counters, gauges and histograms that are declared in the [`catalogue`] and nowhere else.
//!
//! Instruments are statics. Until [`enable`] or [`telemetry::init`](crate::telemetry::init) has
//! run they cost an atomic load and count nothing.

pub mod catalogue;
mod cycle;
mod metric;
mod pace;
mod stage;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Encoder, Registry, TextEncoder};

pub use cycle::{Cycle, Made, Taken};
pub use metric::{Kind, Label, Metric, Unit, Values};
pub use pace::Pace;
pub use stage::{COLLECTOR, CONSOLE, CORRELATE, MATCH, NORMALIZER, Stage, Step, Transaction};

/// A gauge keeps no more series than this: what is beyond is not shown.
const MAX_SERIES: usize = 2_000;
/// A label's value is cut here.
const MAX_LABEL_BYTES: usize = 128;
/// What a label says when its value is none of those declared.
const OTHER: &str = "other";

struct Installed {
    provider: SdkMeterProvider,
    meter: Meter,
    registry: Registry,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Lets instruments count from here on, for [`text`] only; a second call changes nothing.
///
/// [`telemetry::init`](crate::telemetry::init) does this and more; tests use it alone.
pub fn enable() {
    install(Resource::builder().build(), None);
}

/// Lets instruments count, for [`text`] and for OTLP if there is a reader for it.
pub(crate) fn install(resource: Resource, otlp: Option<PeriodicReader<MetricExporter>>) {
    INSTALLED.get_or_init(|| {
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build();
        let mut builder = SdkMeterProvider::builder().with_resource(resource);
        match prometheus {
            Ok(reader) => builder = builder.with_reader(reader),
            Err(error) => tracing::error!(%error, "metrics cannot be shown to Prometheus"),
        }
        if let Some(reader) = otlp {
            builder = builder.with_reader(reader);
        }
        let provider = builder.build();
        let meter = provider.meter("hubwarden");
        Installed { provider, meter, registry }
    });
}

/// Sends what has been counted so far; blocks.
pub(crate) fn shutdown() -> Result<(), String> {
    let Some(installed) = INSTALLED.get() else { return Ok(()) };
    installed.provider.force_flush().map_err(|error| error.to_string())
}

/// Everything counted so far, as Prometheus reads it; empty before [`enable`].
pub fn text() -> String {
    let Some(installed) = INSTALLED.get() else { return String::new() };
    let mut bytes = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&installed.registry.gather(), &mut bytes) {
        tracing::error!(%error, "metrics cannot be written for Prometheus");
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// The labels with these values, in the order in which the catalogue declares them.
fn labelled<const N: usize>(metric: &'static Metric, values: [&str; N]) -> [KeyValue; N] {
    let mut labels = metric.labels.iter();
    values.map(|value| {
        let label = labels.next().expect("`new` has compared the numbers of labels");
        match label.values {
            Values::Fixed(known) => {
                let known = known.iter().find(|known| **known == value);
                KeyValue::new(label.name, *known.unwrap_or(&OTHER))
            }
            Values::Configured(_) => KeyValue::new(label.name, bounded(value).to_owned()),
        }
    })
}

fn bounded(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_LABEL_BYTES)]
}

/// Refuses, when the static is compiled, an instrument that is not as the catalogue says.
const fn checked<const N: usize>(metric: &'static Metric, kind: Kind) {
    assert!(metric.labels.len() == N, "the catalogue declares another number of labels");
    let same = matches!(
        (metric.kind, kind),
        (Kind::Counter, Kind::Counter)
            | (Kind::Gauge, Kind::Gauge)
            | (Kind::Histogram, Kind::Histogram)
    );
    assert!(same, "the catalogue declares another kind");
}

/// Counts things, with `N` labels.
#[derive(Debug)]
pub struct Counter<const N: usize> {
    metric: &'static Metric,
    instrument: OnceLock<opentelemetry::metrics::Counter<u64>>,
}

impl<const N: usize> Counter<N> {
    /// The counter of this entry of the catalogue.
    ///
    /// # Panics
    /// At compile time of a static, when the entry is of another kind or has other labels.
    pub const fn new(metric: &'static Metric) -> Self {
        checked::<N>(metric, Kind::Counter);
        Self { metric, instrument: OnceLock::new() }
    }

    /// Counts on; 0 makes the series exist, so that its first increase is seen.
    pub fn add(&self, count: u64, labels: [&str; N]) {
        let Some(installed) = INSTALLED.get() else { return };
        let instrument = self.instrument.get_or_init(|| {
            let builder = installed.meter.u64_counter(self.metric.name);
            builder
                .with_description(self.metric.meaning)
                .with_unit(self.metric.unit.as_ucum())
                .build()
        });
        instrument.add(count, &labelled(self.metric, labels));
    }
}

/// Measures a distribution, with `N` labels.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    metric: &'static Metric,
    instrument: OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

impl<const N: usize> Histogram<N> {
    /// The histogram of this entry of the catalogue.
    ///
    /// # Panics
    /// At compile time of a static, when the entry is of another kind or has other labels.
    pub const fn new(metric: &'static Metric) -> Self {
        checked::<N>(metric, Kind::Histogram);
        Self { metric, instrument: OnceLock::new() }
    }

    /// Takes one value; durations are seconds.
    pub fn record(&self, value: f64, labels: [&str; N]) {
        let Some(installed) = INSTALLED.get() else { return };
        let instrument = self.instrument.get_or_init(|| {
            let builder = installed.meter.f64_histogram(self.metric.name);
            builder
                .with_description(self.metric.meaning)
                .with_unit(self.metric.unit.as_ucum())
                .with_boundaries(self.metric.unit.boundaries())
                .build()
        });
        instrument.record(value, &labelled(self.metric, labels));
    }

    /// Takes the time from now until the guard is dropped.
    pub fn time(&'static self, labels: [&'static str; N]) -> Timer<N> {
        Timer { histogram: self, labels, from: Instant::now() }
    }
}

/// Records the time since it was made when it is dropped.
#[derive(Debug)]
#[must_use = "the time ends when this is dropped"]
pub struct Timer<const N: usize> {
    histogram: &'static Histogram<N>,
    labels: [&'static str; N],
    from: Instant,
}

impl<const N: usize> Drop for Timer<N> {
    fn drop(&mut self) {
        self.histogram.record(self.from.elapsed().as_secs_f64(), self.labels);
    }
}

/// Shows the present value of something, with `N` labels.
#[derive(Debug)]
pub struct Gauge<const N: usize> {
    metric: &'static Metric,
    /// Whether the values are moments, of which the age is shown.
    ages: bool,
    series: Mutex<BTreeMap<[String; N], f64>>,
    registered: OnceLock<()>,
}

impl<const N: usize> Gauge<N> {
    /// The gauge of this entry of the catalogue.
    ///
    /// # Panics
    /// At compile time of a static, when the entry is of another kind or has other labels.
    pub const fn new(metric: &'static Metric) -> Self {
        Self::of(metric, false)
    }

    const fn of(metric: &'static Metric, ages: bool) -> Self {
        checked::<N>(metric, Kind::Gauge);
        Self { metric, ages, series: Mutex::new(BTreeMap::new()), registered: OnceLock::new() }
    }

    /// The value from now on.
    pub fn set(&'static self, value: f64, labels: [&str; N]) {
        let key = labels.map(|label| bounded(label).to_owned());
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.len() < MAX_SERIES || series.contains_key(&key) {
            series.insert(key, value);
        }
        drop(series);
        self.register();
    }

    /// Drops the series for which `keep` is false, such as those of a partition that another
    /// replica owns now: otherwise its last value would stand for ever.
    pub fn retain(&'static self, keep: impl Fn(&[String; N]) -> bool) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|labels, _| keep(labels));
    }

    fn register(&'static self) {
        let Some(installed) = INSTALLED.get() else { return };
        self.registered.get_or_init(|| {
            let builder = installed.meter.f64_observable_gauge(self.metric.name);
            // the meter keeps the callback
            let _gauge = builder
                .with_description(self.metric.meaning)
                .with_unit(self.metric.unit.as_ucum())
                .with_callback(|observer| {
                    let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
                    for (labels, value) in series.iter() {
                        let labels = labels.each_ref().map(String::as_str);
                        let value = if self.ages { (now() - value).max(0.0) } else { *value };
                        observer.observe(value, &labelled(self.metric, labels));
                    }
                })
                .build();
        });
    }
}

/// Shows how long ago something was, at the moment of looking, with `N` labels.
///
/// A gauge that is set to an age would stand still exactly when nothing happens any more.
#[derive(Debug)]
pub struct Age<const N: usize>(Gauge<N>);

impl<const N: usize> Age<N> {
    /// The age of this entry of the catalogue.
    ///
    /// # Panics
    /// At compile time of a static, when the entry is no gauge or has other labels.
    pub const fn new(metric: &'static Metric) -> Self {
        Self(Gauge::of(metric, true))
    }

    /// It was at this moment, in milliseconds of Unix time.
    pub fn was_at(&'static self, unix_ms: i64, labels: [&str; N]) {
        self.0.set(unix_ms as f64 / 1000.0, labels);
    }

    /// Drops the series for which `keep` is false.
    pub fn retain(&'static self, keep: impl Fn(&[String; N]) -> bool) {
        self.0.retain(keep);
    }
}

/// Seconds of Unix time.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    static GAUGE: Gauge<2> = Gauge::new(&catalogue::match_input::LAG);

    #[test]
    fn counts_under_declared_names_with_closed_sets_of_labels() {
        static COUNTER: Counter<1> = Counter::new(&catalogue::match_output::RECORDS_OUT);
        static HISTOGRAM: Histogram<0> = Histogram::new(&catalogue::matching::EVALUATION);
        enable();
        COUNTER.add(2, ["matches"]);
        COUNTER.add(3, ["matches"]);
        COUNTER.add(1, ["octocat's own"]);
        HISTOGRAM.record(0.02, []);
        let text = text();
        for line in [
            "hubwarden_match_records_out_total{topic=\"matches\"} 5",
            "hubwarden_match_records_out_total{topic=\"other\"} 1",
            "hubwarden_match_rule_eval_duration_seconds_bucket{le=\"0.025\"} 1",
            "hubwarden_match_rule_eval_duration_seconds_bucket{le=\"0.01\"} 0",
            "# TYPE hubwarden_match_records_out_total counter",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("octocat"), "{text}");
    }

    #[test]
    fn a_gauge_forgets_what_is_owned_no_more() {
        enable();
        GAUGE.set(7.0, ["events", "3"]);
        GAUGE.set(9.0, ["events", "4"]);
        let line = |partition: u32| {
            let start = format!(
                "hubwarden_match_consumer_lag_records{{partition=\"{partition}\",topic=\"events\"}}"
            );
            text().lines().find_map(|line| Some(line.strip_prefix(&start)?.trim().to_owned()))
        };
        assert_eq!((line(3), line(4)), (Some("7".into()), Some("9".into())));
        GAUGE.retain(|[_, partition]| partition != "3");
        assert_eq!((line(3), line(4)), (None, Some("9".into())));
    }

    #[test]
    fn an_age_grows_while_nothing_happens() {
        static AGE: Age<1> = Age::new(&catalogue::correlate::SNAPSHOT_AGE);
        enable();
        AGE.was_at(jiff::Timestamp::now().as_millisecond() - 90_000, ["7"]);
        let shown = || {
            let start = "hubwarden_correlate_snapshot_age_seconds{partition=\"7\"} ";
            let text = text();
            let value = text.lines().find_map(|line| line.strip_prefix(start)).unwrap();
            value.parse::<f64>().unwrap()
        };
        let first = shown();
        assert!((90.0..100.0).contains(&first), "{first}");
        while shown() <= first {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_catalogue_follows_the_house_names() {
        let mut names = BTreeSet::new();
        for metric in catalogue::all() {
            let name = metric.name;
            assert!(names.insert(name), "{name} is declared twice");
            let fine = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(fine && name.starts_with("hubwarden_"), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let base = name.trim_end_matches("_total");
            match metric.unit {
                Unit::Seconds | Unit::Timestamp => assert!(base.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(base.contains("_bytes"), "{name}"),
                Unit::Records => assert!(base.contains("_records"), "{name}"),
                Unit::Count => {}
            }
            assert!(metric.meaning.ends_with('.'), "{name}");
            for label in metric.labels {
                let forbidden = ["actor", "repo", "address", "token", "user"];
                assert!(!forbidden.contains(&label.name), "{name}{{{}}}", label.name);
            }
        }
    }
}
