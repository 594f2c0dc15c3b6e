use std::sync::Arc;

use hubwarden_event::{RulesStatus, SourceStatus};
use serde::Serialize;

/// Gives the present state of the pipeline; asked for every overview, so it must be quick.
pub type StatusProvider = Arc<dyn Fn() -> Status + Send + Sync>;

/// Whether Hubwarden sees what it should see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// Everything that is read, one entry a feed and scope.
    pub sources: Vec<SourceStatus>,
    /// The rules that judge.
    pub rules: RulesStatus,
    /// The stages and what they have not consumed yet.
    pub stages: Vec<StageStatus>,
}

/// One stage of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StageStatus {
    /// Its name.
    pub name: String,
    /// Records on the bus that it has not consumed.
    pub lag: u64,
}
