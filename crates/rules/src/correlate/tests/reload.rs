use std::sync::Arc;

use hubwarden_event::Hash;

use super::super::{Correlator, Options, Outcome};
use super::harness::{Happening, Shell, events, matched, rule};
use crate::{RuleInfo, RuleSet};

fn set(rules: &[RuleInfo]) -> Arc<RuleSet> {
    Arc::new(RuleSet::from_rules(rules.to_vec()))
}

/// The same rule with another text.
fn edited(old: &RuleInfo) -> RuleInfo {
    RuleInfo { hash: Hash::of(b"edited"), title: "New title".into(), ..old.clone() }
}

#[test]
fn windows_survive_an_edited_text_and_not_another_span() {
    let old = rule("r", events(3, 100), 1000);
    let (new, other) = (edited(&old), rule("r", events(3, 200), 1000));
    for (next, found) in [(new, 1), (other, 0)] {
        let (before, after) = ([old.clone()], [next]);
        let mut shell = Shell::new(&before, Options::default());
        shell.deliver(&before, &Happening::at(0, 0), "live");
        shell.deliver(&before, &Happening::at(1, 1), "live");
        shell.correlator.replace_rules(set(&after));
        shell.deliver(&after, &Happening::at(2, 2), "live");
        assert_eq!(shell.commit(), found);
        for finding in shell.findings.values() {
            assert_eq!((finding.count, &*finding.rule.title), (3, "New title"));
        }
    }
}

#[test]
fn a_match_that_was_under_way_is_judged_by_the_set_that_made_it() {
    let rules = [rule("r", events(2, 100), 1000)];
    let mut shell = Shell::new(&rules, Options::default());
    shell.deliver(&rules, &Happening::at(0, 0), "live");
    shell.correlator.replace_rules(set(&[]));
    shell.deliver(&rules, &Happening::at(1, 1), "live");
    assert_eq!(shell.commit(), 1);
}

#[test]
fn an_unknown_rule_is_reported_and_nothing_of_its_match_applied() {
    let (known, unknown) =
        (rule("known", events(1, 100), 1000), rule("unknown", events(1, 9), 1000));
    let mut correlator = Correlator::new(set(std::slice::from_ref(&known)), Options::default());
    let body = matched(&[known.clone(), unknown.clone()], &Happening::at(0, 0), "live");
    assert_eq!(correlator.apply(&body), Outcome::UnknownRule(unknown.hash));
    assert_eq!((correlator.missing(&[]), correlator.take_changes().put), (vec![], vec![]));

    correlator.replace_rules(set(&[known, unknown]));
    let Outcome::Missing(keys) = correlator.apply(&body) else { panic!("it is known now") };
    assert_eq!(correlator.missing(std::slice::from_ref(&body)), keys);
    keys.iter().for_each(|key| correlator.load(key, None).unwrap());
    assert_eq!(correlator.apply(&body), Outcome::Applied);
    assert_eq!(correlator.take_findings().len(), 2);
}

#[test]
fn a_retired_rule_is_skipped_and_counted_unless_one_has_its_state() {
    let gone = rule("r", events(1, 100), 1000);
    let twin = RuleInfo { name: "twin".into(), ..edited(&gone) };
    let twins = [edited(&gone), RuleInfo { hash: Hash::of(b"twin"), ..twin }];
    for (active, found, skipped) in [(&twins[..0], 0, 1), (&twins[..1], 1, 0), (&twins[..], 0, 1)] {
        let mut shell = Shell::new(active, Options::default());
        let hits = [gone.clone()];
        let body = matched(&hits, &Happening::at(0, 0), "live");
        assert_eq!(shell.correlator.apply(&body), Outcome::UnknownRule(gone.hash));
        shell.correlator.retire_rule(gone.hash);
        shell.apply(&body);
        assert_eq!(shell.commit(), found);
        assert_eq!(shell.correlator.stats().skipped, skipped);
        // It comes back: no longer retired.
        shell.correlator.replace_rules(set(&hits));
        shell.deliver(&hits, &Happening::at(1, 5000), "live");
        assert_eq!(shell.commit(), 1);
    }
}

#[test]
fn rules_with_the_same_state_hash_keep_windows_of_their_own() {
    let one = rule("one", events(2, 100), 1000);
    let two = RuleInfo { name: "two".into(), hash: Hash::of(b"two"), ..one.clone() };
    let rules = [one, two];
    let mut shell = Shell::new(&rules, Options::default());
    for number in 0..2 {
        shell.deliver(&rules, &Happening::at(number, number as i64), "live");
    }
    assert_eq!(shell.commit(), 2);
    assert!(shell.findings.values().all(|finding| finding.count == 2));
}
