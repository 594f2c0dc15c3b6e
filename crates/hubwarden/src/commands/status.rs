use hubwarden_bus::Journal;
use hubwarden_collector::audit;
use hubwarden_console::letters::TopicView;
use hubwarden_console::web::now;
use hubwarden_console::{PartitionStatus, PipelineStatus, StageStatus, Status};
use hubwarden_event::{Reader, SourceStatus};
use serde_json::Value;

use super::configure;
use crate::Config;
use crate::args::{self, Format, Global};
use crate::client::Client;
use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::output::{print_one, print_text, say};
use crate::pipeline::journal_dir;

/// `hubwarden status`
pub(crate) async fn run(global: &Global, options: &args::Status) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let Some(client) = Client::of(&options.console.remote(), &config).await? else {
        if options.link {
            return Err(Failure::new(
                Exit::Failed,
                "no server runs on this data folder; start `hubwarden serve`",
            ));
        }
        return stopped(global, &config).await;
    };
    if options.link {
        let answer: Value = client.json("POST", "/api/v1/link").await?;
        let link = answer.get("link").and_then(Value::as_str).unwrap_or_default();
        print_text(&format!("{}{link}", client.base))?;
        return Ok(Exit::Done);
    }
    let mut answer: Value = client.json("GET", "/api/v1/status").await?;
    let pipeline: PipelineStatus = client.json("GET", "/api/v1/pipeline").await?;
    let mut lines = lines(&answer, &pipeline.stages);
    lines.extend(pipeline.dead_letters.iter().map(dead_letters));
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("dead_letters".into(), serde_json::to_value(&pipeline.dead_letters)?);
    }
    print_one(global.output, &answer, &lines)?;
    Ok(Exit::Done)
}

/// How many there are of a topic, and how old.
pub(super) fn dead_letters(of: &TopicView) -> String {
    let TopicView { topic, letters, waiting, oldest, newest } = of;
    format!("dead letters on {topic}: {letters}, {waiting} not put back, from {oldest} to {newest}")
}

/// A stage in one line, and one for each partition that stands still.
fn stage_lines(stage: &StageStatus) -> Vec<String> {
    let mut line = format!("stage {}: {} records behind", stage.name, stage.lag);
    if let Some(seconds) = stage.behind_s.filter(|seconds| *seconds > 0) {
        line += &format!(", for {seconds} s at least");
    }
    if let (Some(came), Some(left)) = (stage.in_per_s, stage.out_per_s) {
        line += &format!("; {came:.1} in and {left:.1} out a second");
    }
    if !stage.partitions.is_empty() {
        let (members, partitions) = (stage.members.len(), stage.partitions.len());
        line += &format!("; replicas: {members}, partitions: {partitions}");
    }
    let mut lines = vec![line];
    lines.extend(stage.standing().map(standing));
    lines
}

/// A partition that stands still although there is something to read.
pub(super) fn standing(one: &PartitionStatus) -> String {
    let since = one.stands_since.map(|since| since.to_string()).unwrap_or_default();
    let owner = one.owner.as_deref().unwrap_or("nobody");
    let (partition, lag) = (one.partition, one.lag);
    format!("  STANDS: partition {partition} since {since} with {lag} records, owned by {owner}")
}

fn lines(status: &Value, stages: &[StageStatus]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let array =
        |name: &str| status.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for source in array("sources") {
        let read = source.get("read_through").map(text).unwrap_or_default();
        let records = source.get("records").map(text).unwrap_or_default();
        let scope = source.get("scope").map(text).unwrap_or_default();
        lines.push(format!("source {scope}: {records} records, read through {read}"));
        if let Some(error) = source.get("last_error").and_then(Value::as_str) {
            lines.push(format!("  FAILING: {error}"));
        }
        if let Some(lost) = source.get("lost").and_then(Value::as_str) {
            lines.push(format!("  LOST: {lost}"));
        }
    }
    lines.extend(stages.iter().flat_map(stage_lines));
    if let Some(rules) = status.get("rules") {
        let count = |name: &str| rules.get(name).and_then(Value::as_array).map_or(0, Vec::len);
        let loaded = rules.get("loaded").map(text).unwrap_or_default();
        lines.push(format!(
            "rules: {loaded} loaded, {} blind, {} refused",
            count("blind"),
            count("refused")
        ));
        let refused = rules.get("refused").and_then(Value::as_array);
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
        |(name, lag): (&str, u64)| StageStatus { name: name.into(), lag, ..StageStatus::default() };
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

#[cfg(test)]
mod tests {
    use hubwarden_event::Timestamp;

    use super::*;

    #[test]
    fn a_stage_says_what_stands_still() {
        let at = Timestamp::from_millis(1_741_611_463_961);
        let partition = |partition, stands_since| PartitionStatus {
            partition,
            lag: 40,
            owner: Some("correlate-0".into()),
            stands_since,
            ..PartitionStatus::default()
        };
        let stage = StageStatus {
            name: "correlate".into(),
            lag: 80,
            behind_s: Some(75),
            in_per_s: Some(4.0),
            out_per_s: Some(2.5),
            partitions: vec![partition(0, None), partition(1, Some(at))],
            ..StageStatus::default()
        };
        let expected = [
            "stage correlate: 80 records behind, for 75 s at least; 4.0 in and 2.5 out a second; \
             replicas: 0, partitions: 2",
            "  STANDS: partition 1 since 2025-03-10T12:57:43.961Z with 40 records, owned by correlate-0",
        ];
        assert_eq!(stage_lines(&stage), expected);
        let unknown = StageStatus { name: "match".into(), lag: 3, ..StageStatus::default() };
        assert_eq!(stage_lines(&unknown), ["stage match: 3 records behind"]);
    }
}
