use axum::extract::{Query, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::guard::Asking;
use super::{ConsoleState, Failed, guard, json, layout};

/// The query of a one-time link.
#[derive(Deserialize)]
pub(super) struct Token {
    #[serde(default)]
    token: String,
}

/// Trades a one-time link for a session and shows the overview.
pub(super) async fn sign_in(
    State(state): State<ConsoleState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Query(query): Query<Token>,
) -> Result<Response, Failed> {
    // A program that only looks at the link must not use it up.
    if method != Method::GET {
        return Ok(StatusCode::METHOD_NOT_ALLOWED.into_response());
    }
    let Some(session) = state.access.sign_in(&query.token, (state.clock)())? else {
        return Ok(layout::sign_in());
    };
    let local = guard::host(&headers, &uri).is_some_and(guard::is_loopback);
    // Browsers refuse a secure cookie over plain HTTP, which there is on loopback only.
    let secure = if local { "" } else { "; Secure" };
    let name = guard::cookie_name(&headers, &uri);
    let cookie = format!("{name}={session}; Path=/; HttpOnly; SameSite=Strict{secure}");
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, "/".into())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Makes a new one-time link for whoever has a token; its session has the role of the token.
pub(super) async fn link(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
) -> Response {
    match state.access.new_link_of(asking.caller, (state.clock)()) {
        Ok(token) => {
            let link = format!("/login?token={token}");
            Json(serde_json::json!({ "link": link })).into_response()
        }
        Err(error) => json::failed(&error),
    }
}
