use std::path::Path;

use hubwarden_event::Timestamp;
use hubwarden_proto::v1;
use hubwarden_proto::v1::finding_service_client::FindingServiceClient;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::failure::{Exit, Failure};
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

/// A running server of this data folder.
pub(crate) struct Client {
    /// Where it is.
    pub(crate) address: Address,
    channel: Channel,
    token: Token,
}

impl Client {
    /// The server that runs on this data folder, if one answers.
    pub(crate) async fn find(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(Address::file(data_dir)).ok()?;
        let address: Address = serde_json::from_str(&text).ok()?;
        let endpoint = Endpoint::from_shared(format!("http://{}", address.listen)).ok()?;
        let channel =
            endpoint.connect_timeout(std::time::Duration::from_secs(2)).connect().await.ok()?;
        let token = format!("Bearer {}", address.api_token).parse().ok()?;
        Some(Self { address, channel, token: Token(token) })
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
    pub(crate) async fn json(
        &self,
        method: &str,
        path: &str,
    ) -> Result<serde_json::Value, Failure> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listen = self.address.listen;
        let mut stream = tokio::net::TcpStream::connect(listen).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {listen}\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address.api_token
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        if !head.starts_with("HTTP/1.1 200") {
            let line = head.lines().next().unwrap_or("nothing");
            return Err(Failure::new(
                Exit::Failed,
                format!("the server answered {line} to {path}"),
            ));
        }
        Ok(serde_json::from_str(body)?)
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
