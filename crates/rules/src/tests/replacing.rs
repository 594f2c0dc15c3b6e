//! Rules of one's own in the place of shipped ones.

use serde_json::json;

use super::{compile, event, file, matches, rule};
use crate::{Compiled, Lists, ProblemSeverity, RuleFile, RuleSet};

const ID: &str = "6f0c3a52-8c0e-4f0e-9d55-2f3f8a1b7c11";

fn shipped(name: &str, text: &str) -> RuleFile {
    RuleFile { shipped: true, ..file(name, text) }
}

fn set(files: &[RuleFile]) -> Compiled {
    RuleSet::compile(files, &Lists::default(), None)
}

/// Name and file of each rule in force.
fn in_force(compiled: &Compiled) -> Vec<(&str, &str)> {
    let rules = compiled.set.rules().iter();
    rules.map(|rule| (rule.name.as_str(), rule.file.as_str())).collect()
}

fn told(compiled: &Compiled, severity: ProblemSeverity) -> Vec<String> {
    let problems = compiled.problems.iter().filter(|one| one.severity == severity);
    problems.map(ToString::to_string).collect()
}

fn one(value: &str, head: &str) -> String {
    rule(&format!("s: {{f: {value}}}\ncondition: s")).replace("name: t\n", head)
}

#[test]
fn a_name_or_an_id_takes_the_place_of_the_shipped_rule_and_says_so() {
    let base = shipped("github/t.yml", &one("old", &format!("name: t\nid: {ID}\n")));
    for (what, head) in [("name", "name: t\n".to_owned()), ("id", format!("name: u\nid: {ID}\n"))] {
        let own = file("mine/x.yml", &one("new", &head));
        for files in [[base.clone(), own.clone()], [own.clone(), base.clone()]] {
            let compiled = set(&files);
            let name = if what == "name" { "t" } else { "u" };
            assert_eq!(in_force(&compiled), [(name, "mine/x.yml")], "{what}");
            assert_eq!(told(&compiled, ProblemSeverity::Error), [""; 0], "{what}");
            let note = format!("mine/x.yml:1: note: rule `{name}`: replaces the shipped rule `t`");
            assert_eq!(told(&compiled, ProblemSeverity::Note), [note], "{what}");
            let replaced = &compiled.replaced[0];
            assert_eq!((replaced.shipped.as_str(), replaced.rule.as_str()), ("t", name));
            assert!(matches(compiled.set, &event(&json!({"f": "old"}))).is_empty());
        }
    }
    // a file's stem is a name too, and an unchanged copy has nothing to say
    let stem = set(&[base.clone(), file("mine/t.yml", &one("new", ""))]);
    assert_eq!(in_force(&stem), [("t", "mine/t.yml")]);
    let copy = set(&[base.clone(), file("mine/t.yml", &base.text)]);
    assert_eq!(in_force(&copy), [("t", "mine/t.yml")]);
    assert_eq!(copy.problems, []);
}

#[test]
fn a_rule_of_ones_own_that_cannot_be_loaded_leaves_the_shipped_one_in_force() {
    let base = shipped("github/t.yml", &one("old", "name: t\n"));
    for (what, own) in [
        ("selection", one("new", "name: t\n").replace("f: new", "f|oops: new")),
        ("head", one("new", "name: t\nstatus: odd\n")),
        (
            "counts itself as missing",
            "title: T\nname: t\nlevel: low\ncorrelation: {type: event_count, \
          rules: [gone], timespan: 5m, condition: {gte: 2}}\n"
                .to_owned(),
        ),
    ] {
        let compiled = set(&[base.clone(), file("mine/x.yml", &own)]);
        assert_eq!(in_force(&compiled), [("t", "github/t.yml")], "{what}");
        assert_eq!(
            told(&compiled, ProblemSeverity::Error).len(),
            1,
            "{what}: {:?}",
            compiled.problems
        );
        let notes = told(&compiled, ProblemSeverity::Note);
        assert!(notes[0].ends_with("the shipped rule `t` stays in force"), "{what}: {notes:?}");
        assert!(compiled.replaced.is_empty(), "{what}");
    }
}

#[test]
fn what_a_replaced_correlation_counted_does_not_begin_to_cry() {
    let count = |at_least| {
        format!(
            "title: C\nname: c\nlevel: high\ncorrelation: {{type: event_count, rules: [c--part], \
             timespan: 5m, condition: {{gte: {at_least}}}}}\n"
        )
    };
    let part = one("a", "name: c--part\n");
    let base = shipped("github/c.yml", &format!("{part}---\n{}", count(5)));
    let single = set(&[base.clone(), file("mine/c.yml", &one("b", "name: c\n"))]);
    assert_eq!(in_force(&single), [("c", "mine/c.yml")]);
    assert!(matches(single.set, &event(&json!({"f": "a"}))).is_empty());
    // a correlation of one's own may count what ships
    let counted = set(&[base, file("mine/c.yml", &count(2))]);
    assert_eq!(in_force(&counted), [("c", "mine/c.yml")]);
    assert_eq!(matches(counted.set, &event(&json!({"f": "a"}))).len(), 1);
}

#[test]
fn the_same_name_twice_among_ones_own_is_an_error_that_names_both_files() {
    let files =
        [file("mine/a.yml", &one("a", "name: t\n")), file("mine/b.yml", &one("b", "name: t\n"))];
    let compiled = set(&files);
    assert_eq!(in_force(&compiled), [("t", "mine/a.yml")]);
    assert_eq!(
        told(&compiled, ProblemSeverity::Error),
        ["mine/b.yml:1: error: rule `t`: `t` is already the name or id of a rule in mine/a.yml:1"]
    );
    assert_eq!(
        told(&compiled, ProblemSeverity::Warning),
        [
            "mine/a.yml:1: warning: rule `t`: `t` is also the name or id of the rule in mine/b.yml:1, which is not loaded"
        ]
    );
}

#[test]
fn a_rule_without_a_sentence_is_told_by_its_title() {
    let text = rule("s: {f: a}\ncondition: s").replace("title: T", "title: 'Use of ${{ x }} seen'");
    assert_eq!(compile(&text, &[]).set.rules()[0].sentence, "Use of $(( x )) seen");
    let said = compile(&format!("{text}hubwarden: {{sentence: '{{actor}} did'}}\n"), &[]);
    assert_eq!(said.set.rules()[0].sentence, "{actor} did");
}
