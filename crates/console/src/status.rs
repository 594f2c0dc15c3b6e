use std::sync::Arc;

use hubwarden_event::{RulesStatus, SourceStatus, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StagePoint;
use crate::letters::TopicView;

/// Gives the present state of the pipeline; asked for every overview, so it must be quick.
pub type StatusProvider = Arc<dyn Fn() -> Status + Send + Sync>;

/// Whether Hubwarden sees what it should see.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Status {
    /// Everything that is read, one entry a feed and scope.
    pub sources: Vec<SourceStatus>,
    /// The rules that judge.
    pub rules: RulesStatus,
    /// The stages and what they have not consumed yet.
    pub stages: Vec<StageStatus>,
}

/// One stage of the pipeline, all its replicas together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// Records on the bus that it has not consumed.
    pub lag: u64,
    /// For how many seconds the oldest of them has waited at least; unknown before the first look.
    pub behind_s: Option<u64>,
    /// Records a second that came for it over the last minute.
    pub in_per_s: Option<f64>,
    /// Records a second that it consumed over the last minute.
    pub out_per_s: Option<f64>,
    /// The processes that read for it.
    pub members: Vec<MemberStatus>,
    /// The partitions of its topic.
    pub partitions: Vec<PartitionStatus>,
}

impl StageStatus {
    /// The partitions that stand still although there is something to read.
    pub fn standing(&self) -> impl Iterator<Item = &PartitionStatus> {
        self.partitions.iter().filter(|partition| partition.stands_since.is_some())
    }
}

/// The stages, their last hour, and what could not be read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PipelineStatus {
    /// When the bus was last looked at.
    pub looked_at: Option<Timestamp>,
    /// Every stage, in the order of the line.
    pub stages: Vec<StageStatus>,
    /// The last hour of each.
    pub history: Vec<StageHistory>,
    /// The dead letters of each topic that has some.
    pub dead_letters: Vec<TopicView>,
}

/// The last hour of a stage.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StageHistory {
    /// The stage.
    pub name: String,
    /// A point a minute, the newest last.
    pub points: Vec<StagePoint>,
}

/// One reader of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Tells it from others.
    pub name: String,
    /// Where it runs; empty for this process.
    pub host: String,
    /// What it owns of the stage's topic.
    pub partitions: Vec<u32>,
}

/// One partition of a stage's topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u32,
    /// Records in it that the stage has not consumed.
    pub lag: u64,
    /// Where the stage stands in it.
    pub position: u64,
    /// One past its newest record.
    pub end: u64,
    /// The member that owns it.
    pub owner: Option<String>,
    /// Since when nothing has been consumed although there is something to read.
    pub stands_since: Option<Timestamp>,
}
