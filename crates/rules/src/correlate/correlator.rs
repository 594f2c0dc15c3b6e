use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hubwarden_event::{
    ConnectionId, Finding, FindingId, GroupKey, Hash, Match, MatchBody, RunId, Watermark,
    hash_parts,
};

use super::clip::clip;
use super::codec::StateError;
use super::connection::{Connection, Slot};
use super::folded::Folded;
use super::known::{Book, Known, Resolved, short};
use super::run::{GroupHash, Run};
use super::segment::{Entry, Segment};
use super::state::{Changes, Item, Put, Scope, StateKey, Stored};
use super::words;
use crate::RuleSet;

/// Times beyond this, some 36 million years off, are taken as this: sums cannot overflow.
const MAX_TIME_MS: i64 = 1 << 60;

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
    options: Options,
    book: Book,
    connections: HashMap<ConnectionId, Connection, RandomState>,
    changed_segments: Vec<(ConnectionId, RunId, GroupHash, i64)>,
    changed_findings: Vec<(ConnectionId, FindingId)>,
    /// Findings to publish, with the rule that speaks for them.
    published: BTreeMap<FindingId, (ConnectionId, Arc<Known>)>,
    dropped: BTreeSet<Scope>,
    freed: BTreeMap<Scope, i64>,
    bytes: usize,
    batch: u64,
    stats: Stats,
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

    /// State that these records need and that is not in memory; load it and ask again until empty.
    ///
    /// Asking first is not necessary: it saves [`apply`](Self::apply) most of its `Missing`.
    pub fn missing(&self, bodies: &[MatchBody]) -> Vec<StateKey> {
        let keys: BTreeSet<_> = bodies.iter().flat_map(|body| self.needs(body)).collect();
        keys.into_iter().collect()
    }

    fn needs(&self, body: &MatchBody) -> Vec<StateKey> {
        let (connection, run) = whose(body);
        let of_findings = Scope::Findings(connection.clone());
        let of_run = Scope::Run(connection.clone(), run.clone());
        let Some(here) = self.connections.get(connection) else {
            let scopes = [of_findings, of_run];
            return scopes.map(|scope| StateKey { scope, item: Item::Time }).into();
        };
        let Some(windows) = here.runs.get(run) else {
            let key = StateKey { scope: of_run, item: Item::Time };
            return if self.dropped.contains(&key.scope) { Vec::new() } else { vec![key] };
        };
        let MatchBody::Match(matched) = body else { return Vec::new() };
        let (time, base) = (event_time(matched), group_base(&matched.group));
        let mut keys = Vec::new();
        for hit in &matched.hits {
            let Resolved::Rule(known) = self.book.resolve(hit) else { continue };
            let Some(rule) = known.threshold else {
                if !here.resident {
                    let id = finding_id(matched, known, known.bucket(time));
                    if !here.findings.contains_key(&id) {
                        let item = Item::Finding(id);
                        keys.push(StateKey { scope: of_findings.clone(), item });
                    }
                }
                continue;
            };
            if windows.resident {
                continue;
            }
            let (hash, index) = (group_hash(base, known), rule.segment(time));
            let group = windows.groups.get(&hash);
            for index in index - 1..=index + 1 {
                if group.and_then(|group| group.get(index)).is_none() {
                    let item = Item::Segment(hash, index);
                    keys.push(StateKey { scope: of_run.clone(), item });
                }
            }
        }
        keys
    }

    /// Takes up what the store has under a key; `None` when it has nothing.
    ///
    /// State that is in memory stays as it is.
    ///
    /// # Errors
    /// The bytes are damaged or from another release.
    pub fn load(&mut self, key: &StateKey, stored: Option<&Stored>) -> Result<(), StateError> {
        let lateness = self.options.lateness_ms;
        let first_part = stored.and_then(|stored| stored.parts.first());
        let (Scope::Findings(connection) | Scope::Run(connection, _)) = &key.scope;
        if let (Scope::Findings(_), Item::Time) = (&key.scope, &key.item) {
            if !self.connections.contains_key(connection) {
                let loaded = first_part.map_or(Ok(Connection::new()), |b| Connection::decode(b))?;
                self.connections.insert(connection.clone(), loaded);
            }
            return Ok(());
        }
        let Some(here) = self.connections.get_mut(connection) else { return Ok(()) };
        match (&key.scope, &key.item) {
            (Scope::Run(_, run), Item::Time) => {
                if !here.runs.contains_key(run) {
                    let loaded = first_part
                        .map_or_else(|| Ok(Run::new(lateness)), |b| Run::decode(lateness, b))?;
                    here.runs.insert(run.clone(), loaded);
                }
            }
            (Scope::Run(_, run), Item::Segment(hash, index)) => {
                let Some(run) = here.runs.get_mut(run) else { return Ok(()) };
                let (before, after) = load_segment(run, *hash, *index, stored, self.batch)?;
                self.bytes = (self.bytes + after).saturating_sub(before);
            }
            (Scope::Findings(_), Item::Finding(id)) if !here.findings.contains_key(id) => {
                let stored = stored.filter(|one| here.clock.freed() < Some(one.expires_at));
                let folded = stored.map(|one| Folded::decode(&one.parts)).transpose()?;
                let expires_at = stored.map_or_else(|| here.expiry(), |one| one.expires_at);
                let slot = Slot { folded, expires_at, used: self.batch, listed: false };
                self.bytes += slot.size();
                here.add(id.clone(), slot);
            }
            _ => {}
        }
        Ok(())
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
            let mut findings = Findings {
                here,
                published: &mut self.published,
                listed: &mut self.changed_findings,
                missing: &mut missing,
                bytes: &mut self.bytes,
                batch: self.batch,
            };
            let Some(rule) = known.threshold else {
                let bucket = known.bucket(time);
                findings.fold(matched, known, bucket, |folded| folded.fold_single(&entry));
                continue;
            };
            let (hash, index) = (group_hash(base, known), rule.segment(time));
            let expires_at = run.clock.expiry(rule.end(index));
            let group = run.groups.entry(hash).or_default();
            let before = group.size();
            let added = group.get(index).is_none();
            if added {
                group.add(Segment::empty(index, expires_at));
            }
            let was_dirty = group.get(index).is_some_and(|segment| segment.dirty);
            let fresh = group.insert(entry.clone(), rule);
            if let Some(segment) = group.get_mut(index) {
                segment.used = self.batch;
                if fresh {
                    segment.expires_at = segment.expires_at.max(expires_at);
                }
                if segment.dirty && !was_dirty {
                    let (connection, run) = (matched.connection.clone(), matched.run.clone());
                    self.changed_segments.push((connection, run, hash, index));
                }
            }
            if let Some(earlier) = group.get_mut(index - 1) {
                earlier.used = self.batch;
            }
            let steps = &mut self.stats.steps;
            for held in group.judge(known, time, steps) {
                findings.fold(matched, known, held.bucket, |folded| {
                    folded.fold(&matched.run, &entry, &held, group, rule, steps)
                });
            }
            *findings.bytes = (*findings.bytes + group.size()).saturating_sub(before);
            if added {
                run.queue(expires_at, hash, index);
            }
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

    /// The findings that are new or changed since the last call, each once, by id.
    ///
    /// For a shell that keeps no state; one with a store calls [`take_changes`](Self::take_changes).
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.batch += 1;
        let mut findings = Vec::new();
        for (id, (connection, known)) in std::mem::take(&mut self.published) {
            let slot = self.connections.get(&connection).and_then(|here| here.findings.get(&id));
            if let Some(folded) = slot.and_then(|slot| slot.folded.as_ref()) {
                findings.push(words::finding(&id, &connection, &known, folded));
            }
        }
        for here in self.connections.values_mut() {
            self.bytes = self.bytes.saturating_sub(here.free());
        }
        findings
    }

    /// Everything that has changed since the last call: a store writes it in one transaction.
    ///
    /// State counts as stored from here on: a shell whose transaction fails starts anew from what
    /// its store has.
    pub fn take_changes(&mut self) -> Changes {
        let findings = self.take_findings();
        let mut put = Vec::new();
        for (connection, here) in &mut self.connections {
            if std::mem::take(&mut here.dirty) {
                put.push(put_time(Scope::Findings(connection.clone()), here.encode()));
            }
            for (run, windows) in &mut here.runs {
                if std::mem::take(&mut windows.dirty) {
                    let scope = Scope::Run(connection.clone(), run.clone());
                    put.push(put_time(scope, windows.encode()));
                }
            }
        }
        for (connection, run, hash, index) in std::mem::take(&mut self.changed_segments) {
            let here = self.connections.get_mut(&connection);
            let group = here.and_then(|here| here.runs.get_mut(&run)?.groups.get_mut(&hash));
            let Some(segment) = group.and_then(|group| group.get_mut(index)) else { continue };
            if segment.dirty {
                let (replace, parts) = segment.take_parts();
                let (scope, item) = (Scope::Run(connection, run), Item::Segment(hash, index));
                let key = StateKey { scope, item };
                put.push(Put { key, expires_at: segment.expires_at, replace, parts });
            }
        }
        for (connection, id) in std::mem::take(&mut self.changed_findings) {
            let here = self.connections.get_mut(&connection);
            let Some(slot) = here.and_then(|here| here.findings.get_mut(&id)) else { continue };
            slot.listed = false;
            if let Some(folded) = slot.folded.as_mut().filter(|folded| folded.is_dirty()) {
                let (replace, parts) = folded.take_parts();
                let (scope, item) = (Scope::Findings(connection), Item::Finding(id));
                let key = StateKey { scope, item };
                put.push(Put { key, expires_at: slot.expires_at, replace, parts });
            }
        }
        Changes {
            dropped: std::mem::take(&mut self.dropped).into_iter().collect(),
            put,
            freed: std::mem::take(&mut self.freed).into_iter().collect(),
            findings,
        }
    }

    /// Forgets state that the store has, least recently used first, until memory is well below.
    ///
    /// Does nothing while memory is at most `max_bytes`. To be called when what
    /// [`take_changes`](Self::take_changes) gave has been stored.
    pub fn forget_clean(&mut self, max_bytes: usize) {
        if self.bytes <= max_bytes {
            return;
        }
        let mut clean = Vec::new();
        for (connection, here) in &self.connections {
            for (id, slot) in here.findings.iter().filter(|(_, slot)| !slot.is_dirty()) {
                let item = Item::Finding(id.clone());
                let scope = Scope::Findings(connection.clone());
                clean.push((slot.used, StateKey { scope, item }));
            }
            for (run, windows) in &here.runs {
                for (hash, group) in &windows.groups {
                    for segment in group.segments().filter(|segment| !segment.dirty) {
                        let item = Item::Segment(*hash, segment.index);
                        let scope = Scope::Run(connection.clone(), run.clone());
                        clean.push((segment.used, StateKey { scope, item }));
                    }
                }
            }
        }
        clean.sort_unstable();
        for (_, key) in clean {
            if self.bytes <= max_bytes / 4 * 3 {
                break;
            }
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &StateKey) {
        let (Scope::Findings(connection) | Scope::Run(connection, _)) = &key.scope;
        let Some(here) = self.connections.get_mut(connection) else { return };
        match (&key.scope, &key.item) {
            (Scope::Run(_, run), Item::Segment(hash, index)) => {
                let Some(run) = here.runs.get_mut(run) else { return };
                let Some(group) = run.groups.get_mut(hash) else { return };
                let before = group.size();
                group.remove(*index);
                self.bytes = (self.bytes + group.size()).saturating_sub(before);
                run.resident = false;
                if group.segments().next().is_none() {
                    run.groups.remove(hash);
                }
            }
            (Scope::Findings(_), Item::Finding(id)) => {
                if let Some(slot) = here.findings.remove(id) {
                    self.bytes = self.bytes.saturating_sub(slot.size());
                    here.resident = false;
                }
            }
            _ => {}
        }
    }
}

