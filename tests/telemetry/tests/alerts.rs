//! The alert rules: names against the catalogue, a runbook each, and Prometheus' own checks.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hubwarden_telemetry_tests::{check_expression, files, tool, workspace};
use serde::Deserialize;

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Cases {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    exp_alerts: Vec<serde_json::Value>,
}

fn rules() -> Vec<Rule> {
    let files = files("dashboards/alerts", ".yml");
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let rules: Rules = serde_saphyr::from_str(&text).unwrap();
        rules.groups.into_iter().flat_map(|group| group.rules)
    };
    files.iter().flat_map(read).collect()
}

#[test]
fn every_rule_names_only_what_the_catalogue_declares() {
    for rule in rules() {
        let checked = check_expression(&rule.expr);
        assert!(checked.is_ok(), "{}: {}", rule.alert, checked.unwrap_err());
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("warning" | "critical")), "{}", rule.alert);
        for text in ["summary", "description"] {
            assert!(rule.annotations.contains_key(text), "{}: {text}", rule.alert);
        }
    }
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let url = &rule.annotations["runbook_url"];
        assert_eq!(url, &format!("docs/runbooks/{}.md", rule.alert));
        let text = std::fs::read_to_string(workspace().join(url)).unwrap();
        for part in
            [&format!("# {}\n", rule.alert), "\n## What it means\n", "\n## Look\n", "\n## Do\n"]
        {
            assert!(text.contains(part), "{url}: {part:?} is missing");
        }
        alerts.insert(rule.alert);
    }
    for path in files("docs/runbooks", ".md") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(alerts.contains(name), "{name} has no alert");
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(path.parent().unwrap().join(link).is_file(), "{name} links to {link}");
        }
    }
}

#[test]
fn every_alert_has_a_firing_and_a_quiet_case() {
    let mut cases: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for path in files("tests/telemetry/alerts", ".test.yml") {
        let text = std::fs::read_to_string(path).unwrap();
        let file: Cases = serde_saphyr::from_str(&text).unwrap();
        for expected in file.tests.into_iter().flat_map(|case| case.alert_rule_test) {
            let quiet = usize::from(expected.exp_alerts.is_empty());
            cases.entry(expected.alertname).or_default()[quiet] += 1;
        }
    }
    for rule in rules() {
        let [firing, quiet] = cases.get(&rule.alert).copied().unwrap_or_default();
        assert!(firing > 0 && quiet > 0, "{}: {firing} firing, {quiet} quiet", rule.alert);
    }
}

#[test]
fn prometheus_itself_takes_the_rules_and_they_fire_as_said() {
    let promtool = tool("promtool.sh");
    let rules = files("dashboards/alerts", ".yml");
    let cases = files("tests/telemetry/alerts", ".test.yml");
    for (verb, files) in [("check", &rules), ("test", &cases)] {
        let run = Command::new(&promtool).args([verb, "rules"]).args(files).output().unwrap();
        let told = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(run.status.success(), "promtool {verb} rules:\n{}", told.concat());
    }
}
