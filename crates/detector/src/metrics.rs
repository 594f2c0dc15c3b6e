//! What match and correlate count; names and meanings stand in `service::metrics::catalogue`.

use std::time::{SystemTime, UNIX_EPOCH};

use hubwarden_bus::{Batch, Delivered, Record, Source, topic};
use hubwarden_event::{EventBody, MatchBody};
use hubwarden_proto as proto;
use hubwarden_service::metrics::{
    Age, CORRELATE, Counter, Cycle, Gauge, Histogram, Made, Stage, Taken, Timer, Transaction,
    catalogue,
};
use hubwarden_service::trace::{self, Channel};
use tracing::Span;

static DEAD: Counter<0> = Counter::new(&catalogue::matching::REJECTED);
static EVALUATION: Histogram<0> = Histogram::new(&catalogue::matching::EVALUATION);
static RULES: Gauge<0> = Gauge::new(&catalogue::matching::RULES);
static REJECTED: Counter<0> = Counter::new(&catalogue::correlate::REJECTED);
static STATE_COMMIT: Histogram<0> = Histogram::new(&catalogue::correlate::STATE_COMMIT);
static SNAPSHOT_AGE: Age<1> = Age::new(&catalogue::correlate::SNAPSHOT_AGE);
static OUTBOX: Gauge<1> = Gauge::new(&catalogue::correlate::OUTBOX);
static FINDINGS: Counter<1> = Counter::new(&catalogue::correlate::FINDINGS);

/// Begins a cycle of a stage with a batch.
pub(crate) fn cycle(stage: &'static Stage, name: &str, batch: &Batch) -> Cycle {
    stage.cycle(
        name,
        batch.records.iter().map(|record| Taken {
            topic: record.topic.name(),
            partition: record.partition,
            position: record.position,
            bytes: record.size(),
            appended_at_ms: record.appended_at_ms,
            headers: &record.headers,
        }),
    )
}

/// Gives every record the context in which this stage works on it, for what is made of it.
pub(crate) fn carry(cycle: &Cycle, batch: &mut Batch) {
    for (place, record) in batch.records.iter_mut().enumerate() {
        let from = std::mem::take(&mut record.headers);
        cycle.carry(place, &from, &mut record.headers);
    }
}

/// How old the latest events of a batch are, a partition each.
pub(crate) fn event_time(stage: &'static Stage, batch: &Batch) {
    let mut told: Vec<u32> = Vec::new();
    for record in batch.records.iter().rev() {
        if told.contains(&record.partition) {
            continue;
        }
        if let Some(at) = occurred_at(record) {
            told.push(record.partition);
            stage.event_time_lag(record.partition, now_ms().saturating_sub(at) as f64 / 1000.0);
        }
    }
}

/// When the event of a record happened; marks have no such time.
fn occurred_at(record: &Delivered) -> Option<i64> {
    if record.topic == topic::EVENTS {
        match proto::decode_event(record.body.clone()) {
            Ok(EventBody::Event(event)) => Some(event.occurred_at.as_millis()),
            _ => None,
        }
    } else {
        match proto::decode_match(record.body.clone()) {
            Ok(MatchBody::Match(one)) => Some(one.occurred_at.as_millis()),
            _ => None,
        }
    }
}

/// Events that became dead letters.
pub(crate) fn dead(events: u64) {
    DEAD.add(events, []);
}

/// Records of `matches` that were left out.
pub(crate) fn left_out(records: u64) {
    REJECTED.add(records, []);
}

/// Times all rules over one batch, until the guard is dropped.
pub(crate) fn evaluating() -> Timer<0> {
    EVALUATION.time([])
}

/// So many rules judge from now on.
pub(crate) fn rules(count: usize) {
    RULES.set(count as f64, []);
}

/// Times one transaction of a state file, until the guard is dropped.
pub(crate) fn storing() -> Timer<0> {
    STATE_COMMIT.time([])
}

/// So many findings of a partition wait to be published.
pub(crate) fn outbox(partition: u32, findings: usize) {
    OUTBOX.set(findings as f64, [&partition.to_string()]);
}

/// The span of publishing these findings, with a link to the trace of each: exported whatever the
/// sampling says, if there are any.
pub(crate) fn publishing(findings: &[Record]) -> Span {
    let channel = Channel { topic: topic::FINDINGS.name(), partition: None, group: None };
    let span = trace::send(&channel, findings.len());
    if !findings.is_empty() {
        trace::keep(&span);
    }
    let traced = findings.iter().filter_map(|finding| {
        let id = std::str::from_utf8(&finding.key).ok()?; // ids are ASCII
        Some((id, &finding.headers[..]))
    });
    trace::link_findings(&span, traced);
    span
}

/// Findings that are about to be committed.
pub(crate) struct Published {
    severities: Vec<&'static str>,
    bytes: usize,
}

impl Published {
    pub(crate) fn of(records: &[Record]) -> Self {
        let severity = |record: &Record| {
            // what the state file holds was encoded here
            let finding = proto::decode_finding(record.body.clone());
            finding.map_or("other", |finding| finding.severity.as_str())
        };
        let bytes = made(records).map(|made| made.bytes).sum();
        Self { severities: records.iter().map(severity).collect(), bytes }
    }

    /// They are on the bus.
    pub(crate) fn counted(&self) {
        CORRELATE.transaction(Transaction::Committed);
        CORRELATE.produced(topic::FINDINGS.name(), self.severities.len(), self.bytes);
        self.severities.iter().for_each(|severity| FINDINGS.add(1, [severity]));
    }
}

/// A snapshot of a partition has just been stored.
pub(crate) fn snapshot(partition: u32) {
    SNAPSHOT_AGE.was_at(now_ms(), [&partition.to_string()]);
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// These partitions are owned now: the gauges of all others are forgotten.
pub(crate) fn owned(partitions: &[u32]) {
    let owned: Vec<String> = partitions.iter().map(u32::to_string).collect();
    OUTBOX.retain(|[partition]| owned.contains(partition));
    SNAPSHOT_AGE.retain(|[partition]| owned.contains(partition));
}

/// The owned partitions changed.
pub(crate) fn assigned(stage: &'static Stage, source: &impl Source) {
    let owned = source.assignment();
    let owned: Vec<_> = owned.iter().map(|(topic, partition)| (topic.name(), *partition)).collect();
    stage.assigned(&owned);
}

/// How much waits on the owned partitions, where the bus tells.
pub(crate) async fn lag(stage: &'static Stage, source: &impl Source) {
    let Ok(ends) = source.ends().await else { return };
    let at = source.positions();
    for (topic, partition, end) in ends.iter() {
        let stands = at.get(topic, partition).unwrap_or(0);
        stage.lag(topic.name(), partition, end.saturating_sub(stands));
    }
}

/// What is about to be committed.
pub(crate) fn made(records: &[Record]) -> impl Iterator<Item = Made<'_>> {
    records.iter().map(|record| {
        let headers = record.headers.iter().map(|(name, value)| name.len() + value.len());
        let bytes = record.key.len() + record.body.len() + headers.sum::<usize>();
        Made { topic: record.topic.name(), bytes }
    })
}
