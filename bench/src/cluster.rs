//! Stages and services on a real Kafka broker.

mod copy;
pub(crate) mod services;
pub(crate) mod stages;

use std::time::Instant;

use hubwarden_bus::kafka::Settings;
use hubwarden_event::{ContentType, Feed, RawRecord, RunId, Timestamp};
use hubwarden_testkit::Kafka;

/// A finding and a batch of records come from this connection.
const CONNECTION: &str = "bench";

/// How the product's clients reach this broker, with this before the name of every topic.
fn settings(kafka: &Kafka, prefix: &str) -> Settings {
    Settings {
        brokers: kafka.addresses(),
        replication: 1,
        topic_prefix: prefix.into(),
        ..Settings::default()
    }
}

/// The record of an event as it is pushed.
fn raw(payload: Vec<u8>) -> RawRecord {
    RawRecord {
        connection: CONNECTION.into(),
        feed: Feed::Import,
        run: RunId::new("import-bench"),
        source_id: hubwarden_collector::source_id(ContentType::Json, &payload),
        received_at: Timestamp::from_millis(1_790_000_000_000),
        content_type: ContentType::Json,
        payload: payload.into(),
        scrubs: Vec::new(),
        origin: None,
        damage: None,
    }
}

/// Commits of one stage: how many records so far, and when.
#[derive(Debug, Default)]
struct Commits(Vec<(Instant, u64)>);

impl Commits {
    fn add(&mut self, records: u64) {
        let so_far = self.total();
        self.0.push((Instant::now(), so_far + records));
    }

    fn total(&self) -> u64 {
        self.0.last().map_or(0, |(_, records)| *records)
    }

    /// Records a second behind the commit at this place: what came before it is start-up.
    fn rate(&self, from: usize) -> f64 {
        let (Some((began, before)), Some((ended, all))) = (self.0.get(from), self.0.last()) else {
            return f64::NAN;
        };
        (all - before) as f64 / (*ended - *began).as_secs_f64()
    }
}

/// The middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_came_before_the_first_commit_is_not_part_of_a_rate() {
        let began = Instant::now();
        let at = |seconds, records| (began + Duration::from_secs(seconds), records);
        let commits = Commits(vec![at(0, 500), at(1, 1500), at(4, 8500)]);
        assert_eq!(commits.rate(0), 2000.0);
        assert!(Commits::default().rate(0).is_nan());
        assert!(median(&mut []).is_nan());
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }
}
