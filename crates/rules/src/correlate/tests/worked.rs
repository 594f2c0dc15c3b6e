use std::sync::Arc;

use hubwarden_event::{Severity, Timestamp};

use super::super::{Correlator, Options, Outcome};
use super::harness::{Happening, Shell, events, matched, rule, values};
use crate::{Lists, RuleFile, RuleInfo, RuleSet, Window};

/// Delivers events at these seconds in this order and returns the number of events per finding.
fn counts(window: Window, seconds: &[i64]) -> Vec<u64> {
    let rules = [rule("r", window, 3_600_000)];
    let mut shell = Shell::new(&rules, Options::default());
    for (number, second) in seconds.iter().enumerate() {
        shell.deliver(&rules, &Happening::at(number as u64, second * 1000), "live");
    }
    shell.commit();
    shell.findings.values().map(|finding| finding.count).collect()
}

#[test]
fn verdicts_do_not_depend_on_arrival_order() {
    for (seconds, found) in [
        (&[200, 100, 250][..], &[][..]), // no window holds three
        (&[100, 105, 300, 110], &[3]),
        (&[100, 110, 105], &[3]), // holds at 110
        (&[0, 30, 60], &[3]),     // the edge belongs to the window
        (&[0, 30, 61], &[]),
        (&[60, 0, 30], &[3]),
        (&[0, 0, 0], &[3]),           // different events at one moment
        (&[-60, -30, 0], &[3]),       // the bucket of the firing event, not of the first
        (&[0, 1, 2, 100, 160], &[3]), // what no window that holds contains is not in
        (&[0, 1, 2, 61, 62], &[5]),
    ] {
        assert_eq!(counts(events(3, 60_000), seconds), found, "{seconds:?}");
    }
}

#[test]
fn a_window_over_a_bucket_edge_folds_into_both_buckets() {
    // Held at 3598, 3599 and 3600: the second bucket's finding has the whole of its window.
    assert_eq!(counts(events(3, 60_000), &[3596, 3597, 3598, 3599, 3600]).iter().max(), Some(&5));
    assert_eq!(counts(events(3, 60_000), &[3596, 3597, 3598, 3599, 3600]).len(), 2);
}

#[test]
fn distinct_values_are_counted_once_and_events_without_one_do_not_count() {
    let rules = [rule("r", values(2, 60_000), 3_600_000)];
    let mut shell = Shell::new(&rules, Options::default());
    let with = |number, at, value| Happening { value, ..Happening::at(number, at) };
    for (number, value) in [(0, Some("a")), (1, Some("a")), (2, None)] {
        shell.deliver(&rules, &with(number, number as i64, value), "live");
    }
    assert_eq!(shell.commit(), 0);
    shell.deliver(&rules, &with(3, 3, Some("b")), "live");
    shell.commit();
    let finding = shell.findings.values().next().unwrap();
    assert_eq!((finding.count, finding.revision), (4, 4));
    let reason = finding.reason.last().unwrap();
    assert_eq!(reason.condition, "2 distinct repo within 1m");
    assert_eq!((&*reason.field, &*reason.value), ("repo", "2"));
    assert_eq!(reason.threshold.as_deref(), Some("2"));
}

#[test]
fn a_finding_says_what_happened() {
    let steps = vec![(3, Severity::High), (4, Severity::Critical)];
    let rules = [RuleInfo { severity_steps: steps, ..rule("r", events(3, 1_800_000), 3_600_000) }];
    let mut shell = Shell::new(&rules, Options::default());
    for number in 0..3 {
        shell.deliver(&rules, &Happening::at(number, number as i64 * 1000), "backfill-1");
        assert_eq!(shell.commit(), usize::from(number == 2));
    }
    let finding = shell.findings.values().next().unwrap();
    assert_eq!(finding.severity, Severity::High);
    assert_eq!(finding.sentence, "mona first did #0, 3 in all, 3 at once");
    assert_eq!(finding.response, "Ask mona");
    assert_eq!(finding.run.as_str(), "backfill-1");
    assert_eq!(finding.reason.last().unwrap().condition, "3 events within 30m");
    assert_eq!(finding.rule.hash, rules[0].hash.to_string());
    assert_eq!(finding.event_ids, [0, 1, 2].map(|n| Happening::at(n, 0).id()));
    assert_eq!(finding.evidence[1].action, "repo.destroy");
    assert_eq!(finding.evidence[1].occurred_at, Timestamp::from_millis(1000));
    assert_eq!(finding.evidence[1].record["number"], "#1");
    assert!(finding.entities.is_empty());
}

#[test]
fn a_batch_publishes_each_finding_once_and_a_repeat_publishes_nothing() {
    let rules = [rule("single", Window::Single, 1000), rule("many", events(2, 1000), 1000)];
    let mut shell = Shell::new(&rules, Options::default());
    for number in [0, 1, 2, 1, 0] {
        shell.deliver(&rules, &Happening::at(number, number as i64), "live");
    }
    assert_eq!(shell.commit(), 2);
    for number in [0, 1, 2] {
        shell.deliver(&rules, &Happening::at(number, number as i64), "live");
        shell.deliver(&rules, &Happening::at(number, number as i64), "backfill-1");
    }
    assert_eq!(shell.commit(), 0);
    assert!(shell.findings.values().all(|finding| finding.count == 3));
}

#[test]
fn times_at_the_ends_of_time_are_survived() {
    let rules = [
        rule("single", Window::Single, i64::MAX),
        rule("many", events(2, i64::MAX), i64::MAX),
        rule("zero", values(0, 0), 0),
        rule("huge", events(u64::MAX, 1), -5),
    ];
    let mut shell = Shell::new(&rules, Options::default());
    for (number, at) in [(0, i64::MIN), (1, i64::MAX), (2, 0), (3, -1), (4, i64::MAX - 1)] {
        let value = Some("a");
        shell.deliver(&rules, &Happening { value, ..Happening::at(number, at) }, "live");
        shell.commit();
        shell.restart();
    }
    assert!(shell.findings.len() > 3);
}

#[test]
fn a_compiled_rule_gives_its_reasons() {
    let text = "title: Many\nname: many--one\nlogsource: {product: github}\n\
        detection:\n  selection: {action: repo.destroy}\n  condition: selection\nlevel: low\n\
        ---\ntitle: Many\nname: many\ncorrelation:\n  type: event_count\n  rules: [many--one]\n  \
        group-by: [actor]\n  timespan: 1h\n  condition: {gte: 2}\nlevel: high\n";
    let file = RuleFile { name: "many.yml".into(), text: text.into(), shipped: false };
    let compiled = RuleSet::compile(&[file], &Lists::default(), None);
    assert_eq!(compiled.set.rules().len(), 1, "{:?}", compiled.problems);
    let rules = compiled.set.rules().to_vec();
    let mut correlator = Correlator::new(Arc::new(compiled.set), Options::default());
    for number in 0..2 {
        let body = matched(&rules, &Happening::at(number, number as i64), "live");
        while let Outcome::Missing(keys) = correlator.apply(&body) {
            keys.iter().for_each(|key| correlator.load(key, None).unwrap());
        }
    }
    let findings = correlator.take_findings();
    let reasons = findings[0].reason.iter();
    let reasons: Vec<_> = reasons.map(|one| (&*one.field, &*one.value)).collect();
    assert_eq!(reasons, [("action", "repo.destroy"), ("count", "2")]);
}
