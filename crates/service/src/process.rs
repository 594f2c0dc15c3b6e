//! What the `main` of every service does around its own work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Loaded};
use crate::probe;
use crate::trace::{System, set_system};
use crate::{
    GrpcConfig, Health, HealthConfig, Invalid, LogConfig, TaskError, TaskResult, TelemetryConfig,
    TokensConfig, Validate, grpc, signalled, supervise, telemetry, tls,
};

/// A wrong configuration ends a service with this code, as it ends the command line.
const USAGE: u8 = 2;

/// The command line of every service.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read the configuration, print every value with where it came from, and end
    #[arg(long)]
    pub check: bool,
    /// Ask the service that runs with this configuration whether it is ready, and end
    #[arg(long, conflicts_with = "check")]
    pub probe: bool,
}

/// Section `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// How long tasks may take to stop, in seconds.
    pub grace_s: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { grace_s: 10 }
    }
}

/// Sections that the configuration of every service has.
#[derive(Debug)]
pub struct Sections<'a> {
    /// `[grpc]`
    pub grpc: &'a GrpcConfig,
    /// `[health]`
    pub health: &'a HealthConfig,
    /// `[telemetry]`
    pub telemetry: &'a TelemetryConfig,
    /// `[log]`
    pub log: &'a LogConfig,
    /// `[tokens]`
    pub tokens: &'a TokensConfig,
    /// `[server]`
    pub server: &'a ServerConfig,
}

impl Validate for Sections<'_> {
    fn validate(&self) -> Result<(), Invalid> {
        self.grpc.validate()?;
        self.health.validate()?;
        self.telemetry.validate()?;
        self.log.validate()?;
        self.tokens.validate()?;
        if self.server.grace_s == 0 {
            return Err(Invalid::new("server.grace_s", "must be at least 1"));
        }
        Ok(())
    }
}

/// The configuration of one service.
pub trait ServiceConfig: Validate + Serialize + DeserializeOwned + Default {
    /// The sections that every service has.
    fn sections(&self) -> Sections<'_>;

    /// Makes every relative path start at the folder of the configuration file.
    fn resolve_paths(&mut self, folder: &Path);
}

/// A service that is starting.
#[derive(Debug)]
pub struct Process<C> {
    /// Its configuration, validated, with absolute paths.
    pub config: C,
    /// What its probes tell.
    pub health: Health,
    /// Told when the service is to stop.
    pub stop: CancellationToken,
    /// What runs until then; the end of one ends the service.
    pub tasks: JoinSet<TaskResult>,
}

impl<C: ServiceConfig> Process<C> {
    /// The gRPC side, listening: add services to it, then give it to [`serve`](Self::serve).
    ///
    /// # Errors
    /// As [`grpc::Server::bind`].
    pub fn grpc(&self, contract: &'static [u8]) -> Result<grpc::Server, grpc::ServerError> {
        let Sections { grpc, tokens, .. } = self.config.sections();
        grpc::Server::bind(grpc, tokens, &self.health, contract)
    }

    /// Answers calls until the service stops.
    pub fn serve(&mut self, server: grpc::Server) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { Ok(server.run(stop).await?) });
    }
}

/// Reads the configuration, starts telemetry and probes, lets `begin` start the work, and runs until
/// SIGTERM, SIGINT or the end of a task.
///
/// `begin` answers once everything is under way; what it waits for is cut short by a signal.
pub fn run<C, F>(name: &'static str, flags: &Flags, begin: impl FnOnce(Process<C>) -> F) -> ExitCode
where
    C: ServiceConfig,
    F: Future<Output = Result<Process<C>, TaskError>>,
{
    let loaded = match load::<C>(flags.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(name, &error);
            return ExitCode::from(USAGE);
        }
    };
    if flags.check {
        return check(name, &loaded);
    }
    if flags.probe {
        return match probe::ready(loaded.config.sections().health) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(name, &error);
                ExitCode::FAILURE
            }
        };
    }
    tls::install_provider();
    // Telemetry never sends on fewer than two workers.
    let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(live(name, loaded.config, begin));
            // A question to the brokers that nobody waits for any more must not hold up the end.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(name, &*error);
            ExitCode::FAILURE
        }
    }
}

fn load<C: ServiceConfig>(file: Option<&Path>) -> Result<Loaded<C>, config::Error> {
    let mut loaded: Loaded<C> = config::load(file, &[])?;
    let folder = file.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
    loaded.config.resolve_paths(&folder);
    Ok(loaded)
}

fn check<C>(name: &str, loaded: &Loaded<C>) -> ExitCode {
    use std::io::Write;
    let rows = match loaded.origins() {
        Ok(rows) => rows,
        Err(error) => {
            complain(name, &error);
            return ExitCode::from(USAGE);
        }
    };
    let mut out = std::io::stdout().lock();
    for row in rows {
        // Nobody may be reading; that makes the configuration no worse.
        if writeln!(out, "{} = {}  # {}", row.key, row.value, row.origin).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

async fn live<C, F>(
    name: &'static str,
    config: C,
    begin: impl FnOnce(Process<C>) -> F,
) -> TaskResult
where
    C: ServiceConfig,
    F: Future<Output = Result<Process<C>, TaskError>>,
{
    let Sections { telemetry, log, health: listen, server, .. } = config.sections();
    let telemetry = telemetry::init(name, telemetry, log)?;
    set_system(System::Kafka);
    let health = Health::new();
    let starting = health.condition("started");
    starting.not_ready("it is starting");
    let probes = health.bind(listen).await?;
    let grace = Duration::from_secs(server.grace_s);
    let (stop, probes_stop) = (CancellationToken::new(), CancellationToken::new());
    let probing = tokio::spawn(probes.run(probes_stop.clone()));
    let mut signal = std::pin::pin!(signalled());
    let process =
        Process { config, health: health.clone(), stop: stop.clone(), tasks: JoinSet::new() };
    let outcome = tokio::select! {
        begun = begin(process) => match begun {
            Ok(process) => {
                starting.forget();
                let stopping = async {
                    signal.await;
                    health.stopping();
                };
                supervise(process.tasks, stop, grace, stopping).await
            }
            Err(error) => Err(error),
        },
        () = &mut signal => Ok(()),
    };
    // Probes answer to the last, and what was counted until then is still told.
    probes_stop.cancel();
    drop(probing.await);
    if let Err(error) = telemetry.shutdown().await {
        tracing::warn!(%error, "telemetry ended early");
    }
    outcome
}

/// Says on standard error what is wrong, with its causes.
fn complain(name: &str, error: &(dyn std::error::Error + 'static)) {
    use std::io::Write;
    let mut text = format!("{name}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    // Nobody may be reading; the exit code says it too.
    drop(writeln!(std::io::stderr(), "{text}"));
}
