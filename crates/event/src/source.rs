use serde::Serialize;

use crate::{Timestamp, UnknownName};

/// One feed of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SourceStatus {
    /// What it is asked for by: the connection's id and the feed, such as `octo-corp/audit-rest`.
    pub id: String,
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
    /// Requests that GitHub said are left in its hour; none where nobody has asked yet.
    pub requests_left: Option<u64>,
    /// Who reads it.
    pub reader: Reader,
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

/// Who reads a source, seen from the process that tells of it.
///
/// Only who reads a source knows its newest event, its errors, what it had lost when it was taken
/// up, and the requests that are left; others know of it what the topic `cursors` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// The process that tells of it.
    #[default]
    Here,
    /// Another one, or none yet.
    Elsewhere,
    /// Nobody: no server runs, or the connection is not one of the configuration.
    Nobody,
}

impl Reader {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Elsewhere => "elsewhere",
            Self::Nobody => "nobody",
        }
    }
}

impl std::str::FromStr for Reader {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all = [Self::Here, Self::Elsewhere, Self::Nobody];
        let known = all.into_iter().find(|reader| reader.as_str() == name);
        known.ok_or_else(|| UnknownName(name.into()))
    }
}

/// Whether a source can be relied on, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceHealth {
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

impl SourceHealth {
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
    pub fn health(&self, now: Timestamp) -> SourceHealth {
        let patience = QUIET_MS.max(self.interval_ms.saturating_mul(3));
        match self.lag_ms(now) {
            _ if self.errors > 0 => SourceHealth::Failing,
            _ if self.finished => SourceHealth::Finished,
            _ if self.paused => SourceHealth::Paused,
            None => SourceHealth::Starting,
            Some(lag) if self.interval_ms > 0 && lag > patience => SourceHealth::Stale,
            Some(_) => SourceHealth::Healthy,
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
            (SourceStatus::default(), SourceHealth::Starting),
            (read(1), SourceHealth::Healthy),
            (read(15), SourceHealth::Healthy),
            (read(16), SourceHealth::Stale),
            (SourceStatus { interval_ms: 600_000, ..read(29) }, SourceHealth::Healthy),
            (SourceStatus { interval_ms: 600_000, ..read(31) }, SourceHealth::Stale),
            (SourceStatus { interval_ms: 0, ..read(900) }, SourceHealth::Healthy),
            (SourceStatus { errors: 1, ..read(1) }, SourceHealth::Failing),
            (SourceStatus { paused: true, ..read(1) }, SourceHealth::Paused),
            (SourceStatus { finished: true, ..read(900) }, SourceHealth::Finished),
            (SourceStatus { finished: true, errors: 2, ..read(900) }, SourceHealth::Failing),
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
