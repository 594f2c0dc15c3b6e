//! A GitHub Enterprise look-alike and a generator of its life.
//!
//! [`Life`] makes the audit events of an enterprise from a seed, with labelled attacks and labelled harmless
//! look-alikes among them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod life;

pub use life::{Generated, Life, Plan, Story, StoryKind};
