//! Decides which events, alone or over time, match; knows Sigma, not GitHub.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod correlate;
mod rule;
mod set;

pub use correlate::{
    CUT_MARK, Changes, Correlator, Item, Options, Outcome, Put, Scope, StateError, StateKey, Stats,
    Stored,
};
pub use rule::{RuleInfo, Window};
pub use set::RuleSet;
