use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hubwarden_event::{ConnectionId, FindingId, Hash, Match, MatchBody, RunId, Watermark};

use super::clip::clip;
use super::connection::Connection;
use super::group::Group;
use super::keys::{event_time, group_base, group_hash, whose};
use super::known::{Book, Known, Resolved, short};
use super::run::{GroupHash, Run};
use super::segment::Entry;
use super::state::{Scope, StateKey};
use super::verdicts::Verdicts;
use crate::RuleSet;

/// Times beyond this, some 36 million years off, are taken as this: sums cannot overflow.
pub(super) const MAX_TIME_MS: i64 = 1 << 60;

/// How a correlator reads time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How much later than its time an event may arrive.
    pub lateness_ms: i64,
    /// How many partitions of `events` send watermarks and run ends.
    pub source_partitions: u32,
}

impl Default for Options {
    /// An hour, and one partition as on the embedded bus.
    fn default() -> Self {
        Self { lateness_ms: 3_600_000, source_partitions: 1 }
    }
}

/// What became of a record of `matches`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is part of the state now.
    Applied,
    /// These pieces of state are not in memory: load each, present or not, and apply it again.
    Missing(Vec<StateKey>),
    /// It names a rule of no set seen so far: read the topic `rules` to its end,
    /// [`replace_rules`](Correlator::replace_rules), else [`retire_rule`](Correlator::retire_rule),
    /// and apply it again.
    UnknownRule(Hash),
}

/// What a correlator has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Matches applied.
    pub matches: u64,
    /// Of these, how many came after the watermark had passed them.
    pub late: u64,
    /// Hits left out because their rule is in no set any more.
    pub skipped: u64,
    /// Windows and entries looked at: what judging and folding cost.
    pub steps: u64,
}

/// Turns matches, in any order and with any repeats, into findings.
///
/// Whatever the order, the same set of matches gives the same set of findings, as long as events
/// arrive within the allowed lateness and no cap is reached. Everything is idempotent: applying a
/// record again changes nothing, so that a shell may repeat what it is not sure of.
///
/// A match is judged by the rule it names. Rules of earlier sets stay known, so that a match which
/// was under way during a reload is judged by the set that matched it. A rule that no set has any
/// more and that the caller has retired is replaced by the one rule of the active set with the same
/// state hash (an edited text); without one its hits are counted as skipped. Windows belong to
/// (rule identity, state hash) and survive a reload that changes neither.
#[derive(Debug)]
pub struct Correlator {
    pub(super) options: Options,
    pub(super) book: Book,
    pub(super) connections: HashMap<ConnectionId, Connection, RandomState>,
    pub(super) changed_segments: Vec<(ConnectionId, RunId, GroupHash, i64)>,
    pub(super) changed_findings: Vec<(ConnectionId, FindingId)>,
    /// Findings to publish, with the rule that speaks for them.
    pub(super) published: BTreeMap<FindingId, (ConnectionId, Arc<Known>)>,
    pub(super) dropped: BTreeSet<Scope>,
    pub(super) freed: BTreeMap<Scope, i64>,
    pub(super) bytes: usize,
    pub(super) batch: u64,
    pub(super) stats: Stats,
}

impl Correlator {
    /// A correlator that has seen nothing and knows these rules.
    pub fn new(rules: Arc<RuleSet>, options: Options) -> Self {
        let mut book = Book::default();
        book.replace(rules);
        let source_partitions = options.source_partitions.max(1);
        let lateness_ms = options.lateness_ms.clamp(0, MAX_TIME_MS);
        Self {
            options: Options { lateness_ms, source_partitions },
            book,
            connections: HashMap::default(),
            changed_segments: Vec::new(),
            changed_findings: Vec::new(),
            published: BTreeMap::new(),
            dropped: BTreeSet::new(),
            freed: BTreeMap::new(),
            bytes: 0,
            batch: 0,
            stats: Stats::default(),
        }
    }

    /// Makes another set the active one.
    pub fn replace_rules(&mut self, rules: Arc<RuleSet>) {
        self.book.replace(rules);
    }

