//! The time that the simulator believes it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time in milliseconds since 1970: the machine's, or one that a test moves.
///
/// Retention, the default window of a query, rate windows and the visibility of late events follow it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_ms` until it is moved; clones share it.
    pub fn fixed(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64),
        }
    }

    /// Moves a fixed clock on; a real one goes its own way.
    pub fn advance(&self, by_ms: i64) {
        if let Some(fixed) = &self.0 {
            fixed.fetch_add(by_ms, Ordering::SeqCst);
        }
    }

    /// Sets a fixed clock.
    pub fn set(&self, now_ms: i64) {
        if let Some(fixed) = &self.0 {
            fixed.store(now_ms, Ordering::SeqCst);
        }
    }
}
