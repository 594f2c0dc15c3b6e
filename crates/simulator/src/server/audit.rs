//! The audit-log endpoints.

use super::answer::{Answer, array, encode};
use super::cursor;
use super::phrase::Phrase;
use super::settings::{Fault, Token};
use super::state::{Bucket, Rate, State};
use super::store::{At, Include, Log, Page, Query};

/// Scope that reads the log; on GHES another one is named.
pub(crate) const SCOPE: &str = "read:audit_log";

/// Whose log a path names, by login or slug and by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Org(String, i64),
    Enterprise(i64),
}

/// One request to an audit log, after its token has been accepted.
pub(crate) struct Request<'a> {
    pub(crate) state: &'a State,
    pub(crate) token: &'a Token,
    pub(crate) owner: Owner,
    pub(crate) path: &'a str,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Request<'_> {
    /// Answers with a page, an error, or the fault that is due.
    pub(crate) async fn answer(self) -> Answer {
        let fault = self.state.next_fault();
        if let Some(Fault::Slow(wait)) = fault {
            tokio::time::sleep(wait).await;
        }
        if let Some(refusal) = self.refusal(fault.as_ref()) {
            return self
                .with_limits(refusal, self.state.rate(Bucket::AuditLog, &self.token.value, 0).0);
        }
        if self.state.settings.ghes.is_some() {
            return self.page(fault.as_ref());
        }
        let (rate, allowed) = self.state.rate(Bucket::AuditLog, &self.token.value, 1);
        if !allowed || fault == Some(Fault::RateLimited) {
            let status = self.state.settings.rate_limit_status;
            let message = format!("API rate limit exceeded for user {}.", self.token.login);
            return self
                .with_limits(Answer::error(status, &message), Rate { used: rate.limit, ..rate });
        }
        let answer = self.page(fault.as_ref());
        self.with_limits(answer, rate)
    }

    /// What is said instead of a page, before any of the budget is used.
    fn refusal(&self, fault: Option<&Fault>) -> Option<Answer> {
        let may_read = |scope: &String| [SCOPE, "admin:enterprise"].contains(&scope.as_str());
        if !self.token.scopes.iter().any(may_read) {
            let message = "Must have admin rights to this resource, with a token that has the `read:audit_log` scope.";
            return Some(Answer::error(403, message).with("x-accepted-oauth-scopes", SCOPE));
        }
        if !self.token.sso_authorized || fault == Some(&Fault::SsoRequired) {
            let name = match &self.owner {
                Owner::Org(name, _) => format!("orgs/{name}"),
                Owner::Enterprise(_) => format!("enterprises/{}", self.state.settings.enterprise.0),
            };
            let url =
                format!("https://github.com/{name}/sso?authorization_request=AB5XQ7V4QEXAMPLE");
            let message = "Resource protected by organization SAML enforcement. You must grant your Personal Access \
                           token access to this organization.";
            return Some(
                Answer::error(403, message).with("x-github-sso", &format!("required; url={url}")),
            );
        }
        match fault? {
            Fault::Status(status) => {
                Some(Answer::error(*status, "Something went wrong on purpose."))
            }
            Fault::Html => Some(Answer::html()),
            Fault::Huge(bytes) => Some(Answer::huge(*bytes)),
            Fault::Empty => Some(Answer::new(200, "[]")),
            Fault::SecondaryLimit { status, retry_after } => {
                let answer = Answer::error(
                    *status,
                    "You have exceeded a secondary rate limit. Please wait a few minutes.",
                );
                Some(match retry_after {
                    Some(seconds) => answer.with("retry-after", &seconds.to_string()),
                    None => answer,
                })
            }
            _ => None,
        }
    }

    fn with_limits(&self, answer: Answer, rate: Rate) -> Answer {
        match self.state.settings.ghes {
            Some(_) => answer,
            None => answer.with_rate("audit_log", rate),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn page(&self, fault: Option<&Fault>) -> Answer {
        let phrase = match Phrase::parse(self.parameter("phrase").unwrap_or_default()) {
            Ok(phrase) => phrase,
            Err(message) => return Answer::invalid(&message),
        };
        let include = match self.parameter("include") {
            None | Some("web") => Include::Web,
            Some("git") => Include::Git,
            Some("all") => Include::All,
            Some(other) => return Answer::invalid(&format!("`include` cannot be `{other}`.")),
        };
        let size = self.parameter("per_page").and_then(|size| size.parse().ok()).unwrap_or(30);
        let size: usize = std::cmp::Ord::clamp(size, 1, self.state.settings.page_limit);
        let org;
        let log = match &self.owner {
            Owner::Org(name, _) => {
                org = name.to_lowercase();
                Log::Org(&org)
            }
            Owner::Enterprise(_) => Log::Enterprise,
        };
        let query = Query {
            log,
            include,
            ascending: self.parameter("order") == Some("asc"),
            phrase: &phrase,
            now_ms: self.state.now_ms(),
            keeps_all: self.state.settings.ghes.is_some(),
            twice_per_mille: self.state.settings.twice_per_mille,
        };
        if self.state.settings.ghes.is_some() || self.asks_for_number() {
            return self.numbered(&query, size, fault);
        }
        let at = match (self.parameter("after"), self.parameter("before")) {
            (Some(after), _) => cursor::decode(after).map(At::After),
            (None, Some(before)) => cursor::decode(before).map(At::Before),
            (None, None) => Some(At::Start),
        };
        let Some(at) = at else {
            return Answer::invalid("The cursor cannot be read.");
        };
        let page = self.state.inner().store.page(&query, &at, size);
        finish(&page.events, &self.links(&page, fault), fault)
    }

    /// Whether a page is wanted by number, which only the enterprise's log knows outside GHES.
    fn asks_for_number(&self) -> bool {
        let has = |name| self.parameter(name).is_some();
        matches!(self.owner, Owner::Enterprise(_))
            && has("page")
            && !(has("after") || has("before"))
    }

    /// `Link` by cursor: on the numeric path, with both `after` and `before`.
    fn links(&self, page: &Page, fault: Option<&Fault>) -> String {
        let path = match &self.owner {
            Owner::Org(_, id) => format!("/organizations/{id}/audit-log"),
            Owner::Enterprise(id) => format!("/enterprises/{id}/audit-log"),
        };
        let base = match fault {
            Some(Fault::OtherHost(host)) => format!("http://{host}"),
            _ => self.state.url.clone(),
        };
        let kept = self.kept_parameters(&["after", "before"]);
        let link = |after: &str, before: &str, rel: &str| {
            let (after, before) = (encode(after), encode(before));
            let kept = if kept.is_empty() { String::new() } else { format!("{kept}&") };
            format!("<{base}{path}?{kept}after={after}&before={before}>; rel=\"{rel}\"")
        };
        let mut links = Vec::new();
        if let (Some(Fault::LoopPages), _) = (fault, ()) {
            links.push(link(self.parameter("after").unwrap_or_default(), "", "next"));
        } else if let (true, Some(last)) = (page.has_next, &page.last) {
            links.push(link(&cursor::encode(last), "", "next"));
        }
        links.push(link("", "", "first"));
        if let (true, Some(first)) = (page.has_previous, &page.first) {
            links.push(link("", &cursor::encode(first), "prev"));
        }
        links.join(", ")
    }

    /// A page by number, with `last`, as GHES answers, and the enterprise's log where `page` is given.
    fn numbered(&self, query: &Query<'_>, size: usize, fault: Option<&Fault>) -> Answer {
        let number = self.parameter("page").and_then(|page| page.parse().ok()).unwrap_or(1).max(1);
        let (events, total) = self.state.inner().store.numbered(query, number, size);
        let last = total.div_ceil(size).max(1);
        let kept = self.kept_parameters(&["page", "after", "before"]);
        let base = match fault {
            Some(Fault::OtherHost(host)) => format!("http://{host}"),
            _ => self.state.url.clone(),
        };
        let link = |page: usize, rel: &str| {
            let kept = if kept.is_empty() { String::new() } else { format!("{kept}&") };
            format!("<{base}{}?{kept}page={page}>; rel=\"{rel}\"", self.path)
        };
        let mut links = Vec::new();
        if number < last || fault == Some(&Fault::LoopPages) {
            let next = if fault == Some(&Fault::LoopPages) { number } else { number + 1 };
            links.extend([link(next, "next"), link(last, "last")]);
        }
        if number > 1 {
            links.extend([link(1, "first"), link(number - 1, "prev")]);
        }
        finish(&events, &links.join(", "), fault)
    }

    fn kept_parameters(&self, without: &[&str]) -> String {
        let kept = self.parameters.iter().filter(|(name, _)| !without.contains(&name.as_str()));
        kept.map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect::<Vec<_>>()
            .join("&")
    }
}

fn finish(events: &[bytes::Bytes], links: &str, fault: Option<&Fault>) -> Answer {
    let mut body = array(events);
    let answer = match fault {
        Some(Fault::Truncated) => {
            body.truncate(body.len() / 2);
            Answer::new(200, body)
        }
        Some(Fault::Aborted) => {
            body.truncate(body.len() / 2);
            Answer::aborted(body.into())
        }
        _ => Answer::new(200, body),
    };
    if links.is_empty() { answer } else { answer.with("link", links) }
}
