use std::time::{Duration, Instant};

/// So often is asked what costs something to know, such as the ends of partitions.
const EVERY: Duration = Duration::from_secs(5);

/// Says when to look again at what costs something to know: at once, then every five seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    looked: Option<Instant>,
}

impl Pace {
    /// Whether it is time; if so, the next time is five seconds from now.
    pub fn is_due(&mut self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&mut self, now: Instant) -> bool {
        let due = self.looked.is_none_or(|looked| now.duration_since(looked) >= EVERY);
        if due {
            self.looked = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_in_five_seconds() {
        let (mut pace, from) = (Pace::default(), Instant::now());
        let mut due = |after_ms| pace.is_due_at(from + Duration::from_millis(after_ms));
        assert_eq!(
            [0, 1, 4_999, 5_000, 5_001, 10_000].map(&mut due),
            [true, false, false, true, false, true]
        );
    }
}
