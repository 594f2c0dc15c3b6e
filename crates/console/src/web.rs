//! The pages and the JSON API: one router over the questions of [`Findings`].
//!
//! Everything is rendered here and served from here; a page loads nothing from elsewhere. The
//! address is the state of a page, so that it can be sent to a colleague.

mod assets;
mod chart;
mod export;
mod finding;
mod guard;
mod json;
mod layout;
mod letters;
mod list;
mod login;
mod overview;
mod parts;
mod pipeline;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hubwarden_event::Timestamp;
use hubwarden_proto::v1::finding_service_server::FindingServiceServer;
use tonic::service::Routes;

use crate::{Access, Error, FindingApi, Findings, Letters, StageWatch, StatusProvider};

/// Everything that the pages need.
#[derive(Clone)]
pub struct ConsoleState {
    /// The findings.
    pub findings: Findings,
    /// The state of sources, rules and stages.
    pub status: StatusProvider,
    /// The last hour of the stages.
    pub watch: StageWatch,
    /// What could not be read.
    pub letters: Letters,
    /// Who may ask.
    pub access: Arc<Access>,
    /// Host names, without port, by which the console may be called besides those of loopback.
    pub public_hosts: Arc<[String]>,
    /// The present moment; [`now`] outside tests.
    pub clock: fn() -> Timestamp,
}

/// The moment that the system's clock tells.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The pages and the JSON API.
///
/// May be merged with [`grpc`]; its fallback answers what neither knows.
pub fn router(state: ConsoleState) -> Router {
    let private = Router::new()
        .route("/", get(overview::show))
        .route("/findings", get(list::show))
        .route("/findings.csv", get(export::csv))
        .route("/findings.ndjson", get(export::ndjson))
        .route("/findings/{id}", get(finding::show))
        .route("/pipeline", get(pipeline::show))
        .route("/pipeline.csv", get(pipeline::csv))
        .route("/pipeline.ndjson", get(pipeline::ndjson))
        .route("/dead-letters", get(letters::list))
        .route("/dead-letters.csv", get(letters::csv))
        .route("/dead-letters.ndjson", get(letters::ndjson))
        .route("/dead-letters/retry", post(letters::retry_reason))
        .route("/dead-letters/{id}", get(letters::show))
        .route("/dead-letters/{id}/retry", post(letters::retry))
        .route("/api/v1/pipeline", get(pipeline::json))
        .route("/api/v1/dead-letters", get(letters::json_list))
        .route("/api/v1/dead-letters/retry", post(letters::json_retry_reason))
        .route("/api/v1/dead-letters/{id}", get(letters::json_get))
        .route("/api/v1/dead-letters/{id}/retry", post(letters::json_retry))
        .route("/api/v1/findings", get(json::list))
        .route("/api/v1/findings/{id}", get(json::get))
        .route("/api/v1/findings/{id}/timeline", get(json::timeline))
        .route("/api/v1/status", get(json::status))
        .route("/api/v1/link", post(login::link))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(state.clone(), guard::signed_in));
    let public = Router::new()
        .route("/login", get(login::sign_in))
        .route("/static/{name}", get(assets::serve));
    private
        .merge(public)
        .layer(middleware::from_fn_with_state(state.clone(), guard::right_host))
        // Probes call it by the address of the machine, and it tells nothing.
        .route("/healthz", get(healthz))
        .layer(middleware::from_fn(guard::headers))
        .with_state(state)
}

/// gRPC's `FindingService`, for whoever has the API token.
pub fn grpc(state: &ConsoleState) -> Router {
    let access = state.access.clone();
    let service = FindingServiceServer::with_interceptor(
        FindingApi::new(state.findings.clone()),
        move |request| access.intercept(request),
    );
    Routes::new(service).into_axum_router().reset_fallback()
}

async fn healthz(State(state): State<ConsoleState>) -> Response {
    match state.findings.store().unreadable().await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the findings store does not answer\n")
                .into_response()
        }
    }
}

async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        let text = "there is no such question; see /api/v1/findings";
        return json::refusal(StatusCode::NOT_FOUND, text);
    }
    layout::message(
        StatusCode::NOT_FOUND,
        "Page not found",
        "There is nothing at this address. It may have been cut short when it was copied.",
    )
}

/// The status for an error; what failed inside is logged here.
fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::NotFound { .. } | Error::NoLetter { .. } => StatusCode::NOT_FOUND,
        Error::Ambiguous { .. } | Error::LostRecord { .. } | Error::RetriedMeanwhile { .. } => {
            StatusCode::CONFLICT
        }
        Error::NotAllowed { .. } | Error::ForeignForm => StatusCode::FORBIDDEN,
        Error::BadQuery { .. } => StatusCode::BAD_REQUEST,
        other => {
            tracing::error!(error = other as &dyn std::error::Error, "a page failed");
            if other.is_retryable() {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// An error as a page.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = status_of(&self.0);
        let title = match status {
            _ if matches!(self.0, Error::NoLetter { .. }) => "Dead letter not found",
            _ if matches!(self.0, Error::LostRecord { .. } | Error::RetriedMeanwhile { .. }) => {
                "Not put back"
            }
            StatusCode::NOT_FOUND => "Finding not found",
            StatusCode::CONFLICT => "Several findings begin so",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::BAD_REQUEST => "The address cannot be understood",
            StatusCode::SERVICE_UNAVAILABLE => "That cannot be done now",
            _ => "The page could not be made",
        };
        let mut text = self.0.to_string();
        if let Some(first) = text.get(..1) {
            text = format!("{}{}.", first.to_uppercase(), &text[1..]);
        }
        layout::message(status, title, &text)
    }
}
