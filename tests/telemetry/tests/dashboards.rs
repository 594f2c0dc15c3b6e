//! The Grafana dashboards: what every one must have, and every name in them against the catalogue.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use hubwarden_service::metrics::catalogue;
use hubwarden_telemetry_tests::{Use, check_expression, files};
use serde_json::Value;

struct Dashboard {
    name: String,
    content: Value,
}

fn dashboards() -> Vec<Dashboard> {
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(text.ends_with("}\n"), "{name} ends with a line end");
        Dashboard { name, content: serde_json::from_str(&text).unwrap() }
    };
    files("dashboards", ".json").iter().map(read).collect()
}

impl Dashboard {
    fn panels(&self) -> &[Value] {
        self.content["panels"].as_array().unwrap()
    }

    /// Every expression with its panel's title, as Grafana would send it.
    fn expressions(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for panel in self.panels() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let title = format!("{}: {}", self.name, panel["title"]);
                all.push((title, target["expr"].as_str().unwrap().to_owned()));
            }
        }
        all
    }
}

#[test]
fn there_is_one_overview_one_for_each_service_and_one_for_completeness() {
    let names: Vec<_> = dashboards().into_iter().map(|dashboard| dashboard.name).collect();
    let expected = ["collector", "completeness", "console", "detector", "normalizer", "overview"];
    assert_eq!(names, expected);
}

#[test]
fn every_dashboard_and_panel_explains_itself() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        let (name, content) = (&dashboard.name, &dashboard.content);
        assert_eq!(content["uid"], format!("hubwarden-{name}"));
        assert!(uids.insert(content["uid"].to_string()), "{name}");
        assert_eq!(content["editable"], false, "{name}");
        assert!(content["id"].is_null(), "{name}: an id of some Grafana");
        for field in ["title", "description"] {
            assert!(!content[field].as_str().unwrap().is_empty(), "{name}: {field}");
        }
        let variables: Vec<_> = content["templating"]["list"].as_array().unwrap().iter().collect();
        let names: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
        assert_eq!(names, ["datasource", "job"], "{name}");
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.panels() {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty() && titles.insert(title), "{name}: {title} stands twice");
            let description = panel["description"].as_str().unwrap();
            assert!(description.ends_with('.'), "{name}: {title}: {description}");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}: id");
            if panel["type"] == "row" {
                continue;
            }
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(unit.as_str().is_some_and(|unit| !unit.is_empty()), "{name}: {title}: unit");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{name}: {title}");
            for source in targets.iter().chain([panel]).map(|part| &part["datasource"]["uid"]) {
                assert_eq!(source, "${datasource}", "{name}: {title}");
            }
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for dashboard in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in dashboard.panels() {
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{}: {}", dashboard.name, panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    let free = taken.insert((x, y));
                    assert!(free, "{}: {}", dashboard.name, panel["title"]);
                }
            }
        }
    }
}

#[test]
fn every_expression_parses_and_names_only_what_the_catalogue_declares() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (title, expression) in dashboards().iter().flat_map(Dashboard::expressions) {
        seen += 1;
        let selectors = expression.matches('{').count();
        if selectors == 0 || expression.matches("job=~\"$job\"").count() != selectors {
            wrong.push(format!("{title}: not every selector asks for $job: {expression}"));
        }
        for (_, range) in expression.match_indices('[').map(|(at, _)| expression.split_at(at)) {
            let fine = range.starts_with("[$__rate_interval]")
                || (range.starts_with("[1h]") && expression.contains("increase("));
            if !fine {
                wrong.push(format!("{title}: a range that Grafana does not choose: {expression}"));
            }
        }
        let asked = expression.replace("$__rate_interval", "5m");
        if let Err(error) = check_expression(&asked) {
            wrong.push(format!("{title}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "{seen} expressions");
}

#[test]
fn every_metric_is_on_a_dashboard() {
    let mut shown = BTreeSet::new();
    for (_, expression) in dashboards().iter().flat_map(Dashboard::expressions) {
        let expression = expression.replace("$__rate_interval", "5m");
        shown.extend(check_expression(&expression).unwrap_or_default());
    }
    let missing: Vec<_> = catalogue::all()
        .map(|metric| metric.name)
        .filter(|name| !shown.iter().any(|Use(shown)| shown == name))
        .collect();
    assert!(missing.is_empty(), "nobody would see {}", missing.join(", "));
}
