//! The shipped rules against the table of concepts, and the page that tells what is covered.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use hubwarden_catalog::{Detection, detection, detections};
use hubwarden_detector::{Rulebook, shipped};
use hubwarden_event::Severity;
use hubwarden_rules::{CaseKind, ProblemSeverity, RuleInfo, parse_cases};
use hubwarden_testkit::workspace;

/// Table severities of the concepts that this release must decide, with the one exception.
const MUST: [&str; 2] = ["critical", "high"];
const MUST_TOO: &str = "self-hosted-runner-registered";

fn rules() -> Vec<RuleInfo> {
    Rulebook::shipped().compile().set.rules().to_vec()
}

fn by_concept() -> BTreeMap<String, Vec<RuleInfo>> {
    let mut rules_of: BTreeMap<String, Vec<RuleInfo>> = BTreeMap::new();
    for rule in rules() {
        rules_of.entry(rule.concept().to_owned()).or_default().push(rule);
    }
    rules_of
}

fn severity(detection: &Detection) -> Severity {
    let word = if detection.severity == "info" { "informational" } else { detection.severity };
    word.parse().unwrap()
}

#[test]
fn every_shipped_rule_loads_and_reads_no_unknown_name() {
    let compiled = Rulebook::shipped().compile();
    let errors: Vec<_> = compiled
        .problems
        .iter()
        .filter(|problem| problem.severity == ProblemSeverity::Error)
        .map(|problem| format!("{}:{}: {}", problem.file, problem.line, problem.message))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    let files: BTreeSet<_> = shipped::rule_files().into_iter().map(|file| file.name).collect();
    let used: BTreeSet<_> = compiled.set.rules().iter().map(|rule| rule.file.clone()).collect();
    assert_eq!(files, used, "every file makes a rule");
}

#[test]
fn every_concept_has_a_rule_or_a_reason_and_never_both() {
    let rules = by_concept();
    let without: BTreeMap<_, _> = shipped::without_rule()
        .into_iter()
        .map(|(concept, why, part)| (concept, (why, part)))
        .collect();
    assert_eq!(without.len(), shipped::without_rule().len(), "no concept stands there twice");
    for one in detections() {
        let (ruled, reasoned) = (rules.contains_key(one.id), without.get(one.id));
        assert!(ruled != reasoned.is_some(), "{}: rule {ruled}, reason {reasoned:?}", one.id);
        if let Some((why, part)) = reasoned {
            assert!(!why.is_empty() && !part.is_empty(), "{}", one.id);
            let must = MUST.contains(&one.severity) || one.id == MUST_TOO;
            let put_off = *part == "severity";
            assert!(!(must && put_off), "{} is {} and has no rule", one.id, one.severity);
        }
    }
    let known = |concept: &str| assert!(detection(concept).is_some(), "{concept} is no concept");
    rules.keys().for_each(|concept| known(concept));
    without.keys().for_each(|concept| known(concept));
}

#[test]
fn names_severities_and_tags_are_those_of_the_table() {
    let texts: BTreeMap<_, _> =
        shipped::rule_files().into_iter().map(|file| (file.name, file.text)).collect();
    let mut wrong = Vec::new();
    for (concept, rules) in by_concept() {
        let one = detection(&concept).unwrap();
        let wanted = severity(one);
        let levels = |rule: &RuleInfo| {
            // levels that a condition raises to stand in the file as `level: …` too
            let written = texts[&rule.file].match_indices("level: ").map(|(at, key)| {
                let rest = &texts[&rule.file][at + key.len()..];
                rest.split(|letter: char| !letter.is_ascii_lowercase()).next().unwrap_or_default()
            });
            let steps = rule.severity_steps.iter().map(|(_, severity)| *severity);
            let all = written.filter_map(|word| word.parse().ok()).chain(steps);
            all.chain([rule.level]).collect::<BTreeSet<Severity>>()
        };
        let reached = rules.iter().flat_map(levels).collect::<BTreeSet<_>>();
        if !reached.contains(&wanted) {
            wrong.push(format!("{concept}: severity {reached:?}, the table has {wanted}"));
        }
        let table: BTreeSet<&str> = one.attack.iter().chain(&one.attack_v19).copied().collect();
        for rule in &rules {
            let tags: BTreeSet<&str> = rule.attack.iter().map(String::as_str).collect();
            if tags != table {
                wrong.push(format!("{}: tags {tags:?}, the table has {table:?}", rule.name));
            }
            if rule.file != format!("github/{concept}.yml") {
                wrong.push(format!("{concept} stands in {}", rule.file));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_can_be_understood_by_who_is_on_duty() {
    for rule in rules() {
        let name = &rule.name;
        assert!(rule.id.is_some(), "{name} has no id");
        assert!(!rule.false_positives.is_empty(), "{name} does not say when it is harmless");
        assert!(rule.sentence != rule.title && !rule.response.is_empty(), "{name}");
        assert!(!rule.description.is_empty(), "{name}");
    }
}

#[test]
fn every_rule_file_has_firing_benign_and_near_miss_cases() {
    let cases: BTreeMap<_, _> =
        shipped::case_files().into_iter().map(|file| (file.name, file.text)).collect();
    for file in shipped::rule_files() {
        let text = cases.get(&file.name).unwrap_or_else(|| panic!("{} has no cases", file.name));
        let kinds: Vec<_> = parse_cases(text).unwrap().iter().map(|case| case.kind).collect();
        for kind in [CaseKind::Firing, CaseKind::Benign, CaseKind::NearMiss] {
            assert!(kinds.contains(&kind), "{} has no {} case", file.name, kind.as_str());
        }
    }
    assert_eq!(cases.len(), shipped::rule_files().len(), "no cases without a rule");
}

fn coverage() -> String {
    let rules = by_concept();
    let without: BTreeMap<_, _> = shipped::without_rule()
        .into_iter()
        .map(|(concept, why, part)| (concept, (why, part)))
        .collect();
    let mut page = String::from("# What is detected\n\n");
    let ruled = detections().iter().filter(|one| rules.contains_key(one.id)).count();
    let total = detections().len();
    writeln!(
        page,
        "{ruled} of {total} concepts have a rule in this release; the others say why not, and which part of \
         Hubwarden brings them.\n\
         Generated from `rules/` and the catalogue: `UPDATE_EXPECT=1 cargo test -p hubwarden-tests --test coverage` \
         writes this page.\n\n\
         | concept | severity | kind | rule, or why there is none | part |\n|---|---|---|---|---|"
    )
    .unwrap();
    for one in detections() {
        let (told, part) = match (rules.get(one.id), without.get(one.id)) {
            (Some(rules), _) => {
                let file = &rules[0].file;
                (format!("[{}](../rules/{file})", rules[0].title), "here")
            }
            (None, Some((why, part))) => ((*why).to_owned(), *part),
            (None, None) => panic!("{} has neither rule nor reason", one.id),
        };
        writeln!(page, "| `{}` | {} | {} | {told} | {part} |", one.id, one.severity, one.kind)
            .unwrap();
    }
    page
}

#[test]
fn the_page_of_coverage_is_up_to_date() {
    let file = workspace().join("docs/coverage.md");
    let page = coverage();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/coverage.md is old; run this test with UPDATE_EXPECT=1");
}
