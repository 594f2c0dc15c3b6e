//! Whole-pipeline scenarios and repository checks live in `tests/`; here is what they share.

use std::num::NonZero;

use hubwarden::scan::{ScanSettings, scan};
use hubwarden_collector::files::Input;
use hubwarden_console::{FindingQuery, FindingStore, MAX_PAGE};
use hubwarden_detector::Rulebook;
use hubwarden_event::{Finding, Timestamp};
use hubwarden_normalizer::Networks;
use hubwarden_simulator::Life;
use serde_json::Value;

/// Everything of the findings that must not depend on how their events came, by id: all but run and positions.
///
/// # Panics
/// When a finding is no JSON object.
pub fn essence(findings: &[Finding]) -> Vec<Value> {
    let strip = |finding: &Finding| {
        let mut value = serde_json::to_value(finding).expect("a finding is JSON");
        let fields = value.as_object_mut().expect("a finding is an object");
        fields.remove("run");
        let evidence = fields.get_mut("evidence").and_then(Value::as_array_mut);
        for event in evidence.into_iter().flatten().filter_map(Value::as_object_mut) {
            event.remove("position");
        }
        value
    };
    let mut all: Vec<Value> = findings.iter().map(strip).collect();
    all.sort_by_key(|value| value["id"].to_string());
    all
}

/// Compares one by one, so that a failure shows one finding and not two long lists.
///
/// # Panics
/// When they differ.
pub fn assert_same(name: &str, found: &[Value], expected: &[Value]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(found.len(), expected.len(), "{name}");
}

/// Every finding of a store, over all pages.
///
/// # Panics
/// When the store fails.
pub async fn all_findings(store: &dyn FindingStore) -> Vec<Finding> {
    let mut query = FindingQuery { limit: MAX_PAGE, ..FindingQuery::default() };
    let mut all = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("the store answers");
        all.extend(page.findings);
        match page.next {
            Some(next) => query.page = Some(next),
            None => return all,
        }
    }
}

/// The section `[lists]` of a configuration for this enterprise.
pub fn lists_section(life: &Life) -> String {
    let lists = life
        .lists()
        .into_iter()
        .map(|(name, values)| format!("{name} = {}\n", Value::from(values)));
    format!("[lists]\n{}", lists.collect::<String>())
}

/// What `scan` finds in the events of a life, as [`essence`] gives it, under the connection `octo`.
///
/// # Panics
/// When something of it cannot be read.
pub fn scanned(life: &Life) -> Vec<Value> {
    let lines: Vec<Vec<u8>> = life.events().map(|event| event.json).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events");
    std::fs::write(&file, lines.join(&b'\n')).expect("room for a file");
    let mut rulebook = Rulebook::shipped();
    for (name, values) in life.lists() {
        rulebook.lists.insert(name, values);
    }
    let settings = ScanSettings {
        rulebook,
        networks: Networks::default(),
        connection: "octo".into(),
        threads: NonZero::new(2).expect("two"),
        started_at: Timestamp::from_millis(life.plan().end_ms()),
    };
    let inputs = [Input::from_argument(file)];
    let report = scan(&inputs, &settings, |line| panic!("{line:?}"), |_| {}).expect("a scan");
    assert_eq!(report.unseen(), None);
    essence(&report.findings)
}

/// A connection `octo` to a simulated GitHub that is read as fast as it answers; its token is in `github.token`.
pub fn github_section(life: &Life, url: &str) -> String {
    format!(
        r#"
        [[github]]
        name = "octo"
        id = "octo"
        enterprise = "{}"
        base_url = "{url}"
        token = {{ file = "github.token" }}
        [github.poll]
        interval = "1s"
        budget = 1.0
        requests_per_hour = 100000000
        backfill_days = 7
        backfill_git_days = 7
        "#,
        life.enterprise()
    )
}
