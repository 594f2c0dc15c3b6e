//! Records in tests, and waiting for them.

use hubwarden_bus::{Batch, Bus, Delivered, Error, Limit, Positions, Record, Source, Topic};

/// A record of partition 0.
pub fn record(topic: Topic, body: impl ToString) -> Record {
    let body = body.to_string();
    let key: String = body.chars().take(20).collect();
    Record::new(topic, format!("key of {key}"), body).at(0)
}

pub fn bodies(batch: &Batch) -> Vec<String> {
    let bodies =
        batch.records.iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap());
    bodies.collect()
}

/// Reads a topic from its oldest kept record to its end.
pub async fn read_all<B: Bus>(bus: &B, topic: Topic) -> Result<Vec<Delivered>, Error> {
    let ends = bus.ends().await?;
    let mut reader = bus.reader("read-all", &[topic])?;
    let mut records = Vec::new();
    while !reached(&reader.positions(), &ends, topic) {
        records.extend(any(&mut reader, Limit::default()).await?.records);
    }
    Ok(records)
}

fn reached(positions: &Positions, ends: &Positions, topic: Topic) -> bool {
    let mut ends = ends.iter().filter(|(of, _, _)| *of == topic);
    ends.all(|(_, partition, end)| positions.get(topic, partition) >= Some(end))
}

/// The next batch that is not empty, which must come soon.
pub async fn next(reader: &mut impl Source, limit: Limit) -> Result<Batch, Error> {
    loop {
        let batch = any(reader, limit).await?;
        if !batch.records.is_empty() {
            return Ok(batch);
        }
    }
}

/// The next batch, which must come soon and may be empty.
pub async fn any(reader: &mut impl Source, limit: Limit) -> Result<Batch, Error> {
    let batch = reader.next_batch(limit);
    let batch = tokio::time::timeout(std::time::Duration::from_secs(30), batch).await;
    batch.expect("a batch, since there are records")
}
