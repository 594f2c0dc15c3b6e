//! The detector as a service of its own: judges events on Kafka and publishes findings.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use hubwarden_bus::{BusConfig, Kafka, topic};
use hubwarden_detector::snapshot::{S3, Target};
use hubwarden_detector::{
    CORRELATE_STAGE, Correlating, ListSource, Lost, MATCH_STAGE, Readiness, RuleApi, Rulebook,
    RulesConfig, Snapshots, run_correlate, run_match,
};
use hubwarden_proto::CONTRACT;
use hubwarden_service::process::{self, Flags, Process, Sections, ServerConfig, ServiceConfig};
use hubwarden_service::{
    GrpcConfig, Health, HealthConfig, Invalid, LogConfig, SecretRef, TaskError, TaskResult,
    TelemetryConfig, TokensConfig, Validate, grpc_limits,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const NAME: &str = "hubwarden-detector";

/// Runs rules over events and publishes findings
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    /// Do one half only: judge events, or turn matches into findings
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Where the state of a partition is lost: judge again everything that is kept
    #[arg(long, conflicts_with = "accept_loss")]
    rebuild: bool,
    /// Where the state of a partition is lost: go on, patterns under way are missed
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Judge events by rules; scaled by the lag of `events`
    Match,
    /// Count over time and publish findings; keeps state
    Correlate,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    bus: BusConfig<SecretRef>,
    rules: RulesConfig,
    lists: BTreeMap<String, ListSource>,
    detection: Detection,
    state: StateConfig,
    grpc: GrpcConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    log: LogConfig,
    tokens: TokensConfig,
    server: ServerConfig,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Detection {
    /// How late an event may be and still count as in time, in minutes.
    lateness_min: u32,
}

impl Default for Detection {
    fn default() -> Self {
        Self { lateness_min: 60 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StateConfig {
    /// Folder of the state files.
    dir: PathBuf,
    /// Where snapshots go: `file:///folder` that every node sees, or `s3://bucket/prefix`.
    snapshots: String,
    /// How often.
    #[serde(with = "hubwarden_service::duration")]
    snapshot_every: Duration,
    /// How the bucket is reached.
    s3: S3,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/hubwarden".into(),
            snapshots: String::new(),
            snapshot_every: Duration::from_secs(15 * 60),
            s3: S3::default(),
        }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.bus.kafka.check().map_err(|error| Invalid::new("bus.kafka", error.to_string()))?;
        if self.state.snapshot_every < Duration::from_secs(10) {
            return Err(Invalid::new("state.snapshot_every", "must be at least 10s"));
        }
        self.sections().validate()
    }
}

impl ServiceConfig for Config {
    fn sections(&self) -> Sections<'_> {
        let Self { grpc, health, telemetry, log, tokens, server, .. } = self;
        Sections { grpc, health, telemetry, log, tokens, server }
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.bus = self.bus.clone().relative_to(folder, |password| password.relative_to(folder));
        self.grpc = self.grpc.clone().relative_to(folder);
        self.telemetry = self.telemetry.clone().relative_to(folder);
        self.state.dir = folder.join(&self.state.dir);
        self.state.s3.secret_key =
            self.state.s3.secret_key.take().map(|key| key.relative_to(folder));
        for path in &mut self.rules.dirs {
            *path = folder.join(&*path);
        }
        for list in self.lists.values_mut() {
            if let ListSource::File { file } = list {
                *file = folder.join(&*file);
            }
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let lost = match (cli.rebuild, cli.accept_loss) {
        (true, _) => Lost::Rebuild,
        (false, true) => Lost::AcceptLoss,
        (false, false) => Lost::Stop,
    };
    process::run(NAME, &cli.flags, |process| begin(process, cli.role, lost))
}

async fn begin(
    mut process: Process<Config>,
    role: Option<Role>,
    lost: Lost,
) -> Result<Process<Config>, TaskError> {
    let Config { bus, state, detection, rules, lists, .. } = process.config.clone();
    let kafka = bus.kafka.clone().resolve(|password| password.resolve())?;
    let kafka = Kafka::connect(kafka).await?;
    let stop = process.stop.clone();
    let mut api = RuleApi::default();
    if role != Some(Role::Correlate) {
        Rulebook::read(&rules, &lists)?.publish(&kafka).await?;
        let ready = Readiness::default();
        api.add(MATCH_STAGE, ready.clone());
        process.tasks.spawn(tell(MATCH_STAGE, ready.clone(), process.health.clone(), stop.clone()));
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let (kafka, stop) = (kafka.clone(), stop.clone());
        process
            .tasks
            .spawn(async move { Ok(run_match(kafka, threads, ready, stop, |_| {}).await?) });
    }
    if role != Some(Role::Match) {
        let snapshots = match state.snapshots.as_str() {
            "" => None,
            url => Some(Snapshots {
                target: Target::open(url, &state.s3)?,
                every: state.snapshot_every,
                retention: Duration::from_secs(u64::from(topic::MATCHES.kept_days()) * 24 * 3600),
            }),
        };
        let lateness_ms = i64::from(detection.lateness_min) * 60_000;
        let correlating = Correlating { dir: state.dir, lateness_ms, snapshots, lost };
        let ready = Readiness::default();
        api.add(CORRELATE_STAGE, ready.clone());
        process.tasks.spawn(tell(
            CORRELATE_STAGE,
            ready.clone(),
            process.health.clone(),
            stop.clone(),
        ));
        let kafka = kafka.member(&bus.member());
        process.tasks.spawn(async move {
            Ok(run_correlate(kafka, correlating, ready, stop, |_| {}).await?)
        });
    }
    let server = process.grpc(CONTRACT)?;
    let most = server.max_message();
    let rules = api.service();
    let server = server.with_service(grpc_limits!(server rules, most));
    process.serve(server);
    Ok(process)
}

/// Shows on the probes what a role waits for.
async fn tell(
    role: &'static str,
    ready: Readiness,
    health: Health,
    stop: CancellationToken,
) -> TaskResult {
    let mut reasons = ready.subscribe();
    let mut told = BTreeMap::new();
    loop {
        let now = reasons.borrow_and_update().clone();
        for part in told.keys().filter(|part| !now.contains_key(*part)) {
            health.condition(&format!("{role}: {part}")).forget();
        }
        for (part, reason) in &now {
            health.condition(&format!("{role}: {part}")).not_ready(reason.clone());
        }
        told = now;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = reasons.changed() => {
                if changed.is_err() {
                    stop.cancelled().await;
                    return Ok(());
                }
            }
        }
    }
}
