use std::time::Duration;

use hubwarden_event::{Backfill, Feed, Reader, SourceStatus, Timestamp};
use hubwarden_proto::v1;
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
    /// Whether this process reads it; else all the rest may be old.
    pub reading: bool,
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
    /// Requests that failed since the last one that did not.
    pub failing: u64,
    /// Nothing is asked before this moment.
    pub waiting_until: Option<Timestamp>,
}

impl Status {
    /// What the cursor on the bus tells of a connection that others read, or nobody.
    pub(crate) fn stored(
        connection: &Connection,
        cursor: Option<&v1::Cursor>,
        now: Timestamp,
    ) -> Self {
        Self {
            connection: connection.id.clone(),
            scope: connection.scope(),
            git_lost: cursor.and_then(|cursor| lost(cursor, connection, now)),
            feeds: cursor
                .map(|cursor| stored_feeds(cursor, &connection.scope()))
                .unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The source that this process reads by this connection.
    pub fn source(&self, connection: &Connection) -> SourceStatus {
        SourceStatus {
            id: id_of(&connection.id),
            connection: connection.name.clone(),
            scope: connection.scope(),
            interval_ms: i64::try_from(connection.poll.interval.as_millis()).unwrap_or(i64::MAX),
            last_event: live(&self.feeds).and_then(|live| live.last_event_at),
            // what is left out by GitHub is an error, too, though the requests do not fail
            errors: self.failing.max(u64::from(self.error.is_some())),
            last_error: self.error.clone(),
            lost: self.git_lost.map(|lost| lost.to_string()),
            requests_left: self.requests_left,
            reader: Reader::Here,
            ..progress(&self.feeds)
        }
    }
}

/// The source whose cursor is on the bus although no connection of the configuration has its id.
pub(crate) fn left_over(id: &str, cursor: &v1::Cursor) -> Option<SourceStatus> {
    let of_feed = |feed: &&v1::FeedCursor| feed.feed == Feed::AuditRest.as_str();
    // what was read last stands first, others only since the connection was renamed
    let first = cursor.feeds.iter().find(of_feed)?;
    let scope = first.scope.split('#').next().unwrap_or_default();
    Some(SourceStatus {
        id: id_of(id),
        connection: id.into(),
        scope: scope.into(),
        reader: Reader::Nobody,
        ..progress(&stored_feeds(cursor, scope))
    })
}

/// What a source is asked for by.
pub(crate) fn id_of(connection: &str) -> String {
    format!("{connection}/{}", Feed::AuditRest)
}

/// The part that follows what happens.
fn live(feeds: &[FeedStatus]) -> Option<&FeedStatus> {
    feeds.iter().find(|feed| feed.until.is_none())
}

/// How far the parts of a source are, taken together.
fn progress(feeds: &[FeedStatus]) -> SourceStatus {
    let backfills = || feeds.iter().filter(|feed| feed.until.is_some());
    let through = |feed: &FeedStatus| feed.through.unwrap_or(feed.from);
    let backfill = backfills().map(|feed| feed.from).min().map(|from| Backfill {
        from,
        until: backfills().filter_map(|feed| feed.until).max().unwrap_or(from),
        through: backfills().filter(|feed| !feed.done).map(through).min().unwrap_or(from),
        done: backfills().all(|feed| feed.done),
    });
    SourceStatus {
        feed: Feed::AuditRest.to_string(),
        records: feeds.iter().map(|feed| feed.records).sum(),
        read_through: live(feeds).and_then(|live| live.through),
        backfill,
        ..SourceStatus::default()
    }
}

/// The parts of a scope as its cursor has them.
fn stored_feeds(cursor: &v1::Cursor, scope: &str) -> Vec<FeedStatus> {
    let feed = |cursor| Some(FeedStatus::of(Part::of(cursor, scope)?, cursor));
    cursor.feeds.iter().filter_map(feed).collect()
}

/// Git events that a connection can no longer get when it goes on reading at `now`.
pub(super) fn lost(
    cursor: &v1::Cursor,
    connection: &Connection,
    now: Timestamp,
) -> Option<GitLoss> {
    let scope = connection.scope();
    let live = cursor.feeds.iter().find(|feed| feed.scope == scope)?;
    let from = Timestamp::from_millis(live.through_ms.max(live.from_ms));
    GitLoss::of(from, connection, now)
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
    /// What a cursor tells of a part.
    fn of(part: Part, cursor: &v1::FeedCursor) -> Self {
        let some = |millis: i64| (millis > 0).then(|| Timestamp::from_millis(millis));
        Self {
            name: match part {
                Part::Live => "live",
                Part::BackfillGit => "backfill-git",
                Part::BackfillWeb => "backfill-web",
            },
            run: cursor.run.clone(),
            from: Timestamp::from_millis(cursor.from_ms),
            until: some(cursor.until_ms),
            through: some(cursor.through_ms),
            last_event_at: None,
            records: cursor.records,
            done: cursor.done,
            remaining: None,
        }
    }

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
        FeedStatus {
            last_event_at: self.last_event_at[index],
            remaining: self.remaining(reading, self.started_from[index], now),
            ..FeedStatus::of(reading.part, &reading.cursor)
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
