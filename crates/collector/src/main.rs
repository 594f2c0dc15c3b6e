//! The collector as a service of its own: reads GitHub, takes pushed records, publishes to Kafka.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hubwarden_bus::{BusConfig, Kafka};
use hubwarden_collector::audit::{Connection, Poller, system_clock, validate_all};
use hubwarden_collector::{IngestApi, SourceApi, Sources};
use hubwarden_proto::CONTRACT;
use hubwarden_service::process::{self, Flags, Process, Sections, ServerConfig, ServiceConfig};
use hubwarden_service::{
    GrpcConfig, HealthConfig, Invalid, LogConfig, SecretRef, TaskError, TelemetryConfig,
    TokensConfig, Validate, grpc_limits,
};
use serde::{Deserialize, Serialize};

const NAME: &str = "hubwarden-collector";

/// A live run begins so long before the moment of connecting: the longest window that a rule may
/// have, so that no pattern falls between it and the backfill.
const LEAD: Duration = Duration::from_secs(24 * 3600);

/// Reads GitHub without gaps and publishes raw records
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    bus: BusConfig<SecretRef>,
    github: Vec<Connection>,
    grpc: GrpcConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    log: LogConfig,
    tokens: TokensConfig,
    server: ServerConfig,
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.bus.kafka.check().map_err(|error| Invalid::new("bus.kafka", error.to_string()))?;
        validate_all(&self.github)?;
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
        for connection in &mut self.github {
            connection.token = connection.token.clone().relative_to(folder);
        }
    }
}

fn main() -> ExitCode {
    process::run(NAME, &Cli::parse().flags, begin)
}

async fn begin(mut process: Process<Config>) -> Result<Process<Config>, TaskError> {
    let bus = &process.config.bus;
    let kafka = bus.kafka.clone().resolve(|password| password.resolve())?;
    let kafka = Kafka::connect(kafka).await?.member(&bus.member());
    let mut sources = Sources::new(kafka.clone(), system_clock());
    for connection in process.config.github.clone() {
        let poller = Poller::new(connection.clone(), LEAD, system_clock());
        sources.add(connection, poller.status());
        let (kafka, stop) = (kafka.clone(), process.stop.clone());
        process.tasks.spawn(async move { Ok(poller.run(&kafka, stop).await?) });
    }
    let server = process.grpc(CONTRACT)?;
    let most = server.max_message();
    let ingest = IngestApi::service(kafka);
    let server = server.with_service(grpc_limits!(server ingest, most));
    let sources = SourceApi::service(sources);
    let server = server.with_service(grpc_limits!(server sources, most));
    process.serve(server);
    Ok(process)
}
