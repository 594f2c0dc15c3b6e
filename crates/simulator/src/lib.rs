//! A GitHub Enterprise look-alike and a generator of its life.
//!
//! [`Life`] makes the audit events of an enterprise from a seed, with labelled attacks and labelled harmless
//! look-alikes among them. [`Simulator`] serves such events as GitHub's audit-log API does, with its limits, its
//! errors and, on demand, its bad days. [`export`] writes them in the forms in which audit logs travel as files.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
pub mod export;
mod life;
pub mod odd;
mod server;

pub use error::Error;
pub use export::Format;
pub use life::{Generated, Life, Plan, Story, StoryKind};
pub use server::{Clock, Fault, Settings, Simulator, Token};
