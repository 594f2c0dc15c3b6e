//! `hubwarden`: finds who abuses a GitHub Enterprise.

use std::process::ExitCode;

use clap::Parser;

/// Gives memory back to the system after a burst; glibc's allocator keeps a heap for every thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hubwarden::run(hubwarden::Cli::parse()).into()
}
