use hubwarden_bus::{Bus, topic};
use hubwarden_event::{Feed, RawBody};
use hubwarden_proto::v1;
use hubwarden_proto::v1::ingest_service_client::IngestServiceClient;
use hubwarden_proto::v1::ingest_service_server::{IngestService, IngestServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::GrpcService;
use tonic::codegen::{Body, StdError};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::import::Append;
use crate::{Error, publish};

/// A message holds a batch of 8 MiB, or one record of up to 32 MiB.
const MAX_MESSAGE: usize = 40 << 20;

/// Takes pushed records and acknowledges them after they are durable.
///
/// It takes records of the feed `import` and the ends of their runs. Time (`Progress`) and the live
/// run belong to whoever reads GitHub and are refused.
#[derive(Debug)]
pub struct IngestApi<B> {
    bus: B,
}

impl<B: Bus> IngestApi<B> {
    /// The service, to be added to a server.
    pub fn service(bus: B) -> IngestServiceServer<Self> {
        IngestServiceServer::new(Self { bus }).max_decoding_message_size(MAX_MESSAGE)
    }
}

#[tonic::async_trait]
impl<B: Bus> IngestService for IngestApi<B> {
    type IngestStream = ReceiverStream<Result<v1::IngestResponse, Status>>;

    async fn ingest(
        &self,
        request: Request<Streaming<v1::IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let mut requests = request.into_inner();
        let mut writer = self.bus.writer("ingest");
        let partitions = self.bus.partitions(topic::RAW);
        let (answers, stream) = mpsc::channel(4);
        let taking = async move {
            let mut accepted = 0;
            loop {
                let answer = match requests.message().await {
                    Ok(None) => return,
                    Ok(Some(request)) => take(&mut writer, request, partitions).await,
                    Err(status) => Err(status),
                };
                let failed = answer.is_err();
                let answer = answer.map(|count| {
                    accepted += count;
                    v1::IngestResponse { accepted }
                });
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        };
        // The call goes on while it answers, and so does its trace.
        tokio::spawn(taking.in_current_span());
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn take(
    writer: &mut impl hubwarden_bus::Sink,
    request: v1::IngestRequest,
    partitions: u32,
) -> Result<u64, Status> {
    let count = request.bodies.len() as u64;
    let bodies = request.bodies.into_iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    let outputs = bodies.into_iter().flat_map(|body| publish::raw(body, partitions)).collect();
    publish::append(writer, outputs).await.map_err(|error| match error {
        Error::Bus(error @ hubwarden_bus::Error::TooLarge { .. }) => {
            Status::invalid_argument(error.to_string())
        }
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "pushed records are refused");
            Status::unavailable("the bus does not take records; see the server's log")
        }
    })?;
    Ok(count)
}

fn checked(body: v1::RawBody) -> Result<RawBody, Status> {
    let body =
        RawBody::try_from(body).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let run = match &body {
        RawBody::Record(record) if record.feed == Feed::Import => &record.run,
        RawBody::RunEnd(end) => &end.run,
        RawBody::Record(_) => return Err(Status::invalid_argument("only feed `import` is pushed")),
        RawBody::Progress(_) => return Err(Status::invalid_argument("progress is not pushed")),
    };
    if !run.as_str().starts_with("import-") {
        return Err(Status::invalid_argument("the run of pushed records begins with `import-`"));
    }
    Ok(body)
}

/// Pushes records to a running server.
#[derive(Debug)]
pub struct ToServer {
    requests: mpsc::Sender<v1::IngestRequest>,
    answers: Streaming<v1::IngestResponse>,
    sent: u64,
}

impl ToServer {
    /// Opens the stream on a channel to the server.
    ///
    /// # Errors
    /// The server is not there or refuses the call.
    pub async fn open<T>(channel: T) -> Result<Self, Error>
    where
        T: GrpcService<tonic::body::Body>,
        T::Error: Into<StdError>,
        T::ResponseBody: Body<Data = bytes::Bytes> + Send + 'static,
        <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    {
        let (requests, stream) = mpsc::channel(1);
        let mut client = IngestServiceClient::new(channel).max_encoding_message_size(MAX_MESSAGE);
        let answers = client.ingest(ReceiverStream::new(stream)).await.map_err(ingest)?;
        Ok(Self { requests, answers: answers.into_inner(), sent: 0 })
    }
}

fn ingest(status: Status) -> Error {
    Error::Ingest(Box::new(status))
}

impl Append for ToServer {
    async fn append(&mut self, bodies: Vec<RawBody>) -> Result<(), Error> {
        self.sent += bodies.len() as u64;
        let bodies = bodies.into_iter().map(v1::RawBody::from).collect();
        // a closed stream shows in the answer, which knows why
        let _ = self.requests.send(v1::IngestRequest { bodies }).await;
        match self.answers.message().await.map_err(ingest)? {
            Some(answer) if answer.accepted == self.sent => Ok(()),
            _ => Err(ingest(Status::data_loss("the server ended the stream without an answer"))),
        }
    }
}
