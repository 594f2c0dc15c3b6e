//! How a journal is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Tells the time in milliseconds of Unix time.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How a journal is kept.
#[derive(Clone)]
pub struct Options {
    /// How large a segment grows before the next begins.
    pub segment_bytes: u64,
    /// How long consumed records stay.
    pub keep: Duration,
    /// How many bytes the journal may take. Beyond it consumed records go early; when there are
    /// none, commits that consume nothing are refused, and at twice the budget all commits with
    /// outputs are: a stage must still be able to consume what the entrance has let in.
    pub budget_bytes: u64,
    /// How many bytes of the disk are left to others.
    pub free_floor_bytes: u64,
    /// How many bytes of the newest commits stay in memory for readers.
    pub cache_bytes: usize,
    /// Tells append times and ages.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            keep: Duration::from_secs(7 * 24 * 3600),
            budget_bytes: 20 << 30,
            free_floor_bytes: 256 << 20,
            cache_bytes: 16 << 20,
            clock: Arc::new(crate::memory::now_ms),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("keep", &self.keep)
            .field("budget_bytes", &self.budget_bytes)
            .field("free_floor_bytes", &self.free_floor_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}
