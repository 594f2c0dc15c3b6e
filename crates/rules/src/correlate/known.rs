use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hubwarden_event::{FlatRecord, Hash, Hit, Reason, hash_parts};

use crate::{RuleInfo, RuleSet, Window};

/// A segment of a group keeps at least this many entries.
const MIN_ENTRIES: usize = 10_000;
/// Rule sets whose matches can still be under way: the active one and those before it.
const MAX_SETS: usize = 8;
/// Longest span and fold, some 35,000 years: with times held as far, sums cannot overflow.
const MAX_LENGTH_MS: i64 = 1 << 50;

/// How a threshold rule is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold {
    pub(super) span: i64,
    pub(super) at_least: u64,
    /// Whether distinct values are counted instead of events.
    pub(super) distinct: bool,
}

impl Threshold {
    /// The segment that holds this time.
    pub(super) fn segment(&self, time: i64) -> i64 {
        time.div_euclid(self.span)
    }

    /// End of the last window that can hold an event of the segment.
    pub(super) fn end(&self, segment: i64) -> i64 {
        segment.saturating_add(2).saturating_mul(self.span)
    }

    /// How much a segment keeps.
    pub(super) fn cap(&self) -> Cap {
        let least = usize::try_from(self.at_least.saturating_mul(2)).unwrap_or(usize::MAX);
        Cap { entries: least.max(MIN_ENTRIES), least, distinct: self.distinct }
    }
}

/// How much a segment keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cap {
    /// The most entries.
    pub(super) entries: usize,
    /// So many entries stay however large they are, or the rule could not count to its threshold.
    pub(super) least: usize,
    /// Whether the last event of each distinct value goes last.
    pub(super) distinct: bool,
}

/// A rule as the correlator uses it.
#[derive(Debug)]
pub(super) struct Known {
    set: Arc<RuleSet>,
    pub(super) info: RuleInfo,
    /// Identity and state hash: what windows survive by.
    pub(super) scope: [u8; 16],
    pub(super) threshold: Option<Threshold>,
    fold: i64,
}

impl Known {
    fn new(set: &Arc<RuleSet>, info: &RuleInfo) -> Self {
        let threshold = match info.window {
            Window::Single => None,
            Window::Events { at_least, span_ms } => Some((at_least, span_ms, false)),
            Window::Values { at_least, span_ms, .. } => Some((at_least, span_ms, true)),
        };
        let threshold = threshold.map(|(at_least, span, distinct)| Threshold {
            span: span.clamp(1, MAX_LENGTH_MS),
            at_least: at_least.max(1),
            distinct,
        });
        let scope = short(hash_parts([info.identity().as_bytes(), info.state_hash.0.as_slice()]));
        let fold = info.fold_ms.clamp(1, MAX_LENGTH_MS);
        Self { set: Arc::clone(set), info: info.clone(), scope, threshold, fold }
    }

    /// The start of the bucket that holds this time.
    pub(super) fn bucket(&self, time: i64) -> i64 {
        time.div_euclid(self.fold) * self.fold
    }

    /// The conditions of the rule that held for a record.
    pub(super) fn reasons(&self, record: &FlatRecord) -> Vec<Reason> {
        self.set.reasons(&self.info, record)
    }
}

/// The first half of a SHA-256.
pub(super) fn short(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

/// Every rule that matches may name.
#[derive(Debug, Default)]
pub(super) struct Book {
    sets: Vec<Arc<RuleSet>>,
    by_content: HashMap<Hash, Arc<Known>, RandomState>,
    by_state: HashMap<Hash, Option<Arc<Known>>, RandomState>,
    retired: HashMap<Hash, (), RandomState>,
}

/// What a hit's rule hash leads to.
pub(super) enum Resolved<'a> {
    Rule(&'a Arc<Known>),
    /// The rule is gone for good.
    Gone,
    Unknown(Hash),
}

impl Book {
    /// Makes `set` the active one; the sets before it stay known for matches that are under way.
    pub(super) fn replace(&mut self, set: Arc<RuleSet>) {
        self.sets.retain(|old| old.hash() != set.hash());
        self.sets.insert(0, set);
        self.sets.truncate(MAX_SETS);
        let mut by_content: HashMap<_, _, RandomState> = HashMap::default();
        for set in self.sets.iter().rev() {
            for info in set.rules() {
                by_content.insert(info.hash, Arc::new(Known::new(set, info)));
            }
        }
        self.by_content = by_content;
        self.by_state.clear();
        for info in self.sets.first().map_or(&[][..], |set| set.rules()) {
            let known = self.by_content.get(&info.hash).cloned();
            let one = self.by_state.entry(info.state_hash);
            one.and_modify(|rule| *rule = None).or_insert(known);
        }
        self.retired.retain(|hash, ()| !self.by_content.contains_key(hash));
    }

    /// Notes that no set has this rule any more.
    pub(super) fn retire(&mut self, hash: Hash) {
        if !self.by_content.contains_key(&hash) {
            self.retired.insert(hash, ());
        }
    }

    pub(super) fn resolve(&self, hit: &Hit) -> Resolved<'_> {
        if let Some(known) = self.by_content.get(&hit.rule) {
            return Resolved::Rule(known);
        }
        if !self.retired.contains_key(&hit.rule) {
            return Resolved::Unknown(hit.rule);
        }
        match self.by_state.get(&hit.state) {
            Some(Some(known)) => Resolved::Rule(known),
            _ => Resolved::Gone,
        }
    }
}
