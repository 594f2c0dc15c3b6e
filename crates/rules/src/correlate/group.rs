use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::known::{Known, Threshold};
use super::recent::Recent;
use super::segment::{Entry, Segment, Value};

/// A window with fewer entries is counted anew for each event; beyond, [`Recent`] is kept.
const SMALL_WINDOW: usize = 64;

/// The windows of one rule and group that hold and end in one bucket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Start of the bucket.
    pub(super) bucket: i64,
    /// The highest metric of these windows.
    pub(super) peak: u64,
    /// What the windows cover.
    pub(super) ranges: Vec<(i64, i64)>,
}

/// The matching events of one rule, state and group, as far as they are in memory.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// By index; few, so a list.
    segments: Vec<Segment>,
    recent: Option<Recent>,
}

impl Group {
    pub(super) fn get(&self, index: i64) -> Option<&Segment> {
        self.place(index).ok().map(|place| &self.segments[place])
    }

    pub(super) fn get_mut(&mut self, index: i64) -> Option<&mut Segment> {
        self.place(index).ok().map(|place| &mut self.segments[place])
    }

    fn place(&self, index: i64) -> Result<usize, usize> {
        self.segments.binary_search_by_key(&index, |segment| segment.index)
    }

    /// Puts a segment into its place; one that is there already stays.
    pub(super) fn add(&mut self, segment: Segment) {
        if let Err(place) = self.place(segment.index) {
            self.segments.insert(place, segment);
            self.recent = None;
        }
    }

    pub(super) fn remove(&mut self, index: i64) -> Option<Segment> {
        self.recent = None;
        self.place(index).ok().map(|place| self.segments.remove(place))
    }

    /// Forgets clean segments that no batch after `used` has used; returns how many bytes that was.
    pub(super) fn forget(&mut self, used: u64) -> usize {
        let stale = |segment: &Segment| !segment.dirty && segment.used <= used;
        if !self.segments.iter().any(stale) {
            return 0;
        }
        let before = self.size();
        self.recent = None;
        self.segments.retain(|segment| !stale(segment));
        before - self.size()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        let segments: usize = self.segments.iter().map(Segment::size).sum();
        segments + self.recent.as_ref().map_or(0, Recent::size)
    }

    /// Entries in `[from, to]`, in order.
    pub(super) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Entry> {
        self.segments.iter().flat_map(move |segment| segment.range(from, to))
    }

    /// Whether a segment that reaches into `[from, to]` has left entries out.
    pub(super) fn is_truncated(&self, from: i64, to: i64, rule: Threshold) -> bool {
        let indexes = rule.segment(from)..=rule.segment(to);
        self.segments.iter().any(|one| one.truncated && indexes.contains(&one.index))
    }

    fn count(&self, from: i64, to: i64) -> usize {
        self.segments.iter().map(|segment| segment.count(from, to)).sum()
    }

    /// Takes an event up; false if it is there already. The event's segment must be there.
    pub(super) fn insert(&mut self, entry: Entry, rule: Threshold) -> bool {
        let (time, value) = (entry.time, entry.value);
        let Some(segment) = self.get_mut(rule.segment(time)) else { return false };
        let was_truncated = segment.truncated;
        let fresh = segment.insert(entry, rule.cap());
        let truncated = segment.truncated && !was_truncated;
        match (&mut self.recent, value) {
            _ if truncated => self.recent = None,
            (Some(recent), Some(value)) if time >= recent.head() - rule.span => {
                recent.see(time, value);
            }
            _ => {}
        }
        fresh
    }

