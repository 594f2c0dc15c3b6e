use hubwarden_event::{Kind, Severity};
use proptest::prelude::*;

use super::super::{Item, Options, Scope};
use super::harness::{
    Happening, Shell, connection, events, mark, matched, rule, run_end, shuffled, values,
};
use super::reference::{self, Essence};
use crate::Window;

const LATENESS: i64 = 1000;

fn options() -> Options {
    Options { lateness_ms: LATENESS, source_partitions: 1 }
}

/// How many segments the store has.
fn segments(shell: &Shell) -> usize {
    shell.store.state.keys().filter(|key| matches!(key.item, Item::Segment(..))).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Marks free state all the time, and no event within the lateness finds it gone.
    #[test]
    fn freeing_never_changes_a_finding(
        span in 1i64..3000,
        at_least in 1u64..5,
        fold in 1i64..4000,
        distinct in any::<bool>(),
        gaps in prop::collection::vec((0i64..1500, 0..=LATENESS, 0usize..3), 1..60),
        restart in any::<bool>(),
    ) {
        let window = if distinct { values(at_least, span) } else { events(at_least, span) };
        let rules = [rule("r", window, fold), rule("single", Window::Single, fold)];
        let mut shell = Shell::new(&rules, options());
        let (mut now, mut seen) = (0, Vec::new());
        for (number, (gap, late, value)) in (0..).zip(gaps) {
            now += gap;
            shell.apply(&mark("live", Kind::Audit, 0, now));
            let value = Some(["a", "b", "c"][value]);
            let one = Happening { value, ..Happening::at(number, now - late) };
            shell.deliver(&rules, &one, "live");
            seen.push((one, "live"));
            if number % 3 == 0 {
                shell.commit();
                if restart {
                    shell.restart();
                }
            }
        }
        shell.commit();
        let found: Vec<_> =
            shell.findings.iter().map(|(id, one)| (id.clone(), Essence::of(one))).collect();
        let expected: Vec<_> = reference::findings(&rules, &seen).into_iter().collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(shell.correlator.stats().late, 0);
        shell.apply(&mark("live", Kind::Audit, 0, now + span * 3 + LATENESS * 3));
        shell.commit();
        prop_assert_eq!(segments(&shell), 0, "all windows are over");
    }
}

#[test]
fn windows_are_freed_from_memory_and_store_as_time_passes() {
    let rules = [rule("r", events(100, 500), 1000)];
    let mut shell = Shell::new(&rules, options());
    let mut largest = 0;
    for number in 0..5000 {
        let at = number as i64 * 10;
        shell.deliver(&rules, &Happening::at(number, at), "live");
        shell.apply(&mark("live", Kind::Audit, 0, at));
        if number % 10 == 0 {
            shell.commit();
            largest = largest.max(shell.correlator.bytes());
        }
    }
    // Open at a time: the span, the lateness behind it, and one more by which state outlives it.
    assert!(segments(&shell) <= 8, "{}", segments(&shell));
    assert!(largest < 200_000, "{largest}");
}

#[test]
fn time_waits_for_every_kind_and_partition_that_has_been_seen() {
    let rules = [rule("r", events(9, 10), 1000)];
    let two = Options { lateness_ms: LATENESS, source_partitions: 2 };
    let mut shell = Shell::new(&rules, two);
    shell.deliver(&rules, &Happening::at(0, 0), "live"); // of kind audit
    let far = 100_000;
    let heard = [
        (Kind::Git, 0, far * 9),
        (Kind::Git, 1, far * 9),
        (Kind::Audit, 0, far),
        (Kind::Audit, 0, far * 5), // the other partition is still unheard
        (Kind::Audit, 1, far),
    ];
    for (kind, partition, through) in heard {
        shell.commit();
        shell.restart(); // marks heard are part of the state
        assert_eq!(segments(&shell), 1, "before {kind} {partition}");
        shell.apply(&mark("live", kind, partition, through));
    }
    shell.commit();
    assert_eq!(segments(&shell), 1, "touched before time was known: it stays for one lateness");
    shell.apply(&mark("live", Kind::Audit, 1, far + LATENESS));
    shell.apply(&mark("live", Kind::Audit, 1, 5)); // never backwards
    shell.commit();
    assert_eq!(segments(&shell), 0);
}

#[test]
fn a_late_event_is_counted_and_still_judged_and_a_backlog_meets_itself() {
    let rules = [rule("r", events(3, 100), 1000)];
    let mut shell = Shell::new(&rules, options());
    shell.apply(&mark("live", Kind::Audit, 0, 50_000));
    for (number, at) in [(0, 10), (1, 30), (2, 20)] {
        shell.commit();
        shell.restart();
        shell.apply(&mark("live", Kind::Audit, 0, 50_000 + 400 * number as i64));
        shell.deliver(&rules, &Happening::at(number, at), "live");
    }
    assert_eq!(shell.correlator.stats().late, 1);
    assert_eq!(shell.commit(), 1);
    shell.apply(&mark("live", Kind::Audit, 0, 60_000));
    shell.commit();
    assert_eq!(segments(&shell), 0);
}

