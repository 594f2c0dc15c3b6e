//! What every `main` needs before domain code runs: configuration, logging, retry, supervision.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod duration;
mod log;
mod nearest;
mod retry;
mod secret;
mod supervise;

pub use config::{Invalid, Validate};
pub use log::{LogConfig, LogFormat, init_logging};
pub use nearest::nearest;
pub use retry::Backoff;
pub use secret::{SecretError, SecretRef};
pub use supervise::{TaskError, TaskResult, signalled, supervise};
