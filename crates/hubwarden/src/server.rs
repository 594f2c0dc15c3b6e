use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hubwarden_bus::Bus;
use hubwarden_collector::{IngestApi, SourceApi, Sources};
use hubwarden_console::web::{self, ConsoleState};
use hubwarden_console::{Access, StatusProvider};
use hubwarden_normalizer::{EventApi, Networks};
use hubwarden_proto::v1::event_service_server::EventServiceServer;
use hubwarden_service::{TaskResult, grpc_limits};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use crate::failure::Exit;
use crate::{Failure, Pipeline};

/// How the command line finds a running server: `server.json` in the data folder, for this user only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Address {
    /// Where pages, JSON API and gRPC are.
    pub(crate) listen: SocketAddr,
    /// The process.
    pub(crate) pid: u32,
    /// The token that local commands show.
    pub(crate) api_token: String,
}

impl Address {
    pub(crate) fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("server.json")
    }

    fn write(&self, data_dir: &Path) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let temporary = data_dir.join("server.json.new");
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        std::fs::rename(temporary, Self::file(data_dir))
    }
}

/// A call holds at most one record of 32 MiB.
const MAX_MESSAGE: usize = 40 << 20;

/// What a server answers from.
pub(crate) struct Answers<B> {
    /// The stages in this process, and what is asked of them.
    pub(crate) pipeline: Pipeline<B>,
    /// The networks by which records are normalized.
    pub(crate) networks: Networks,
    pub(crate) sources: Sources<B>,
    pub(crate) status: StatusProvider,
}

/// Pages, JSON API and gRPC on one loopback address.
pub(crate) struct Server {
    listener: TcpListener,
    router: axum::Router,
    access: Arc<Access>,
    address: SocketAddr,
    data_dir: PathBuf,
}

impl Server {
    /// Takes the address and gets everything ready; [`run`](Self::run) answers.
    pub(crate) async fn bind(
        listen: SocketAddr,
        data_dir: &Path,
        answers: Answers<impl Bus>,
    ) -> Result<Self, Failure> {
        let Answers { pipeline, networks, sources, status } = answers;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let text = format!(
                "cannot listen on {listen}: {error}; stop what uses the port, or set server.listen (demo: --listen) to another"
            );
            Failure::new(Exit::Failed, text)
        })?;
        let address = listener.local_addr()?;
        let access = Arc::new(Access::new()?);
        let state = ConsoleState {
            findings: pipeline.findings,
            status,
            watch: pipeline.watch,
            letters: pipeline.letters,
            access: access.clone(),
            public_hosts: Arc::new([]),
            clock: web::now,
        };
        // one check before all of them
        let checked = access.clone();
        let check = move |request| checked.intercept(request);
        let ingest = InterceptedService::new(IngestApi::service(pipeline.bus), check.clone());
        let events = EventServiceServer::new(EventApi::new(networks));
        let events = grpc_limits!(server events, MAX_MESSAGE);
        let sources = grpc_limits!(server SourceApi::service(sources), MAX_MESSAGE);
        let rules = grpc_limits!(server pipeline.rules.service(), MAX_MESSAGE);
        let own = Routes::new(ingest)
            .add_service(InterceptedService::new(events, check.clone()))
            .add_service(InterceptedService::new(sources, check.clone()))
            .add_service(InterceptedService::new(rules, check))
            .into_axum_router()
            .reset_fallback();
        let router = web::router(state.clone()).merge(web::grpc(&state)).merge(own);
        Ok(Self { listener, router, access, address, data_dir: data_dir.into() })
    }

    /// A one-time link to the pages.
    pub(crate) fn link(&self) -> Result<String, Failure> {
        let token = self.access.new_link(web::now())?;
        Ok(format!("http://{}/login?token={token}", self.address))
    }

    /// Answers until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) -> TaskResult {
        let api_token = self.access.api_token().to_owned();
        Address { listen: self.address, pid: std::process::id(), api_token }
            .write(&self.data_dir)?;
        let serving = axum::serve(self.listener, self.router);
        let served = serving.with_graceful_shutdown(async move { stop.cancelled().await }).await;
        // A later server has its own; what is left behind would only point to nobody.
        drop(std::fs::remove_file(Address::file(&self.data_dir)));
        Ok(served?)
    }
}
