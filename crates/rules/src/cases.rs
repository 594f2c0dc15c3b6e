//! Cases of a rule: events, and whether they should make a finding.

use hubwarden_event::Severity;
use serde_json::{Map, Number, Value as Json};

use crate::house::{duration, level, whole};
use crate::problem::{Flaw, flaw, quoted, suggestion};
use crate::yaml::{Entry, Node, Value, documents};
use crate::{Error, Lists};

const MAX_REPEAT: u64 = 100_000;
const MAX_EVENTS: u64 = 1_000_000;

/// What a case shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaseKind {
    /// The rule must make a finding.
    Firing,
    /// Ordinary life: no finding.
    Benign,
    /// One field away from firing: no finding.
    NearMiss,
}

impl CaseKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Benign => "benign",
            Self::NearMiss => "near-miss",
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// The line where it begins.
    pub line: usize,
    /// What it shows.
    pub kind: CaseKind,
    /// The severity that the finding must have.
    pub severity: Option<Severity>,
    /// Lists that the case sets, over those of the deployment.
    pub lists: Lists,
    /// The events, repeats written out, in the order of the file.
    pub events: Vec<CaseEvent>,
}

/// An event of a case and when it happens.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseEvent {
    /// Milliseconds after the case's start.
    pub at_ms: i64,
    /// The event as GitHub sends it.
    pub event: Map<String, Json>,
}

/// Reads a `<name>.cases.yml`.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse_cases(text: &str) -> Result<Vec<Case>, Error> {
    read(text).map_err(|Flaw { line, message }| Error::Case { line, message })
}

fn read(text: &str) -> Result<Vec<Case>, Flaw> {
    let mut found = documents(text).into_iter();
    let (Some(document), None) = (found.next(), found.next()) else {
        return flaw(1, "a file of cases is one YAML document with the key `cases`");
    };
    let document = document.map_err(|mut broken| broken.flaws.remove(0))?;
    known(document.map("a file of cases")?, &["cases"])?;
    let Some(Node { value: Value::List(nodes), .. }) = document.get("cases") else {
        return flaw(document.line, "`cases` must be a list of cases");
    };
    nodes.iter().map(case).collect()
}

fn known(entries: &[Entry], keys: &[&str]) -> Result<(), Flaw> {
    match entries.iter().find(|entry| !keys.contains(&entry.key.as_str())) {
        None => Ok(()),
        Some(Entry { key, line, .. }) => {
            let near = suggestion(key, keys.iter().copied());
            flaw(*line, format!("unknown key {}{near}", quoted(key)))
        }
    }
}

fn need<'a>(node: &'a Node, key: &str) -> Result<&'a Node, Flaw> {
    match node.get(key) {
        Some(found) => Ok(found),
        None => flaw(node.line, format!("`{key}` is missing")),
    }
}

fn case(node: &Node) -> Result<Case, Flaw> {
    known(node.map("a case")?, &["name", "kind", "severity", "lists", "events"])?;
    let kind = need(node, "kind")?;
    let kind = match kind.text("`kind`")?.as_str() {
        "firing" => CaseKind::Firing,
        "benign" => CaseKind::Benign,
        "near-miss" => CaseKind::NearMiss,
        other => {
            let other = quoted(other);
            return flaw(kind.line, format!("{other} is no kind: firing, benign or near-miss"));
        }
    };
    let severity = node.get("severity").map(level).transpose()?;
    if severity.is_some() && kind != CaseKind::Firing {
        return flaw(node.line, "`severity` belongs to a firing case");
    }
    let mut lists = Lists::default();
    for entry in
        node.get("lists").map(|lists| lists.map("`lists`")).transpose()?.unwrap_or_default()
    {
        let values = entry.node.texts("a list")?.into_iter().map(|(_, value)| value);
        lists.insert(&entry.key, values.collect());
    }
    let Value::List(nodes) = &need(node, "events")?.value else {
        return flaw(node.line, "`events` must be a list of {event: …}");
    };
    let (name, line) = (need(node, "name")?.text("`name`")?, node.line);
    Ok(Case { name, line, kind, severity, lists, events: events(nodes)? })
}

