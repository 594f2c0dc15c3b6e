//! Runs rules over events and publishes findings.
//!
//! [`Rulebook`] is what judges: the shipped rules, those of the configuration, and lists; it travels
//! on the bus. [`run_match`] judges events by it and [`run_correlate`] turns matches into findings;
//! [`RuleApi`] tells by which rules they do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod correlate;
mod correlating;
mod entities;
mod error;
mod loaded;
mod matching;
mod metrics;
mod partition;
mod readiness;
mod rule_sets;
mod rulebook;
mod saving;
mod schema;
pub mod shipped;
pub mod snapshot;
pub mod state;

pub use api::RuleApi;
pub use correlate::run_correlate;
pub use correlating::{CORRELATE_STAGE, CorrelateCounts, Transient};
pub use error::Error;
pub use loaded::{LoadedRules, UnknownRule};
pub use matching::{MATCH_STAGE, MatchCounts, MatchStage, run_match};
pub use partition::{Correlating, Lost, Snapshots};
pub use readiness::Readiness;
pub use rulebook::{ListSource, Rulebook, RulesConfig, last_change, read_rule_file, rule_paths};
pub use schema::Catalogue;
