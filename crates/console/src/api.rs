use hubwarden_event::{Severity, Timestamp};
use hubwarden_proto::v1;
use hubwarden_proto::v1::finding_service_server::FindingService;
use tonic::{Request, Response, Status};

use crate::{Error, FindingQuery, Findings, Order};

/// Answers the gRPC calls of `FindingService`.
#[derive(Clone)]
pub struct FindingApi {
    findings: Findings,
}

impl FindingApi {
    /// Answers from these findings.
    pub fn new(findings: Findings) -> Self {
        Self { findings }
    }
}

#[tonic::async_trait]
impl FindingService for FindingApi {
    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let query = query(request.into_inner()).map_err(status)?;
        let page = self.findings.list(query).await.map_err(status)?;
        Ok(Response::new(v1::ListFindingsResponse {
            findings: page.findings.into_iter().map(Into::into).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
            total: page.total,
        }))
    }

    async fn get_finding(
        &self,
        request: Request<v1::GetFindingRequest>,
    ) -> Result<Response<v1::GetFindingResponse>, Status> {
        let finding = self.findings.get(&request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(v1::GetFindingResponse { finding: Some(finding.into()) }))
    }

    async fn finding_timeline(
        &self,
        request: Request<v1::FindingTimelineRequest>,
    ) -> Result<Response<v1::FindingTimelineResponse>, Status> {
        let id = request.into_inner().id;
        let (_, entries) = self.findings.timeline(&id).await.map_err(status)?;
        let entries = entries.into_iter().map(|entry| v1::TimelineEntry {
            evidence: Some(entry.evidence.into()),
            raw: entry.raw.unwrap_or_default(),
        });
        Ok(Response::new(v1::FindingTimelineResponse { entries: entries.collect() }))
    }
}

fn query(request: v1::ListFindingsRequest) -> Result<FindingQuery, Error> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let time = |millis: i64| (millis != 0).then(|| Timestamp::from_millis(millis));
    let severity = |name: &String| {
        name.parse::<Severity>().map_err(|_| Error::BadQuery {
            field: "severity",
            value: name.clone(),
            hint: "there are informational, low, medium, high and critical",
        })
    };
    Ok(FindingQuery {
        severities: request.severities.iter().map(severity).collect::<Result<_, _>>()?,
        rule: some(request.rule),
        since: time(request.since_ms),
        until: time(request.until_ms),
        org: some(request.org),
        entity: some(request.entity),
        actor: some(request.actor),
        text: some(request.text),
        order: if request.newest_first { Order::Newest } else { Order::Worst },
        limit: match request.limit {
            0 => FindingQuery::default().limit,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        },
        page: some(request.page_token).map(|token| token.parse()).transpose()?,
    })
}

/// What the caller learns; what failed inside is logged here and not told.
fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotFound { .. } => Status::not_found(text),
        Error::Ambiguous { .. } => Status::failed_precondition(text),
        Error::BadQuery { .. } => Status::invalid_argument(text),
        other => {
            tracing::error!(error = &other as &dyn std::error::Error, "a call failed");
            if other.is_retryable() { Status::unavailable(text) } else { Status::internal(text) }
        }
    }
}