/// Where a verdict goes: the findings of a connection, and the lists of what changes.
struct Findings<'a> {
    here: &'a mut Connection,
    published: &'a mut BTreeMap<FindingId, (ConnectionId, Arc<Known>)>,
    listed: &'a mut Vec<(ConnectionId, FindingId)>,
    missing: &'a mut Vec<StateKey>,
    bytes: &'a mut usize,
    batch: u64,
}

impl Findings<'_> {
    /// Lets `fold` change the finding of a bucket, or notes that it is not in memory.
    fn fold(
        &mut self,
        matched: &Match,
        known: &Arc<Known>,
        bucket: i64,
        fold: impl FnOnce(&mut Folded) -> bool,
    ) {
        let id = finding_id(matched, known, bucket);
        let expires_at = self.here.expiry();
        if !self.here.findings.contains_key(&id) {
            if !self.here.resident {
                let scope = Scope::Findings(matched.connection.clone());
                self.missing.push(StateKey { scope, item: Item::Finding(id) });
                return;
            }
            let slot = Slot { expires_at, ..Slot::default() };
            *self.bytes += slot.size();
            self.here.add(id.clone(), slot);
        }
        let Some(slot) = self.here.findings.get_mut(&id) else { return };
        let before = slot.size();
        slot.used = self.batch;
        let folded = slot.folded.get_or_insert_with(|| Folded::new(matched.run.clone()));
        let changed = fold(folded);
        *self.bytes = (*self.bytes + slot.size()).saturating_sub(before);
        if slot.is_dirty() {
            slot.expires_at = slot.expires_at.max(expires_at);
            if !std::mem::replace(&mut slot.listed, true) {
                self.listed.push((matched.connection.clone(), id.clone()));
            }
        }
        if changed {
            self.published.insert(id, (matched.connection.clone(), Arc::clone(known)));
        }
    }
}

