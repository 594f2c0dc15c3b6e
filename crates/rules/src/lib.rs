//! Decides which events, alone or over time, match; knows Sigma, not GitHub.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod rule;
mod set;

pub use rule::{RuleInfo, Window};
pub use set::RuleSet;
