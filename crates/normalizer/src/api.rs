use std::sync::Arc;

use hubwarden_event::RawRecord;
use hubwarden_proto::v1;
use hubwarden_proto::v1::event_service_server::EventService;
use tonic::{Request, Response, Status};

use crate::{Networks, Normalizer};

/// gRPC's `EventService`: shows how this server reads a record; nothing is stored.
#[derive(Debug)]
pub struct EventApi {
    normalizer: Normalizer,
}

impl EventApi {
    /// Answers with these networks.
    pub fn new(networks: Networks) -> Self {
        Self { normalizer: Normalizer::new(Arc::new(networks)) }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    async fn normalize(
        &self,
        request: Request<v1::NormalizeRequest>,
    ) -> Result<Response<v1::NormalizeResponse>, Status> {
        let record = request.into_inner().record;
        let record = record.ok_or_else(|| Status::invalid_argument("the request has no record"))?;
        let record = RawRecord::try_from(record)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let steps = self.normalizer.normalize_steps(&record);
        let steps_json =
            serde_json::to_string(&steps).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::NormalizeResponse { steps_json }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::tests::raw;

    #[tokio::test]
    async fn shows_the_steps_and_refuses_an_empty_request() {
        let api = EventApi::new(Networks::default());
        let record = raw(br#"{"@timestamp":1700000000000,"action":"git.push"}"#);
        let request = v1::NormalizeRequest { record: Some(record.into()) };
        let answer = api.normalize(Request::new(request)).await.unwrap().into_inner();
        assert!(answer.steps_json.contains("hw.action.category"), "{}", answer.steps_json);
        let status =
            api.normalize(Request::new(v1::NormalizeRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
    }
}
