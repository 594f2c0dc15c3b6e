use std::time::Duration;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tonic::metadata::{Ascii, AsciiMetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::methods::method;
use crate::{Backoff, ClientTls, Invalid, SecretError, SecretRef, tls, trace};

/// Tries of an idempotent call, the first included.
const TRIES: u32 = 4;

/// How to reach a gRPC service: `{ url = "https://detector:7475", tls = { … }, token = { file = "…" } }`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Address, `http://` or `https://`.
    pub url: String,
    /// What to trust and show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// A token, where a certificate does not say who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// How long a call may take, in seconds; 0: 30.
    pub deadline_s: u64,
}

impl ClientConfig {
    /// Names the key below `section` whose value makes no sense.
    ///
    /// # Errors
    /// An address without scheme, or TLS settings without a pair.
    pub fn validate_at(&self, section: &str) -> Result<(), Invalid> {
        let scheme = ["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme));
        if !scheme || self.url.parse::<axum::http::Uri>().is_err() {
            let reason = format!("`{}` is no address; write https://HOST:7475", self.url);
            return Err(Invalid::new(format!("{section}.url"), reason));
        }
        self.tls.as_ref().map_or(Ok(()), |tls| tls.validate_at(&format!("{section}.tls")))
    }
}

/// Why a service cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The token is not where the configuration says, or holds letters that no header may.
    #[error("the token for {url} cannot be used")]
    Token {
        /// The service's address.
        url: String,
        /// What is wrong with it.
        #[source]
        source: Option<SecretError>,
    },
    /// The service does not answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The service's address.
        url: String,
        /// Why, and what to do.
        reason: String,
        /// The fault itself.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A connection that sends the token and the trace with each call.
pub type GrpcChannel = InterceptedService<Channel, Outgoing>;

/// Adds to each call who calls and in which trace.
#[derive(Debug, Clone)]
pub struct Outgoing {
    token: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        for (name, value) in trace::outgoing() {
            let name = name.parse::<AsciiMetadataKey>();
            if let (Ok(name), Ok(value)) = (name, value.parse()) {
                request.metadata_mut().insert(name, value);
            }
        }
        Ok(request)
    }
}

/// Connects to a service.
///
/// # Errors
/// Certificates or a token that cannot be used, or a service that cannot be reached, with the
/// TLS fault named where there is one.
pub async fn connect(config: &ClientConfig) -> Result<GrpcChannel, ConnectError> {
    let Some(reference) = &config.token else { return open(config, None).await };
    let secret = reference.resolve().map_err(|error| unusable(config, Some(error)))?;
    connect_as(config, secret.expose_secret()).await
}

/// Connects to a service with this token, whatever the configuration names.
///
/// # Errors
/// As [`connect`].
pub async fn connect_as(config: &ClientConfig, token: &str) -> Result<GrpcChannel, ConnectError> {
    let header = format!("Bearer {token}").parse();
    let mut header: MetadataValue<Ascii> = header.map_err(|_| unusable(config, None))?;
    header.set_sensitive(true);
    open(config, Some(header)).await
}

fn unusable(config: &ClientConfig, source: Option<SecretError>) -> ConnectError {
    ConnectError::Token { url: config.url.clone(), source }
}

async fn open(
    config: &ClientConfig,
    token: Option<MetadataValue<Ascii>>,
) -> Result<GrpcChannel, ConnectError> {
    let unreachable = |source: tonic::transport::Error| ConnectError::Unreachable {
        url: config.url.clone(),
        reason: tls::explain(&source),
        source,
    };
    let deadline = Duration::from_secs(if config.deadline_s == 0 { 30 } else { config.deadline_s });
    let mut endpoint = Endpoint::from_shared(config.url.clone())
        .map_err(unreachable)?
        .timeout(deadline)
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .tcp_nodelay(true);
    if config.url.starts_with("https://") {
        let tls = config.tls.clone().unwrap_or_default().load()?;
        endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    }
    let channel = endpoint.connect().await.map_err(unreachable)?;
    Ok(InterceptedService::new(channel, Outgoing { token }))
}

/// Calls a method, again where the table of methods says that this changes nothing.
///
/// Only calls that the service could not take (`UNAVAILABLE`) are repeated, at most three times,
/// with growing waits and jitter.
///
/// # Errors
/// The status of the last try.
pub async fn call<T, F>(path: &str, mut attempt: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let tries = if method(path).is_some_and(|method| method.idempotent) { TRIES } else { 1 };
    let mut waits = Backoff::default();
    let mut tried = 1;
    loop {
        match attempt().await {
            Err(status) if status.code() == Code::Unavailable && tried < tries => {
                tracing::debug!(path, tried, "service unavailable, trying again");
                tokio::time::sleep(waits.next_wait()).await;
                tried += 1;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn tries(path: &str, code: Code, works_at: u32) -> (u32, Result<u32, Code>) {
        let tried = Cell::new(0);
        let answer = call(path, || {
            tried.set(tried.get() + 1);
            let answer = if tried.get() == works_at { Ok(7) } else { Err(Status::new(code, "")) };
            std::future::ready(answer)
        });
        let answer = answer.await.map_err(|status| status.code());
        (tried.get(), answer)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_changes_nothing_is_tried_again() {
        let (read, write) =
            ("/hubwarden.v1.FindingService/GetFinding", "/hubwarden.v1.IngestService/Ingest");
        assert_eq!(tries(read, Code::Unavailable, 3).await, (3, Ok(7)));
        assert_eq!(tries(read, Code::Unavailable, 9).await, (4, Err(Code::Unavailable)));
        assert_eq!(tries(read, Code::NotFound, 9).await, (1, Err(Code::NotFound)));
        assert_eq!(tries(write, Code::Unavailable, 2).await, (1, Err(Code::Unavailable)));
        assert_eq!(tries("/unknown", Code::Unavailable, 2).await, (1, Err(Code::Unavailable)));
    }

    #[test]
    fn an_address_needs_its_scheme() {
        let config = ClientConfig { url: "detector:7475".into(), ..ClientConfig::default() };
        assert_eq!(config.validate_at("rules").unwrap_err().key, "rules.url");
        let config =
            ClientConfig { url: "https://detector:7475".into(), ..ClientConfig::default() };
        config.validate_at("rules").unwrap();
    }
}
