use std::io::IsTerminal;
use std::num::NonZero;
use std::path::PathBuf;

use hubwarden_bus::Bus;
use hubwarden_collector::files::Input;
use hubwarden_collector::{Advance, Import, ToBus, ToServer};
use hubwarden_console::escape;
use hubwarden_console::web::now;
use hubwarden_detector::Rulebook;
use hubwarden_event::ConnectionId;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::configure;
use super::finding::print_findings;
use crate::args::{self, Global};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::scan::{self, ScanSettings};
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
            bar.suspend(|| eprintln!("{}", escape::terminal(&text)));
        }
    };
    let mut report = scan::scan(&inputs, &settings, rejected, |bytes| bar.set_position(bytes))?;
    bar.finish_and_clear();
    if named > NAMED {
        eprintln!("… and {} more lines that cannot be read", named - NAMED);
    }
    if report.foreign > 0 {
        eprintln!("{} lines of other programs passed over", report.foreign);
    }
    eprintln!("{} read, {} rejected", report.read, report.rejected);
    let worst = report.findings.iter().map(|finding| finding.severity).max();
    let shown = options.min_severity;
    report.findings.retain(|finding| shown.is_none_or(|least| finding.severity >= least));
    print_findings(global.output, &report.findings)?;
    let failed = options.fail_on.is_some_and(|least| worst.is_some_and(|worst| worst >= least));
    Ok(if failed { Exit::Gate } else { Exit::Done })
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
    let advance = if let Some(client) = Client::find(&config.storage.data_dir).await {
        let mut to = ToServer::open(client.service()).await?;
        hubwarden_collector::import(inputs, &import, &mut to, told, &stop).await?
    } else {
        import_here(&config, inputs, &import, told, &stop).await?
    };
    bar.finish_and_clear();
    eprintln!("{} read, {} rejected", advance.records, advance.damaged);
    eprintln!("run {}; see `hubwarden finding list`", import.run());
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
    let mut to = ToBus::new(pipeline.journal.writer("import"), 1);
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
                Err(Failure::usage(format!("no connection is named `{name}` in the configuration")))
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
