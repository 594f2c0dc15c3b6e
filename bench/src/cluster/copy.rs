//! librdkafka's own loop: consume, produce the same bytes, commit both as one; no work between.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::Commits;
use crate::figure::Outcome;

/// A batch ends where those of the stages do.
const RECORDS: usize = 2000;
const BYTES: usize = 2 << 20;
/// So long a batch that has begun waits for more.
const LINGER: Duration = Duration::from_millis(5);
const CALL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// Copies so many records from topic to topic as a group of this name.
pub(super) fn copy(
    brokers: &[String],
    group: &str,
    from: &str,
    to: &str,
    records: u64,
) -> Outcome<Commits> {
    let consumer: BaseConsumer = reading(brokers, group).create()?;
    consumer.subscribe(&[from])?;
    let producer: ThreadedProducer<DefaultProducerContext> = writing(brokers, group).create()?;
    producer.init_transactions(CALL)?;
    let (mut commits, began) = (Commits::default(), Instant::now());
    while commits.total() < records {
        if began.elapsed() > PATIENCE {
            return Err(format!("{} of {records} records were copied", commits.total()).into());
        }
        let batch = gather(&consumer)?;
        if batch.is_empty() {
            continue;
        }
        producer.begin_transaction()?;
        let mut offsets = TopicPartitionList::new();
        for message in &batch {
            let mut record = BaseRecord::<[u8], [u8]>::to(to).partition(message.partition());
            record.key = message.key();
            record.payload = message.payload();
            while let Err((error, again)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                std::thread::sleep(Duration::from_millis(2)); // until the queue has room
                record = again;
            }
            let next = Offset::Offset(message.offset() + 1);
            let at = offsets.find_partition(from, message.partition());
            match at {
                Some(mut at) => at.set_offset(next)?,
                None => offsets.add_partition_offset(from, message.partition(), next)?,
            }
        }
        let group = consumer.group_metadata().ok_or("the consumer has no group")?;
        producer.send_offsets_to_transaction(&offsets, &group, CALL)?;
        producer.commit_transaction(CALL)?;
        commits.add(batch.len() as u64);
    }
    Ok(commits)
}

fn gather(consumer: &BaseConsumer) -> Outcome<Vec<OwnedMessage>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut until = None;
    while batch.len() < RECORDS && bytes < BYTES {
        let wait = until.map_or(Duration::from_millis(100), |until: Instant| {
            until.saturating_duration_since(Instant::now())
        });
        let Some(message) = consumer.poll(wait) else { break };
        let message = message?.detach();
        bytes += message.payload().map_or(0, <[u8]>::len);
        batch.push(message);
        until.get_or_insert_with(|| Instant::now() + LINGER);
    }
    Ok(batch)
}

/// As `hubwarden_bus::kafka` tells its clients.
fn reading(brokers: &[String], group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("bootstrap.servers", brokers.join(",").as_str()),
        ("group.id", group),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.wait.max.ms", "50"),
    ] {
        config.set(key, value);
    }
    config
}

fn writing(brokers: &[String], group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("bootstrap.servers", brokers.join(",").as_str()),
        ("transactional.id", group),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "zstd"),
        ("linger.ms", "5"),
        ("queue.buffering.max.kbytes", "131072"),
    ] {
        config.set(key, value);
    }
    config
}
