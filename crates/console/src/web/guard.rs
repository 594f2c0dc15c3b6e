use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use hubwarden_event::Hash;
use hubwarden_service::{Caller, Role};

use super::{ConsoleState, json, layout};
use crate::{Access, Error};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'self'";

/// On every answer: nothing foreign runs, nothing is framed, guessed, told to others or kept.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

/// Refuses requests that name another host, as a page of an attacker does whose name resolves to here.
pub(super) async fn right_host(
    State(state): State<ConsoleState>,
    request: Request,
    next: Next,
) -> Response {
    let host = host(request.headers(), request.uri());
    let known = host.is_some_and(|host| {
        is_loopback(host) || state.public_hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    });
    if known {
        return next.run(request).await;
    }
    let text = "this server does not answer to that host name; \
        call it by the address it printed, or set `web.hosts` of the service hubwarden-console\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Who asks; beside every request that is let through.
#[derive(Clone)]
pub(super) struct Asking {
    /// Their name and role.
    pub(super) caller: Caller,
    /// What a form of theirs must carry; nothing for a program, which no page can have sent.
    form: Option<String>,
}

impl Asking {
    /// Whether they may put dead letters back.
    pub(super) fn may_retry(&self) -> bool {
        matches!(self.caller.role, Role::Engineer | Role::Admin)
    }

    /// What a form of theirs must carry.
    pub(super) fn form_token(&self) -> &str {
        self.form.as_deref().unwrap_or_default()
    }

    /// Refuses who may not put dead letters back, and a form that is not of this session.
    pub(super) fn check_retry(&self, shown: &str) -> Result<(), Error> {
        if !self.may_retry() {
            return Err(Error::NotAllowed { role: self.caller.role.as_str() });
        }
        // Hashes are compared, so the time taken says nothing about the token.
        let own = |form: &String| Hash::of(form.as_bytes()) == Hash::of(shown.as_bytes());
        if self.form.as_ref().is_none_or(own) { Ok(()) } else { Err(Error::ForeignForm) }
    }
}

/// Lets through who has a session or a token, and says who that is.
pub(super) async fn signed_in(
    State(state): State<ConsoleState>,
    mut request: Request,
    next: Next,
) -> Response {
    match asking(&state, &request) {
        Some(asking) if asking.caller.role == Role::Ingest => {
            let text = "a token for bringing records reads nothing; use one of another role";
            return json::refusal(StatusCode::FORBIDDEN, text);
        }
        Some(asking) => {
            request.extensions_mut().insert(asking);
            return next.run(request).await;
        }
        None => {}
    }
    if request.uri().path().starts_with("/api/") {
        let text = "sign in by a link of `hubwarden status --link`, or send the API token";
        return json::refusal(StatusCode::UNAUTHORIZED, text);
    }
    layout::sign_in()
}

fn asking(state: &ConsoleState, request: &Request) -> Option<Asking> {
    let (headers, now) = (request.headers(), (state.clock)());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(caller) = bearer.and_then(|bearer| state.access.bearer(bearer, now)) {
        return Some(Asking { caller, form: None });
    }
    // What changes something takes a token, so that no page can have a browser ask for it; or a form
    // of our own pages, which carries what only they know.
    let own_form = is_form(request) && is_from_here(headers);
    if !request.method().is_safe() && !own_form {
        return None;
    }
    let session = session(headers, &cookie_name(headers, request.uri()))?;
    let caller = state.access.session(session, now)?;
    Some(Asking { caller, form: Some(Access::form_token(session)) })
}

/// Whether the handler looks at the form's token ([`Asking::check_retry`]).
fn is_form(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path().starts_with("/dead-letters/")
}

/// Whether the browser says that one of our own pages sent it; those that say nothing are old.
fn is_from_here(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// The host that the request names, without its port.
pub(super) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    authority(headers, uri).map(|authority| split_port(authority).0)
}

/// The session cookie's name; browsers do not keep ports apart, so that the name must.
pub(super) fn cookie_name(headers: &HeaderMap, uri: &Uri) -> String {
    let port = authority(headers, uri).and_then(|authority| split_port(authority).1);
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    format!("hubwarden_session_{}", port.unwrap_or("default"))
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// HTTP/2 names the host in the address, HTTP/1 in a header, of which there must be one.
fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut values = headers.get_all(header::HOST).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn session<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';'));
    let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_brackets_are_told_apart() {
        for (authority, expected) in [
            ("localhost:7474", ("localhost", Some("7474"))),
            ("localhost", ("localhost", None)),
            ("[::1]:7474", ("[::1]", Some("7474"))),
            ("[::1]", ("[::1]", None)),
        ] {
            assert_eq!(split_port(authority), expected);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("0.0.0.0", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
