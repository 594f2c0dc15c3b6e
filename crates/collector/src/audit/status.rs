use std::time::Duration;

use hubwarden_event::Timestamp;
use serde::Serialize;

use super::config::Connection;
use super::reading::{Part, Reading, Readings};

/// Days for which GitHub keeps Git events, and GitHub Enterprise Server unless its administrator changes it.
const GIT_DAYS: i64 = 7;

/// Git events that can no longer be read, because nothing asked for them while GitHub kept them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GitLoss {
    /// The first moment that was not read.
    pub from: Timestamp,
    /// The moment from which on GitHub still has them.
    pub until: Timestamp,
}

impl GitLoss {
    /// What a reading that goes on at `from` can no longer get at `now`.
    ///
    /// On servers of one's own, more days of a Git backfill mean that the administrator keeps more.
    pub(super) fn of(from: Timestamp, connection: &Connection, now: Timestamp) -> Option<Self> {
        let days = match connection.is_own_host() {
            true => GIT_DAYS,
            false => GIT_DAYS.max(connection.poll.backfill_git_days.into()),
        };
        let until = now.plus_millis(-days * 24 * 3_600_000);
        (from < until).then_some(Self { from, until })
    }
}

impl std::fmt::Display for GitLoss {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, until } = self;
        write!(
            out,
            "Git events between {from} and {until} are lost: nothing read them while GitHub kept them, so no rule has \
             seen clones and pushes of that time; other events are kept for longer and are read all the same"
        )
    }
}

/// How reading of one connection goes, as it was a moment ago.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The connection's id.
    pub connection: String,
    /// What is read, such as `org/octo`.
    pub scope: String,
    /// Git events that were already gone when this process went on reading.
    pub git_lost: Option<GitLoss>,
    /// Its parts: live first, then what is left of the backfill and what is done.
    pub feeds: Vec<FeedStatus>,
    /// Requests made since the start.
    pub requests: u64,
    /// Requests that GitHub said are left in its hour.
    pub requests_left: Option<u64>,
    /// What is wrong now, with effect and next step.
    pub error: Option<String>,
    /// Requests that failed since the start.
    pub errors: u64,
    /// Nothing is asked before this moment.
    pub waiting_until: Option<Timestamp>,
}

/// How far one part has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedStatus {
    /// `live`, `backfill-git` or `backfill-web`.
    pub name: &'static str,
    /// The run its records belong to.
    pub run: String,
    /// The first moment that it reads.
    pub from: Timestamp,
    /// The last moment that it reads; none when it follows.
    pub until: Option<Timestamp>,
    /// Everything up to here has been read.
    pub through: Option<Timestamp>,
    /// Time of the newest event that was read since the start.
    pub last_event_at: Option<Timestamp>,
    /// Records published by the run so far.
    pub records: u64,
    /// Whether everything has been read.
    pub done: bool,
    /// Time that the rest of a backfill takes at the speed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Duration>,
}

impl FeedStatus {
    /// How far behind now the reading is.
    pub fn lag(&self, now: Timestamp) -> Option<Duration> {
        let lag = now.millis_since(self.through?);
        Some(Duration::from_millis(u64::try_from(lag).unwrap_or(0)))
    }
}

/// What the cursor does not know about each reading.
#[derive(Debug)]
pub(super) struct Pace {
    started_at: Timestamp,
    started_from: Vec<i64>,
    last_event_at: Vec<Option<Timestamp>>,
}

impl Pace {
    pub(super) fn new(readings: &Readings, now: Timestamp) -> Self {
        Self {
            started_at: now,
            started_from: readings.all.iter().map(position).collect(),
            last_event_at: vec![None; readings.all.len()],
        }
    }

    pub(super) fn saw(&mut self, index: usize, moment: Option<Timestamp>) {
        let last = &mut self.last_event_at[index];
        *last = moment.max(*last);
    }

    pub(super) fn feeds(&self, readings: &Readings, now: Timestamp) -> Vec<FeedStatus> {
        readings.all.iter().enumerate().map(|(index, _)| self.feed(readings, index, now)).collect()
    }

    fn feed(&self, readings: &Readings, index: usize, now: Timestamp) -> FeedStatus {
        let reading = &readings.all[index];
        let cursor = &reading.cursor;
        FeedStatus {
            name: match reading.part {
                Part::Live => "live",
                Part::BackfillGit => "backfill-git",
                Part::BackfillWeb => "backfill-web",
            },
            run: cursor.run.clone(),
            from: Timestamp::from_millis(cursor.from_ms),
            until: (cursor.until_ms > 0).then(|| Timestamp::from_millis(cursor.until_ms)),
            through: (cursor.through_ms > 0).then(|| Timestamp::from_millis(cursor.through_ms)),
            last_event_at: self.last_event_at[index],
            records: cursor.records,
            done: cursor.done,
            remaining: self.remaining(reading, self.started_from[index], now),
        }
    }

    /// Time left at the speed since the start; unknown before the first window is through.
    fn remaining(&self, reading: &Reading, from: i64, now: Timestamp) -> Option<Duration> {
        let cursor = &reading.cursor;
        let (read, left) = (position(reading) - from, cursor.until_ms - position(reading));
        if reading.part == Part::Live || cursor.done || read <= 0 {
            return None;
        }
        let spent = now.millis_since(self.started_at).max(0) as f64;
        Some(Duration::from_millis((spent * left as f64 / read as f64) as u64))
    }
}

fn position(reading: &Reading) -> i64 {
    reading.cursor.through_ms.max(reading.cursor.from_ms)
}
