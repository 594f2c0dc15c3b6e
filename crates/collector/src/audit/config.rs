use std::time::Duration;

use hubwarden_event::ConnectionId;
use hubwarden_service::{Invalid, SecretRef, Validate};
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// GitHub's own limit for audit log queries, an hour.
const GITHUB_LIMIT: u32 = 1_750;

/// One `[[github]]` entry: what is read, where, and with which token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The name that people see; it may change.
    pub name: String,
    /// The name that stands in ids; written once and kept for ever.
    pub id: String,
    /// The enterprise to read; its log holds those of all its organizations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// The organization to read, when there is no enterprise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The REST base: another one for GHE.com and GitHub Enterprise Server.
    #[serde(default = "github")]
    pub base_url: String,
    /// Where the token is found.
    pub token: SecretRef,
    /// How the log is read.
    #[serde(default)]
    pub poll: Poll,
}

fn github() -> String {
    "https://api.github.com".into()
}

/// How the audit log is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Poll {
    /// Rest between two reads of what is new.
    #[serde(with = "hubwarden_service::duration")]
    pub interval: Duration,
    /// How far each read reaches back for events that appear late.
    #[serde(with = "hubwarden_service::duration")]
    pub overlap: Duration,
    /// Our share of the hourly limit, above 0 up to 1.
    pub budget: f64,
    /// Queries that the server allows an hour.
    pub requests_per_hour: u32,
    /// Days before the moment of connecting that are read too.
    pub backfill_days: u32,
    /// Days of Git events among them, which GitHub keeps for less long.
    pub backfill_git_days: u32,
    /// Events a page, up to 100.
    pub per_page: u32,
    /// The longest wait for one page.
    #[serde(with = "hubwarden_service::duration")]
    pub timeout: Duration,
}

impl Default for Poll {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            overlap: Duration::from_secs(3600),
            budget: 0.5,
            requests_per_hour: GITHUB_LIMIT,
            backfill_days: 180,
            backfill_git_days: 7,
            per_page: 100,
            timeout: Duration::from_secs(60),
        }
    }
}

impl Poll {
    /// Queries an hour that we may make.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.requests_per_hour) * self.budget
    }
}

impl Connection {
    /// The id as it stands in records.
    pub fn connection_id(&self) -> ConnectionId {
        ConnectionId::from(self.id.as_str())
    }

    /// What is read, such as `org/octo` or `enterprise/octo-corp`.
    pub fn scope(&self) -> String {
        match (&self.enterprise, &self.org) {
            (Some(enterprise), _) => format!("enterprise/{enterprise}"),
            (None, org) => format!("org/{}", org.as_deref().unwrap_or_default()),
        }
    }

    /// Whether GitHub itself runs the server.
    pub(super) fn is_own_host(&self) -> bool {
        let url = Url::parse(&self.base_url).ok();
        url.as_ref()
            .and_then(Url::host_str)
            .is_some_and(|host| host == "api.github.com" || host.ends_with(".ghe.com"))
    }

    /// The address of the audit log.
    pub(super) fn log_url(&self) -> Result<Url, Invalid> {
        let (kind, name) = match (&self.enterprise, &self.org) {
            (Some(enterprise), None) => ("enterprises", enterprise),
            (None, Some(org)) => ("orgs", org),
            _ => return Err(Invalid::new("enterprise", "set either `enterprise` or `org`")),
        };
        let invalid = |reason: String| Invalid::new("base_url", reason);
        let mut url = Url::parse(&self.base_url).map_err(|error| invalid(error.to_string()))?;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(invalid(
                "must begin with https://, or the token travels in the clear".into(),
            ));
        }
        url.path_segments_mut()
            .map_err(|()| invalid("must be an address such as https://api.github.com".into()))?
            .pop_if_empty()
            .extend([kind, name, "audit-log"]);
        Ok(url)
    }
}

