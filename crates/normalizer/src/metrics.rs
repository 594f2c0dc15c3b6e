//! What the normalizer counts; names and meanings stand in `service::metrics::catalogue`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use hubwarden_bus::{Batch, Record, Source};
use hubwarden_event::Timestamp;
use hubwarden_service::metrics::{Counter, Cycle, Made, NORMALIZER, Stage, Taken, catalogue};

use crate::Counts;
use crate::run::STAGE;

static REJECTED: Counter<0> = Counter::new(&catalogue::normalizer::REJECTED);
static DUPLICATE: Counter<0> = Counter::new(&catalogue::normalizer::DUPLICATE);

/// Begins a cycle with a batch.
pub(crate) fn cycle(batch: &Batch) -> Cycle {
    NORMALIZER.cycle(
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

/// How old the latest event of each partition is.
pub(crate) fn event_time(latest: &BTreeMap<u32, Timestamp>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    for (partition, at) in latest {
        NORMALIZER.event_time_lag(*partition, now.saturating_sub(at.as_millis()) as f64 / 1000.0);
    }
}

/// What a durable batch held.
pub(crate) fn counted(counts: &Counts) {
    REJECTED.add(counts.rejected, []);
    DUPLICATE.add(counts.repeats, []);
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
