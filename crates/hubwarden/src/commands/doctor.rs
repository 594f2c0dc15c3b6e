use hubwarden_bus::{Error as BusError, Journal};
use hubwarden_collector::audit::{self, Level, system_clock};

use serde_json::Value;

use super::configure;
use super::status::losses;
use crate::Config;
use crate::args::Global;
use crate::client::Client;
use crate::config::BusKind;
use crate::failure::{Exit, Failure, with_causes};
use crate::on_kafka;
use crate::output::{Rows, say};
use crate::pipeline::journal_dir;
use crate::rule_check::{CheckLine, check_rules};

/// `hubwarden doctor`
pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = configure(global)?; // a configuration that cannot be read ends here, explained
    let mut lines = vec![CheckLine::new(Level::Ok, "configuration", "read and valid")];
    lines.push(data_folder(&config).await);
    if config.bus.kind == BusKind::Kafka {
        lines.extend(on_kafka::check(&config).await);
    }
    lines.extend(lost(&config).await);
    lines.extend(check_rules(&config));
    if config.github.is_empty() {
        let found =
            "no [[github]] connection: nothing of GitHub is seen; add one to the configuration";
        lines.push(CheckLine::new(Level::Warn, "connections", found));
    }
    for connection in &config.github {
        let report = audit::check(connection, system_clock()).await;
        let named = |check: audit::CheckLine| {
            CheckLine::new(check.level, format!("{} {}", report.scope, check.what), check.found)
        };
        lines.extend(report.lines.clone().into_iter().map(named));
    }
    let row =
        |line: &CheckLine| vec![line.word().to_owned(), line.what.clone(), line.found.clone()];
    Rows { header: &["level", "what", "found"], values: &lines, row }.print(global.output)?;
    let failed = lines.iter().filter(|line| line.level == Level::Fail).count();
    say(&format!("{} checks, {failed} failed", lines.len()));
    Ok(if failed > 0 { Exit::Gate } else { Exit::Done })
}

/// What can no longer be read: as the running server says, else as the cursors of a stopped one mean.
async fn lost(config: &Config) -> Vec<CheckLine> {
    let folder = &config.storage.data_dir;
    let line =
        |scope: &str, lost: &str| CheckLine::new(Level::Warn, format!("{scope} history"), lost);
    if let Some(client) = Client::find(folder).await {
        let answer: serde_json::Value =
            client.json("GET", "/api/v1/status").await.unwrap_or_default();
        let sources = answer.get("sources").and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |source: &Value, key| source.get(key).and_then(Value::as_str).map(str::to_owned);
        let lost = |source| Some(line(&text(source, "scope")?, &text(source, "lost")?));
        return sources.iter().filter_map(lost).collect();
    }
    if config.bus.kind == BusKind::Kafka {
        let found = "what GitHub no longer has is told once `hubwarden serve` runs: cursors are on the brokers";
        return vec![CheckLine::new(Level::Ok, "history", found)];
    }
    // A folder that is new, in use or damaged has its own line.
    let Ok(journal) = Journal::open_read_only(journal_dir(folder)) else { return Vec::new() };
    match losses(config, &journal).await {
        Ok(sources) => sources
            .iter()
            .filter_map(|source| Some(line(&source.scope, source.lost.as_ref()?)))
            .collect(),
        Err(failure) => vec![CheckLine::new(Level::Fail, "cursors", failure.message)],
    }
}

async fn data_folder(config: &Config) -> CheckLine {
    let folder = &config.storage.data_dir;
    let what = "data folder";
    if let Some(client) = Client::find(folder).await {
        return CheckLine::new(Level::Ok, what, format!("a server runs on it at {}", client.base));
    }
    let begun = match config.bus.kind {
        BusKind::Journal => journal_dir(folder).is_dir(),
        BusKind::Kafka => match on_kafka::is_begun(config) {
            Ok(begun) => begun,
            Err(failure) => return CheckLine::new(Level::Fail, what, failure.message),
        },
    };
    if !begun {
        return CheckLine::new(
            Level::Ok,
            what,
            format!("{} is empty; `hubwarden serve` begins it", folder.display()),
        );
    }
    if config.bus.kind == BusKind::Kafka {
        return CheckLine::new(
            Level::Ok,
            what,
            "it holds findings and state; the rest is on the brokers",
        );
    }
    match Journal::open_read_only(journal_dir(folder)) {
        Ok(journal) => {
            let status = journal.status();
            let free =
                status.free_bytes.map_or("unknown".into(), |bytes| format!("{} MiB", bytes >> 20));
            CheckLine::new(
                Level::Ok,
                what,
                format!(
                    "{} MiB of {} MiB used, {free} free on the disk",
                    status.bytes >> 20,
                    status.budget_bytes >> 20
                ),
            )
        }
        Err(error @ BusError::InUse { .. }) => CheckLine::new(Level::Warn, what, error.to_string()),
        Err(error) => CheckLine::new(Level::Fail, what, with_causes(&error)),
    }
}
