//! What several test files share: a forgetting disk, and a load whose traces can be checked.

#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod disk;
pub mod load;

use hubwarden_bus::{Batch, Bus, Delivered, Error, Limit, Record, Source, Topic};

pub fn record(topic: Topic, body: impl ToString) -> Record {
    let body = body.to_string();
    let key: String = body.chars().take(20).collect();
    Record::new(topic, format!("key of {key}"), body)
}

pub fn bodies(batch: &Batch) -> Vec<String> {
    let bodies =
        batch.records.iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap());
    bodies.collect()
}

/// Reads a topic from its oldest kept record to its end.
pub async fn read_all<B: Bus>(bus: &B, topic: Topic) -> Result<Vec<Delivered>, Error> {
    let mut reader = bus.reader("read-all", &[topic])?;
    let mut records = Vec::new();
    while reader.positions() != reader.ends() {
        records.extend(next(&mut reader, Limit::default()).await?.records);
    }
    Ok(records)
}

/// The next batch, which must come soon.
pub async fn next(reader: &mut impl Source, limit: Limit) -> Result<Batch, Error> {
    let batch = reader.next_batch(limit);
    let batch = tokio::time::timeout(std::time::Duration::from_secs(20), batch).await;
    batch.expect("a batch, since there are records")
}
