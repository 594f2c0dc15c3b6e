//! Sets: hashes, lists, blindness, order, what a schema adds.

use serde_json::json;

use super::{compile, errors, event, file, matches, rule};
use crate::{
    ActionStatus, FieldStatus, Lists, LogSource, ProblemSeverity, RuleInfo, RuleSet, Schema, lint,
};

fn info(text: &str, lists: &[(&str, &[&str])]) -> RuleInfo {
    let compiled = compile(text, lists);
    assert_eq!(errors(&compiled), [""; 0]);
    compiled.set.rules()[0].clone()
}

#[test]
fn the_state_survives_words_and_not_what_decides() {
    let base = rule("s: {f|expand: '%l%'}\nx: {g: 1}\ncondition: s");
    let lists: &[(&str, &[&str])] = &[("l", &["a"])];
    let before = info(&base, lists);
    for (what, text, content, state) in [
        ("layout", base.replace("s: {f", "# note\n  s:   {f"), true, true),
        ("title", base.replace("title: T", "title: U"), false, true),
        ("level", base.replace("high", "low"), false, true),
        ("tags", format!("{base}tags: [attack.t1562.001, attack.stealth]\n"), false, true),
        ("words", format!("{base}hubwarden: {{sentence: x}}\n"), false, true),
        (
            "severity",
            format!("{base}hubwarden: {{severity: [{{when: x, level: low}}]}}\n"),
            false,
            true,
        ),
        ("unused", base.replace("g: 1", "g: 2"), false, true),
        ("name", base.replace("name: t", "name: u"), false, false),
        ("selection", base.replace("f|expand", "h|expand"), false, false),
        ("condition", base.replace("condition: s", "condition: s or x"), false, false),
        ("source", base.replace("service: audit", "service: webhook"), false, false),
        ("fold", format!("{base}hubwarden: {{fold: 2h}}\n"), false, false),
        ("group", format!("{base}hubwarden: {{group-by: [org]}}\n"), false, false),
    ] {
        let after = info(&text, lists);
        assert_eq!(
            (after.hash == before.hash, after.state_hash == before.state_hash),
            (content, state),
            "{what}"
        );
    }
    let listed = info(&base, &[("l", &["a", "b"])]);
    assert!(listed.hash != before.hash && listed.state_hash == before.state_hash);
    let other = info(&base, &[("l", &["a"]), ("unused", &["x"])]);
    assert_eq!(other.hash, before.hash);
}

#[test]
fn a_correlation_is_another_when_its_base_is() {
    let text = "title: B\nname: b\nlogsource: {product: github}\ndetection: {s: {f: a}, condition: s}\n---\n\
                title: C\nname: c\nlevel: low\ncorrelation: {type: event_count, rules: [b], timespan: 5m, condition: {gte: 3}}\n";
    let before = info(text, &[]);
    for (change, to, content, state) in [
        ("f: a", "f: b", false, false),
        ("title: B", "title: X", false, true),
        ("gte: 3", "gte: 4", false, false),
        ("5m", "6m", false, false),
        ("gte: 3}", "gte:  3}", true, true),
    ] {
        let after = info(&text.replace(change, to), &[]);
        assert_eq!(
            (after.hash == before.hash, after.state_hash == before.state_hash),
            (content, state),
            "{to}"
        );
    }
}

#[test]
fn the_order_of_files_does_not_matter() {
    let one = file("one.yml", &rule("s: {f: a}\ncondition: s").replace("name: t\n", ""));
    let two = file("dir/two.yaml", &rule("s: {f: b}\ncondition: s").replace("name: t\n", ""));
    let ab = RuleSet::compile(&[one.clone(), two.clone()], &Lists::default(), None).set;
    let ba = RuleSet::compile(&[two, one.clone()], &Lists::default(), None).set;
    assert_eq!(ab.hash(), ba.hash());
    let names: Vec<_> = ab.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["two", "one"], "a rule without a name has its file's");
    assert!(
        ab.rules()
            .iter()
            .all(|rule| ab.get(&rule.hash).is_some_and(|found| found.name == rule.name))
    );
    let alone = RuleSet::compile(&[one], &Lists::default(), None).set;
    assert_ne!(alone.hash(), ab.hash());
}

