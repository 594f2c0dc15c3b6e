//! Paths, tokens and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, Method, Response, header};
use serde_json::json;

use super::answer::Answer;
use super::audit::{self, Owner};
use super::settings::Token;
use super::state::State;

pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

async fn serve(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    // A query that cannot be read is none, as GitHub treats it.
    let parameters =
        Query::try_from_uri(request.uri()).map_or_else(|_| Vec::new(), |Query(pairs)| pairs);
    let answer = answer(&state, request.method(), &path, parameters, request.headers()).await;
    let status = answer.0.status().as_u16();
    *state.inner().counters.entry((path, status)).or_default() += 1;
    let answer = answer.with("x-github-media-type", "github.v3; format=json");
    let answer = match &state.settings.ghes {
        Some(version) => answer.with("x-github-enterprise-version", version),
        None => answer.with("x-github-request-id", "F64B:30BF47:168A5D:1CF3EA:681A7474"),
    };
    answer.0
}

async fn answer(
    state: &State,
    method: &Method,
    path: &str,
    parameters: Vec<(String, String)>,
    headers: &HeaderMap,
) -> Answer {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(header::USER_AGENT).is_empty() {
        let message = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
        return Answer::error(403, message);
    }
    let Some(route) = strip_base(state, path) else {
        return not_found();
    };
    if method != Method::GET && method != Method::HEAD {
        return not_found();
    }
    match route {
        "/meta" => return meta(state),
        "/versions" => return Answer::json(200, &json!(["2022-11-28", "2026-03-10"])),
        _ => {}
    }
    if state.is_locked_out() {
        return Answer::error(
            403,
            "Maximum number of login attempts exceeded. Please try again later.",
        );
    }
    let authorization = text(header::AUTHORIZATION);
    let value = authorization.split_once(' ').map_or("", |(scheme, value)| match scheme {
        "Bearer" | "bearer" | "token" => value.trim(),
        _ => "",
    });
    if value.is_empty() {
        return Answer::error(401, "Requires authentication");
    }
    let Some(token) = state.token(value) else {
        state.note_bad_token();
        return Answer::error(401, "Bad credentials");
    };
    let answer = authorized(state, token, route, path, parameters).await;
    let answer = answer.with("x-oauth-scopes", &token.scopes.join(", "));
    match &token.expires {
        Some(expires) => answer.with("github-authentication-token-expiration", expires),
        None => answer,
    }
}

async fn authorized(
    state: &State,
    token: &Token,
    route: &str,
    path: &str,
    parameters: Vec<(String, String)>,
) -> Answer {
    let parts: Vec<&str> = route.split('/').skip(1).collect();
    match parts.as_slice() {
        ["rate_limit"] => rate_limit(state, token),
        ["user"] => {
            let body = json!({"login": token.login, "id": 61_000_001, "type": "User", "site_admin": false});
            core(Answer::json(200, &body))
        }
        ["orgs", org] => {
            match find_org(state, org) {
                Some(Owner::Org(login, id)) => {
                    let body = json!({"login": login, "id": id, "description": null, "plan": {"name": "enterprise"}});
                    core(Answer::json(200, &body).with(
                        "x-accepted-oauth-scopes",
                        "admin:org, read:org, repo, user, write:org",
                    ))
                }
                _ => not_found(),
            }
        }
        [kind, name, "audit-log"] => match find_owner(state, kind, name) {
            Some(owner) => audit::Request { state, token, owner, path, parameters }.answer().await,
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn find_owner(state: &State, kind: &str, name: &str) -> Option<Owner> {
    let (slug, id) = &state.settings.enterprise;
    match kind {
        "orgs" => find_org(state, name),
        "organizations" => {
            let wanted: i64 = name.parse().ok()?;
            let (login, id) = state.settings.orgs.iter().find(|(_, id)| *id == wanted)?;
            Some(Owner::Org(login.clone(), *id))
        }
        "enterprises" => (slug.eq_ignore_ascii_case(name) || id.to_string() == name)
            .then_some(Owner::Enterprise(*id)),
        _ => None,
    }
}

fn find_org(state: &State, name: &str) -> Option<Owner> {
    let (login, id) =
        state.settings.orgs.iter().find(|(login, _)| login.eq_ignore_ascii_case(name))?;
    Some(Owner::Org(login.clone(), *id))
}

fn strip_base<'a>(state: &State, path: &'a str) -> Option<&'a str> {
    match state.settings.ghes {
        Some(_) => path.strip_prefix("/api/v3").filter(|rest| rest.starts_with('/')),
        None => Some(path),
    }
}

fn meta(state: &State) -> Answer {
    let mut body = json!({
        "verifiable_password_authentication": false,
        "hooks": ["192.0.2.0/26", "2001:db8:40::/48"],
        "web": ["192.0.2.64/26"],
        "api": ["192.0.2.64/26"],
        "git": ["192.0.2.64/26"],
        "actions": ["198.51.100.128/26"],
        "dependabot": ["192.0.2.128/28"],
    });
    if let Some(version) = &state.settings.ghes {
        body["installed_version"] = json!(version);
    }
    Answer::json(200, &body)
}

fn rate_limit(state: &State, token: &Token) -> Answer {
    if state.settings.ghes.is_some() {
        return Answer::error(404, "Rate limiting is not enabled.");
    }
    let (rate, _) = state.rate(&token.value, 0);
    let reset = rate.reset_ms.div_euclid(1000);
    let unused =
        |limit: u64| json!({"limit": limit, "used": 0, "remaining": limit, "reset": reset});
    let audit = json!({"limit": rate.limit, "used": rate.used, "remaining": rate.remaining(), "reset": reset});
    let body = json!({
        "resources": {
            "core": unused(5000), "search": unused(30), "graphql": unused(5000),
            "audit_log": audit, "audit_log_streaming": unused(15),
        },
        "rate": unused(5000),
    });
    core(Answer::json(200, &body))
}

/// Headers of the common bucket, which the simulator never empties.
fn core(answer: Answer) -> Answer {
    answer
        .with("x-ratelimit-limit", "5000")
        .with("x-ratelimit-remaining", "4999")
        .with("x-ratelimit-used", "1")
        .with("x-ratelimit-resource", "core")
}

fn not_found() -> Answer {
    Answer::error(404, "Not Found")
}
