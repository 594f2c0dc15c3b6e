//! The crate as a whole: rule files in, verdicts out.

mod compiling;
mod counting;
mod engine;
mod indexing;
mod rejections;
mod replacing;
mod shipped;
mod verdicts;

use std::collections::BTreeSet;
use std::sync::Arc;

use hubwarden_event::{
    CellKind, Event, EventId, FlatBuilder, FlatRecord, Kind, Match, RawPosition, RunId, Timestamp,
};
use serde_json::Value as Json;

use crate::{Compiled, Engine, Lists, ProblemSeverity, RuleFile, RuleSet, Scratch};

/// Flattens as the normalizer does: a dotted key wins over a nested one.
fn flatten(value: &Json) -> Arc<FlatRecord> {
    fn add(builder: &mut FlatBuilder, taken: &BTreeSet<String>, name: &str, value: &Json) {
        match value {
            Json::Null => builder.push(name, CellKind::Null, ""),
            Json::Bool(truth) => builder.push(name, CellKind::Bool, &truth.to_string()),
            Json::Number(number) => builder.push(name, CellKind::Number, &number.to_string()),
            Json::String(text) => builder.push(name, CellKind::Text, text),
            Json::Array(values) if values.is_empty() => {
                builder.push(name, CellKind::EmptyArray, "")
            }
            Json::Array(values) => {
                values.iter().for_each(|value| add(builder, taken, name, value));
                true
            }
            Json::Object(members) => {
                builder.push(name, CellKind::Object, "");
                for (key, value) in members {
                    let name = format!("{name}.{key}");
                    if !taken.contains(&name) {
                        add(builder, taken, &name, value);
                    }
                }
                true
            }
        };
    }
    let mut builder = FlatBuilder::default();
    let members = value.as_object().unwrap();
    let taken: BTreeSet<_> = members.keys().cloned().collect();
    for (name, value) in members {
        add(&mut builder, &taken, name, value);
    }
    builder.finish()
}

fn event(record: &Json) -> Event {
    Event {
        id: EventId::from_bytes([7; 16]),
        occurred_at: Timestamp::from_millis(1_741_611_463_961),
        observed_at: Timestamp::from_millis(1_741_611_464_000),
        connection: "c".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        product: "github".into(),
        service: "audit".into(),
        position: RawPosition::default(),
        suspect: false,
        record: flatten(record),
    }
}

fn file(name: &str, text: &str) -> RuleFile {
    RuleFile { name: name.into(), text: text.into(), shipped: false }
}

fn compile(text: &str, lists: &[(&str, &[&str])]) -> Compiled {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let lists: Lists =
        lists.iter().map(|(name, values)| ((*name).to_owned(), owned(values))).collect();
    RuleSet::compile(&[file("a.yml", text)], &lists, None)
}

/// A rule around a detection, whose lines are indented by the caller as under `detection:`.
fn rule(detection: &str) -> String {
    let indented: String = detection.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "title: T\nname: t\nlevel: high\nlogsource: {{product: github, service: audit}}\n\
         detection:\n{indented}"
    )
}

fn errors(compiled: &Compiled) -> Vec<String> {
    let errors = compiled.problems.iter().filter(|one| one.severity == ProblemSeverity::Error);
    errors.map(ToString::to_string).collect()
}

fn matches(set: RuleSet, event: &Event) -> Vec<Match> {
    let mut out = Vec::new();
    Engine::new(Arc::new(set)).evaluate(event, &mut Scratch::default(), &mut out);
    out
}

/// Whether a rule with this detection matches an event.
fn holds(detection: &str, lists: &[(&str, &[&str])], record: &Json) -> bool {
    let compiled = compile(&rule(detection), lists);
    assert_eq!(errors(&compiled), [""; 0], "{detection}");
    !matches(compiled.set, &event(record)).is_empty()
}