#[test]
fn a_rule_that_needs_a_list_is_blind_without_it() {
    let text = format!(
        "{}hubwarden: {{needs: ['list:domains']}}\n",
        rule("s: {f|expand: '%domains%'}\nt: {f: x}\ncondition: s or t")
    );
    let compiled = compile(&text, &[]);
    assert_eq!(errors(&compiled), [""; 0]);
    assert_eq!(compiled.blind[0].missing, ["domains"]);
    assert_eq!(compiled.blind[0].rule, compiled.set.rules()[0].hash);
    assert!(matches(compiled.set, &event(&json!({"f": "x"}))).is_empty());
    let seeing = compile(&text, &[("domains", &[])]);
    assert!(seeing.blind.is_empty());
    assert_eq!(matches(seeing.set, &event(&json!({"f": "x"}))).len(), 1);
    // The need may stand at the correlation alone.
    let counted = "title: B\nname: b\nlogsource: {product: github}\ndetection: {s: {f|expand: '%l%'}, condition: s}\n---\n\
                   title: C\nname: c\nlevel: low\ncorrelation: {type: event_count, rules: [b], timespan: 5m, condition: {gte: 3}}\n\
                   hubwarden: {needs: ['list:l']}\n";
    let compiled = compile(counted, &[]);
    assert_eq!((errors(&compiled), compiled.blind.len()), (vec![], 1));
}

#[test]
fn old_rules_are_not_loaded_and_broken_yaml_hides_nothing() {
    let old = rule("s: {f: a}\ncondition: s").replace("level", "status: deprecated\nlevel");
    let compiled = compile(
        &format!(
            "{old}---\na: [1\n---\n{}",
            rule("s: {f: b}\ncondition: s").replace("name: t", "name: u")
        ),
        &[],
    );
    assert_eq!(compiled.set.rules().len(), 1);
    let told: Vec<_> = compiled.problems.iter().map(|one| one.severity).collect();
    assert_eq!(told, [ProblemSeverity::Note, ProblemSeverity::Error]);
}

struct Two;

impl Schema for Two {
    fn action(&self, name: &str) -> ActionStatus {
        match name {
            "repo.create" => ActionStatus::Known,
            "repo.made" => ActionStatus::Legacy { now: "repo.create".into() },
            _ => ActionStatus::Unknown { nearest: Some("repo.create".into()) },
        }
    }

    fn field(&self, name: &str, actions: &[String]) -> FieldStatus {
        match name {
            "action" | "actor" | "repo" | "org" => FieldStatus::Known,
            "visibility" if actions == ["repo.create"] => FieldStatus::Known,
            _ => FieldStatus::Unknown { nearest: None },
        }
    }

    fn has_source(&self, source: &LogSource) -> bool {
        source.sees("github", "audit")
    }
}

#[test]
fn a_schema_knows_names() {
    let told = |detection: &str| -> Vec<_> {
        let files = [file("a.yml", &rule(detection))];
        lint(&files, &Lists::default(), Some(&Two))
            .into_iter()
            .map(|one| (one.severity, one.message))
            .collect()
    };
    use ProblemSeverity::{Error, Note, Warning};
    for (detection, severity, message) in [
        (
            "s: {action: repo.crate}\ncondition: s",
            Error,
            "unknown action `repo.crate` (did you mean `repo.create`?)",
        ),
        (
            "s: {action: repo.made}\ncondition: s",
            Note,
            "`repo.made` is an older name of `repo.create`",
        ),
        ("s: {actr: x}\ncondition: s", Warning, "unknown field `actr`"),
        ("s: {visibility: x}\ncondition: s", Warning, "unknown field `visibility`"),
        ("s: {actor|all: x}\ncondition: s", Warning, "`all` with one value says nothing"),
        (
            "s: {actor: [null, x]}\ncondition: s",
            Warning,
            "null in a list of values: it holds for a missing field too",
        ),
        (
            "s: {actor|base64: x}\ncondition: s",
            Warning,
            "base64 is case-sensitive: `cased` belongs to it",
        ),
        (
            "s: {actor: x}\nt: {actor: y}\ncondition: s",
            Warning,
            "nothing refers to the selection `t`",
        ),
    ] {
        assert_eq!(told(detection), [(severity, message.to_owned())], "{detection}");
    }
    assert!(told("s: {action: repo.create, visibility: x}\ncondition: s").is_empty());
    let foreign = rule("s: {actr: x}\ncondition: s").replace("product: github", "product: windows");
    let compiled = RuleSet::compile(&[file("a.yml", &foreign)], &Lists::default(), Some(&Two));
    assert_eq!((compiled.foreign, compiled.set.rules().len(), compiled.problems.len()), (1, 0, 0));
}
