//! A server and clients over loopback: tokens, certificates, limits, deadlines, health, traces.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::uri::PathAndQuery;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use tower::{Layer, Service, ServiceExt};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::testing::Authority;
use crate::{
    Access, Caller, ClientTls, Health, Role, SecretRef, ServerTls, TokenConfig, TokensConfig,
    new_token, trace,
};

const LIST: &str = "/hubwarden.v1.FindingService/ListFindings";

/// Answers every method with who called and in which trace; `wait` is never answered.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "hubwarden.v1.FindingService";
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        Box::pin(async move {
            if request.get_ref() == "wait" {
                std::future::pending::<()>().await;
            }
            let caller = request.extensions().get::<Caller>().unwrap();
            let trace = trace::current_trace_id().unwrap_or_default();
            Ok(Response::new(format!("{} {} {trace}", caller.name, caller.role.as_str())))
        })
    }
}

impl Service<axum::http::Request<Body>> for Echo {
    type Response = axum::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<String, String>::default();
            let grpc = tonic::server::Grpc::new(codec);
            Ok(grpc.max_decoding_message_size(1 << 20).unary(Echo, request).await)
        })
    }
}

/// Tokens of all roles, each written to a file of its role's name.
fn tokens(folder: &Path) -> TokensConfig {
    let entries = Role::ALL.map(|role| {
        let (token, sha256) = new_token().unwrap();
        std::fs::write(folder.join(role.as_str()), token.expose_secret()).unwrap();
        let expires = "9999-01-01T00:00:00Z".parse().unwrap();
        (role.as_str().to_owned(), TokenConfig { sha256, role, expires })
    });
    TokensConfig(entries.into())
}

struct Running {
    folder: TempDir,
    health: Health,
    url: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    fn start(folder: TempDir, config: GrpcConfig) -> Self {
        let config = GrpcConfig { listen: "127.0.0.1:0".into(), ..config };
        let health = Health::new();
        let server = Server::bind(&config, &tokens(folder.path()), &health, &[]).unwrap();
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", server.address().port());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.with_service(Echo).run(stop.clone()));
        Self { folder, health, url, stop, task }
    }

    fn plain() -> Self {
        Self::start(tempfile::tempdir().unwrap(), GrpcConfig::default())
    }

