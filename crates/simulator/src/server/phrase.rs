//! The search expression of the audit log: qualifiers that must all hold.

use serde_json::Value;

/// What a request asks for, apart from paging.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Phrase {
    terms: Vec<Term>,
    /// `created:` conditions as inclusive bounds in milliseconds, negated or not.
    created: Vec<(bool, i64, i64)>,
}

#[derive(Debug, PartialEq)]
struct Term {
    negated: bool,
    name: String,
    value: String,
}

const KNOWN: [&str; 22] = [
    "action",
    "actor",
    "user",
    "repo",
    "repository",
    "org",
    "operation",
    "country",
    "country_code",
    "ip",
    "hashed_token",
    "actor_id",
    "actor_ip",
    "business",
    "business_id",
    "from",
    "note",
    "oauth_app_id",
    "org_id",
    "repo_id",
    "user_id",
    "created",
];

const DAY_MS: i64 = 86_400_000;

impl Phrase {
    /// Reads `phrase`; words without a qualifier search nothing, as at GitHub.
    ///
    /// # Errors
    /// The message for a 422 when a qualifier is unknown or a time cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut phrase = Self::default();
        for word in words(text) {
            let (negated, word) =
                word.strip_prefix('-').map_or((false, word.as_str()), |rest| (true, rest));
            let Some((name, value)) = word.split_once(':') else {
                continue;
            };
            if !KNOWN.contains(&name) {
                return Err(format!("The search qualifier `{name}` is not known."));
            }
            if name == "created" {
                let (from, to) = created(value)
                    .ok_or_else(|| format!("`{value}` is not a date or range of dates."))?;
                phrase.created.push((negated, from, to));
            } else {
                phrase.terms.push(Term { negated, name: name.to_owned(), value: value.to_owned() });
            }
        }
        Ok(phrase)
    }

    /// Whether the request names a time of its own, so that the default window does not apply.
    pub(crate) fn has_created(&self) -> bool {
        !self.created.is_empty()
    }

    /// The inclusive bounds within which all `created:` conditions can hold.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let positive = self.created.iter().filter(|(negated, _, _)| !negated);
        positive.fold((i64::MIN, i64::MAX), |(low, high), (_, from, to)| {
            (low.max(*from), high.min(*to))
        })
    }

    /// Whether an event of that time passes, its body being parsed only where a condition needs it.
    pub(crate) fn matches(&self, at_ms: i64, body: &[u8]) -> bool {
        if self.created.iter().any(|(negated, from, to)| (*from..=*to).contains(&at_ms) == *negated)
        {
            return false;
        }
        if self.terms.is_empty() {
            return true;
        }
        let Ok(event) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        self.terms.iter().all(|term| term.holds(&event) != term.negated)
    }
}

