//! Judges matches over time and folds them into findings.
//!
//! [`Correlator`] is pure: matches, watermarks and run ends in, findings out, state to bytes and
//! back. `segment` keeps the matching events of a group, `group` judges its windows, `folded` is
//! what a finding is made of, `words` says it; `run` and `clock` know when state may go; `loading`
//! and `taking` are the way in from a store and out to it.

mod clip;
mod clock;
mod codec;
mod connection;
mod correlator;
mod folded;
mod group;
mod keys;
mod known;
mod loading;
mod ranges;
mod recent;
mod run;
mod segment;
mod state;
mod taking;
#[cfg(test)]
mod tests;
mod verdicts;
mod words;

pub use clip::CUT_MARK;
pub use codec::StateError;
pub use correlator::{Correlator, Options, Outcome, Stats};
pub use state::{Changes, Item, Put, Scope, StateKey, Stored};
