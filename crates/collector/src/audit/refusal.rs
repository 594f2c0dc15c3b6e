use std::time::Duration;

use hubwarden_event::Timestamp;
use reqwest::header::HeaderMap;

use crate::Error;
use crate::error::Limit;

/// The longest that a server can make us wait.
const MAX_WAIT: Duration = Duration::from_secs(2 * 3600);

/// One header as text; what is not text counts as absent.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// One header as a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// Time until the limit is reset, when the headers say that it is used up.
pub(super) fn used_up(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if number(headers, "x-ratelimit-remaining")? != 0 {
        return None;
    }
    let reset = i64::try_from(number(headers, "x-ratelimit-reset")?).ok()?;
    let wait = Timestamp::from_millis(reset.saturating_mul(1000)).millis_since(now);
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0)) + Duration::from_secs(1);
    Some(wait.min(MAX_WAIT))
}

/// What an answer other than 200 means: first the headers, then the text.
pub(super) fn explain(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    scope: &str,
    now: Timestamp,
) -> Error {
    let message = message(body);
    let lower = message.to_lowercase();
    let retry_after = number(headers, "retry-after").map(|s| Duration::from_secs(s).min(MAX_WAIT));
    match status {
        401 => Error::Unauthorized,
        403 | 429 => {
            if let Some(sso) =
                text(headers, "x-github-sso").filter(|sso| sso.starts_with("required"))
            {
                let url = sso.split_once("url=").map_or("https://github.com", |(_, url)| url);
                return Error::SingleSignOn { url: url.trim().into() };
            }
            if lower.contains("secondary rate limit") || lower.contains("abuse") {
                return Error::RateLimited { limit: Limit::Secondary, wait: retry_after };
            }
            if let Some(wait) = retry_after.or_else(|| used_up(headers, now)) {
                return Error::RateLimited { limit: Limit::Primary, wait: Some(wait) };
            }
            if status == 429 || lower.contains("rate limit") {
                return Error::RateLimited { limit: Limit::Secondary, wait: None };
            }
            if lower.contains("ip allow list") {
                return Error::IpAllowList;
            }
            forbidden(headers, message)
        }
        404 => Error::NotFound { scope: scope.into() },
        422 => Error::Phrase { message },
        408 | 500..=599 => Error::Server { status, wait: retry_after },
        _ => Error::Unexpected { status },
    }
}

fn forbidden(headers: &HeaderMap, message: String) -> Error {
    let granted = text(headers, "x-oauth-scopes");
    let accepted = text(headers, "x-accepted-oauth-scopes").filter(|accepted| !accepted.is_empty());
    if let (Some(granted), Some(accepted)) = (granted, accepted) {
        let has = |scope: &str| granted.split(',').any(|held| held.trim() == scope.trim());
        if !accepted.split(',').any(has) {
            let granted = if granted.trim().is_empty() { "no scope" } else { granted };
            return Error::MissingScope { granted: granted.into(), accepted: accepted.into() };
        }
    }
    if let Some(permissions) = text(headers, "x-accepted-github-permissions") {
        let granted = "no such permission".into();
        return Error::MissingScope { granted, accepted: permissions.into() };
    }
    Error::Forbidden { message }
}

/// What GitHub said, cut to a line that can be shown.
fn message(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = value.get("message").and_then(|message| message.as_str()).unwrap_or("no message");
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn explained(status: u16, headers: &[(&str, &str)], message: &str) -> Error {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let body = serde_json::json!({ "message": message }).to_string();
        explain(status, &headers, body.as_bytes(), "org/octo", Timestamp::from_millis(1_000_000))
    }

    #[test]
    fn says_what_is_wrong_what_follows_and_what_to_do() {
        let scopes =
            [("x-oauth-scopes", "repo, user"), ("x-accepted-oauth-scopes", "read:audit_log")];
        let sso = [("x-github-sso", "required; url=https://github.com/orgs/o/sso?a=1")];
        for (error, parts) in [
            (explained(401, &[], "Bad credentials"), vec!["refused the token", "expired"]),
            (explained(403, &scopes, "no"), vec!["lacks a scope", "repo, user", "read:audit_log"]),
            (explained(403, &sso, "Resource protected"), vec!["https://github.com/orgs/o/sso?a=1"]),
            (
                explained(403, &[], "the org has an IP allow list enabled"),
                vec!["IP allow list", "add its address"],
            ),
            (explained(403, &[], "Must be an owner\u{1b}[31m"), vec!["(Must be an owner[31m)"]),
            (explained(404, &[], "Not Found"), vec!["org/octo", "plan", "permission", "name"]),
            (explained(422, &[], "bad qualifier"), vec!["bad qualifier", "phrase"]),
            (explained(418, &[], ""), vec!["418", "base_url"]),
        ] {
            let text = error.to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!error.is_retryable(), "{text}");
        }
    }

    #[test]
    fn waits_as_long_as_it_is_asked_to() {
        let wait = |status, headers: &[(&str, &str)], message| {
            let error = explained(status, headers, message);
            assert!(error.is_retryable(), "{error}");
            error.wait().map(|wait| wait.as_secs())
        };
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1090")];
        let secondary = "You have exceeded a secondary rate limit";
        assert_eq!(wait(403, &used_up, "API rate limit exceeded"), Some(91));
        assert_eq!(wait(429, &used_up, ""), Some(91));
        assert_eq!(wait(429, &[("retry-after", "7")], ""), Some(7));
        assert_eq!(wait(403, &[("retry-after", "7")], secondary), Some(7));
        assert_eq!(wait(403, &[], secondary), None);
        assert_eq!(wait(429, &[], ""), None);
        assert_eq!(wait(503, &[("retry-after", "9")], ""), Some(9));
        assert_eq!(wait(502, &[], ""), None);
        let far = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999")];
        assert_eq!(wait(403, &far, ""), Some(7200), "a server cannot stop us for ever");
    }
}
