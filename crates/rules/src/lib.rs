//! Decides which events, alone or over time, match; knows Sigma, not GitHub.
//!
//! [`RuleSet::compile`] turns Sigma 2.1 files into a set and names every rule that it cannot load.
//! [`Engine`] judges events by a set, without memory. What the `hubwarden` key of a rule may say is
//! in `rules/README.md`; three points of it that code depends on:
//!
//! - `group-by` takes `a|b` for the first field that says something; by default a rule that makes
//!   a finding of every match groups by `actor` and `repo|org`.
//! - Any `severity` entry whose `when` holds replaces the rule's level, up or down; of several that
//!   hold the highest counts. `when` is the name of a selection or a condition over selections.
//! - A list that exists and is empty matches nothing. One that does not exist makes a rule blind
//!   if `needs` names it, else the rule is rejected.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cases;
mod compile;
mod condition;
mod correlate;
mod counting;
mod document;
mod draft;
mod engine;
mod error;
mod explain;
mod hashes;
mod house;
mod item;
mod lint;
mod lists;
mod making;
mod modifier;
mod number;
mod pattern;
mod predicate;
mod problem;
mod rule;
mod selection;
mod set;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod values;
mod view;
mod yaml;

pub use cases::{Case, CaseEvent, CaseKind, parse_cases};
pub use compile::{Blind, Compiled, Replaced, RuleFile};
pub use correlate::{
    CUT_MARK, Changes, Correlator, Item, Options, Outcome, Put, Scope, StateError, StateKey, Stats,
    Stored,
};
pub use counting::{Count, Counter, GroupCount};
pub use document::LogSource;
pub use engine::Engine;
pub use error::Error;
pub use explain::Trace;
pub use lint::{ActionStatus, FieldStatus, Schema, lint};
pub use lists::Lists;
pub use problem::{Problem, ProblemSeverity};
pub use rule::{RuleInfo, Window};
pub use set::RuleSet;
pub use view::Scratch;
