//! The command line, and all stages in one process.
//!
//! [`run`] is the whole program; [`Pipeline`] is the line from raw records to findings in one process,
//! over the journal of a folder or over Kafka; [`scan`] the same judgement without anything kept.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// they panic when nobody reads; `output` does not
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod casework;
mod client;
mod commands;
mod config;
mod failure;
mod on_kafka;
mod output;
mod pipeline;
mod rule_check;
pub mod scan;
mod server;

pub use args::Cli;
pub use casework::{CaseOutcome, run_case, run_outside_cases};
pub use config::Config;
pub use failure::{Exit, Failure};
pub use pipeline::{Pipeline, Settings};

/// Runs one command and gives the process's exit code.
pub fn run(cli: Cli) -> Exit {
    commands::dispatch(cli)
}
