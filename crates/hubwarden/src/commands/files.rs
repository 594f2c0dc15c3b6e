use std::io::IsTerminal;
use std::num::NonZero;
use std::path::PathBuf;

use hubwarden_bus::Bus;
use hubwarden_collector::files::Input;
use hubwarden_collector::{Advance, Import, ToBus, ToServer};
use hubwarden_console::web::now;
use hubwarden_detector::Rulebook;
use hubwarden_event::{ConnectionId, Severity};
use hubwarden_service::nearest;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::configure;
use super::finding::print_findings;
use crate::args::{self, Global};
use crate::client::Client;
use crate::config::BusKind;
use crate::failure::{Exit, Failure};
use crate::output::say;
use crate::scan::{self, ScanReport, ScanSettings};
use crate::{Config, Pipeline, Settings};

/// So many rejected lines are named; the rest is counted.
const NAMED: u64 = 20;

/// `hubwarden scan`
pub(crate) fn scan(global: &Global, options: &args::Scan) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let inputs = inputs(&options.files);
    let settings = ScanSettings {
        rulebook: Rulebook::read(&config.rules, &config.lists)?,
        networks: config.networks(),
        connection: ConnectionId::from("scan"),
        threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        started_at: now(),
    };
    super::serve::tell_refused(&super::serve::rules_status(&settings.rulebook));
    let bar = bar(size_of(&options.files));
    let mut named = 0;
    let rejected = |line: &scan::RejectedLine| {
        named += 1;
        if named <= NAMED {
            let text = format!("{}:{}: {}", line.file, line.line, line.reason);
            bar.suspend(|| say(&text));
        }
    };
    let mut report = scan::scan(&inputs, &settings, rejected, |bytes| bar.set_position(bytes))?;
    bar.finish_and_clear();
    if named > NAMED {
        say(&format!("… and {} more lines that cannot be read", named - NAMED));
    }
    if report.foreign > 0 {
        say(&format!("{} lines of other programs passed over", report.foreign));
    }
    say(&format!("{} read, {} rejected", report.read, report.rejected));
    for unread in report.unread.iter().filter(|unread| !unread.in_part) {
        say(&unread.reason); // of the others, a rejected line has said it
    }
    let exit = judge(&report, options.fail_on);
    let shown = options.min_severity;
    report.findings.retain(|finding| shown.is_none_or(|least| finding.severity >= least));
    print_findings(global.output, &report.findings)?;
    Ok(exit)
}

/// Whether the scan passes its gate, or without one, whether every file was read; says why not.
fn judge(report: &ScanReport, fail_on: Option<Severity>) -> Exit {
    let Some(least) = fail_on else {
        return if report.unread.is_empty() { Exit::Done } else { Exit::Failed };
    };
    let count = report.findings.iter().filter(|finding| finding.severity >= least).count() as u64;
    let mut reasons = Vec::new();
    if count > 0 {
        reasons.push(format!("{} of at least {least}", scan::counted(count, "finding")));
    }
    reasons.extend(report.unseen().map(|unseen| format!("not everything was judged: {unseen}")));
    if reasons.is_empty() {
        return Exit::Done;
    }
    say(&format!("the gate is not met: {}", reasons.join("; ")));
    Exit::Gate
}

/// `hubwarden import`
pub(crate) async fn import(global: &Global, options: &args::Import) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let inputs = inputs(&options.files);
    let import = Import::new(connection(&config, options.connection.as_deref())?, &inputs, now());
    let bar = bar(size_of(&options.files));
    let told = |advance: &Advance| bar.set_position(advance.bytes);
    let stop = CancellationToken::new();
    let interrupt = stop.clone();
    tokio::spawn(async move {
        hubwarden_service::signalled().await;
        interrupt.cancel();
    });
    let advance = if let Some(client) = Client::of(&options.remote, &config).await? {
        let mut to = ToServer::open(client.service()).await?;
        hubwarden_collector::import(inputs, &import, &mut to, told, &stop).await?
    } else if config.bus.kind == BusKind::Kafka {
        let text = "no server runs on this data folder, and with bus.kind = \"kafka\" files are imported \
                    through it; start `hubwarden serve`, name a collector with --server, or judge them alone with `hubwarden scan`";
        return Err(Failure::new(Exit::Failed, text));
    } else {
        import_here(&config, inputs, &import, told, &stop).await?
    };
    bar.finish_and_clear();
    say(&format!("{} read, {} rejected", advance.records, advance.damaged));
    say(&format!("run {}; see `hubwarden finding list`", import.run()));
    Ok(Exit::Done)
}

/// Imports into the data folder of nobody else and runs the stages until all is judged.
async fn import_here(
    config: &Config,
    inputs: Vec<Input>,
    import: &Import,
    told: impl FnMut(&Advance),
    stop: &CancellationToken,
) -> Result<Advance, Failure> {
    let mut tasks = JoinSet::new();
    let stages = CancellationToken::new();
    let settings = Settings::of(config)?;
    super::serve::tell_refused(&super::serve::rules_status(&settings.rulebook));
    let pipeline = Pipeline::start(&settings, &mut tasks, &stages).await?;
    let mut to = ToBus::new(pipeline.bus.writer("import"), 1);
    let work = async {
        let advance = hubwarden_collector::import(inputs, import, &mut to, told, stop).await?;
        pipeline.drained().await;
        Ok::<_, Failure>(advance)
    };
    let advance = tokio::select! {
        advance = work => advance?,
        Some(ended) = tasks.join_next() => {
            ended.unwrap_or_else(|panic| Err(panic.into()))?;
            return Err(Failure::new(Exit::Failed, "a stage ended before the import"));
        }
    };
    stages.cancel();
    while tasks.join_next().await.is_some() {}
    let rejected = pipeline.passed().normalized.rejected;
    Ok(Advance { damaged: rejected, ..advance })
}

fn connection(config: &Config, name: Option<&str>) -> Result<ConnectionId, Failure> {
    match (name, config.github.as_slice()) {
        (Some(name), all) => match all.iter().find(|connection| connection.name == name) {
            Some(connection) => Ok(connection.connection_id()),
            None if all.is_empty() => Ok(ConnectionId::from(name)),
            None => {
                let names = all.iter().map(|connection| connection.name.as_str());
                let hint = match nearest(name, names.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
                };
                Err(Failure::usage(format!(
                    "no connection is named `{name}` in the configuration; {hint}"
                )))
            }
        },
        (None, [only]) => Ok(only.connection_id()),
        (None, []) => Ok(ConnectionId::from("import")),
        (None, _) => {
            Err(Failure::usage("there are several connections; name one with --connection"))
        }
    }
}

fn inputs(files: &[PathBuf]) -> Vec<Input> {
    files.iter().cloned().map(Input::from_argument).collect()
}

/// Bytes of all files as they lie on disk; unknown with standard input among them.
fn size_of(files: &[PathBuf]) -> Option<u64> {
    files.iter().map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
}

/// A progress bar on a terminal, nothing elsewhere.
fn bar(size: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    match size {
        Some(size) => {
            let bar = ProgressBar::new(size);
            bar.set_style(
                ProgressStyle::with_template(style).expect("the template above is valid"),
            );
            bar
        }
        None => ProgressBar::new_spinner().with_message("reading standard input"),
    }
}
