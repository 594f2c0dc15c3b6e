use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::Bus;
use hubwarden_collector::Sources;
use hubwarden_collector::audit::{Poller, system_clock};
use hubwarden_console::{StageStatus, Status, StatusProvider};
use hubwarden_detector::{LoadedRules, Rulebook, last_change};
use hubwarden_event::{BlindRule, RulesStatus};
use hubwarden_service::{TaskResult, signalled, supervise};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::configure;
use crate::args::Global;
use crate::config::BusKind;
use crate::failure::{Exit, Failure, with_causes};
use crate::on_kafka::{self, Claim};
use crate::output::say;
use crate::server::{Answers, Server};
use crate::{Config, Pipeline, Settings};

/// How often the rule folders are looked at.
const RULES_EVERY: Duration = Duration::from_secs(5);

/// The longest lead before the moment of connecting.
const MAX_LEAD: Duration = Duration::from_secs(24 * 3600);

/// `hubwarden serve`
pub(crate) async fn run(global: &Global) -> Result<Exit, Failure> {
    let config = configure(global)?;
    let settings = Settings::of(&config)?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    match config.bus.kind {
        BusKind::Journal => {
            let pipeline = Pipeline::start(&settings, &mut tasks, &stop).await?;
            let stages = stages(&pipeline);
            serve(config, &settings, pipeline, stages, tasks, stop).await
        }
        BusKind::Kafka => {
            let claim = Claim::take(&config)?;
            let (kafka, correlating) = on_kafka::connect(&config).await?;
            let pipeline = Pipeline::over(kafka, &settings, correlating, &mut tasks, &stop).await?;
            let watch = pipeline.watch.clone();
            let stages: Stages = Arc::new(move || watch.stages());
            let ended = serve(config, &settings, pipeline, stages, tasks, stop).await;
            drop(claim);
            ended
        }
    }
}

/// Reads what is configured and answers until stopped, while the stages of a pipeline run.
async fn serve<B: Bus<Reader: Sync>>(
    config: Config,
    settings: &Settings,
    mut pipeline: Pipeline<B>,
    stages: Stages,
    mut tasks: JoinSet<TaskResult>,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let rules = rules_status(&settings.rulebook);
    tell_refused(&rules);
    let lead =
        Duration::from_millis(settings.rulebook.compile().set.longest_span_ms().unsigned_abs());
    let mut sources = Sources::new(pipeline.bus.clone(), system_clock());
    for connection in &config.github {
        let poller = Poller::new(connection.clone(), lead.min(MAX_LEAD), system_clock());
        sources.add(connection.clone(), poller.status());
        let (bus, token) = (pipeline.bus.clone(), stop.clone());
        tasks.spawn(async move { Ok(poller.run(&bus, token).await?) });
    }
    let rules = Arc::new(Mutex::new(rules));
    let told = rules.clone();
    let refused = move || told.lock().map(|rules| rules.refused.clone()).unwrap_or_default();
    let watched = (config.clone(), settings.rulebook.clone());
    tasks.spawn(watch_rules(watched, pipeline.bus.clone(), rules.clone(), stop.clone()));
    let status = provider(stages, sources.clone(), rules);
    let listen =
        config.server.listen.parse().map_err(|_| Failure::usage("server.listen is no address"))?;
    pipeline.rules = pipeline.rules.with_refused(Arc::new(refused));
    let answers = Answers { pipeline, networks: settings.networks.clone(), sources, status };
    let server = Server::bind(listen, &settings.data_dir, answers).await?;
    say(&format!("open {}", server.link()?));
    if config.github.is_empty() {
        say("no [[github]] connection is configured: only imports are judged");
    }
    tasks.spawn(server.run(stop.clone()));
    supervise(tasks, stop, Duration::from_secs(config.server.grace_s), signalled()).await?;
    Ok(Exit::Done)
}

/// Publishes the rules again when a file of the configured folders changes.
///
/// A file that cannot be loaded stays as it was, and is named by the status.
async fn watch_rules<B: Bus>(
    (config, mut book): (Config, Rulebook),
    bus: B,
    status: Arc<Mutex<RulesStatus>>,
    stop: CancellationToken,
) -> TaskResult {
    let mut seen = last_change(&config.rules.dirs);
    let mut ticks = tokio::time::interval(RULES_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let now = last_change(&config.rules.dirs);
        if now == seen {
            continue;
        }
        seen = now;
        match Rulebook::read(&config.rules, &config.lists) {
            Ok(read) => {
                let refused = rules_status(&read).refused;
                book = read.or_before(&book);
                let fresh = RulesStatus { refused, ..rules_status(&book) };
                tracing::info!(
                    loaded = fresh.loaded,
                    refused = fresh.refused.len(),
                    "rules changed"
                );
                book.publish(&bus).await?;
                if let Ok(mut status) = status.lock() {
                    *status = fresh;
                }
            }
            Err(error) => {
                tracing::error!(%error, "the rules stay as they were");
                let reason = format!("{}; the rules stay as they were", with_causes(&error));
                if let Ok(mut status) = status.lock() {
                    status.refused = vec![BlindRule { name: "rules.dirs".into(), reason }];
                }
            }
        }
    }
}

/// Names the rules that were not loaded, by file and line.
pub(crate) fn tell_refused(rules: &RulesStatus) {
    for problem in &rules.refused {
        let text = format!("{}: {}", problem.name, problem.reason);
        say(&text);
    }
}

/// What there is to say about a rulebook.
pub(crate) fn rules_status(book: &Rulebook) -> RulesStatus {
    LoadedRules::of(book.clone()).status()
}

/// Tells how far each stage is behind.
pub(crate) type Stages = Arc<dyn Fn() -> Vec<StageStatus> + Send + Sync>;

/// What the journal says of its stages.
pub(crate) fn stages(pipeline: &Pipeline) -> Stages {
    let pipeline = pipeline.clone();
    Arc::new(move || {
        let mut looked = pipeline.watch.stages();
        let named = |(name, lag): (&str, u64)| {
            let known = looked.iter_mut().find(|stage| stage.name == name).map(std::mem::take);
            // What waits is known without asking, so it is of this moment.
            StageStatus { name: name.into(), lag, ..known.unwrap_or_default() }
        };
        pipeline.lags().into_iter().map(named).collect()
    })
}

/// Tells pages and status how reading and judging go.
pub(crate) fn provider<B: Bus>(
    stages: Stages,
    sources: Sources<B>,
    rules: Arc<Mutex<RulesStatus>>,
) -> StatusProvider {
    Arc::new(move || Status {
        sources: sources.here(),
        rules: rules.lock().map(|rules| rules.clone()).unwrap_or_default(),
        stages: stages(),
    })
}
