//! The normalizer as a service of its own: turns raw records on Kafka into enriched events.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use hubwarden_bus::{BusConfig, Kafka};
use hubwarden_normalizer::{EventApi, InvalidNetwork, Networks, NormalizerStage};
use hubwarden_proto::CONTRACT;
use hubwarden_proto::v1::event_service_server::EventServiceServer;
use hubwarden_service::process::{self, Flags, Process, Sections, ServerConfig, ServiceConfig};
use hubwarden_service::{
    GrpcConfig, HealthConfig, Invalid, LogConfig, SecretRef, TaskError, TelemetryConfig,
    TokensConfig, Validate, grpc_limits,
};
use serde::{Deserialize, Serialize};

const NAME: &str = "hubwarden-normalizer";

/// Turns raw records into enriched events
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
    networks: BTreeMap<String, Vec<String>>,
    grpc: GrpcConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    log: LogConfig,
    tokens: TokensConfig,
    server: ServerConfig,
}

impl Config {
    fn networks(&self) -> Result<Networks, InvalidNetwork> {
        Networks::parse(self.networks.iter().map(|(label, ranges)| (label.as_str(), &ranges[..])))
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.bus.kafka.check().map_err(|error| Invalid::new("bus.kafka", error.to_string()))?;
        self.networks().map_err(|error| Invalid::new("networks", error.to_string()))?;
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
    }
}

fn main() -> ExitCode {
    process::run(NAME, &Cli::parse().flags, begin)
}

async fn begin(mut process: Process<Config>) -> Result<Process<Config>, TaskError> {
    let kafka = process.config.bus.kafka.clone().resolve(|password| password.resolve())?;
    let kafka = Kafka::connect(kafka).await?;
    let networks = process.config.networks()?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let stage = NormalizerStage::new(networks.clone(), threads);
    let stop = process.stop.clone();
    process
        .tasks
        .spawn(async move { Ok(hubwarden_normalizer::run(kafka, stage, stop, |_| {}).await?) });
    let server = process.grpc(CONTRACT)?;
    let most = server.max_message();
    let events = EventServiceServer::new(EventApi::new(networks));
    let server = server.with_service(grpc_limits!(server events, most));
    process.serve(server);
    Ok(process)
}