impl Term {
    fn holds(&self, event: &Value) -> bool {
        let is = |name: &str| text(&event[name]).eq_ignore_ascii_case(&self.value);
        match self.name.as_str() {
            "action" => {
                let action = text(&event["action"]);
                action == self.value
                    || action.strip_prefix(&self.value).is_some_and(|rest| rest.starts_with('.'))
            }
            "repo" | "repository" => is("repo") || is("repository"),
            "operation" => is("operation_type"),
            "ip" | "actor_ip" => is("actor_ip"),
            "country_code" => {
                text(&event["actor_location"]["country_code"]).eq_ignore_ascii_case(&self.value)
            }
            "country" => ["country_code", "country_name"]
                .iter()
                .any(|name| text(&event["actor_location"][name]).eq_ignore_ascii_case(&self.value)),
            "hashed_token" => {
                let token = text(&event["hashed_token"]);
                token.trim_end_matches('=') == self.value.trim_end_matches('=')
            }
            "oauth_app_id" => is("oauth_application_id"),
            "org" => match &event["org"] {
                Value::Array(orgs) => {
                    orgs.iter().any(|org| text(org).eq_ignore_ascii_case(&self.value))
                }
                _ => is("org"),
            },
            name => is(name),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Splits at spaces outside double quotes; the quotes are dropped.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => {
                if let Some(word) = words.last_mut() {
                    word.push(letter);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The inclusive range of milliseconds that one `created:` value stands for.
fn created(value: &str) -> Option<(i64, i64)> {
    if let Some((from, to)) = value.split_once("..") {
        let low = if from == "*" { i64::MIN } else { moment(from)?.0 };
        let high = if to == "*" { i64::MAX } else { moment(to)?.1 };
        return Some((low, high));
    }
    for (sign, bounds) in [
        (">=", (|(from, _)| (from, i64::MAX)) as fn((i64, i64)) -> (i64, i64)),
        ("<=", |(_, to)| (i64::MIN, to)),
        (">", |(_, to)| (to.saturating_add(1), i64::MAX)),
        ("<", |(from, _)| (i64::MIN, from.saturating_sub(1))),
    ] {
        if let Some(rest) = value.strip_prefix(sign) {
            return moment(rest).map(bounds);
        }
    }
    moment(value)
}

/// First and last millisecond of a day, or of a second where a time of day is given.
fn moment(text: &str) -> Option<(i64, i64)> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        let at_ms = time.as_millisecond();
        // A time with a fraction is that millisecond, one without stands for its whole second.
        return Some((at_ms, if text.contains('.') { at_ms } else { at_ms + 999 }));
    }
    let is_date =
        text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let midnight = is_date.then(|| format!("{text}T00:00:00Z"))?;
    let from = midnight.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    Some((from, from + DAY_MS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_793_534_400_000; // 2026-11-01T12:00:00Z
    const EVENT: &str = r#"{"action":"team.create","actor":"Octocat","user":"mona","repo":"octo/app","org":"octo",
        "operation_type":"create","actor_ip":"192.0.2.7","actor_location":{"country_code":"DE","country_name":"Germany"},
        "hashed_token":"kTA8HWSeg2rNxFZdyljGxJMlVYrFypjTOu/1bnNfyFc=","org_id":7}"#;

    #[test]
    fn qualifiers() {
        for (phrase, holds) in [
            ("", true),
            ("words without qualifier", true),
            ("action:team.create", true),
            ("action:team", true),
            ("action:tea", false),
            ("-action:team", false),
            ("action:team.create actor:octocat", true),
            ("action:team.create actor:hubot", false),
            ("-actor:hubot user:mona repo:octo/app org:octo operation:create", true),
            ("country_code:de ip:192.0.2.7 org_id:7", true),
            ("country:\"germany\"", true),
            ("country_code:US", false),
            ("hashed_token:\"kTA8HWSeg2rNxFZdyljGxJMlVYrFypjTOu/1bnNfyFc\"", true),
            ("created:2026-11-01", true),
            ("created:2026-11-02", false),
            ("-created:2026-11-01", false),
            ("created:>=2026-11-01", true),
            ("created:>2026-11-01", false),
            ("created:<2026-11-01", false),
            ("created:<=2026-11-01", true),
            ("created:2026-10-01..2026-11-01", true),
            ("created:2026-10-01..2026-10-31", false),
            ("created:>=2026-11-01T12:00:00+00:00", true),
            ("created:>2026-11-01T12:00:00Z", false),
            ("created:<2026-11-01T12:00:00Z", false),
            ("created:2026-11-01T11:00:00Z..2026-11-01T13:00:00Z", true),
            ("created:*..2026-10-31", false),
        ] {
            let parsed = Phrase::parse(phrase).unwrap();
            assert_eq!(parsed.matches(NOON, EVENT.as_bytes()), holds, "{phrase}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(Phrase::parse("colour:red").unwrap_err().contains("`colour`"));
        for bad in [
            "created:yesterday",
            "created:",
            "created:2026-13-01",
            "created:>=",
            "created:..",
            "created:2026-1-1",
        ] {
            assert!(Phrase::parse(bad).is_err(), "{bad}");
        }
    }
}
