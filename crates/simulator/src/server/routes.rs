//! Paths, tokens and what every answer carries.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State as Shared};
use axum::http::{HeaderMap, Method, Response, header};
use serde_json::json;

use super::answer::Answer;
use super::audit::{self, Owner};
use super::profile;
use super::settings::Token;
use super::state::{Bucket, Rate, State};

/// Versions of the API, the one that is meant without a header first.
const VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

async fn serve(Shared(state): Shared<Arc<State>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    // A query that cannot be read is none, as GitHub treats it.
    let parameters =
        Query::try_from_uri(request.uri()).map_or_else(|_| Vec::new(), |Query(pairs)| pairs);
    let version = version(request.headers());
    let answer = answer(&state, request.method(), &path, parameters, request.headers()).await;
    let status = answer.0.status().as_u16();
    *state.inner().counters.entry((path, status)).or_default() += 1;
    let answer = answer.with("x-github-media-type", "github.v3; format=json");
    let answer = match &state.settings.ghes {
        Some(version) => answer.with("x-github-enterprise-version", version),
        None => answer
            .with("x-github-request-id", "F64B:30BF47:168A5D:1CF3EA:681A7474")
            .with("x-github-api-version-selected", version),
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
    let anonymous = |answer| core(state, "", 0, || answer);
    match route {
        "/meta" => return core(state, "", 1, || meta(state)),
        "/versions" if state.settings.ghes.is_none() => {
            return core(state, "", 1, || Answer::json(200, &json!(VERSIONS)));
        }
        _ => {}
    }
    if state.is_locked_out() {
        let message = "Maximum number of login attempts exceeded. Please try again later.";
        return anonymous(Answer::error(403, message));
    }
    let authorization = text(header::AUTHORIZATION);
    let value = authorization.split_once(' ').map_or("", |(scheme, value)| match scheme {
        "Bearer" | "bearer" | "token" => value.trim(),
        _ => "",
    });
    if value.is_empty() {
        return anonymous(Answer::error(401, "Requires authentication"));
    }
    let Some(token) = state.token(value) else {
        state.note_bad_token();
        return anonymous(Answer::error(401, "Bad credentials"));
    };
    let answer = authorized(state, token, route, path, parameters, version(headers)).await;
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
    version: &str,
) -> Answer {
    let parts: Vec<&str> = route.split('/').skip(1).collect();
    if let [kind, name, "audit-log"] = parts.as_slice()
        && let Some(owner) = find_owner(state, kind, name)
    {
        return audit::Request { state, token, owner, path, parameters }.answer().await;
    }
    let free = parts.as_slice() == ["rate_limit"];
    core(state, &token.value, u64::from(!free), || match parts.as_slice() {
        ["rate_limit"] => rate_limit(state, token, version),
        ["user"] => Answer::json(200, &profile::user(state, token)),
        ["orgs", org] => match find_org(state, org) {
            Some(Owner::Org(login, id)) => Answer::json(200, &profile::org(state, &login, id))
                .with("x-accepted-oauth-scopes", "admin:org, read:org, repo, user, write:org"),
            _ => not_found(),
        },
        _ => not_found(),
    })
}

/// The version that a request chooses; an unknown one counts as none.
fn version(headers: &HeaderMap) -> &'static str {
    let chosen = headers.get("x-github-api-version").and_then(|value| value.to_str().ok());
    VERSIONS.into_iter().find(|version| chosen == Some(*version)).unwrap_or(VERSIONS[0])
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
    let body = match &state.settings.ghes {
        Some(version) => {
            json!({"verifiable_password_authentication": true, "installed_version": version})
        }
        None => json!({
            "verifiable_password_authentication": false,
            "hooks": ["192.0.2.0/26", "2001:db8:40::/48"],
            "web": ["192.0.2.64/26"],
            "api": ["192.0.2.64/26"],
            "git": ["192.0.2.64/26"],
            "actions": ["198.51.100.128/26"],
            "dependabot": ["192.0.2.128/28"],
        }),
    };
    Answer::json(200, &body)
}

fn rate_limit(state: &State, token: &Token, version: &str) -> Answer {
    if state.settings.ghes.is_some() {
        return Answer::error(404, "Rate limiting is not enabled.");
    }
    let (rate, _) = state.rate(Bucket::AuditLog, &token.value, 0);
    let of = |rate: Rate| json!({"limit": rate.limit, "used": rate.used, "remaining": rate.remaining(), "reset": rate.reset_s()});
    let unused = |limit: u64| of(Rate { limit, used: 0, ..rate });
    let (core, _) = state.rate(Bucket::Core, &token.value, 0);
    let mut body = json!({
        "resources": {
            "core": of(core), "search": unused(30), "graphql": unused(5000),
            "audit_log": of(rate), "audit_log_streaming": unused(15),
        },
    });
    if version == VERSIONS[0] {
        body["rate"] = of(core); // gone from the later version
    }
    Answer::json(200, &body)
}

/// Takes requests from the common bucket and answers with its headers, or refuses when it is empty.
///
/// GHES has no limits until its administrator sets them.
fn core(state: &State, token: &str, requests: u64, answer: impl FnOnce() -> Answer) -> Answer {
    if state.settings.ghes.is_some() {
        return answer();
    }
    let (rate, allowed) = state.rate(Bucket::Core, token, requests);
    if !allowed {
        let refused = Answer::error(state.settings.rate_limit_status, "API rate limit exceeded.");
        return refused.with_rate("core", rate);
    }
    answer().with_rate("core", rate)
}

fn not_found() -> Answer {
    Answer::error(404, "Not Found")
}