/// Writes the events out; one second after the one before unless `at` says otherwise.
fn events(nodes: &[Node]) -> Result<Vec<CaseEvent>, Flaw> {
    const SECOND: i64 = 1_000;
    let mut events = Vec::new();
    let mut next_ms = 0i64;
    for node in nodes {
        known(node.map("an event of a case")?, &["event", "at", "repeat", "every"])?;
        let start_ms = match node.get("at") {
            Some(at) => offset(at)?,
            None => next_ms,
        };
        let every_ms = match node.get("every") {
            Some(every) => duration(every, "`every`")?,
            None => SECOND,
        };
        let repeat = node.get("repeat").map(|count| whole(count, "`repeat`")).transpose()?;
        let count = repeat.unwrap_or(1);
        if count == 0 || count > MAX_REPEAT || events.len() as u64 + count > MAX_EVENTS {
            return flaw(node.line, format!("`repeat` must be 1 to {MAX_REPEAT}"));
        }
        let event = need(node, "event")?;
        event.map("`event`")?;
        for number in 0..count {
            let at_ms = start_ms.saturating_add(every_ms.saturating_mul(number as i64));
            next_ms = at_ms.saturating_add(SECOND);
            let number = repeat.is_some().then_some(number);
            if let Json::Object(event) = json(event, number) {
                events.push(CaseEvent { at_ms, event });
            }
        }
    }
    Ok(events)
}

/// `0s` is allowed here, as nowhere else.
fn offset(node: &Node) -> Result<i64, Flaw> {
    match node.text("`at`")?.as_str() {
        "0" | "0s" | "0m" | "0h" | "0d" => Ok(0),
        _ => duration(node, "`at`"),
    }
}

/// A node as JSON, with `{n}` in texts replaced by the number of the repeat.
fn json(node: &Node, number: Option<u64>) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(digits) => {
            let parsed: Result<Number, _> = digits.parse();
            parsed.map_or_else(|_| digits.as_str().into(), Json::Number)
        }
        Value::Text(text) => match number {
            Some(number) => text.replace("{n}", &number.to_string()).into(),
            None => text.as_str().into(),
        },
        Value::List(nodes) => nodes.iter().map(|node| json(node, number)).collect(),
        Value::Map(entries) => {
            let member = |entry: &Entry| (entry.key.clone(), json(&entry.node, number));
            Json::Object(entries.iter().map(member).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_events_out() {
        let cases = parse_cases(
            "cases:\n  - name: many\n    kind: firing\n    severity: high\n    lists: {known: [a]}\n    \
             events:\n      - event: {action: x, repo: 'o/{n}', n: 1}\n        repeat: 3\n        \
             every: 30s\n      - event: {action: y, note: '{n}'}\n      - {event: {a: [b, 1.5, null]}, at: 0s}\n",
        )
        .unwrap();
        let case = &cases[0];
        assert_eq!((case.kind, case.severity), (CaseKind::Firing, Some(Severity::High)));
        assert_eq!(case.lists.get("known").unwrap(), ["a"]);
        let times: Vec<_> = case.events.iter().map(|event| event.at_ms).collect();
        assert_eq!(times, [0, 30_000, 60_000, 61_000, 0]);
        assert_eq!(case.events[2].event["repo"], "o/2");
        assert_eq!(case.events[3].event["note"], "{n}");
        assert_eq!(case.events[4].event["a"], serde_json::json!(["b", 1.5, null]));
    }

    #[test]
    fn names_the_line_of_a_mistake() {
        for (text, message) in [
            ("", "line 1: a file of cases is one YAML document"),
            ("cases: 1", "line 1: `cases` must be a list"),
            ("case: []", "line 1: unknown key `case` (did you mean `cases`?)"),
            ("cases:\n  - name: a\n    kind: fire\n    events: []", "line 3: `fire` is no kind"),
            ("cases:\n  - name: a\n    kind: benign\n", "line 2: `events` is missing"),
            (
                "cases:\n  - {name: a, kind: benign, severity: low, events: []}",
                "line 2: `severity` belongs to a firing case",
            ),
            (
                "cases:\n  - name: a\n    kind: benign\n    events:\n      - {event: {}, repeat: 0}",
                "line 5: `repeat` must be 1 to 100000",
            ),
            (
                "cases:\n  - name: a\n    kind: benign\n    events:\n      - {event: {}, after: 1s}",
                "line 5: unknown key `after`",
            ),
        ] {
            let error = parse_cases(text).expect_err(text).to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
