//! The bus: a log of records in topics, the port that stages use, and its implementations.
//!
//! A stage reads batches through [`Source`] and answers each with one [`Sink::commit`] that holds
//! its outputs and what it consumed: both or neither. The bus moves bytes and knows no domain
//! types. [`Memory`] lives and dies with the process, [`Journal`] in a folder, [`Kafka`] on a cluster.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod error;
mod journal;
pub mod kafka;
mod memory;
mod partition;
mod patient;
mod port;
mod positions;
pub mod topic;

pub use config::BusConfig;
pub use error::Error;
pub use journal::{
    Clock, Damage, File, Files, Journal, JournalReader, JournalWriter, Lag, Options, Repair,
    Repaired, Status,
};
pub use kafka::{Kafka, KafkaReader, KafkaWriter};
pub use memory::{Memory, MemoryReader, MemoryWriter};
pub use partition::partition_of;
pub use patient::commit_when_room;
pub use port::{Batch, Bus, Delivered, Limit, MAX_BODY, MAX_LABELS, Member, Record, Sink, Source};
pub use positions::Positions;
pub use topic::Topic;
