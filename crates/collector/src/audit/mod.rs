//! Follows the audit log of one organization or enterprise over REST.
//!
//! [`Poller`] owns a connection: it reads the live run and, beside it, a backfill of what happened
//! before the moment of connecting. Records and the cursor that stands for them are one commit, so a
//! kill at any moment loses nothing and repeats at most one page. Of several collectors the one that
//! owns the connection's partition of `cursors` reads it (`ownership`); the others wait. `work` goes
//! round: `reading` decides what to ask for, `budget` when, `client` asks, `refusal` says what a
//! refusal means.

mod budget;
mod check;
mod client;
mod config;
mod link;
mod ownership;
mod poller;
mod reading;
mod recent;
mod refusal;
mod status;
mod work;

#[cfg(test)]
mod ownership_tests;
#[cfg(test)]
mod poller_tests;

pub use check::{CheckLine, CheckReport, Level, check};
pub use config::{Connection, Poll, validate_all};
pub use poller::{Clock, Poller, git_loss, system_clock};
pub use status::{FeedStatus, GitLoss, Status};
pub(crate) use status::{id_of, left_over};
