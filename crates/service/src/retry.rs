use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits between tries: doubling from 200 ms to one minute, with jitter, without an end.
///
/// Whoever tries asks its error whether another try makes sense, and honours a wait that the
/// other side asked for; [`reset`](Self::reset) after a success.
#[derive(Debug)]
pub struct Backoff {
    waits: ExponentialBackoff,
}

impl Default for Backoff {
    fn default() -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(60))
            .with_jitter()
            .without_max_times();
        Self { waits: waits.build() }
    }
}

impl Backoff {
    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        self.waits.next().unwrap_or(Duration::from_secs(60))
    }

    /// Starts again with the shortest wait.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] < Duration::from_millis(500));
        assert!(waits[39] >= Duration::from_secs(60) && waits[39] <= Duration::from_secs(120));
        backoff.reset();
        assert!(backoff.next_wait() < Duration::from_millis(500));
    }
}
