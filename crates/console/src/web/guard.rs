use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{ConsoleState, json, layout};

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

/// Lets through who has a session or the API token.
pub(super) async fn signed_in(
    State(state): State<ConsoleState>,
    request: Request,
    next: Next,
) -> Response {
    if is_allowed(&state, &request) {
        return next.run(request).await;
    }
    if request.uri().path().starts_with("/api/") {
        let text = "sign in by a link of `hubwarden status --link`, or send the API token";
        return json::refusal(StatusCode::UNAUTHORIZED, text);
    }
    layout::sign_in()
}

fn is_allowed(state: &ConsoleState, request: &Request) -> bool {
    let headers = request.headers();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer.is_some_and(|bearer| state.access.is_bearer(bearer)) {
        return true;
    }
    // What changes something takes the token only, so that no page can have a browser ask for it.
    let session = session(headers, &cookie_name(headers, request.uri()));
    request.method().is_safe()
        && session.is_some_and(|session| state.access.is_session(session, (state.clock)()))
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
