use std::sync::Arc;

use hubwarden_event::{CellKind, FlatBuilder, MatchBody};

use super::super::{CUT_MARK, Options};
use super::harness::{Happening, Shell, events, matched, rule, shuffled, values};
use crate::{RuleInfo, Window};

const HOUR: i64 = 3_600_000;

/// Delivers `count` events of one group, `apart` milliseconds from each other, and commits by 500.
fn burst(rules: &[RuleInfo], count: u64, apart: i64) -> Shell {
    let mut shell = Shell::new(rules, Options::default());
    for number in 0..count {
        let value = Some(["a", "b", "c", "d"][number as usize % 4]);
        let one = Happening { value, ..Happening::at(number, number as i64 * apart) };
        shell.deliver(rules, &one, "live");
        if number % 500 == 499 {
            shell.commit();
        }
    }
    shell.commit();
    shell
}

#[test]
fn a_burst_in_one_group_is_not_quadratic() {
    for window in [events(10, HOUR), values(3, HOUR), events(10, 24 * HOUR), Window::Single] {
        let rules = [rule("r", window.clone(), HOUR)];
        let steps = burst(&rules, 50_000, 50).correlator.stats().steps;
        assert!(steps < 50_000 * 4, "{window:?}: {steps} steps");
    }
}

#[test]
fn what_a_burst_writes_is_a_few_times_its_own_size() {
    let rules = [rule("r", events(10, HOUR), HOUR)];
    let mut shell = burst(&rules, 9_000, 50);
    // An entry takes about 150 bytes; a batch rewrites the last part and the finding's head.
    assert!(shell.store.written < 9_000 * 400, "{}", shell.store.written);
    let before = shell.store.written;
    shell.deliver(&rules, &Happening::at(100_000, HOUR / 2), "live");
    shell.commit();
    let more = shell.store.written - before;
    assert!(more < 40_000, "one more event rewrote {more} bytes");
}

#[test]
fn an_event_costs_the_same_however_many_windows_are_open() {
    let rules = [rule("r", events(10, HOUR), HOUR), rule("v", values(10, HOUR), HOUR)];
    let mut shell = Shell::new(&rules, Options::default());
    let mut cost = Vec::new();
    for actor in 0..10_000u64 {
        let MatchBody::Match(mut one) = matched(&rules, &Happening::at(actor, 5), "live") else {
            unreachable!()
        };
        one.group.values = vec![actor.to_string()];
        let before = shell.correlator.stats().steps;
        shell.apply(&MatchBody::Match(one));
        cost.push(shell.correlator.stats().steps - before);
    }
    assert!(cost.iter().all(|steps| *steps == cost[0]), "{:?}", cost.iter().max());
}

#[test]
fn beyond_the_caps_counts_read_at_least() {
    for window in [events(5, HOUR), values(3, HOUR)] {
        let rules = [rule("r", window.clone(), HOUR)];
        let shell = burst(&rules, 25_000, 200); // 5,000 seconds: two buckets, two segments
        let mut findings: Vec<_> = shell.findings.values().collect();
        findings.sort_by_key(|finding| finding.first_seen);
        let read: Vec<_> = findings.iter().map(|one| (one.count, one.at_least)).collect();
        assert_eq!(read, [(10_000, true), (10_000, true)], "{window:?}");
        assert!(
            findings[0].sentence.contains(" at least 10000 in all"),
            "{:?}",
            findings[0].sentence
        );
        assert_eq!(findings[0].last_seen.as_millis(), HOUR - 200);
        assert_eq!(findings[1].last_seen.as_millis(), 24_999 * 200);
    }
}

#[test]
fn a_flood_of_one_value_does_not_push_distinct_values_out() {
    let rules = [rule("r", values(3, HOUR), HOUR)];
    let mut shell = Shell::new(&rules, Options::default());
    let mut deliver = |number: u64, value| {
        let one = Happening { value: Some(value), ..Happening::at(number, number as i64 * 100) };
        shell.deliver(&rules, &one, "live");
    };
    deliver(0, "a");
    deliver(1, "b");
    (2..30_000).for_each(|number| deliver(number, "a"));
    deliver(30_000, "c");
    assert_eq!(shell.commit(), 1);
    let finding = shell.findings.values().next().unwrap();
    assert!(finding.at_least && finding.last_seen.as_millis() == 3_000_000);
}

#[test]
fn memory_stays_within_its_budget_and_results_do_not_change() {
    let rules = [rule("r", events(4, HOUR), HOUR)];
    let actors = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let all = (0..4000).map(|number| Happening {
        group: actors[(number % 8) as usize],
        ..Happening::at(number, number as i64 * 900)
    });
    let all = shuffled(all.collect(), 1);
    let run = |budget| {
        let mut shell = Shell::new(&rules, Options::default());
        for batch in all.chunks(100) {
            batch.iter().for_each(|one| shell.deliver(&rules, one, "live"));
            shell.commit();
            shell.correlator.forget_clean(budget);
            assert!(shell.correlator.bytes() <= budget, "{}", shell.correlator.bytes());
        }
        shell.findings
    };
    assert_eq!(run(200_000), run(usize::MAX));
}

#[test]
fn a_hostile_record_cannot_make_a_finding_large() {
    let mut noisy = rule("r", events(25, HOUR), HOUR);
    noisy.sentence = "{actor} ".repeat(1000);
    noisy.response = "{actor} ".repeat(10_000);
    let rules = [noisy];
    let mut shell = Shell::new(&rules, Options::default());
    let mut builder = FlatBuilder::default();
    builder.push("action", CellKind::Text, "repo.destroy");
    builder.push("actor", CellKind::Text, &"\u{1}\"".repeat(8000));
    for junk in 0..3000 {
        builder.push(&format!("junk{junk}"), CellKind::Text, &"\u{1b}".repeat(60));
    }
    let record = builder.finish();
    for number in 0..30 {
        let MatchBody::Match(mut one) = matched(&rules, &Happening::at(number, 5), "live") else {
            unreachable!()
        };
        one.record = Arc::clone(&record);
        shell.apply(&MatchBody::Match(one));
    }
    shell.commit();
    let finding = shell.findings.values().next().unwrap();
    assert_eq!(finding.evidence.len(), 20);
    for one in &finding.evidence {
        assert!(serde_json::to_vec(&one.record).unwrap().len() <= 8 * 1024);
        assert_eq!((&*one.action, &one.record[CUT_MARK]), ("repo.destroy", &true.into()));
    }
    let size = serde_json::to_vec(finding).unwrap().len();
    assert!(size <= 256 * 1024, "{size}");
}
