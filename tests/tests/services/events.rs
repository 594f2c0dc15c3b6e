//! What stands in `events` at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hubwarden_bus::kafka::Settings;
use hubwarden_bus::{Bus, Delivered, Kafka as OnKafka, Limit, Positions, Source, topic};
use hubwarden_event::EventBody;
use hubwarden_testkit::Kafka;

/// For one batch, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bus that the services use.
pub(crate) async fn bus(kafka: &Kafka) -> OnKafka {
    let settings = Settings { brokers: kafka.addresses(), ..Settings::default() };
    let copies = if settings.brokers.len() < 3 { 1 } else { 3 };
    OnKafka::connect(Settings { replication: copies, ..settings }).await.unwrap()
}

/// All of `events` that is committed.
pub(crate) async fn events_of(kafka: &Kafka) -> Vec<Delivered> {
    let bus = bus(kafka).await;
    let ends = bus.ends().await.unwrap();
    let reached = |at: &Positions| {
        let mut ends = ends.iter().filter(|(of, _, _)| *of == topic::EVENTS);
        ends.all(|(of, partition, end)| at.get(of, partition) >= Some(end))
    };
    let mut reader = bus.reader("counted-by-the-test", &[topic::EVENTS]).unwrap();
    let mut all = Vec::new();
    while !reached(&reader.positions()) {
        let batch = tokio::time::timeout(PATIENCE, reader.next_batch(Limit::default())).await;
        all.extend(batch.unwrap().unwrap().records);
    }
    all
}

/// Fails when a record of `raw` was normalized twice.
///
/// The collector may write an event of its overlap again after a restart, and a normalizer that was
/// restarted too does not remember it; that is another record, and windows know its event by id.
pub(crate) fn every_raw_record_once(events: &[Delivered]) {
    let mut times: BTreeMap<(u32, u64), u32> = BTreeMap::new();
    for record in events {
        if let EventBody::Event(event) = hubwarden_proto::decode_event(record.body.clone()).unwrap()
        {
            *times.entry((event.position.partition, event.position.offset)).or_default() += 1;
        }
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{} of {} stand twice: {:?}", twice.len(), times.len(), twice[0]);
}

/// The longest time in which nothing was written to `events`, between two moments of Unix time.
pub(crate) fn longest_gap(events: &[Delivered], from_ms: i64, to_ms: i64) -> Duration {
    let within = |at: &i64| (from_ms..=to_ms).contains(at);
    let mut times: Vec<i64> =
        events.iter().map(|event| event.appended_at_ms).filter(within).collect();
    times.extend([from_ms, to_ms]);
    times.sort_unstable();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    Duration::from_millis(u64::try_from(gap.unwrap_or(0)).unwrap())
}
