use std::collections::HashMap;
use std::sync::Arc;

use hubwarden_collector::source_id;
use hubwarden_detector::{Rulebook, Transient};
use hubwarden_event::{
    ContentType, Event, Feed, Finding, MatchBody, RawPosition, RawRecord, RunId, Timestamp,
};
use hubwarden_normalizer::{Networks, Normalizer};
use hubwarden_rules::{Case, CaseKind, Engine, RuleSet, Scratch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Exit, Failure};

/// Where the clock of a case stands when it says nothing: 2026-01-05T09:00:00Z, a Monday.
const START_MS: i64 = 1_767_603_600_000;

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseOutcome {
    /// Rule or concepts that the case is about.
    pub rule: String,
    /// The case.
    pub name: String,
    /// What should happen.
    pub expected: String,
    /// What happened.
    pub actual: String,
    /// `passed`, `failed`, or `no rule` when no rule stands for the concept.
    pub result: &'static str,
}

/// Compiles a rulebook once for each set of lists that cases bring along.
struct Compiled {
    book: Rulebook,
    sets: HashMap<Vec<(String, Vec<String>)>, Arc<RuleSet>>,
}

impl Compiled {
    fn new(book: &Rulebook) -> Self {
        Self { book: book.clone(), sets: HashMap::new() }
    }

    fn with(&mut self, lists: Vec<(String, Vec<String>)>) -> Arc<RuleSet> {
        let book = &self.book;
        let compile = || {
            let mut book = book.clone();
            for (name, values) in &lists {
                book.lists.insert(name, values.clone());
            }
            Arc::new(book.compile().set)
        };
        match self.sets.get(&lists) {
            Some(set) => set.clone(),
            None => {
                let set = compile();
                self.sets.insert(lists, set.clone());
                set
            }
        }
    }
}

/// Judges events in an engine of its own; events without a time get one second after the one before.
///
/// # Errors
/// The reason why an event cannot be read.
fn judge(
    set: &Arc<RuleSet>,
    events: &[(Option<i64>, Map<String, Value>)],
) -> Result<Vec<Finding>, String> {
    let engine = Engine::new(set.clone());
    let mut correlator = Transient::new(set.clone());
    let (mut scratch, mut matches) = (Scratch::default(), Vec::new());
    for event in normalized(events)? {
        engine.evaluate(&event, &mut scratch, &mut matches);
        for matched in matches.drain(..) {
            let applied = correlator.apply(&MatchBody::Match(matched));
            applied.map_err(|error| error.to_string())?;
        }
    }
    correlator.into_findings().map_err(|error| error.to_string())
}

fn normalized(events: &[(Option<i64>, Map<String, Value>)]) -> Result<Vec<Event>, String> {
    let mut normalizer = Normalizer::new(Arc::new(Networks::default()));
    let mut all = Vec::with_capacity(events.len());
    for (number, (at_ms, event)) in (0..).zip(events) {
        let mut event = event.clone();
        let has_time = ["@timestamp", "created_at", "at_sign_timestamp"]
            .iter()
            .any(|key| event.contains_key(*key));
        if !has_time {
            let at = at_ms.unwrap_or(number * 1000);
            event.insert("@timestamp".into(), (START_MS + at).into());
        }
        if !event.contains_key("_document_id") {
            event.insert("_document_id".into(), format!("case-{number}").into());
        }
        let payload: bytes::Bytes = Value::Object(event).to_string().into();
        let raw = RawRecord {
            connection: "case".into(),
            feed: Feed::Import,
            run: RunId::new("import-case"),
            source_id: source_id(ContentType::Json, &payload),
            received_at: Timestamp::from_millis(i64::MAX / 2),
            content_type: ContentType::Json,
            payload,
            scrubs: Vec::new(),
            origin: None,
            damage: None,
        };
        let event = normalizer
            .normalize(&raw, RawPosition::default())
            .map_err(|reason| reason.to_string())?;
        all.push(event);
    }
    Ok(all)
}

fn concept(finding: &Finding) -> &str {
    hubwarden_console::concept_of(&finding.rule.name)
}

/// Runs one shipped case of a concept.
pub fn run_case(book: &Rulebook, concept_name: &str, case: &Case) -> CaseOutcome {
    run_in(&mut Compiled::new(book), concept_name, case)
}

fn run_in(compiled: &mut Compiled, concept_name: &str, case: &Case) -> CaseOutcome {
    let lists = case
        .lists
        .names()
        .map(|name| (name.to_owned(), case.lists.get(name).unwrap_or_default().to_vec()));
    let set = compiled.with(lists.collect());
    let events: Vec<_> =
        case.events.iter().map(|event| (Some(event.at_ms), event.event.clone())).collect();
    let expected = match (case.kind, case.severity) {
        (CaseKind::Firing, Some(severity)) => format!("fires, {severity}"),
        (CaseKind::Firing, None) => "fires".into(),
        _ => "quiet".into(),
    };
    let actual = match judge(&set, &events) {
        Err(reason) => format!("unreadable: {reason}"),
        Ok(findings) => {
            let worst = findings
                .iter()
                .filter(|finding| concept(finding) == concept_name)
                .map(|finding| finding.severity)
                .max();
            match (worst, case.severity) {
                (Some(severity), Some(_)) => format!("fires, {severity}"),
                (Some(_), None) => "fires".into(),
                (None, _) => "quiet".into(),
            }
        }
    };
    let result = if expected == actual { "passed" } else { "failed" };
    CaseOutcome { rule: concept_name.into(), name: case.name.clone(), expected, actual, result }
}

