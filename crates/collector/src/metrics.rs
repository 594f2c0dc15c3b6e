//! What the collector counts; names and meanings stand in `service::metrics::catalogue`.

use hubwarden_bus::{Error, Record};
use hubwarden_event::RawRecord;
use hubwarden_service::metrics::{
    Age, COLLECTOR, Counter, Gauge, Step, Timer, Transaction, catalogue,
};

use crate::audit::Status;

static RECORDS_IN: Counter<1> = Counter::new(&catalogue::collector::RECORDS_IN);
static BYTES_IN: Counter<1> = Counter::new(&catalogue::collector::BYTES_IN);
static LAST_EVENT: Age<2> = Age::new(&catalogue::collector::LAST_EVENT_AGE);
static READ_THROUGH: Age<2> = Age::new(&catalogue::collector::READ_THROUGH_AGE);
static RATE_LIMIT: Gauge<1> = Gauge::new(&catalogue::collector::RATE_LIMIT);

/// The feed that is polled.
const POLLED: &str = "audit-rest";

/// A record came in.
pub(crate) fn received(record: &RawRecord) {
    let feed = record.feed.as_str();
    RECORDS_IN.add(1, [feed]);
    BYTES_IN.add(record.payload.len() as u64, [feed]);
}

/// Times a commit, until the guard is dropped.
pub(crate) fn committing() -> Timer<1> {
    COLLECTOR.time(Step::Commit)
}

/// Records of a commit with their bytes, by topic.
pub(crate) fn sums(records: &[Record]) -> Vec<(&'static str, usize, usize)> {
    let mut sums: Vec<(&'static str, usize, usize)> = Vec::new();
    for record in records {
        let (topic, bytes) = (record.topic.name(), record.key.len() + record.body.len());
        match sums.iter_mut().find(|(name, ..)| *name == topic) {
            Some((_, records, sum)) => (*records, *sum) = (*records + 1, *sum + bytes),
            None => sums.push((topic, 1, bytes)),
        }
    }
    sums
}

/// A commit has ended so.
pub(crate) fn ended(sums: &[(&'static str, usize, usize)], how: &Result<(), Error>) {
    match how {
        Ok(()) => {
            COLLECTOR.transaction(Transaction::Committed);
            for (topic, records, bytes) in sums {
                COLLECTOR.produced(topic, *records, *bytes);
            }
        }
        Err(Error::Fatal { .. }) => COLLECTOR.transaction(Transaction::Fenced),
        Err(_) => COLLECTOR.transaction(Transaction::Aborted),
    }
}

/// How far a polled source is; what is done with is shown no more.
pub(crate) fn source(status: &Status) {
    let Some(live) = status.feeds.iter().find(|feed| feed.name == "live") else { return };
    let labels = [status.connection.as_str(), POLLED];
    if let Some(at) = live.last_event_at {
        LAST_EVENT.was_at(at.as_millis(), labels);
    }
    if let Some(at) = live.through {
        READ_THROUGH.was_at(at.as_millis(), labels);
    }
    if let Some(left) = status.requests_left {
        RATE_LIMIT.set(left as f64, [&status.connection]);
    }
}

/// This process may not be the one that reads the connection any more.
pub(crate) fn forget(connection: &str) {
    LAST_EVENT.retain(|[name, _]| name != connection);
    READ_THROUGH.retain(|[name, _]| name != connection);
    RATE_LIMIT.retain(|[name]| name != connection);
}