#[test]
fn the_end_of_a_run_drops_its_windows_and_nothing_else() {
    let rules = [rule("r", events(2, 100), 1000)];
    let two = Options { lateness_ms: LATENESS, source_partitions: 2 };
    let mut shell = Shell::new(&rules, two);
    for run in ["backfill-1", "live"] {
        for number in 0..3 {
            shell.deliver(&rules, &Happening::at(number, number as i64), run);
        }
    }
    shell.commit();
    let scope = |run: &str| Scope::Run(connection(), run.into());
    let stored = |shell: &Shell, run: &str| {
        shell.store.state.keys().filter(|key| key.scope == scope(run)).count()
    };
    let before = shell.correlator.bytes();
    shell.apply(&run_end("backfill-1", 0));
    shell.commit();
    shell.restart();
    assert_eq!(stored(&shell, "backfill-1"), 2, "the other partition may still have some");
    shell.apply(&run_end("backfill-1", 1));
    // The run's id comes back in the same batch: it starts with nothing.
    shell.deliver(&rules, &Happening::at(9, 50), "backfill-1");
    shell.commit();
    assert_eq!(stored(&shell, "live"), 2);
    assert_eq!(stored(&shell, "backfill-1"), 2);
    assert_eq!(shell.findings.len(), 1);
    assert_eq!(shell.findings.values().next().unwrap().count, 3, "one event alone is no window");
    shell.apply(&run_end("backfill-1", 0));
    shell.apply(&run_end("backfill-1", 1));
    shell.commit();
    assert_eq!(stored(&shell, "backfill-1"), 0);
    assert!(shell.correlator.bytes() < before);
    let kept = shell.store.state.keys().any(|key| matches!(key.item, Item::Finding(_)));
    assert!(kept, "what has been folded is the finding's");
}

#[test]
fn two_runs_fold_into_one_finding() {
    let rules = [rule("r", events(2, 100), 1000)];
    let mut shell = Shell::new(&rules, options());
    let severities = [Severity::Low, Severity::High, Severity::Medium];
    let all: Vec<_> = (0..3)
        .map(|n| Happening { severity: severities[n as usize], ..Happening::at(n, n as i64) })
        .collect();
    for one in &all[..2] {
        shell.deliver(&rules, one, "backfill-1");
    }
    shell.commit();
    shell.apply(&run_end("backfill-1", 0));
    shell.commit();
    shell.restart();
    for one in &all[1..] {
        shell.deliver(&rules, one, "live");
    }
    shell.commit();
    assert_eq!(shell.findings.len(), 1);
    let finding = shell.findings.values().next().unwrap();
    assert_eq!((finding.count, finding.severity), (3, Severity::High));
    assert_eq!(finding.run.as_str(), "backfill-1");
}

#[test]
fn what_was_folded_is_kept_for_eight_days_of_event_time() {
    const DAY: i64 = 86_400_000;
    let rules = [rule("r", Window::Single, DAY)];
    let mut shell = Shell::new(&rules, options());
    let folded = |shell: &Shell| {
        shell.store.state.keys().filter(|key| matches!(key.item, Item::Finding(_))).count()
    };
    shell.apply(&mark("live", Kind::Audit, 0, 10 * DAY));
    shell.deliver(&rules, &Happening::at(0, 10 * DAY), "live");
    shell.apply(&mark("live", Kind::Audit, 0, 18 * DAY - 1));
    shell.commit();
    assert_eq!(folded(&shell), 1);
    // A backfill of old events beside live: what it folds lives by the newest time, not its own.
    shell.deliver(&rules, &Happening::at(1, 0), "backfill-1");
    shell.apply(&mark("backfill-1", Kind::Audit, 0, DAY));
    shell.apply(&mark("live", Kind::Audit, 0, 18 * DAY));
    assert_eq!(shell.commit(), 1);
    assert_eq!(folded(&shell), 1, "the backfill's finding");
    shell.apply(&mark("live", Kind::Audit, 0, 27 * DAY));
    shell.commit();
    assert_eq!(folded(&shell), 0);
}

#[test]
fn a_finding_that_is_freed_in_its_own_batch_is_still_published() {
    let rules = [rule("r", Window::Single, 1000)];
    let mut shell = Shell::new(&rules, options());
    let year = 31_536_000_000;
    for through in 1..4 {
        shell.apply(&mark("live", Kind::Audit, 0, through * year));
        shell.deliver(&rules, &Happening::at(through as u64, through * year), "live");
    }
    shell.apply(&mark("live", Kind::Audit, 0, 5 * year));
    assert_eq!(shell.commit(), 3);
}

#[test]
fn lateness_shuffles_a_stream_without_effect() {
    let rules = [rule("r", values(3, 300), 700)];
    let all: Vec<_> = (0..400)
        .map(|n| {
            let value = Some(["a", "b", "c", "d"][(n * n % 7 % 4) as usize]);
            Happening { value, ..Happening::at(n, n as i64 * 17) }
        })
        .collect();
    let seen: Vec<_> = all.iter().map(|one| (one.clone(), "live")).collect();
    let expected = reference::findings(&rules, &seen);
    assert!(expected.len() > 5);
    for seed in 0..10 {
        let mut shell = Shell::new(&rules, options());
        for stretch in all.chunks(50) {
            // A stretch is 850 ms long: shuffled, each of its events is within the lateness.
            for one in shuffled(stretch.to_vec(), seed) {
                shell.apply(&matched(&rules, &one, "live"));
                shell.apply(&mark("live", Kind::Audit, 0, one.at));
            }
            shell.commit();
        }
        let found: std::collections::BTreeMap<_, _> =
            shell.findings.iter().map(|(id, one)| (id.clone(), Essence::of(one))).collect();
        assert_eq!(found, expected, "seed {seed}");
    }
}
