//! What the console counts; names and meanings stand in `service::metrics::catalogue`.

use hubwarden_bus::{Batch, Delivered, Source};
use hubwarden_service::metrics::{self, CONSOLE, Counter, Cycle, Histogram, Taken, catalogue};

use crate::Intake;
use crate::consume::STAGE;

static STORED: Counter<1> = Counter::new(&catalogue::console::STORED);
static STORE_DURATION: Histogram<0> = Histogram::new(&catalogue::console::STORE_DURATION);

/// Begins a cycle with a batch.
pub(crate) fn cycle(batch: &Batch) -> Cycle {
    CONSOLE.cycle(
        STAGE,
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

/// How old the latest events of a batch are, a partition each.
pub(crate) fn event_time(batch: &Batch) {
    let mut told: Vec<u32> = Vec::new();
    for record in batch.records.iter().rev() {
        if told.contains(&record.partition) {
            continue;
        }
        if let Some(at) = occurred_at(record) {
            told.push(record.partition);
            CONSOLE.event_time_lag(record.partition, now_ms().saturating_sub(at) as f64 / 1000.0);
        }
    }
}

/// When the latest event of a finding happened.
fn occurred_at(record: &Delivered) -> Option<i64> {
    let finding = hubwarden_proto::decode_finding(record.body.clone()).ok()?;
    Some(finding.last_seen.as_millis())
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// How many findings of each severity are about to be stored.
pub(crate) fn severities(intake: &Intake) -> Vec<&'static str> {
    intake.findings.iter().map(|finding| finding.severity.as_str()).collect()
}

/// Findings of these severities are stored.
pub(crate) fn stored(severities: &[&str]) {
    severities.iter().for_each(|severity| STORED.add(1, [severity]));
}

/// Times one write into the store, until the guard is dropped.
pub(crate) fn storing() -> metrics::Timer<0> {
    STORE_DURATION.time([])
}

/// The owned partitions changed.
pub(crate) fn assigned(source: &impl Source) {
    let owned = source.assignment();
    let owned: Vec<_> = owned.iter().map(|(topic, partition)| (topic.name(), *partition)).collect();
    CONSOLE.assigned(&owned);
}

/// How much waits on the owned partitions, where the bus tells.
pub(crate) async fn lag(source: &impl Source) {
    let Ok(ends) = source.ends().await else { return };
    let at = source.positions();
    for (topic, partition, end) in ends.iter() {
        let stands = at.get(topic, partition).unwrap_or(0);
        CONSOLE.lag(topic.name(), partition, end.saturating_sub(stands));
    }
}