    fn client(&self, role: Option<Role>) -> ClientConfig {
        let token = role.map(|role| SecretRef::File(self.folder.path().join(role.as_str())));
        ClientConfig { url: self.url.clone(), token, ..ClientConfig::default() }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn ask(channel: GrpcChannel, path: &'static str, text: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static(path);
    let answer = client.unary(Request::new(text.to_owned()), path, codec).await?;
    Ok(answer.into_inner())
}

/// Connects and asks; a connection that fails is told as its error's text.
async fn asked(config: &ClientConfig) -> Result<String, String> {
    let channel = connect(config).await.map_err(|error| error.to_string())?;
    ask(channel, LIST, "").await.map_err(|status| format!("{:?}", status.code()))
}

#[tokio::test]
async fn every_method_is_open_to_the_roles_of_its_row_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let access = Access::new(&tokens(folder.path()), &BTreeMap::new());
    let passing = tower::service_fn(async |_: axum::http::Request<Body>| {
        Ok::<_, Infallible>(axum::http::Response::new(Body::empty()))
    });
    let guarded = Guard::new(Arc::new(access)).layer(passing);
    let code = async |path: &str, token: &str| {
        let mut request = axum::http::Request::post(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = guarded.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    };
    for method in METHODS {
        assert!(!method.roles.is_empty(), "{}", method.path);
        assert_eq!(code(method.path, "").await, Code::Unauthenticated, "{}", method.path);
        assert_eq!(code(method.path, "wrong").await, Code::Unauthenticated, "{}", method.path);
        for role in Role::ALL {
            let token = std::fs::read_to_string(folder.path().join(role.as_str())).unwrap();
            let allowed = method.roles.contains(&role);
            let expected = if allowed { Code::Ok } else { Code::PermissionDenied };
            assert_eq!(code(method.path, &token).await, expected, "{role:?} {}", method.path);
        }
    }
    let admin = std::fs::read_to_string(folder.path().join("admin")).unwrap();
    let unknown = "/hubwarden.v1.FindingService/Erase";
    assert_eq!(code(unknown, &admin).await, Code::PermissionDenied, "not in the table");
    assert_eq!(code("/grpc.health.v1.Health/Check", "").await, Code::Ok);
}

#[tokio::test]
async fn a_token_decides_over_the_network() {
    let server = Running::plain();
    assert_eq!(asked(&server.client(None)).await.unwrap_err(), "Unauthenticated");
    assert_eq!(asked(&server.client(Some(Role::Ingest))).await.unwrap_err(), "PermissionDenied");
    assert_eq!(asked(&server.client(Some(Role::Viewer))).await.unwrap(), "viewer viewer ");
    server.end().await;
}

fn mutual(folder: &Path, authority: &Authority) -> GrpcConfig {
    authority.write(folder);
    authority.issue(folder, "server", &["localhost"], -1, 9);
    let file = |name: &str| folder.join(name);
    let tls = ServerTls {
        cert: file("server.pem"),
        key: file("server.key"),
        client_ca: Some(file("ca.pem")),
    };
    let peers = [("hubwarden-console".to_owned(), Role::Service)].into();
    GrpcConfig { tls: Some(tls), peers, ..GrpcConfig::default() }
}

#[tokio::test]
async fn a_certificate_tells_which_service_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let config = mutual(folder.path(), &authority);
    authority.issue(folder.path(), "console", &["hubwarden-console"], -1, 9);
    authority.issue(folder.path(), "unlisted", &["hubwarden-unlisted"], -1, 9);
    stranger.issue(folder.path(), "forged", &["hubwarden-console"], -1, 9);
    let server = Running::start(folder, config);
    let client = |name: Option<&str>| {
        let file = |name: String| Some(server.folder.path().join(name));
        let tls = ClientTls {
            ca: file("ca.pem".into()),
            cert: name.and_then(|name| file(format!("{name}.pem"))),
            key: name.and_then(|name| file(format!("{name}.key"))),
            name: None,
        };
        ClientConfig { tls: Some(tls), ..server.client(None) }
    };
    let console = asked(&client(Some("console"))).await;
    assert_eq!(console.unwrap(), "hubwarden-console service ");
    assert_eq!(asked(&client(Some("unlisted"))).await.unwrap_err(), "Unauthenticated");
    assert_eq!(asked(&client(None)).await.unwrap_err(), "Unauthenticated");
    assert!(asked(&client(Some("forged"))).await.is_err(), "signed by a stranger");
    let with_token =
        ClientConfig { token: server.client(Some(Role::Analyst)).token, ..client(None) };
    assert_eq!(asked(&with_token).await.unwrap(), "analyst analyst ");

    let mut other_name = client(Some("console"));
    other_name.tls.as_mut().unwrap().name = Some("collector".into());
    let error = asked(&other_name).await.unwrap_err();
    assert!(error.contains("carries another name"), "{error}");
    let untrusting = ClientConfig { tls: Some(ClientTls::default()), ..client(None) };
    let error = asked(&untrusting).await.unwrap_err();
    assert!(error.contains("signed by nobody that is trusted here"), "{error}");
    server.end().await;
}

#[tokio::test]
async fn an_expired_certificate_is_named_on_either_side() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let config = mutual(folder.path(), &authority);
    authority.issue(folder.path(), "old", &["localhost", "hubwarden-console"], -9, -2);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let file = |name: &str| Some(folder.path().join(name));

