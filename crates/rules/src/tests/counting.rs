//! How near events come to a threshold.

use hubwarden_event::{Event, EventId, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{compile, event, rule};
use crate::{Count, RuleSet};

const BASE: &str = "name: t--part";

fn counting(correlation: &str) -> RuleSet {
    let base = rule("s: {action: repo.destroy}\ncondition: s").replace("name: t", BASE);
    let compiled = compile(
        &format!(
            "{base}---\ntitle: C\nname: t\nlevel: high\ncorrelation:\n  rules: [t--part]\n{correlation}"
        ),
        &[],
    );
    assert_eq!(compiled.problems, []);
    compiled.set
}

fn at(minute: i64, number: u64, record: &Value) -> Event {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let occurred_at = Timestamp::from_millis(minute * 60_000);
    Event { id: EventId::from_bytes(id), occurred_at, ..event(record) }
}

fn count(set: &RuleSet, events: &[Event]) -> Count {
    let mut counter = set.counter(&set.rules()[0]).unwrap();
    events.iter().for_each(|event| counter.add(event));
    counter.finish()
}

const VALUES: &str = "  type: value_count\n  group-by: [actor]\n  timespan: 30m\n  condition: {field: repo, gte: 3}\n";

fn destroy(actor: &str, repo: &str) -> Value {
    json!({"action": "repo.destroy", "actor": actor, "repo": repo})
}

#[test]
fn one_event_is_one_of_so_many() {
    let set = counting(VALUES);
    let said = count(&set, &[at(0, 0, &destroy("mona", "o/a"))]).to_string();
    assert_eq!(
        said,
        "needs 3 distinct repo within 30m, counted by actor\n\
         no  actor \"mona\": 1 of 3 distinct repo within 30m needed\n"
    );
    let set = counting("  type: event_count\n  timespan: 5m\n  condition: {gte: 10}\n");
    let said = count(&set, &[at(0, 0, &destroy("mona", "o/a"))]).to_string();
    assert!(said.ends_with("no  all: 1 of 10 events within 5m needed\n"), "{said}");
    let said = count(&set, &[at(0, 0, &json!({"action": "repo.create"}))]).to_string();
    assert!(said.ends_with("no  no event counts\n"), "{said}");
}

#[test]
fn several_events_are_counted_by_group_and_window() {
    let set = counting(VALUES);
    let events = [
        at(0, 0, &destroy("mona", "o/a")),
        at(30, 1, &destroy("Mona", "o/b")),
        at(30, 2, &destroy("mona", "O/A")), // the same repository
        at(30, 2, &destroy("mona", "o/z")), // a repeat of an event
        at(31, 3, &destroy("mona", "o/c")), // one minute late for the first
        at(5, 4, &destroy("hubot", "o/a")),
        at(10, 5, &destroy("hubot", "o/b")),
        at(35, 6, &destroy("hubot", "o/c")), // the edge belongs to the window
        at(36, 7, &json!({"action": "repo.destroy", "repo": "o/d"})),
        at(36, 8, &json!({"action": "repo.destroy", "actor": "mona"})),
        at(36, 9, &json!({"action": "repo.create", "actor": "mona", "repo": "o/e"})),
    ];
    let counted = count(&set, &events);
    assert_eq!(
        counted.to_string(),
        "needs 3 distinct repo within 30m, counted by actor\n\
         yes actor \"hubot\": 3 of 3 distinct repo within 30m needed, from 1970-01-01T00:05:00.000Z to 1970-01-01T00:35:00.000Z\n\
         yes actor \"mona\": 3 of 3 distinct repo within 30m needed, from 1970-01-01T00:30:00.000Z to 1970-01-01T00:31:00.000Z\n\
         1 matching events lack a field to group by and belong to no group\n\
         1 matching events lack the field whose values are counted\n"
    );
    let without_third = count(&set, &[&events[..2], &events[4..5]].concat());
    assert!(
        without_third
            .to_string()
            .contains("2 of 3 distinct repo within 30m needed; enough only within 31m"),
        "{without_third}"
    );
}

proptest! {
    #[test]
    fn windows_are_those_of_a_count_by_hand(
        all in prop::collection::vec((0i64..90, 0u8..4), 1..30),
        at_least in 1u64..6,
        distinct: bool,
    ) {
        let (kind, field) = if distinct { ("value_count", "field: repo, ") } else { ("event_count", "") };
        let set = counting(&format!(
            "  type: {kind}\n  group-by: [actor]\n  timespan: 30m\n  condition: {{{field}gte: {at_least}}}\n"
        ));
        let events: Vec<_> = (0..).zip(&all)
            .map(|(number, (minute, repo))| at(*minute, number, &destroy("mona", &repo.to_string())))
            .collect();
        let metric = |from: i64, to: i64| {
            let inside: Vec<_> = all.iter().filter(|(minute, _)| (from..=to).contains(minute)).collect();
            let repos: std::collections::BTreeSet<_> = inside.iter().map(|(_, repo)| repo).collect();
            (if distinct { repos.len() } else { inside.len() }) as u64
        };
        let peak = all.iter().map(|(minute, _)| metric(minute - 30, *minute)).max().unwrap();
        let pairs = all.iter().flat_map(|(from, _)| all.iter().map(move |(to, _)| (*from, *to)));
        let enough = pairs.filter(|(from, to)| from <= to && metric(*from, *to) >= at_least);
        let shortest = enough.map(|(from, to)| (to - from) * 60_000).min();
        let group = &count(&set, &events).groups[0];
        prop_assert_eq!((group.peak, group.shortest_ms), (peak, shortest));
        prop_assert_eq!(group.reached, peak >= at_least);
    }
}

#[test]
fn of_two_fields_to_count_the_first_that_says_something_counts() {
    let set = counting(&VALUES.replace("field: repo", "field: repo|repository"));
    let events = [
        at(0, 0, &destroy("mona", "o/a")),
        at(
            1,
            1,
            &json!({"action": "repo.destroy", "actor": "mona", "repo": "", "repository": "o/b"}),
        ),
        at(2, 2, &json!({"action": "repo.destroy", "actor": "mona", "repository": "O/A"})),
        at(
            3,
            3,
            &json!({"action": "repo.destroy", "actor": "mona", "repo": "o/c", "repository": "x"}),
        ),
    ];
    assert_eq!(count(&set, &events).groups[0].peak, 3);
}