/// Runs the cases that ship beside the rules; all of them, or those of one concept.
///
/// # Errors
/// A case file that cannot be read, or a name without cases.
pub(crate) fn run_shipped_cases(
    book: &Rulebook,
    only: Option<&str>,
) -> Result<Vec<CaseOutcome>, Failure> {
    let mut compiled = Compiled::new(book);
    let mut outcomes = Vec::new();
    for file in hubwarden_detector::shipped::case_files() {
        let name = file.name.trim_start_matches("github/").trim_end_matches(".yml").to_owned();
        if only.is_some_and(|only| hubwarden_console::concept_of(only) != name) {
            continue;
        }
        let cases = hubwarden_rules::parse_cases(&file.text)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.name)))?;
        outcomes.extend(cases.iter().map(|case| run_in(&mut compiled, &name, case)));
    }
    match only {
        Some(only) if outcomes.is_empty() => Err(Failure::usage(format!(
            "no cases ship for `{only}`; `hubwarden rule list` shows the names"
        ))),
        _ => Ok(outcomes),
    }
}

/// A case of somebody else's rules.
#[derive(Debug, Deserialize)]
struct OutsideCase {
    #[serde(default)]
    name: String,
    concept: Option<String>,
    #[serde(default)]
    concepts: Vec<String>,
    event: Option<Map<String, Value>>,
    #[serde(default)]
    events: Vec<Map<String, Value>>,
    expect: bool,
    #[serde(default)]
    config: Map<String, Value>,
}

/// Runs outside cases, one JSON object a line, each in an engine of its own.
///
/// A case fires when a rule of any of its concepts makes a finding. `config` holds lists by name.
///
/// # Errors
/// A line that is not such a case.
pub fn run_outside_cases(book: &Rulebook, text: &str) -> Result<Vec<CaseOutcome>, Failure> {
    let mut compiled = Compiled::new(book);
    let base = compiled.with(Vec::new());
    let shipped: std::collections::HashSet<String> =
        base.rules().iter().map(|rule| rule.concept().to_owned()).collect();
    let mut outcomes = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let case: OutsideCase = serde_json::from_str(line).map_err(|error| {
            Failure::new(Exit::Usage, format!("line {number} is not a case: {error}"))
        })?;
        outcomes.push(run_outside(&mut compiled, &shipped, case));
    }
    Ok(outcomes)
}

fn run_outside(
    compiled: &mut Compiled,
    shipped: &std::collections::HashSet<String>,
    case: OutsideCase,
) -> CaseOutcome {
    let mut concepts = case.concepts;
    concepts.extend(case.concept.filter(|concept| !concepts.contains(concept)));
    let word = |fires: bool| if fires { "fires" } else { "quiet" }.to_owned();
    let lists = case.config.iter().map(|(name, value)| (name.clone(), list_of(value)));
    let set = compiled.with(lists.collect());
    let events: Vec<_> =
        case.event.into_iter().chain(case.events).map(|event| (None, event)).collect();
    let outcome = |actual: String, result| CaseOutcome {
        rule: concepts.join(" "),
        name: case.name.clone(),
        expected: word(case.expect),
        actual,
        result,
    };
    if !concepts.iter().any(|concept| shipped.contains(concept)) {
        return outcome("no rule".into(), "no rule");
    }
    let fired = match judge(&set, &events) {
        Ok(findings) => {
            findings.iter().any(|finding| concepts.iter().any(|name| name == concept(finding)))
        }
        Err(_) => false, // what cannot be read cannot fire
    };
    if fired == case.expect {
        return outcome(word(fired), "passed");
    }
    let missing: Vec<&str> =
        concepts.iter().filter(|concept| !shipped.contains(*concept)).map(String::as_str).collect();
    let note = if missing.is_empty() {
        String::new()
    } else {
        format!(" (no rule for {})", missing.join(", "))
    };
    outcome(word(fired) + &note, "failed")
}

/// The values of a list as other products configure them: an array, a map of arrays, or one value.
fn list_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(list_of).collect(),
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| {
                let values = list_of(value);
                if values.is_empty() {
                    vec![key.clone()]
                } else {
                    values.into_iter().map(|value| format!("{key}/{value}")).collect()
                }
            })
            .collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What `rule explain` counts and what the correlator judges are two pieces of code.
    #[test]
    fn explaining_counts_as_the_correlator_judges() {
        let mut compiled = Compiled::new(&Rulebook::shipped());
        let (mut counted, mut reached) = (0, 0);
        for file in hubwarden_detector::shipped::case_files() {
            for case in hubwarden_rules::parse_cases(&file.text).unwrap() {
                let lists = case.lists.names();
                let lists = lists.map(|name| {
                    (name.to_owned(), case.lists.get(name).unwrap_or_default().to_vec())
                });
                let set = compiled.with(lists.collect());
                let events: Vec<_> =
                    case.events.iter().map(|one| (Some(one.at_ms), one.event.clone())).collect();
                let findings = judge(&set, &events).unwrap();
                let found: BTreeSet<_> = findings.iter().map(|one| one.rule.name.clone()).collect();
                let events = normalized(&events).unwrap();
                for rule in set.rules() {
                    let Some(mut counter) = set.counter(rule) else { continue };
                    events.iter().for_each(|event| counter.add(event));
                    let holds = counter.finish().groups.iter().any(|group| group.reached);
                    assert_eq!(holds, found.contains(&rule.name), "{}: {}", rule.name, case.name);
                    counted += 1;
                    reached += u32::from(holds);
                }
            }
        }
        assert!(counted > 1_000 && reached > 20, "{counted}, {reached}");
    }
}
