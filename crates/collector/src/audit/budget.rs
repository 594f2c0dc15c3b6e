use std::time::Duration;

use hubwarden_event::Timestamp;

const HOUR_MS: f64 = 3_600_000.0;

/// Says when the next request may be made, so that no hour holds more than our share.
///
/// A bucket that starts with a tenth of the hourly share and refills with nine tenths of it an hour:
/// whatever hour one looks at, both together are the share.
#[derive(Debug)]
pub(super) struct Budget {
    capacity: f64,
    per_ms: f64,
    tokens: f64,
    at: Timestamp,
}

impl Budget {
    /// A full bucket for so many requests an hour.
    pub(super) fn new(hourly: f64, now: Timestamp) -> Self {
        let capacity = (hourly * 0.1).max(1.0);
        let per_ms = (hourly - capacity).max(hourly * 0.5) / HOUR_MS;
        Self { capacity, per_ms, tokens: capacity, at: now }
    }

    /// Takes one request, leaving `keep` of the bucket (0 to 1) for what is more urgent.
    ///
    /// # Errors
    /// How long to wait until that is possible.
    pub(super) fn take(&mut self, now: Timestamp, keep: f64) -> Result<(), Duration> {
        let passed = now.millis_since(self.at).max(0);
        self.tokens = (self.tokens + passed as f64 * self.per_ms).min(self.capacity);
        self.at = now;
        let needed = 1.0 + keep * (self.capacity - 1.0);
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = ((needed - self.tokens) / self.per_ms).ceil() + 1.0;
        Err(Duration::from_millis(wait as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hour_holds_more_than_the_share() {
        for hourly in [1_750.0, 875.0, 17.5] {
            let mut now = Timestamp::from_millis(0);
            let mut budget = Budget::new(hourly, now);
            let mut taken: Vec<i64> = Vec::new();
            while now.as_millis() < 5 * 3_600_000 {
                match budget.take(now, 0.0) {
                    Ok(()) => taken.push(now.as_millis()),
                    Err(wait) => now = now.plus_millis(wait.as_millis() as i64),
                }
            }
            let worst = taken
                .iter()
                .map(|start| {
                    taken.iter().filter(|at| (*start..start + 3_600_000).contains(at)).count()
                })
                .max();
            let worst = worst.unwrap() as f64;
            assert!(worst <= hourly.ceil() && worst > hourly * 0.8, "{worst} of {hourly}");
        }
    }

    #[test]
    fn what_is_kept_stays_for_the_urgent() {
        let now = Timestamp::from_millis(0);
        let mut budget = Budget::new(100.0, now);
        while budget.take(now, 0.5).is_ok() {}
        let urgent = (0..10).take_while(|_| budget.take(now, 0.0).is_ok()).count();
        assert_eq!(urgent, 5);
    }
}
