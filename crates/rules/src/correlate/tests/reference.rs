//! Section 5 of the contract, word by word and as slowly as it likes.

use std::collections::{BTreeMap, BTreeSet};

use hubwarden_event::{EventId, Finding, FindingId, RunId, Severity, Timestamp};

use super::harness::{Happening, connection};
use crate::{RuleInfo, Window};

/// What two computations of a finding must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Essence {
    pub(super) count: u64,
    pub(super) revision: u64,
    pub(super) at_least: bool,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) severity: Severity,
    pub(super) evidence: Vec<(i64, EventId)>,
    pub(super) sentence: String,
    pub(super) peak: Option<String>,
}

impl Essence {
    pub(super) fn of(finding: &Finding) -> Self {
        let evidence = finding.evidence.iter();
        Self {
            count: finding.count,
            revision: finding.revision,
            at_least: finding.at_least,
            first: finding.first_seen.as_millis(),
            last: finding.last_seen.as_millis(),
            severity: finding.severity,
            evidence: evidence.map(|one| (one.occurred_at.as_millis(), one.id)).collect(),
            sentence: finding.sentence.clone(),
            peak: finding
                .reason
                .iter()
                .find_map(|one| one.threshold.as_ref().map(|_| one.value.clone())),
        }
    }
}

/// All findings of these rules over what each run has seen.
pub(super) fn findings(
    rules: &[RuleInfo],
    seen: &[(Happening, &str)],
) -> BTreeMap<FindingId, Essence> {
    let mut all = BTreeMap::new();
    for rule in rules {
        let groups: BTreeSet<&str> = seen.iter().map(|(one, _)| one.group).collect();
        for group in groups {
            for (bucket, (set, peak)) in buckets(rule, group, seen) {
                let bucket = Timestamp::from_millis(bucket);
                let name = rule.identity();
                let run = RunId::live();
                let id = FindingId::of(&connection(), &run, name, [group], bucket);
                all.insert(id, essence(rule, &set, peak));
            }
        }
    }
    all
}

type Set<'a> = BTreeMap<(i64, EventId), &'a Happening>;

fn buckets<'a>(
    rule: &RuleInfo,
    group: &str,
    seen: &'a [(Happening, &str)],
) -> BTreeMap<i64, (Set<'a>, u64)> {
    let mut buckets: BTreeMap<i64, (Set<'a>, u64)> = BTreeMap::new();
    let runs: BTreeSet<&str> = seen.iter().map(|(_, run)| *run).collect();
    for run in runs {
        let of_run = seen.iter().filter(|(one, of)| *of == run && one.group == group);
        let set: Set<'a> = of_run.map(|(one, _)| ((one.at, one.id()), one)).collect();
        for end in set.keys().map(|(at, _)| *at) {
            let (span, at_least) = match rule.window {
                Window::Single => (0, 1),
                Window::Events { span_ms, at_least } => (span_ms, at_least),
                Window::Values { span_ms, at_least, .. } => (span_ms, at_least),
            };
            let window = set.iter().filter(|((at, _), _)| (end - span..=end).contains(at));
            let window: Set<'a> = window.map(|(key, one)| (*key, *one)).collect();
            let metric = match rule.window {
                Window::Single => 1,
                Window::Events { .. } => window.len(),
                Window::Values { .. } => {
                    window.values().filter_map(|one| one.value).collect::<BTreeSet<_>>().len()
                }
            } as u64;
            if metric >= at_least {
                let bucket = buckets.entry(end.div_euclid(rule.fold_ms) * rule.fold_ms);
                let (set, peak) = bucket.or_default();
                set.extend(window);
                *peak = metric.max(*peak);
            }
        }
    }
    buckets
}

fn essence(rule: &RuleInfo, set: &Set<'_>, peak: u64) -> Essence {
    let steps = rule.severity_steps.iter().filter(|(from, _)| peak >= *from);
    let severities = set.values().map(|one| one.severity).chain(steps.map(|(_, level)| *level));
    let earliest = set.values().next().unwrap();
    let (group, number, count) = (earliest.group, earliest.number, set.len());
    Essence {
        count: set.len() as u64,
        revision: set.len() as u64,
        at_least: false,
        first: set.keys().next().unwrap().0,
        last: set.keys().last().unwrap().0,
        severity: severities.max().unwrap(),
        evidence: set.keys().take(20).copied().collect(),
        sentence: format!("{group} first did #{number}, {count} in all, {peak} at once"),
        peak: (rule.window != Window::Single).then(|| peak.to_string()),
    }
}