/// Keys are named from the entry on, such as `poll.overlap`.
/// Checks each `[[github]]` entry, and that every id stands once.
///
/// # Errors
/// The first key that is wrong, with its place: `github[1].id`.
pub fn validate_all(connections: &[Connection]) -> Result<(), Invalid> {
    for (position, connection) in connections.iter().enumerate() {
        connection.validate().map_err(|invalid| {
            Invalid::new(format!("github[{position}].{}", invalid.key), invalid.reason)
        })?;
        if connections[..position].iter().any(|other| other.id == connection.id) {
            let reason =
                format!("`{}` stands twice; each connection needs an id of its own", connection.id);
            return Err(Invalid::new(format!("github[{position}].id"), reason));
        }
    }
    Ok(())
}

impl Validate for Connection {
    fn validate(&self) -> Result<(), Invalid> {
        for (key, text) in [("name", &self.name), ("id", &self.id)] {
            if text.trim().is_empty() {
                return Err(Invalid::new(key, "must not be empty"));
            }
        }
        self.log_url()?;
        let poll = &self.poll;
        let own = self.is_own_host();
        let hours = |count: u64| Duration::from_secs(count * 3600);
        for (key, right, reason) in [
            ("interval", poll.interval >= Duration::from_secs(1), "must be at least 1s"),
            ("overlap", poll.overlap <= hours(24), "must be at most 24h"),
            ("budget", poll.budget > 0.0 && poll.budget <= 1.0, "must be above 0 and at most 1"),
            ("requests_per_hour", poll.requests_per_hour > 0, "must be at least 1"),
            (
                "requests_per_hour",
                !own || poll.requests_per_hour <= GITHUB_LIMIT,
                "must be at most 1750, which is GitHub's limit",
            ),
            ("per_page", (1..=100).contains(&poll.per_page), "must be from 1 to 100"),
            ("timeout", poll.timeout >= Duration::from_secs(1), "must be at least 1s"),
            ("timeout", poll.timeout <= hours(1), "must be at most 1h"),
            ("backfill_days", poll.backfill_days <= 3650, "must be at most 3650"),
            (
                "backfill_git_days",
                poll.backfill_git_days <= poll.backfill_days,
                "must be at most `backfill_days`",
            ),
        ] {
            if !right {
                return Err(Invalid::new(format!("poll.{key}"), reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Result<Connection, String> {
        let text = format!("name = 'octo'\nid = 'c1'\ntoken = {{ env = 'T' }}\n{extra}");
        let connection: Connection = toml::from_str(&text).map_err(|error| error.to_string())?;
        connection.validate().map_err(|error| error.to_string())?;
        Ok(connection)
    }

    #[test]
    fn reads_defaults_and_durations_and_names_a_wrong_key() {
        let connection = parse("org = 'octo'\n[poll]\ninterval = '90s'\n").unwrap();
        assert_eq!(connection.poll, Poll { interval: Duration::from_secs(90), ..Poll::default() });
        let url = connection.log_url().unwrap();
        assert_eq!(url.as_str(), "https://api.github.com/orgs/octo/audit-log");
        let server = parse("enterprise = 'a/b'\nbase_url = 'https://ghe.example/api/v3/'").unwrap();
        let url = server.log_url().unwrap();
        assert_eq!(url.as_str(), "https://ghe.example/api/v3/enterprises/a%2Fb/audit-log");
        for (extra, part) in [
            ("", "enterprise"),
            ("org = 'a'\nenterprise = 'b'", "enterprise"),
            ("org = 'a'\nbase_url = 'http://github.example'", "base_url"),
            ("org = 'a'\npoll = { budget = 1.5 }", "poll.budget"),
            ("org = 'a'\npoll = { requests_per_hour = 5000 }", "poll.requests_per_hour"),
            ("org = 'a'\npoll = { per_page = 101 }", "poll.per_page"),
            ("org = 'a'\npoll = { intervall = '1s' }", "intervall"),
            ("org = 'a'\ntoken = 'ghp_x'", "token"),
        ] {
            let error = parse(extra).unwrap_err();
            assert!(error.contains(part), "{extra}: {error}");
        }
    }

    #[test]
    fn is_written_as_it_is_read() {
        let connection = parse("org = 'octo'").unwrap();
        let text = toml::to_string(&connection).unwrap();
        assert_eq!(toml::from_str::<Connection>(&text).unwrap(), connection);
        assert!(text.contains("overlap = \"1h\""), "{text}");
    }
}
