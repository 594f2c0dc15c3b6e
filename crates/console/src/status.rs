use std::sync::Arc;

use hubwarden_event::Timestamp;
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

/// One feed of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SourceStatus {
    /// The connection's name.
    pub connection: String,
    /// The feed, such as `audit-rest` or `import`.
    pub feed: String,
    /// What is read, such as `org/octo`.
    pub scope: String,
    /// Records taken in so far.
    pub records: u64,
    /// Event time of the latest record.
    pub last_event: Option<Timestamp>,
    /// Up to which time everything has been read.
    pub read_through: Option<Timestamp>,
    /// How often it is read; 0 for what is pushed or read once.
    pub interval_ms: i64,
    /// Failed attempts since the last success.
    pub errors: u64,
    /// What the last attempt failed with, and what to do about it.
    pub last_error: Option<String>,
    /// What can no longer be read, in words.
    pub lost: Option<String>,
    /// An operator has paused it.
    pub paused: bool,
    /// It has been read to its end and there will be no more.
    pub finished: bool,
    /// The backfill beside it, if one runs or ran.
    pub backfill: Option<Backfill>,
}

/// A backfill and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backfill {
    /// The oldest moment that it reads.
    pub from: Timestamp,
    /// The moment at which it ends.
    pub until: Timestamp,
    /// Up to which moment it has read.
    pub through: Timestamp,
    /// Whether it has ended.
    pub done: bool,
}

impl Backfill {
    /// How much of the range has been read, from 0 to 100.
    pub fn percent(&self) -> u8 {
        let whole = self.until.millis_since(self.from);
        if self.done || whole <= 0 {
            return 100;
        }
        let read = self.through.millis_since(self.from).clamp(0, whole);
        // At most 99 until the run says that it has ended; the quotient is within 0..=99.
        u8::try_from(i128::from(read) * 99 / i128::from(whole)).unwrap_or(99)
    }
}

/// The rules that judge events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RulesStatus {
    /// How many rules are loaded, blind ones included.
    pub loaded: usize,
    /// Those that cannot fire, with the reason.
    pub blind: Vec<BlindRule>,
    /// Files that could not be loaded, with the reason.
    pub refused: Vec<BlindRule>,
}

/// A rule that cannot fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlindRule {
    /// The rule's name, or its file's.
    pub name: String,
    /// What it lacks, such as `list:company_domains`.
    pub reason: String,
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

/// Whether a source can be relied on, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Read as often as it should be.
    Healthy,
    /// Read to its end.
    Finished,
    /// Nothing has been read yet.
    Starting,
    /// An operator has paused it.
    Paused,
    /// Not read for three intervals, or for 15 minutes if that is longer.
    Stale,
    /// The last attempt failed.
    Failing,
}

impl Health {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Finished => "finished",
            Self::Starting => "starting",
            Self::Paused => "paused",
            Self::Stale => "stale",
            Self::Failing => "failing",
        }
    }

    /// Whether something may happen at the source unseen.
    pub const fn is_blind(self) -> bool {
        matches!(self, Self::Paused | Self::Stale | Self::Failing)
    }
}

/// A source may be quiet that long, whatever its interval.
const QUIET_MS: i64 = 15 * 60 * 1000;

impl SourceStatus {
    /// How long ago everything had been read.
    pub fn lag_ms(&self, now: Timestamp) -> Option<i64> {
        self.read_through.map(|through| now.millis_since(through).max(0))
    }

    /// Whether it can be relied on at this moment.
    pub fn health(&self, now: Timestamp) -> Health {
        let patience = QUIET_MS.max(self.interval_ms.saturating_mul(3));
        match self.lag_ms(now) {
            _ if self.errors > 0 => Health::Failing,
            _ if self.finished => Health::Finished,
            _ if self.paused => Health::Paused,
            None => Health::Starting,
            Some(lag) if self.interval_ms > 0 && lag > patience => Health::Stale,
            Some(_) => Health::Healthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000);

    #[test]
    fn health_says_what_is_wrong() {
        let read = |minutes: i64| SourceStatus {
            interval_ms: 60_000,
            read_through: Some(NOW.plus_millis(-minutes * 60_000)),
            ..SourceStatus::default()
        };
        for (source, expected) in [
            (SourceStatus::default(), Health::Starting),
            (read(1), Health::Healthy),
            (read(15), Health::Healthy),
            (read(16), Health::Stale),
            (SourceStatus { interval_ms: 600_000, ..read(29) }, Health::Healthy),
            (SourceStatus { interval_ms: 600_000, ..read(31) }, Health::Stale),
            (SourceStatus { interval_ms: 0, ..read(900) }, Health::Healthy),
            (SourceStatus { errors: 1, ..read(1) }, Health::Failing),
            (SourceStatus { paused: true, ..read(1) }, Health::Paused),
            (SourceStatus { finished: true, ..read(900) }, Health::Finished),
            (SourceStatus { finished: true, errors: 2, ..read(900) }, Health::Failing),
        ] {
            assert_eq!(source.health(NOW), expected, "{source:?}");
        }
    }

    #[test]
    fn a_backfill_is_complete_only_when_it_says_so() {
        let backfill = |through, done| Backfill {
            from: Timestamp::from_millis(0),
            until: Timestamp::from_millis(1000),
            through: Timestamp::from_millis(through),
            done,
        };
        for (through, done, percent) in
            [(-5, false, 0), (500, false, 49), (1000, false, 99), (9000, false, 99), (0, true, 100)]
        {
            assert_eq!(backfill(through, done).percent(), percent);
        }
    }
}
