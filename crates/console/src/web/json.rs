use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hubwarden_event::{Evidence, Finding};
use serde::Serialize;

use super::{ConsoleState, status_of};
use crate::{Error, Filter, Status, TimelineEntry};

/// An error as JSON.
pub(super) struct JsonFailed(Error);

impl From<Error> for JsonFailed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for JsonFailed {
    fn into_response(self) -> Response {
        failed(&self.0)
    }
}

pub(super) fn failed(error: &Error) -> Response {
    refusal(status_of(error), &error.to_string())
}

pub(super) fn refusal(status: StatusCode, text: &str) -> Response {
    (status, Json(serde_json::json!({ "error": text }))).into_response()
}

/// One page of findings.
#[derive(Serialize)]
pub(super) struct FindingPage {
    findings: Vec<Finding>,
    total: u64,
    next_page: Option<String>,
}

pub(super) async fn list(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<FindingPage>, JsonFailed> {
    let query = Filter::from_pairs(pairs).query((state.clock)(), 100)?;
    let page = state.findings.list(query).await?;
    let next_page = page.next.map(|token| token.to_string());
    Ok(Json(FindingPage { findings: page.findings, total: page.total, next_page }))
}

pub(super) async fn get(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
) -> Result<Json<Finding>, JsonFailed> {
    Ok(Json(state.findings.get(&id).await?))
}

/// One event: its raw record as text, or in base64 where it is not text.
#[derive(Serialize)]
pub(super) struct Entry {
    evidence: Evidence,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

impl From<TimelineEntry> for Entry {
    fn from(TimelineEntry { evidence, raw }: TimelineEntry) -> Self {
        match raw.map(|raw| String::from_utf8(raw.into())) {
            None => Self { evidence, raw: None, raw_base64: None },
            Some(Ok(text)) => Self { evidence, raw: Some(text), raw_base64: None },
            Some(Err(error)) => {
                let encoded = BASE64_STANDARD.encode(error.as_bytes());
                Self { evidence, raw: None, raw_base64: Some(encoded) }
            }
        }
    }
}

/// The events of a finding.
#[derive(Serialize)]
pub(super) struct Timeline {
    id: String,
    entries: Vec<Entry>,
}

pub(super) async fn timeline(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
) -> Result<Json<Timeline>, JsonFailed> {
    let (finding, entries) = state.findings.timeline(&id).await?;
    let entries = entries.into_iter().map(Into::into).collect();
    Ok(Json(Timeline { id: finding.id.to_string(), entries }))
}

pub(super) async fn status(State(state): State<ConsoleState>) -> Json<Status> {
    Json((state.status)())
}
