//! When the enterprise is awake: how many of the events are due by which minute.

use super::names::COUNTRIES;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Load of machines that never sleep, in the unit of [`at_work`].
const MACHINES_AWAKE: u64 = 2;

/// How busy somebody whose clock is `utc_offset` hours ahead is at that moment: 0 asleep, 10 at work.
pub(crate) fn at_work(at_ms: i64, utc_offset: i64) -> u64 {
    let local = at_ms + utc_offset * HOUR;
    let hour = local.rem_euclid(DAY) / HOUR;
    if is_weekend(local) {
        return u64::from((10..19).contains(&hour));
    }
    match hour {
        9..12 | 13..18 => 10,
        8 | 12 => 7,
        18..20 => 4,
        20..23 => 1,
        _ => 0,
    }
}

/// The same, averaged over all countries.
pub(crate) fn everybody_at_work(at_ms: i64) -> u64 {
    COUNTRIES.iter().map(|(_, utc_offset)| at_work(at_ms, *utc_offset)).sum::<u64>()
        / COUNTRIES.len() as u64
}

pub(crate) fn is_weekend(at_ms: i64) -> bool {
    // Day 0 was a Thursday, so days 2 and 3 of each seven are a weekend.
    matches!(at_ms.div_euclid(DAY).rem_euclid(7), 2 | 3)
}

/// Shares a number of events out over the minutes of a period.
pub(crate) struct Quota {
    start_ms: i64,
    minutes: i64,
    events: u64,
    weight: u64,
    passed: u64,
}

impl Quota {
    pub(crate) fn new(start_ms: i64, days: u32, events: u64) -> Self {
        let minutes = i64::from(days.max(1)) * DAY / MINUTE;
        let weight = (0..minutes).map(|minute| weight(start_ms + minute * MINUTE)).sum();
        Self { start_ms, minutes, events, weight, passed: 0 }
    }

    pub(crate) fn minutes(&self) -> i64 {
        self.minutes
    }

    /// Events due by the end of `minute`; to be asked for every minute once, in order.
    pub(crate) fn due_after(&mut self, minute: i64) -> u64 {
        self.passed += weight(self.start_ms + minute * MINUTE);
        (u128::from(self.events) * u128::from(self.passed) / u128::from(self.weight)) as u64
    }
}

fn weight(at_ms: i64) -> u64 {
    MACHINES_AWAKE + everybody_at_work(at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: i64 = 4 * DAY;

    #[test]
    fn the_day_and_the_week_have_a_rhythm() {
        assert_eq!(at_work(MONDAY + 10 * HOUR, 0), 10);
        assert_eq!(at_work(MONDAY + 3 * HOUR, 0), 0);
        assert_eq!(at_work(MONDAY + 3 * HOUR, 7), 10, "it is ten o'clock there");
        assert_eq!(at_work(MONDAY - DAY + 10 * HOUR, 0), 1, "a Sunday");
    }

    #[test]
    fn all_events_are_due_at_the_end() {
        for (days, events) in [(1, 7), (3, 100_000), (30, 1_000_000)] {
            let mut quota = Quota::new(MONDAY + 1_234, days, events);
            let mut before = 0;
            for minute in 0..quota.minutes() {
                let due = quota.due_after(minute);
                assert!(due >= before);
                before = due;
            }
            assert_eq!(before, events);
        }
    }
}
