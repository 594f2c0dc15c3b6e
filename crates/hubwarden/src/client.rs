use std::path::Path;
use std::time::Duration;

use hubwarden_event::Timestamp;
use hubwarden_proto::v1;
use hubwarden_proto::v1::finding_service_client::FindingServiceClient;
use hubwarden_service::{ClientTls, SecretRef};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::args::ServerChoice;
use crate::failure::{Exit, Failure, with_causes};
use crate::server::Address;

/// Shows the API token with every call.
#[derive(Clone)]
pub(crate) struct Token(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A running server.
pub(crate) struct Client {
    /// Its address, as a page is opened: `http://127.0.0.1:7474`.
    pub(crate) base: String,
    channel: Channel,
    token: Token,
}

/// A connection is made within so long.
const CONNECT: Duration = Duration::from_secs(2);
/// An answer comes within so long.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

impl Client {
    /// The server that is named, else the one that runs on this data folder, if one answers.
    ///
    /// # Errors
    /// A server that is named and cannot be asked.
    pub(crate) async fn choose(
        choice: &ServerChoice,
        data_dir: &Path,
    ) -> Result<Option<Self>, Failure> {
        match (&choice.server, &choice.token_file) {
            (Some(url), Some(token)) => Self::at(url, token, choice.ca.as_deref()).await.map(Some),
            _ => Ok(Self::find(data_dir).await),
        }
    }

    /// The same where nothing can be done without one.
    ///
    /// # Errors
    /// As [`Client::choose`], or when no server runs on the data folder.
    pub(crate) async fn must(choice: &ServerChoice, data_dir: &Path) -> Result<Self, Failure> {
        Self::choose(choice, data_dir).await?.ok_or_else(|| {
            let text = "no server runs on this data folder; start `hubwarden serve`, or name a console with \
                        --server and --token-file";
            Failure::new(Exit::Failed, text)
        })
    }

    async fn at(url: &str, token: &Path, ca: Option<&Path>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let text =
                format!("`{url}` is no address of a console; write https://hubwarden.example.com");
            return Err(Failure::usage(text));
        }
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Failed, format!("the console {base} cannot be reached: {error}"))
        };
        let token = SecretRef::File(token.to_path_buf()).resolve()?;
        let token = format!("Bearer {}", token.expose_secret()).parse();
        let token =
            token.map_err(|_| Failure::usage("--token-file holds no token: one line of ASCII"))?;
        let mut endpoint = Endpoint::from_shared(base.to_owned()).map_err(|error| wrong(&error))?;
        if base.starts_with("https://") {
            let Some(ca) = ca else {
                let text =
                    "an https console needs --ca: the certificates, as PEM, that sign its own";
                return Err(Failure::usage(text));
            };
            let tls = ClientTls { ca: Some(ca.into()), ..ClientTls::default() };
            let tls = tls.load().map_err(|error| wrong(&with_causes(&error)))?;
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&error))?;
        }
        let channel = endpoint.connect_timeout(CONNECT).timeout(ANSWER).connect().await;
        let channel = channel.map_err(|error| wrong(&with_causes(&error)))?;
        Ok(Self { base: base.to_owned(), channel, token: Token(token) })
    }

    /// The server that runs on this data folder, if one answers.
    pub(crate) async fn find(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(Address::file(data_dir)).ok()?;
        let address: Address = serde_json::from_str(&text).ok()?;
        let base = format!("http://{}", address.listen);
        let endpoint = Endpoint::from_shared(base.clone()).ok()?;
        let channel = endpoint.connect_timeout(CONNECT).connect().await.ok()?;
        let token = format!("Bearer {}", address.api_token).parse().ok()?;
        Some(Self { base, channel, token: Token(token) })
    }

    /// The channel with the token, for any service.
    pub(crate) fn service(&self) -> InterceptedService<Channel, Token> {
        InterceptedService::new(self.channel.clone(), self.token.clone())
    }

    /// The findings of the server.
    pub(crate) fn findings(&self) -> FindingServiceClient<InterceptedService<Channel, Token>> {
        FindingServiceClient::new(self.service()).max_decoding_message_size(64 << 20)
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
            .header("authorization", self.token.0.as_encoded_bytes())
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

/// The failure that a status of the server stands for.
pub(crate) fn refused(status: &Status) -> Failure {
    let exit = match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Exit::Denied,
        tonic::Code::InvalidArgument => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::new(exit, status.message())
}

/// A time as the wire has it; 0 when open.
pub(crate) fn millis(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_millis)
}

/// A finding of the wire as the vocabulary has it.
pub(crate) fn finding(finding: v1::Finding) -> Result<hubwarden_event::Finding, Failure> {
    finding.try_into().map_err(|error: hubwarden_proto::Error| {
        Failure::new(Exit::Failed, format!("the server is of another release: {error}"))
    })
}
