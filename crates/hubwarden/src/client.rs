use std::path::Path;

use hubwarden_event::Timestamp;
use hubwarden_proto::v1;
use hubwarden_proto::v1::finding_service_client::FindingServiceClient;
use hubwarden_proto::v1::rule_service_client::RuleServiceClient;
use hubwarden_proto::v1::source_service_client::SourceServiceClient;
use hubwarden_service::grpc::{self, ClientConfig, ConnectError, GrpcChannel};
use hubwarden_service::{grpc_limits, tls};
use serde::de::DeserializeOwned;
use tonic::codegen::{Service, http};
use tonic::{Code, Response, Status};

use crate::Config;
use crate::args::Remote;
use crate::config::RemoteConfig;
use crate::failure::{Exit, Failure, with_causes};
use crate::server::Address;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// A server that commands ask: one of this data folder, or a service elsewhere.
pub(crate) struct Client {
    /// Its address, as a page is opened: `http://127.0.0.1:7474`.
    pub(crate) base: String,
    channel: GrpcChannel,
}

impl Client {
    /// The service that is named, else the server that runs on the data folder, if one answers.
    ///
    /// # Errors
    /// The service that is named cannot be reached.
    pub(crate) async fn of(remote: &Remote, config: &Config) -> Result<Option<Self>, Failure> {
        let Some(url) = &remote.server else {
            return Ok(Self::find(&config.storage.data_dir).await);
        };
        let RemoteConfig { token, tls, deadline_s } = config.remote.clone();
        let client = ClientConfig { url: url.clone(), tls, token, deadline_s };
        client
            .validate_at("--server")
            .map_err(|invalid| Failure::usage(format!("--server: {}", invalid.reason)))?;
        let channel = grpc::connect(&client).await.map_err(|error| {
            let next = match error {
                ConnectError::Unreachable { .. } => "; check --server and that the service runs",
                _ => "",
            };
            Failure::new(Exit::Failed, with_causes(&error) + next)
        })?;
        Ok(Some(Self { base: url.trim_end_matches('/').to_owned(), channel }))
    }

    /// The same where nothing can be done without one.
    ///
    /// # Errors
    /// As [`Client::of`], or when no server runs on the data folder.
    pub(crate) async fn must(remote: &Remote, config: &Config) -> Result<Self, Failure> {
        Self::of(remote, config).await?.ok_or_else(|| {
            let text = "no server runs on this data folder; start `hubwarden serve`, or name a console with --server";
            Failure::new(Exit::Failed, text)
        })
    }

    /// The channel with what says who calls, for any service.
    pub(crate) fn service(&self) -> GrpcChannel {
        self.channel.clone()
    }

    /// Findings.
    pub(crate) fn findings(&self) -> FindingServiceClient<GrpcChannel> {
        grpc_limits!(client FindingServiceClient::new(self.service()), MAX_ANSWER)
    }

    /// Rules.
    pub(crate) fn rules(&self) -> RuleServiceClient<GrpcChannel> {
        grpc_limits!(client RuleServiceClient::new(self.service()), MAX_ANSWER)
    }

    /// Sources.
    pub(crate) fn sources(&self) -> SourceServiceClient<GrpcChannel> {
        grpc_limits!(client SourceServiceClient::new(self.service()), MAX_ANSWER)
    }

    /// The server that runs on this data folder, if one answers.
    pub(crate) async fn find(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(Address::file(data_dir)).ok()?;
        let address: Address = serde_json::from_str(&text).ok()?;
        let url = format!("http://{}", address.listen);
        let config = ClientConfig { url: url.clone(), ..ClientConfig::default() };
        let channel = grpc::connect_as(&config, &address.api_token).await.ok()?;
        Some(Self { base: url, channel })
    }

    /// A JSON answer of the server's API.
    ///
    /// # Errors
    /// A server that refuses, with what it says, or does not answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
    ) -> Result<T, Failure> {
        let gone = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, format!("{} did not answer {path}: {error}", self.base))
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(tonic::body::Body::empty())
            .map_err(|error| gone(&error))?;
        let mut channel = self.channel.clone();
        std::future::poll_fn(|context| channel.poll_ready(context))
            .await
            .map_err(|error| gone(&with_causes(&error)))?;
        let answer = channel.call(request).await.map_err(|error| gone(&with_causes(&error)))?;
        let status = answer.status();
        let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), MAX_ANSWER);
        let body = body.await.map_err(|error| gone(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                let text = format!("{} is of another release, or no console: {error}", self.base);
                Failure::new(Exit::Failed, text)
            });
        }
        let exit = match status.as_u16() {
            401 | 403 => Exit::Denied,
            400 => Exit::Usage,
            _ => Exit::Failed,
        };
        let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
        let said = said.get("error").and_then(serde_json::Value::as_str);
        let said =
            said.map_or_else(|| format!("{} answered {status} to {path}", self.base), Into::into);
        Err(Failure::new(exit, said))
    }
}

/// Asks a server, again where that changes nothing and it could not answer.
pub(crate) async fn ask<T, F>(method: &str, attempt: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let path = format!("/hubwarden.v1.{method}");
    Ok(grpc::call(&path, attempt).await?.into_inner())
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let exit = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
            Code::InvalidArgument => Exit::Usage,
            _ => Exit::Failed,
        };
        if status.code() == Code::Unimplemented {
            let text = "the service at this address does not answer that: sources are told by hubwarden-collector, \
                        rules by hubwarden-detector, findings by hubwarden-console";
            return Self::new(exit, text);
        }
        // a connection that broke says why below
        let cause = std::error::Error::source(&status).map(tls::explain);
        Self::new(exit, cause.unwrap_or_else(|| status.message().into()))
    }
}

/// A time as the wire has it; 0 when open.
pub(crate) fn millis(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_millis)
}

/// The failure of a server whose answer this release does not understand.
pub(crate) fn foreign(error: hubwarden_proto::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the server is of another release: {error}"))
}

/// A finding of the wire as the vocabulary has it.
pub(crate) fn finding(finding: v1::Finding) -> Result<hubwarden_event::Finding, Failure> {
    finding.try_into().map_err(foreign)
}
