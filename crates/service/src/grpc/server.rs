use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tower::Service;

use super::Guard;
use crate::health::{ListenError, address};
use crate::{Access, Health, Invalid, Role, ServerTls, TokensConfig, Validate, tls};

/// Connections whose peer is gone are noticed within this time.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Section `[grpc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address of the gRPC services.
    pub listen: String,
    /// Certificate and key; absent: no TLS, for loopback and for meshes that bring their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// What the services with these certificate names (DNS names or URIs) may do; needs `tls.client_ca`.
    pub peers: BTreeMap<String, Role>,
    /// Whether tools may ask for the contract.
    pub reflection: bool,
    /// The largest message, in MiB.
    pub max_message_mib: usize,
    /// How long a call may take until its answer begins, in seconds; a caller may ask for less.
    pub deadline_s: u64,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:7475".into(),
            tls: None,
            peers: BTreeMap::new(),
            reflection: false,
            max_message_mib: 40,
            deadline_s: 30,
        }
    }
}

impl Validate for GrpcConfig {
    fn validate(&self) -> Result<(), Invalid> {
        address("grpc.listen", &self.listen)?;
        for (key, value) in [
            ("grpc.max_message_mib", self.max_message_mib as u64),
            ("grpc.deadline_s", self.deadline_s),
        ] {
            if value == 0 {
                return Err(Invalid::new(key, "must be at least 1"));
            }
        }
        let checks = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        if !self.peers.is_empty() && !checks {
            let reason = "needs `grpc.tls.client_ca`: without it no certificate is asked for";
            return Err(Invalid::new("grpc.peers", reason));
        }
        Ok(())
    }
}

impl GrpcConfig {
    /// The same, relative files being taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        Self { tls: self.tls.map(|tls| tls.relative_to(folder)), ..self }
    }

    /// The largest message, in bytes: for [`grpc_limits!`](crate::grpc_limits).
    pub fn max_message(&self) -> usize {
        self.max_message_mib << 20
    }
}

/// Why gRPC cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificates cannot be served with.
    #[error("gRPC cannot be served with these certificates: {0}")]
    Setup(#[source] tonic::transport::Error),
    /// The contract for reflection cannot be read.
    #[error("the contract for reflection cannot be read; set grpc.reflection = false")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Serving broke.
    #[error("gRPC is served no more")]
    Serve(#[source] tonic::transport::Error),
}

/// The gRPC side of a service: add services by [`with_service`](Self::with_service), then [`run`](Self::run).
///
/// Health is always served; every other method passes the table of methods first.
pub struct Server {
    config: GrpcConfig,
    builder: tonic::transport::Server,
    incoming: TcpIncoming,
    address: SocketAddr,
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    access: Arc<Access>,
    health: Health,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("names", &self.names)
            .finish()
    }
}

impl Server {
    /// Listens and reads the certificates, so that what is wrong is an error before anything runs.
    ///
    /// `contract` are encoded descriptor sets; they are told only where reflection is on.
    ///
    /// # Errors
    /// Certificates that cannot be used, an address that is taken, or a contract that is none.
    pub fn bind(
        config: &GrpcConfig,
        tokens: &TokensConfig,
        health: &Health,
        contract: &'static [u8],
    ) -> Result<Self, ServerError> {
        let deadline = Duration::from_secs(config.deadline_s);
        let mut builder = tonic::transport::Server::builder()
            .timeout(deadline)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .tcp_nodelay(true);
        if let Some(tls) = &config.tls {
            builder = builder.tls_config(tls.load()?).map_err(ServerError::Setup)?;
        }
        let taken =
            |source| ListenError { listen: config.listen.clone(), key: "grpc.listen", source };
        let listen = address("grpc.listen", &config.listen)
            .map_err(|invalid| taken(std::io::Error::other(invalid)))?;
        let incoming = TcpIncoming::bind(listen).map_err(taken)?;
        let address = incoming.local_addr().map_err(taken)?;
        tracing::info!(listen = %address, tls = config.tls.is_some(), "gRPC is served");
        let mut routes = Routes::builder();
        if config.reflection {
            let reflection = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(contract)
                .build_v1()
                .map_err(ServerError::Reflection)?;
            routes.add_service(reflection);
        }
        Ok(Self {
            config: config.clone(),
            builder,
            incoming,
            address,
            routes,
            names: Vec::new(),
            access: Arc::new(Access::new(tokens, &config.peers)),
            health: health.clone(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The largest message, for [`grpc_limits!`](crate::grpc_limits).
    pub fn max_message(&self) -> usize {
        self.config.max_message()
    }

    /// Recognises callers: pages and JSON API ask the same.
    pub fn access(&self) -> Arc<Access> {
        self.access.clone()
    }

    /// Adds a service, best wrapped in [`grpc_limits!`](crate::grpc_limits).
    #[must_use]
    pub fn with_service<S>(mut self, service: S) -> Self
    where
        S: Service<
                axum::http::Request<Body>,
                Response = axum::http::Response<Body>,
                Error = std::convert::Infallible,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Answers until told to stop, then lets calls that have begun end.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ServerError> {
        let (reporter, probes) = tonic_health::server::health_reporter();
        self.routes.add_service(crate::grpc_limits!(server probes, self.config.max_message()));
        let names = std::mem::take(&mut self.names);
        let mut ready = self.health.watch();
        let telling = async move {
            loop {
                let status = match *ready.borrow_and_update() {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                };
                for name in names.iter().copied().chain([""]) {
                    reporter.set_service_status(name, status).await;
                }
                if ready.changed().await.is_err() {
                    return std::future::pending::<()>().await;
                }
            }
        };
        let serving = self
            .builder
            .layer(Guard::new(self.access))
            .add_routes(self.routes.routes())
            .serve_with_incoming_shutdown(self.incoming, async move { stop.cancelled().await });
        tokio::select! {
            served = serving => served.map_err(ServerError::Serve),
            () = telling => Ok(()),
        }
    }
}
