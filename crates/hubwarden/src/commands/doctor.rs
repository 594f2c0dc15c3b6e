use hubwarden_bus::{Error as BusError, Journal};
use hubwarden_collector::audit::{self, Level, system_clock};
use hubwarden_detector::Rulebook;
use serde::Serialize;

use super::configure;
use super::serve::rules_status;
use crate::Config;
use crate::args::Global;
use crate::client::Client;
use crate::failure::{Exit, Failure, with_causes};
use crate::output::Rows;
use crate::pipeline::journal_dir;

/// One thing that was checked.
#[derive(Debug, Serialize)]
struct Line {
    level: Level,
    what: String,
    found: String,
}

fn line(level: Level, what: impl Into<String>, found: impl Into<String>) -> Line {
    Line { level, what: what.into(), found: found.into() }
}

/// `hubwarden doctor`
pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = configure(global)?; // a configuration that cannot be read ends here, explained
    let mut lines = vec![line(Level::Ok, "configuration", "read and valid")];
    lines.push(data_folder(&config).await);
    lines.extend(rules(&config));
    if config.github.is_empty() {
        let found =
            "no [[github]] connection: nothing of GitHub is seen; add one to the configuration";
        lines.push(line(Level::Warn, "connections", found));
    }
    for connection in &config.github {
        let report = audit::check(connection, system_clock()).await;
        let named = |check: audit::CheckLine| {
            line(check.level, format!("{} {}", report.scope, check.what), check.found)
        };
        lines.extend(report.lines.clone().into_iter().map(named));
    }
    let row =
        |line: &Line| vec![word(line.level).to_owned(), line.what.clone(), line.found.clone()];
    Rows { header: &["level", "what", "found"], values: &lines, row }.print(global.output)?;
    let failed = lines.iter().filter(|line| line.level == Level::Fail).count();
    eprintln!("{} checks, {failed} failed", lines.len());
    Ok(if failed > 0 { Exit::Gate } else { Exit::Done })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    }
}

async fn data_folder(config: &Config) -> Line {
    let folder = &config.storage.data_dir;
    let what = "data folder";
    if let Some(client) = Client::find(folder).await {
        return line(Level::Ok, what, format!("a server runs on it at {}", client.address.listen));
    }
    if !journal_dir(folder).is_dir() {
        return line(
            Level::Ok,
            what,
            format!("{} is empty; `hubwarden serve` begins it", folder.display()),
        );
    }
    match Journal::open_read_only(journal_dir(folder)) {
        Ok(journal) => {
            let status = journal.status();
            let free =
                status.free_bytes.map_or("unknown".into(), |bytes| format!("{} MiB", bytes >> 20));
            line(
                Level::Ok,
                what,
                format!(
                    "{} MiB of {} MiB used, {free} free on the disk",
                    status.bytes >> 20,
                    status.budget_bytes >> 20
                ),
            )
        }
        Err(error @ BusError::InUse { .. }) => line(Level::Warn, what, error.to_string()),
        Err(error) => line(Level::Fail, what, with_causes(&error)),
    }
}

fn rules(config: &Config) -> Vec<Line> {
    let book = match Rulebook::read(&config.rules, &config.lists) {
        Ok(book) => book,
        Err(error) => return vec![line(Level::Fail, "rules", with_causes(&error))],
    };
    let status = rules_status(&book);
    let mut lines = vec![line(Level::Ok, "rules", format!("{} loaded", status.loaded))];
    for refused in status.refused {
        lines.push(line(
            Level::Fail,
            format!("rule file {}", refused.name),
            format!("not loaded: {}", refused.reason),
        ));
    }
    for replaced in book.compile().replaced {
        let found = format!("replaces the shipped rule {}", replaced.shipped);
        let what = format!("rule {} of {}:{}", replaced.rule, replaced.file, replaced.line);
        lines.push(line(Level::Ok, what, found));
    }
    for blind in status.blind {
        let found = format!("cannot fire without {}: set it in section [lists]", blind.reason);
        lines.push(line(Level::Warn, format!("rule {}", blind.name), found));
    }
    lines
}
