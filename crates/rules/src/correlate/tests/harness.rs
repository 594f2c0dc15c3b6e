use std::collections::BTreeMap;
use std::sync::Arc;

use hubwarden_event::{
    CellKind, Confidence, ConnectionId, EventId, Finding, FindingId, FlatBuilder, GroupKey, Hash,
    Hit, Kind, Match, MatchBody, RawPosition, RunEnd, RunId, Severity, SourceId, Timestamp,
    Watermark, hash_parts,
};

use super::super::{Changes, Correlator, Options, Outcome, StateKey, Stored};
use crate::{RuleInfo, RuleSet, Window};

/// One event of the tests; `number` is its identity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Happening {
    pub(super) number: u64,
    pub(super) at: i64,
    pub(super) group: &'static str,
    pub(super) value: Option<&'static str>,
    pub(super) severity: Severity,
}

impl Happening {
    pub(super) fn at(number: u64, at: i64) -> Self {
        Self { number, at, group: "mona", value: None, severity: Severity::Medium }
    }

    pub(super) fn id(&self) -> EventId {
        EventId::of(&connection(), &RunId::live(), &SourceId::new(self.number.to_string()))
    }
}

pub(super) fn connection() -> ConnectionId {
    "octo".into()
}

pub(super) fn rule(name: &str, window: Window, fold_ms: i64) -> RuleInfo {
    let decides = format!("{name} {window:?} {fold_ms}");
    RuleInfo {
        id: None,
        name: name.into(),
        title: name.into(),
        description: String::new(),
        hash: Hash::of(decides.as_bytes()),
        state_hash: Hash::of(format!("state of {decides}").as_bytes()),
        level: Severity::Medium,
        confidence: Confidence::High,
        attack: vec![],
        group_by: Arc::new(["actor".into()]),
        fold_ms,
        window,
        severity_steps: vec![],
        sentence: "{actor} first did {number}, {count} in all, {distinct} at once".into(),
        response: "Ask {actor}".into(),
        false_positives: vec![],
        file: "test.yml".into(),
    }
}

pub(super) fn events(at_least: u64, span_ms: i64) -> Window {
    Window::Events { at_least, span_ms }
}

pub(super) fn values(at_least: u64, span_ms: i64) -> Window {
    Window::Values { fields: vec!["repo".into()], at_least, span_ms }
}

/// The match that the engine would make of an event which all of these rules hold for.
pub(super) fn matched(rules: &[RuleInfo], happening: &Happening, run: &str) -> MatchBody {
    let mut builder = FlatBuilder::default();
    builder.push("action", CellKind::Text, "repo.destroy");
    builder.push("actor", CellKind::Text, happening.group);
    builder.push("number", CellKind::Text, &format!("#{}", happening.number));
    let hit = |rule: &RuleInfo| Hit {
        rule: rule.hash,
        state: rule.state_hash,
        severity: happening.severity,
        value: happening.value.map(String::from),
    };
    MatchBody::Match(Match {
        event_id: happening.id(),
        occurred_at: Timestamp::from_millis(happening.at),
        connection: connection(),
        run: run.into(),
        kind: Kind::Audit,
        position: RawPosition { partition: 0, offset: happening.number },
        group: GroupKey {
            names: Arc::new(["actor".into()]),
            values: vec![happening.group.to_lowercase()],
        },
        hits: rules.iter().map(hit).collect(),
        record: builder.finish(),
    })
}

pub(super) fn mark(run: &str, kind: Kind, source_partition: u32, through: i64) -> MatchBody {
    MatchBody::Watermark(Watermark {
        connection: connection(),
        run: run.into(),
        kind,
        through: Timestamp::from_millis(through),
        source_partition,
    })
}

pub(super) fn run_end(run: &str, source_partition: u32) -> MatchBody {
    let end = RunEnd { connection: connection(), run: run.into() };
    MatchBody::RunEnd { end, source_partition }
}

/// What the detector's store does, in a map.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) state: BTreeMap<StateKey, (i64, BTreeMap<u32, Vec<u8>>)>,
    pub(super) written: usize,
}

impl Store {
    pub(super) fn apply(&mut self, changes: Changes) {
        for scope in &changes.dropped {
            self.state.retain(|key, _| key.scope != *scope);
        }
        for put in changes.put {
            let (expires_at, parts) = self.state.entry(put.key).or_default();
            *expires_at = put.expires_at;
            if put.replace {
                parts.clear();
            }
            self.written += put.parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            parts.extend(put.parts);
            let gapless = parts.keys().enumerate().all(|(place, part)| place == *part as usize);
            assert!(gapless, "{:?}", parts.keys());
        }
        for (scope, freed) in &changes.freed {
            self.state.retain(|key, (expires_at, _)| key.scope != *scope || *expires_at > *freed);
        }
    }

    fn get(&self, key: &StateKey) -> Option<Stored> {
        let (expires_at, parts) = self.state.get(key)?;
        Some(Stored { expires_at: *expires_at, parts: parts.values().cloned().collect() })
    }
}

/// A correlator with its store and the newest version of each finding.
pub(super) struct Shell {
    pub(super) correlator: Correlator,
    pub(super) store: Store,
    pub(super) findings: BTreeMap<FindingId, Finding>,
    rules: Arc<RuleSet>,
    options: Options,
}

impl Shell {
    pub(super) fn new(rules: &[RuleInfo], options: Options) -> Self {
        let rules = Arc::new(RuleSet::from_rules(rules.to_vec()));
        let correlator = Correlator::new(Arc::clone(&rules), options);
        let (store, findings) = (Store::default(), BTreeMap::new());
        Self { correlator, store, findings, rules, options }
    }

    pub(super) fn apply(&mut self, body: &MatchBody) {
        for _ in 0..8 {
            match self.correlator.apply(body) {
                Outcome::Applied => return,
                Outcome::Missing(keys) => {
                    assert!(!keys.is_empty());
                    for key in keys {
                        let stored = self.store.get(&key);
                        self.correlator.load(&key, stored.as_ref()).unwrap();
                    }
                }
                Outcome::UnknownRule(hash) => panic!("rule {hash} is unknown"),
            }
        }
        panic!("state is still missing after it was loaded");
    }

    /// Ends a batch as a shell does: what has changed goes into the store and out.
    pub(super) fn commit(&mut self) -> usize {
        let changes = self.correlator.take_changes();
        let published = changes.findings.len();
        for finding in &changes.findings {
            // A store that joins versions has what the newest one says.
            let mut joined = finding.clone();
            if let Some(old) = self.findings.insert(finding.id.clone(), finding.clone()) {
                joined.join(&old);
                assert_eq!(&joined, finding);
            }
        }
        self.store.apply(changes);
        published
    }

    /// Crashes after a commit: memory is gone, the store is not.
    pub(super) fn restart(&mut self) {
        self.correlator = Correlator::new(Arc::clone(&self.rules), self.options);
    }

    pub(super) fn deliver(&mut self, rules: &[RuleInfo], happening: &Happening, run: &str) {
        self.apply(&matched(rules, happening, run));
    }
}

/// A stable order that has nothing to do with time.
pub(super) fn shuffled<T>(mut list: Vec<T>, seed: u64) -> Vec<T> {
    let mut keyed: Vec<_> = list.drain(..).enumerate().collect();
    keyed.sort_by_key(|(place, _)| {
        hash_parts([seed.to_le_bytes().as_slice(), (*place as u64).to_le_bytes().as_slice()])
    });
    keyed.into_iter().map(|(_, one)| one).collect()
}
