use hubwarden_event::Timestamp;
use reqwest::header::HeaderMap;
use serde::Serialize;

use super::client::{Client, Fetch};
use super::config::Connection;
use super::{Clock, refusal};
use crate::Error;

/// How one point of a check turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, with a drawback.
    Warn,
    /// Nothing is read.
    Fail,
}

/// One point of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// What was looked at, such as `token`.
    pub what: &'static str,
    /// How it turned out.
    pub level: Level,
    /// What was found; for a failure with effect and next step.
    pub found: String,
}

/// What `doctor` says about one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What is read, such as `org/octo`.
    pub scope: String,
    /// The points, in the order in which they were looked at.
    pub lines: Vec<CheckLine>,
}

impl CheckReport {
    /// The worst of its lines.
    pub fn level(&self) -> Level {
        let has = |level| self.lines.iter().any(|line| line.level == level);
        match (has(Level::Fail), has(Level::Warn)) {
            (true, _) => Level::Fail,
            (false, true) => Level::Warn,
            (false, false) => Level::Ok,
        }
    }
}

/// Scopes that let a thief of the token change things or read code; the log needs none of them.
const NEEDLESS: [&str; 8] = [
    "repo",
    "admin:org",
    "write:org",
    "admin:enterprise",
    "delete_repo",
    "admin:org_hook",
    "workflow",
    "user",
];

/// Asks GitHub for one event and judges what the answer says; costs one request.
pub async fn check(connection: &Connection, clock: Clock) -> CheckReport {
    let scope = connection.scope();
    let lines = match ask(connection, &clock).await {
        Ok(headers) => judge(&headers, (clock)()),
        Err(error) => {
            let found = error.to_string();
            vec![CheckLine { what: "audit log", level: Level::Fail, found }]
        }
    };
    CheckReport { scope, lines }
}

async fn ask(connection: &Connection, clock: &Clock) -> Result<HeaderMap, Error> {
    let client = Client::new(connection, clock.clone())?;
    let mut url = connection.log_url()?;
    url.query_pairs_mut().append_pair("include", "all").append_pair("per_page", "1");
    Ok(client.page(&url).await?.headers)
}

fn judge(headers: &HeaderMap, now: Timestamp) -> Vec<CheckLine> {
    let text = |name| refusal::text(headers, name).filter(|text| !text.is_empty());
    let line = |what, level, found| CheckLine { what, level, found };
    let mut lines = vec![line("audit log", Level::Ok, "readable with this token".into())];
    if let Some(scopes) = text("x-oauth-scopes") {
        let needless: Vec<&str> =
            scopes.split(',').map(str::trim).filter(|scope| NEEDLESS.contains(scope)).collect();
        lines.push(match needless.as_slice() {
            [] => line("scopes", Level::Ok, scopes.into()),
            needless => {
                let needless = needless.join(", ");
                let found = format!(
                    "the token has {needless}, which the audit log does not need, so its theft would do more harm; make one with read:audit_log alone"
                );
                line("scopes", Level::Warn, found)
            }
        });
    }
    if let Some(expiry) = text("github-authentication-token-expiration") {
        lines.push(match expires_in_days(expiry, now) {
            Some(days) if days < 14 => {
                let found = format!(
                    "the token expires in {days} days ({expiry}), then nothing is read; make a new one in time"
                );
                line("expiry", Level::Warn, found)
            }
            _ => line("expiry", Level::Ok, expiry.into()),
        });
    }
    let number = |name| refusal::number(headers, name);
    if let (Some(left), Some(limit)) =
        (number("x-ratelimit-remaining"), number("x-ratelimit-limit"))
    {
        let found = format!("{left} of {limit} requests are left in this hour");
        let level = if left.saturating_mul(10) < limit { Level::Warn } else { Level::Ok };
        lines.push(line("budget", level, found));
    }
    lines
}

/// Whole days until a text such as `2027-10-12 09:00:00 UTC`; none when it cannot be read.
fn expires_in_days(text: &str, now: Timestamp) -> Option<i64> {
    let mut words = text.split_whitespace();
    let (day, time, zone) = (words.next()?, words.next()?, words.next().unwrap_or("UTC"));
    let zone = match zone {
        "UTC" => "Z".to_owned(),
        zone if zone.len() == 5 => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => return None,
    };
    let moment: Timestamp = format!("{day}T{time}{zone}").parse().ok()?;
    Some(moment.millis_since(now).div_euclid(24 * 3_600_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_scopes_expiry_and_budget() {
        let now: Timestamp = "2027-10-01T09:00:00Z".parse().unwrap();
        let judged = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            let lines = judge(&headers, now);
            lines.into_iter().map(|line| (line.what, line.level)).collect::<Vec<_>>()
        };
        let expiry = "github-authentication-token-expiration";
        for (pairs, expected) in [
            (vec![("x-oauth-scopes", "read:audit_log")], ("scopes", Level::Ok)),
            (vec![("x-oauth-scopes", "read:audit_log, repo")], ("scopes", Level::Warn)),
            (vec![(expiry, "2027-10-12 09:00:00 UTC")], ("expiry", Level::Warn)),
            (vec![(expiry, "2027-10-12 09:00:00 +0200")], ("expiry", Level::Warn)),
            (vec![(expiry, "2028-10-12 09:00:00 UTC")], ("expiry", Level::Ok)),
            (vec![(expiry, "some day")], ("expiry", Level::Ok)),
            (
                vec![("x-ratelimit-remaining", "9"), ("x-ratelimit-limit", "1750")],
                ("budget", Level::Warn),
            ),
            (
                vec![
                    ("x-ratelimit-remaining", "9223372036854775806"),
                    ("x-ratelimit-limit", "9223372036854775807"),
                ],
                ("budget", Level::Ok),
            ),
        ] {
            assert_eq!(judged(&pairs), [("audit log", Level::Ok), expected], "{pairs:?}");
        }
    }
}
