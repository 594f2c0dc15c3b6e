//! The console as a service of its own: keeps findings from Kafka, shows them and answers for them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hubwarden_bus::{Bus, BusConfig, Kafka, topic};
use hubwarden_console::web::{self, ConsoleState};
use hubwarden_console::{
    Access, FindingApi, Findings, Letters, StageWatch, Status, StoreConfig, consume, letters,
    raw_bytes,
};
use hubwarden_proto::CONTRACT;
use hubwarden_proto::v1::finding_service_server::FindingServiceServer;
use hubwarden_service::process::{self, Flags, Process, Sections, ServerConfig, ServiceConfig};
use hubwarden_service::{
    GrpcConfig, HealthConfig, Invalid, LogConfig, SecretRef, TaskError, TelemetryConfig,
    TokensConfig, Validate, grpc_limits,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

const NAME: &str = "hubwarden-console";

/// Keeps findings, shows them, answers for them
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
    store: StoreConfig,
    storage: StorageConfig,
    web: WebConfig,
    grpc: GrpcConfig,
    health: HealthConfig,
    telemetry: TelemetryConfig,
    log: LogConfig,
    tokens: TokensConfig,
    server: ServerConfig,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StorageConfig {
    /// Folder of the SQLite store.
    data_dir: PathBuf,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { data_dir: "/var/lib/hubwarden".into() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WebConfig {
    /// Address of the pages and the JSON API; TLS is the ingress's.
    listen: String,
    /// Host names by which browsers call the console, without port.
    hosts: Vec<String>,
    /// The token that asks for sign-in links and the JSON API, the same for all replicas.
    token: Option<SecretRef>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen: "0.0.0.0:7474".into(), hosts: Vec::new(), token: None }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), Invalid> {
        self.bus.kafka.check().map_err(|error| Invalid::new("bus.kafka", error.to_string()))?;
        self.store.validate()?;
        if self.web.listen.parse::<SocketAddr>().is_err() {
            let reason =
                format!("`{}` is no address with port; write 0.0.0.0:7474", self.web.listen);
            return Err(Invalid::new("web.listen", reason));
        }
        if self.web.token.is_none() {
            let reason = "nobody could sign in without it; name a file with 32 random bytes in hex: \
                          token = { file = \"/etc/hubwarden/web.token\" }";
            return Err(Invalid::new("web.token", reason));
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
        self.storage.data_dir = folder.join(&self.storage.data_dir);
        self.store.url = self.store.url.take().map(|url| url.relative_to(folder));
        self.web.token = self.web.token.take().map(|token| token.relative_to(folder));
    }
}

fn main() -> ExitCode {
    process::run(NAME, &Cli::parse().flags, begin)
}

async fn begin(mut process: Process<Config>) -> Result<Process<Config>, TaskError> {
    let Config { bus, store, storage, web, .. } = process.config.clone();
    let Some(token) = &web.token else { return Err("web.token is missing".into()) };
    let access = Access::with_api_token(token.resolve()?.expose_secret().to_owned())
        .and_tokens(&process.config.tokens);
    let kafka = bus.kafka.clone().resolve(|password| password.resolve())?;
    let kafka = Kafka::connect(kafka).await?;
    let stop = process.stop.clone();
    let waiting = process.health.condition("store");
    waiting.not_ready("it is being opened");
    let Some(store) = store.open(&storage.data_dir, &stop).await? else { return Ok(process) };
    waiting.ready();
    let reader = kafka.keeping_reader(consume::STAGE, &[topic::FINDINGS])?;
    let (kept, token) = (store.clone(), stop.clone());
    process.tasks.spawn(async move { Ok(consume::run(reader, &*kept, token).await?) });

    let dead = [topic::RAW_DEAD, topic::EVENTS_DEAD];
    let reader = kafka.keeping_reader(letters::STAGE, &dead)?;
    let (kept, token) = (store.clone(), stop.clone());
    process.tasks.spawn(async move { Ok(letters::run(reader, &*kept, token).await?) });

    let findings = Findings::new(store.clone(), raw_bytes(kafka.clone()));
    let watch = StageWatch::default();
    process.tasks.spawn(watch.clone().run(kafka.clone(), stop.clone()));
    let looks = watch.clone();
    let state = ConsoleState {
        findings: findings.clone(),
        status: Arc::new(move || Status { stages: looks.stages(), ..Status::default() }),
        watch,
        letters: Letters::new(store, kafka),
        access: Arc::new(access),
        public_hosts: web.hosts.into(),
        clock: web::now,
    };
    let listener = TcpListener::bind(&web.listen).await.map_err(|error| {
        format!("cannot listen on {}: {error}; set web.listen to another", web.listen)
    })?;
    tracing::info!(listen = %listener.local_addr()?, "pages are served");
    let router = web::router(state);
    process.tasks.spawn(async move {
        let serving = axum::serve(listener, router);
        Ok(serving.with_graceful_shutdown(async move { stop.cancelled().await }).await?)
    });
    let server = process.grpc(CONTRACT)?;
    let most = server.max_message();
    let service = FindingServiceServer::new(FindingApi::new(findings));
    let server = server.with_service(grpc_limits!(server service, most));
    process.serve(server);
    Ok(process)
}
