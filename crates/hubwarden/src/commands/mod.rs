//! One module a command; each takes its options and gives an exit code or a failure.

mod config;
mod dead_letter;
mod demo;
mod doctor;
mod event;
mod files;
mod finding;
mod init;
mod rule;
mod serve;
mod source;
mod status;
mod top;

pub(crate) use serve::rules_status;

use std::future::Future;

use crate::Config;
use crate::args::{Cli, Command, Global};
use crate::config::load;
use crate::failure::{Exit, Failure};
use crate::output::say;

/// Runs the command and says what went wrong, once, on standard error.
pub(crate) fn dispatch(cli: Cli) -> Exit {
    // A provider can be installed only once; whoever embeds this program may have done so.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            say(&format!("hubwarden: {}", failure.message));
            failure.exit
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Demo(options) => block_on(demo::run(global, &options)),
        Command::Init(options) => init::run(global, &options),
        Command::Serve => block_on(serve::run(global)),
        Command::Scan(options) => files::scan(global, &options),
        Command::Import(options) => block_on(files::import(global, &options)),
        Command::Status(options) => block_on(status::run(global, &options)),
        Command::Top(options) => block_on(top::run(global, &options)),
        Command::DeadLetter(command) => block_on(dead_letter::run(global, &command)),
        Command::Doctor => block_on(doctor::run(global)),
        Command::Finding(command) => block_on(finding::run(global, command)),
        Command::Event(command) => event::run(global, &command),
        Command::Source(command) => block_on(source::run(global, command)),
        Command::Rule(command) => block_on(rule::run(global, command)),
        Command::Config(command) => config::run(global, &command),
    }
}

/// The configuration in force, with logging set up as it says.
fn configure(global: &Global) -> Result<Config, Failure> {
    let loaded = load(global.config.as_deref(), global.data_dir.as_deref())?;
    hubwarden_service::init_logging(&loaded.config.log);
    Ok(loaded.config)
}

fn block_on(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Stages block a worker while they compute: leave some for pages and timers.
    builder.worker_threads(8).enable_all();
    builder.build()?.block_on(work)
}