/// Puts a segment into memory; returns the size of its group before and after.
fn load_segment(
    run: &mut Run,
    hash: GroupHash,
    index: i64,
    stored: Option<&Stored>,
    batch: u64,
) -> Result<(usize, usize), StateError> {
    let stored = stored.filter(|one| run.clock.freed() < Some(one.expires_at));
    let mut segment = match stored {
        Some(one) => Segment::decode(index, one.expires_at, &one.parts)?,
        None => Segment::empty(index, run.clock.expiry(i64::MIN)), // kept to know that it is absent
    };
    segment.used = batch;
    let expires_at = segment.expires_at;
    let group = run.groups.entry(hash).or_default();
    let before = group.size();
    group.add(segment);
    let after = group.size();
    run.queue(expires_at, hash, index);
    Ok((before, after))
}

fn put_time(scope: Scope, bytes: Vec<u8>) -> Put {
    let key = StateKey { scope, item: Item::Time };
    Put { key, expires_at: i64::MAX, replace: true, parts: vec![(0, bytes)] }
}

fn whose(body: &MatchBody) -> (&ConnectionId, &RunId) {
    match body {
        MatchBody::Match(matched) => (&matched.connection, &matched.run),
        MatchBody::Watermark(mark) => (&mark.connection, &mark.run),
        MatchBody::RunEnd { end, .. } => (&end.connection, &end.run),
    }
}

fn event_time(matched: &Match) -> i64 {
    matched.occurred_at.as_millis().clamp(-MAX_TIME_MS, MAX_TIME_MS)
}

fn group_base(group: &GroupKey) -> [u8; 16] {
    let count = (group.names.len() as u64).to_be_bytes();
    let names = group.names.iter().map(|name| name.as_bytes());
    let values = group.values.iter().map(String::as_bytes);
    short(hash_parts([count.as_slice()].into_iter().chain(names).chain(values)))
}

fn group_hash(base: [u8; 16], known: &Known) -> GroupHash {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&base);
    hash[16..].copy_from_slice(&known.scope);
    hash
}

fn finding_id(matched: &Match, known: &Known, bucket: i64) -> FindingId {
    let values = matched.group.values.iter().map(String::as_str);
    let bucket = hubwarden_event::Timestamp::from_millis(bucket);
    FindingId::of(&matched.connection, &matched.run, known.info.identity(), values, bucket)
}
