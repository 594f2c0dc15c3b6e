//! Figures about a journal, for people and metrics.

use super::Journal;
use crate::Topic;

/// How full a journal is, and how far its stages are.
#[derive(Clone, Debug)]
pub struct Status {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that they may take.
    pub budget_bytes: u64,
    /// Bytes that are free on the disk; `None` when the system does not say.
    pub free_bytes: Option<u64>,
    /// Number of segments.
    pub segments: usize,
    /// When the oldest segment began, in milliseconds of Unix time.
    pub oldest_ms: i64,
    /// Every stage that has stored a position, with each topic that it reads.
    pub stages: Vec<Lag>,
    /// Why no more commits are taken, if so.
    pub closed: Option<String>,
}

/// How far a stage is behind on one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The stage.
    pub stage: String,
    /// A topic that it reads.
    pub topic: Topic,
    /// The partition of the topic.
    pub partition: u32,
    /// Its stored position.
    pub position: u64,
    /// One past the newest record.
    pub end: u64,
}

impl Lag {
    /// How many records are left to consume.
    pub fn records(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

impl Journal {
    /// How full the journal is, and how far its stages are.
    pub fn status(&self) -> Status {
        let shared = &self.handle.shared;
        let state = shared.read();
        let stages = state.stages.iter().flat_map(|(stage, positions)| {
            positions.iter().map(|(topic, partition, position)| Lag {
                stage: stage.to_string(),
                topic,
                partition,
                position,
                end: state.ends[topic.index()],
            })
        });
        Status {
            bytes: state.bytes(),
            budget_bytes: shared.options.budget_bytes,
            free_bytes: shared.files.free_bytes().ok(),
            segments: state.sealed.len() + 1,
            oldest_ms: state.oldest_segment().oldest_ms,
            stages: stages.collect(),
            closed: state.closed.clone(),
        }
    }

    /// How many records of a topic a stage has not consumed yet; all while it has stored nothing.
    pub fn backlog(&self, stage: &str, topic: Topic) -> u64 {
        let state = self.handle.shared.read();
        let stored = state.stages.get(stage).and_then(|stored| stored.get(topic, 0));
        state.ends[topic.index()].saturating_sub(stored.unwrap_or(0))
    }

    /// How far one stage is behind, for each topic that it reads.
    pub fn lag(&self, stage: &str) -> Vec<Lag> {
        let mut lag = self.status().stages;
        lag.retain(|lag| lag.stage == stage);
        lag
    }
}
