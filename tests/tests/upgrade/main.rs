//! Releases before and after: what one wrote the other reads, replicas of both work side by side,
//! and what cannot be read is refused and stays as it is.
//!
//! `tests/golden/<version>` holds what a release wrote, of every format that outlives a process. The
//! present release reads all of them and writes the newest. When a format changes, [`golden::NEWEST`]
//! goes up by one and `HUBWARDEN_BLESS=1 cargo test -p hubwarden-tests --test upgrade` writes the next
//! folder; a folder that a release has gone out with is never written again.
#![allow(clippy::unwrap_used)]

mod flat;
mod golden;
mod meaning;
#[allow(dead_code)] // `partitions` lets commits fail and partitions wander, too
#[path = "../members/mod.rs"]
mod members;
mod rolling;
mod samples;
mod state;