    // our own server refuses to start with it, so this one is made by hand
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(read("old.pem"), read("old.key")));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("https://localhost:{}", incoming.local_addr().unwrap().port());
    let old = tonic::transport::Server::builder().tls_config(tls).unwrap().add_service(Echo);
    let serving = tokio::spawn(old.serve_with_incoming(incoming));
    let tls = ClientTls { ca: file("ca.pem"), ..ClientTls::default() };
    let error = asked(&ClientConfig { url, tls: Some(tls), ..ClientConfig::default() }).await;
    let error = error.unwrap_err();
    assert!(error.contains("the peer's certificate expired at 20"), "{error}");
    serving.abort();

    // and so does our own client, so that this one is made by hand too
    let health = Health::new();
    let config = GrpcConfig { listen: "127.0.0.1:0".into(), ..config };
    let server = Server::bind(&config, &TokensConfig::default(), &health, &[]).unwrap();
    let url = format!("https://localhost:{}", server.address().port());
    let serving = tokio::spawn(server.with_service(Echo).run(CancellationToken::new()));
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.pem")))
        .identity(Identity::from_pem(read("old.pem"), read("old.key")));
    let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let told = match endpoint.connect().await {
        Err(error) => crate::tls::explain(&error),
        Ok(channel) => {
            let status = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
            crate::tls::explain(&status.unwrap_err())
        }
    };
    assert!(told.contains("this side's certificate has expired"), "{told}");
    serving.abort();
}

#[tokio::test]
async fn messages_and_time_are_limited() {
    let config = GrpcConfig { deadline_s: 1, ..GrpcConfig::default() };
    let server = Running::start(tempfile::tempdir().unwrap(), config);
    let channel = connect(&server.client(Some(Role::Viewer))).await.unwrap();
    let large = "x".repeat(2 << 20);
    let refused = ask(channel.clone(), LIST, &large).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let late = ask(channel.clone(), LIST, "wait").await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
    assert!(ask(channel, LIST, "").await.is_ok());
    server.end().await;
}

#[tokio::test]
async fn health_follows_readiness_and_answers_are_compressed() {
    let server = Running::plain();
    let bus = server.health.condition("bus");
    let channel = connect(&server.client(None)).await.unwrap();
    let mut client = grpc_limits!(client HealthClient::new(channel), 1 << 20);
    for name in ["", "hubwarden.v1.FindingService"] {
        let request = HealthCheckRequest { service: name.into() };
        let mut watch = client.watch(request).await.unwrap().into_inner();
        let mut seen = Vec::new();
        bus.ready();
        while seen.last() != Some(&ServingStatus::Serving) {
            seen.push(watch.message().await.unwrap().unwrap().status());
        }
        bus.not_ready("gone");
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    let encoding = answer.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap());
    assert!(matches!(encoding, Some("zstd" | "gzip")), "{encoding:?}");
    server.end().await;
}

#[tokio::test]
async fn a_call_stays_in_the_trace_of_its_caller() {
    let provider = SdkTracerProvider::builder().build();
    let layer = crate::telemetry::span_layer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let server = Running::plain();
    let channel = connect(&server.client(Some(Role::Viewer))).await.unwrap();
    let span = tracing::info_span!("asking");
    let trace = span.in_scope(trace::current_trace_id).unwrap();
    let answer = tracing::Instrument::instrument(ask(channel, LIST, ""), span).await.unwrap();
    assert_eq!(answer, format!("viewer viewer {trace}"));
    server.end().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_anything_runs() {
    let health = Health::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let config = GrpcConfig { listen: listen.clone(), ..GrpcConfig::default() };
    let error = Server::bind(&config, &TokensConfig::default(), &health, &[]).unwrap_err();
    assert!(error.to_string().contains(&listen), "{error}");
    let peers = [("a".to_owned(), Role::Service)].into();
    let config = GrpcConfig { peers, ..GrpcConfig::default() };
    assert_eq!(crate::Validate::validate(&config).unwrap_err().key, "grpc.peers");
}