    /// The windows that hold and end at a matching event in `[time, time + span]`, where `time` is
    /// that of an event which has just been taken up.
    ///
    /// All segments from `time - span` to `time + span` must be there. `steps` counts the work.
    pub(super) fn judge(&mut self, known: &Known, time: i64, steps: &mut u64) -> Vec<Held> {
        let Some(rule) = known.threshold else { return Vec::new() };
        let newest = self.segments.iter().rev().find_map(Segment::last_time);
        if newest.is_none_or(|newest| newest <= time) {
            let metric = self.newest_metric(rule, time, steps);
            if metric < rule.at_least {
                return Vec::new();
            }
            let ranges = vec![(time - rule.span, time)];
            return vec![Held { bucket: known.bucket(time), peak: metric, ranges }];
        }
        self.slide(known, rule, time, steps)
    }

    /// The metric of the window that ends at `time`, the newest entry's.
    fn newest_metric(&mut self, rule: Threshold, time: i64, steps: &mut u64) -> u64 {
        let from = time - rule.span;
        *steps += 1;
        let count = self.count(from, time);
        if !rule.distinct {
            return count as u64;
        }
        if (count as u64) < rule.at_least {
            return 0;
        }
        if self.recent.is_none() {
            *steps += count as u64;
            let mut recent = Recent::default();
            recent.advance(time, rule.span);
            for entry in self.range(from, time) {
                if let Some(value) = entry.value {
                    recent.see(entry.time, value);
                }
            }
            if count < SMALL_WINDOW {
                return recent.distinct();
            }
            self.recent = Some(recent);
        }
        self.recent.as_mut().map_or(0, |recent| {
            *steps += recent.advance(time, rule.span) as u64;
            recent.distinct()
        })
    }

    /// Slides over the windows that end in `[time, time + span]`.
    fn slide(&self, known: &Known, rule: Threshold, time: i64, steps: &mut u64) -> Vec<Held> {
        let entries: Vec<&Entry> = self.range(time - rule.span, time + rule.span).collect();
        *steps += entries.len() as u64;
        let mut window = Metric::new(rule.distinct);
        let (mut oldest, mut held) = (0, Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            window.add(entry);
            let more_at_once = entries.get(place + 1).is_some_and(|next| next.time == entry.time);
            if entry.time < time || more_at_once {
                continue;
            }
            while entries[oldest].time < entry.time - rule.span {
                window.remove(entries[oldest]);
                oldest += 1;
            }
            let metric = window.value();
            if metric >= rule.at_least {
                note(&mut held, known.bucket(entry.time), metric, rule.span, entry.time);
            }
        }
        held
    }
}

/// Adds the window that ends at `end` to the list; ends come in order.
fn note(held: &mut Vec<Held>, bucket: i64, metric: u64, span: i64, end: i64) {
    let from = end - span;
    match held.last_mut().filter(|last| last.bucket == bucket) {
        Some(last) => {
            last.peak = last.peak.max(metric);
            match last.ranges.last_mut() {
                Some(range) if from <= range.1 => range.1 = end,
                _ => last.ranges.push((from, end)),
            }
        }
        None => held.push(Held { bucket, peak: metric, ranges: vec![(from, end)] }),
    }
}

/// What a sliding window counts.
enum Metric {
    Events(u64),
    Values(HashMap<Value, u64, RandomState>),
}

impl Metric {
    fn new(distinct: bool) -> Self {
        if distinct { Self::Values(HashMap::default()) } else { Self::Events(0) }
    }

    fn add(&mut self, entry: &Entry) {
        match (self, entry.value) {
            (Self::Events(count), _) => *count += 1,
            (Self::Values(seen), Some(value)) => *seen.entry(value).or_default() += 1,
            (Self::Values(_), None) => {}
        }
    }

    fn remove(&mut self, entry: &Entry) {
        match (self, entry.value) {
            (Self::Events(count), _) => *count -= 1,
            (Self::Values(seen), Some(value)) => {
                if let Some(count) = seen.get_mut(&value) {
                    *count -= 1;
                    if *count == 0 {
                        seen.remove(&value);
                    }
                }
            }
            (Self::Values(_), None) => {}
        }
    }

    fn value(&self) -> u64 {
        match self {
            Self::Events(count) => *count,
            Self::Values(seen) => seen.len() as u64,
        }
    }
}
