use hubwarden_bus::Journal;
use hubwarden_collector::audit;
use hubwarden_console::Status;
use hubwarden_console::web::now;
use hubwarden_event::{Reader, SourceStatus};

use super::configure;
use crate::Config;
use crate::args::{self, Format, Global};
use crate::client::Local;
use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::output::{print_one, print_text, say};
use crate::pipeline::journal_dir;

/// `hubwarden status`
pub(crate) async fn run(global: &Global, options: &args::Status) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let folder = &config.storage.data_dir;
    let Some(client) = Local::find(folder).await else {
        if options.link {
            return Err(Failure::new(
                Exit::Failed,
                "no server runs on this data folder; start `hubwarden serve`",
            ));
        }
        return stopped(global, &config).await;
    };
    if options.link {
        let answer = client.json("POST", "/api/v1/link").await?;
        let link = answer.get("link").and_then(serde_json::Value::as_str).unwrap_or_default();
        print_text(&format!("http://{}{link}", client.address.listen))?;
        return Ok(Exit::Done);
    }
    let answer = client.json("GET", "/api/v1/status").await?;
    print_one(global.output, &answer, &lines(&answer))?;
    Ok(Exit::Done)
}

fn lines(status: &serde_json::Value) -> Vec<String> {
    let text =
        |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let array = |name: &str| {
        status.get(name).and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
    };
    let mut lines = Vec::new();
    for source in array("sources") {
        let read = source.get("read_through").map(text).unwrap_or_default();
        let records = source.get("records").map(text).unwrap_or_default();
        let scope = source.get("scope").map(text).unwrap_or_default();
        lines.push(format!("source {scope}: {records} records, read through {read}"));
        if let Some(error) = source.get("last_error").and_then(serde_json::Value::as_str) {
            lines.push(format!("  FAILING: {error}"));
        }
        if let Some(lost) = source.get("lost").and_then(serde_json::Value::as_str) {
            lines.push(format!("  LOST: {lost}"));
        }
    }
    for stage in array("stages") {
        let (name, lag) = (stage.get("name").map(text), stage.get("lag").map(text));
        lines.push(format!(
            "stage {}: {} records behind",
            name.unwrap_or_default(),
            lag.unwrap_or_default()
        ));
    }
    if let Some(rules) = status.get("rules") {
        let count =
            |name: &str| rules.get(name).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        let loaded = rules.get("loaded").map(text).unwrap_or_default();
        lines.push(format!(
            "rules: {loaded} loaded, {} blind, {} refused",
            count("blind"),
            count("refused")
        ));
        let refused = rules.get("refused").and_then(serde_json::Value::as_array);
        for file in refused.into_iter().flatten() {
            let named = |key: &str| file.get(key).map(text).unwrap_or_default();
            lines.push(format!("  REFUSED: {}: {}", named("name"), named("reason")));
        }
    }
    lines
}

/// What each connection can no longer read if it goes on now, from the cursors of a stopped server.
pub(super) async fn losses(
    config: &Config,
    journal: &Journal,
) -> Result<Vec<SourceStatus>, Failure> {
    let mut sources = Vec::new();
    for connection in &config.github {
        if let Some(lost) = audit::git_loss(journal, connection, now()).await? {
            sources.push(SourceStatus {
                lost: Some(lost.to_string()),
                reader: Reader::Nobody,
                ..audit::Status::default().source(connection)
            });
        }
    }
    Ok(sources)
}

/// What the data folder says while no server runs.
async fn stopped(global: &Global, config: &Config) -> Result<Exit, Failure> {
    if config.bus.kind == BusKind::Kafka {
        let text = "no server runs on this data folder, and what is read and judged is known on the brokers \
                    only; start `hubwarden serve`";
        return Err(Failure::new(Exit::Failed, text));
    }
    let journal = journal_dir(&config.storage.data_dir);
    say("no server runs on this data folder");
    if !journal.is_dir() {
        say("and it holds nothing yet: `hubwarden serve` or `hubwarden import` begins it");
        return Ok(Exit::Done);
    }
    let journal = Journal::open_read_only(journal)?;
    let (status, sources) = (journal.status(), losses(config, &journal).await?);
    let mut lags = std::collections::BTreeMap::<&str, u64>::new();
    for lag in &status.stages {
        *lags.entry(&lag.stage).or_default() += lag.records();
    }
    let named =
        |(name, lag): (&str, u64)| hubwarden_console::StageStatus { name: name.into(), lag };
    let stages: Vec<_> = lags.into_iter().map(named).collect();
    let mut lines =
        vec![format!("journal: {} MiB in {} segments", status.bytes >> 20, status.segments)];
    lines.extend(
        stages.iter().map(|stage| format!("stage {}: {} records behind", stage.name, stage.lag)),
    );
    lines.extend(sources.iter().filter_map(|source| {
        Some(format!("source {} LOST: {}", source.scope, source.lost.as_ref()?))
    }));
    let format = if global.output == Format::Csv { Format::Table } else { global.output };
    print_one(format, &Status { sources, stages, ..Status::default() }, &lines)?;
    Ok(Exit::Done)
}
