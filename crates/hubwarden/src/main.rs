//! `hubwarden`: finds who abuses a GitHub Enterprise.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    hubwarden::run(hubwarden::Cli::parse()).into()
}
