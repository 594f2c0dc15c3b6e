use std::io::IsTerminal;
use std::time::Duration;

use hubwarden_console::{PipelineStatus, StageStatus};
use tokio::time::MissedTickBehavior;

use super::configure;
use super::status::{dead_letters, standing};
use crate::args::{self, Format, Global};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Rows, print_one, redraw};

/// How often it is shown again.
const EVERY: Duration = Duration::from_secs(2);

/// `hubwarden top`
pub(crate) async fn run(global: &Global, options: &args::Top) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let client = Client::must(&options.console.remote(), &config).await?;
    let terminal = std::io::stdout().is_terminal();
    let goes_on = !options.once && (terminal || options.watch);
    let drawn = goes_on && terminal && global.output == Format::Table;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            _ = &mut interrupted => return Ok(Exit::Done),
            _ = ticks.tick() => {}
        }
        let sample: PipelineStatus = tokio::select! {
            _ = &mut interrupted => return Ok(Exit::Done),
            sample = client.json("GET", "/api/v1/pipeline") => sample?,
        };
        match drawn {
            true => redraw(&lines(&sample))?,
            false if global.output == Format::Csv => table(&sample).print(Format::Csv)?,
            false => print_one(global.output, &sample, &lines(&sample))?,
        }
        if !goes_on {
            return Ok(Exit::Done);
        }
    }
}

fn table(sample: &PipelineStatus) -> Rows<'_, StageStatus> {
    let header =
        &["stage", "in/s", "out/s", "waiting", "behind", "replicas", "partitions", "standing"];
    let row = |stage: &StageStatus| {
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        vec![
            stage.name.clone(),
            rate(stage.in_per_s),
            rate(stage.out_per_s),
            stage.lag.to_string(),
            stage.behind_s.map_or("-".to_owned(), |seconds| format!("{seconds} s")),
            stage.members.len().to_string(),
            stage.partitions.len().to_string(),
            stage.standing().count().to_string(),
        ]
    };
    Rows { header, values: &sample.stages, row }
}

fn lines(sample: &PipelineStatus) -> Vec<String> {
    let looked = sample.looked_at.map_or("not yet".to_owned(), |at| at.to_string());
    let mut lines = vec![format!("hubwarden, bus looked at {looked}"), String::new()];
    lines.extend(table(sample).lines());
    lines.push(String::new());
    for stage in &sample.stages {
        let stands = stage.standing().map(standing);
        lines.extend(stands.map(|line| format!("{}{line}", stage.name)));
        for member in &stage.members {
            let owned: Vec<String> = member.partitions.iter().map(u32::to_string).collect();
            let place = if member.host.is_empty() { "this process" } else { &member.host };
            lines.push(format!("{} {} at {place}: {}", stage.name, member.name, owned.join(" ")));
        }
    }
    lines.push(String::new());
    match sample.dead_letters.is_empty() {
        true => lines.push("no dead letters".into()),
        false => lines.extend(sample.dead_letters.iter().map(dead_letters)),
    }
    lines
}

#[cfg(test)]
mod tests {
    use hubwarden_console::{MemberStatus, PartitionStatus};

    use super::*;

    #[test]
    fn a_sample_says_who_reads_and_what_stands() {
        let stage = StageStatus {
            name: "match".into(),
            lag: 7,
            in_per_s: Some(12.34),
            members: vec![MemberStatus {
                name: "a\u{1b}[2Jb".into(),
                host: "10.0.0.1".into(),
                partitions: vec![0, 2],
            }],
            partitions: vec![PartitionStatus {
                lag: 7,
                stands_since: Some(hubwarden_event::Timestamp::from_millis(0)),
                ..PartitionStatus::default()
            }],
            ..StageStatus::default()
        };
        let sample = PipelineStatus { stages: vec![stage], ..PipelineStatus::default() };
        let text = lines(&sample).join("\n");
        for part in
            ["12.3", "match a\u{1b}[2Jb at 10.0.0.1: 0 2", "STANDS: partition 0", "no dead letters"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