    /// Notes that no set on the topic `rules` has this rule any more.
    pub fn retire_rule(&mut self, rule: Hash) {
        self.book.retire(rule);
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of state in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Judges one record of `matches`.
    pub fn apply(&mut self, body: &MatchBody) -> Outcome {
        if let MatchBody::Match(matched) = body {
            for hit in &matched.hits {
                if let Resolved::Unknown(hash) = self.book.resolve(hit) {
                    return Outcome::UnknownRule(hash);
                }
            }
        }
        let missing = self.needs(body);
        if !missing.is_empty() {
            return Outcome::Missing(missing);
        }
        let (connection, run) = whose(body);
        let lateness = self.options.lateness_ms;
        if let Some(here) = self.connections.get_mut(connection)
            && !here.runs.contains_key(run)
        {
            here.runs.insert(run.clone(), Run::new(lateness)); // it ended within this batch
        }
        match body {
            MatchBody::Match(matched) => self.judge(matched),
            MatchBody::Watermark(mark) => self.hear(mark),
            MatchBody::RunEnd { end, source_partition } => {
                self.end(&end.connection, &end.run, *source_partition);
                Outcome::Applied
            }
        }
    }

    fn judge(&mut self, matched: &Match) -> Outcome {
        let Some(here) = self.connections.get_mut(&matched.connection) else {
            return Outcome::Missing(self.needs(&MatchBody::Match(matched.clone())));
        };
        let Some(mut run) = here.runs.remove(&matched.run) else { return Outcome::Applied };
        run.see(matched.kind);
        let time = event_time(matched);
        let base = group_base(&matched.group);
        let record = clip(&matched.record);
        let mut missing = Vec::new();
        let mut skipped = 0;
        for hit in &matched.hits {
            let Resolved::Rule(known) = self.book.resolve(hit) else {
                skipped += 1;
                continue;
            };
            let entry = Entry {
                time,
                id: matched.event_id,
                value: hit.value.as_ref().map(|value| short(Hash::of(value.as_bytes()).0)),
                severity: hit.severity,
                position: matched.position,
                record: Arc::clone(&record),
            };
            let mut verdicts = Verdicts {
                here,
                published: &mut self.published,
                listed: &mut self.changed_findings,
                missing: &mut missing,
                bytes: &mut self.bytes,
                batch: self.batch,
            };
            let Some(rule) = known.threshold else {
                let bucket = known.bucket(time);
                verdicts.fold(matched, known, bucket, |folded| folded.fold_single(&entry));
                continue;
            };
            let (hash, index) = (group_hash(base, known), rule.segment(time));
            let before = run.groups.get(&hash).map_or(0, Group::size);
            if run.take_up(hash, entry.clone(), rule, self.batch) {
                let (connection, run) = (matched.connection.clone(), matched.run.clone());
                self.changed_segments.push((connection, run, hash, index));
            }
            let group = run.groups.entry(hash).or_default();
            let steps = &mut self.stats.steps;
            for held in group.judge(known, time, steps) {
                verdicts.fold(matched, known, held.bucket, |folded| {
                    folded.fold(&matched.run, &entry, &held, group, rule, steps)
                });
            }
            *verdicts.bytes = (*verdicts.bytes + group.size()).saturating_sub(before);
        }
        let late = run.clock.now().is_some_and(|now| time < now);
        here.runs.insert(matched.run.clone(), run);
        if !missing.is_empty() {
            return Outcome::Missing(missing);
        }
        self.stats.matches += 1;
        self.stats.late += u64::from(late);
        self.stats.skipped += skipped;
        Outcome::Applied
    }

    fn hear(&mut self, mark: &Watermark) -> Outcome {
        let Options { lateness_ms, source_partitions } = self.options;
        let Some(here) = self.connections.get_mut(&mark.connection) else {
            return Outcome::Missing(self.needs(&MatchBody::Watermark(mark.clone())));
        };
        let Some(run) = here.runs.get_mut(&mark.run) else { return Outcome::Applied };
        let through = mark.through.as_millis().clamp(-MAX_TIME_MS, MAX_TIME_MS);
        let partition = mark.source_partition;
        if !run.hear(mark.kind, partition, through, source_partitions, lateness_ms) {
            return Outcome::Applied;
        }
        self.bytes = self.bytes.saturating_sub(run.free());
        if let Some(freed) = run.clock.freed() {
            let scope = Scope::Run(mark.connection.clone(), mark.run.clone());
            self.freed.insert(scope, freed);
        }
        if run.clock.now().is_some_and(|now| here.clock.advance(now)) {
            here.dirty = true;
            if let Some(freed) = here.clock.freed() {
                self.freed.insert(Scope::Findings(mark.connection.clone()), freed);
            }
        }
        Outcome::Applied
    }

    fn end(&mut self, connection: &ConnectionId, run: &RunId, partition: u32) {
        let Some(here) = self.connections.get_mut(connection) else { return };
        let Some(windows) = here.runs.get_mut(run) else { return };
        if !windows.end(partition, self.options.source_partitions) {
            return;
        }
        if let Some(ended) = here.runs.remove(run) {
            let bytes: usize = ended.groups.values().map(|group| group.size()).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        let scope = Scope::Run(connection.clone(), run.clone());
        self.freed.remove(&scope);
        self.dropped.insert(scope);
    }
}
