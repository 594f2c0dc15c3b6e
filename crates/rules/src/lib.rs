//! Decides which events, alone or over time, match; knows Sigma, not GitHub.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod rule;

pub use rule::{RuleInfo, Window};
