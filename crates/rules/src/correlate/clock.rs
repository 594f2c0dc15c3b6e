use super::codec::{Reader, StateError, Writer};

/// A time that only moves forward, and by which state is freed.
///
/// State that is touched at watermark w stays until the watermark has passed both its own end and
/// w + `grace`. State touched while no watermark was known stays until the first one + `grace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    grace: i64,
    now: Option<i64>,
    first: Option<i64>,
}

impl Clock {
    pub(super) fn new(grace: i64) -> Self {
        Self { grace, now: None, first: None }
    }

    /// The watermark, when one is known.
    pub(super) fn now(&self) -> Option<i64> {
        self.now
    }

    /// Moves forward; false when `to` is no later than the watermark is.
    pub(super) fn advance(&mut self, to: i64) -> bool {
        if self.now.is_some_and(|now| to <= now) {
            return false;
        }
        self.now = Some(to);
        self.first.get_or_insert(to);
        true
    }

    /// When state whose own end is `end` is freed if it is touched now.
    pub(super) fn expiry(&self, end: i64) -> i64 {
        self.now.map_or(end, |now| end.max(now.saturating_add(self.grace)))
    }

    /// State that expires then or before is free.
    pub(super) fn freed(&self) -> Option<i64> {
        let first = self.first?.saturating_add(self.grace);
        self.now.filter(|now| *now >= first)
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.optional(self.now);
        out.optional(self.first);
    }

    pub(super) fn decode(grace: i64, reader: &mut Reader<'_>) -> Result<Self, StateError> {
        Ok(Self { grace, now: reader.optional()?, first: reader.optional()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frees_after_the_end_and_one_grace_after_the_last_touch() {
        let mut clock = Clock::new(60);
        assert_eq!((clock.expiry(500), clock.freed()), (500, None), "no watermark yet");
        assert!(clock.advance(1000));
        assert_eq!(clock.freed(), None, "what was touched before must meet its like");
        assert_eq!((clock.expiry(500), clock.expiry(5000)), (1060, 5000));
        assert!(clock.advance(1060));
        assert_eq!(clock.freed(), Some(1060));
        assert!(!clock.advance(1059), "never backwards");
        assert_eq!(clock.expiry(500), 1120);
    }

    #[test]
    fn survives_the_store() {
        let mut clock = Clock::new(60);
        clock.advance(7);
        clock.advance(9);
        let mut out = Writer::new();
        clock.encode(&mut out);
        let bytes = out.finish();
        assert_eq!(Clock::decode(60, &mut Reader::new(&bytes).unwrap()), Ok(clock));
    }
}
