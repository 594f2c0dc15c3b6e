use std::collections::BTreeMap;

use hubwarden_event::{FindingId, Severity};
use proptest::prelude::*;

use super::super::Options;
use super::harness::{Happening, Shell, events, rule, values};
use super::reference::{self, Essence};
use crate::{RuleInfo, Window};

fn any_window() -> impl Strategy<Value = Window> {
    prop_oneof![
        1 => Just(Window::Single),
        3 => (1u64..5, 1i64..80).prop_map(|(at_least, span)| events(at_least, span)),
        3 => (1u64..4, 1i64..80).prop_map(|(at_least, span)| values(at_least, span)),
    ]
}

fn any_rules() -> impl Strategy<Value = Vec<RuleInfo>> {
    let steps = prop::collection::vec((1u64..6, prop::sample::select(&Severity::ALL[..])), 0..3);
    prop::collection::vec((any_window(), prop_oneof![1 => 1i64..10, 9 => 10i64..120], steps), 1..4)
        .prop_map(|rules| {
            let numbered = rules.into_iter().enumerate();
            let named = numbered.map(|(number, (window, fold, steps))| RuleInfo {
                severity_steps: steps,
                ..rule(&format!("rule{number}"), window, fold)
            });
            named.collect()
        })
}

fn any_happenings(limit: usize) -> impl Strategy<Value = Vec<Happening>> {
    let one = (
        -100i64..150,
        prop::sample::select(&["mona", "hubot"][..]),
        prop::option::weighted(0.8, prop::sample::select(&["a", "b", "c"][..])),
        prop::sample::select(&Severity::ALL[..]),
    );
    prop::collection::vec(one, 1..=limit).prop_map(|list| {
        let numbered = (0..).zip(list);
        let made = numbered.map(|(number, (at, group, value, severity))| Happening {
            number,
            at,
            group,
            value,
            severity,
        });
        made.collect()
    })
}

/// What happens after a delivery.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    Commit,
    /// Commit, then forget all that is stored.
    Forget,
    /// Commit, then lose the memory.
    Restart,
    /// Commit, go on with the same, and lose the memory without a commit: what came since is
    /// delivered again.
    Crash,
}

fn any_then() -> impl Strategy<Value = Then> {
    prop_oneof![
        4 => Just(Then::Nothing),
        1 => Just(Then::Commit),
        1 => Just(Then::Forget),
        1 => Just(Then::Restart),
        1 => Just(Then::Crash),
    ]
}

fn deliver(
    rules: &[RuleInfo],
    deliveries: &[(Happening, &'static str, Then)],
) -> BTreeMap<FindingId, Essence> {
    let mut shell = Shell::new(rules, Options::default());
    let mut uncommitted = 0;
    for (place, (happening, run, then)) in deliveries.iter().enumerate() {
        shell.deliver(rules, happening, run);
        match then {
            Then::Nothing => continue,
            Then::Commit => drop(shell.commit()),
            Then::Forget => {
                shell.commit();
                shell.correlator.forget_clean(0);
                assert_eq!(shell.correlator.bytes(), 0, "all of it was stored");
            }
            Then::Restart => {
                shell.commit();
                shell.restart();
            }
            Then::Crash => {
                shell.restart();
                for (happening, run, _) in &deliveries[uncommitted..=place] {
                    shell.deliver(rules, happening, run);
                }
                shell.commit();
            }
        }
        uncommitted = place + 1;
    }
    shell.commit();
    let found = shell.findings.iter();
    found.map(|(id, finding)| (id.clone(), Essence::of(finding))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any order, any repeats, one run or two, any batches, any crashes: the reference's findings.
    #[test]
    fn gives_the_findings_of_the_set(
        rules in any_rules(),
        happenings in any_happenings(12),
        picks in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(&["live", "backfill-1"][..]), any_then()),
            1..40,
        ),
        all in any::<bool>(),
    ) {
        let mut deliveries: Vec<_> = picks
            .iter()
            .map(|(index, run, then)| (index.get(&happenings).clone(), *run, *then))
            .collect();
        if all {
            deliveries.extend(happenings.iter().map(|one| (one.clone(), "live", Then::Nothing)));
        }
        let seen: Vec<_> = deliveries.iter().map(|(one, run, _)| (one.clone(), *run)).collect();
        prop_assert_eq!(deliver(&rules, &deliveries), reference::findings(&rules, &seen));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// More events than evidence holds, and windows long enough for the incremental count.
    #[test]
    fn gives_the_findings_of_a_larger_set(
        rules in any_rules(),
        happenings in any_happenings(150).prop_shuffle(),
        sorted in any::<bool>(),
        then in prop::collection::vec(any_then(), 150),
    ) {
        let mut happenings = happenings;
        for one in &mut happenings {
            one.group = "mona";
            one.at /= 3;
        }
        if sorted {
            happenings.sort_by_key(|one| one.at);
        }
        let deliveries: Vec<_> =
            happenings.iter().zip(then).map(|(one, then)| (one.clone(), "live", then)).collect();
        let seen: Vec<_> = happenings.iter().map(|one| (one.clone(), "live")).collect();
        prop_assert_eq!(deliver(&rules, &deliveries), reference::findings(&rules, &seen));
    }
}
