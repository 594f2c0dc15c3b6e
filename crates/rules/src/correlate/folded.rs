use std::collections::HashSet;

use foldhash::fast::RandomState;
use hubwarden_event::{EVIDENCE_LIMIT, EventId, RunId, Severity};

use super::codec::{Reader, StateError, Writer};
use super::group::{Group, Held};
use super::known::Threshold;
use super::ranges::Ranges;
use super::segment::Entry;

/// A finding recognises so many events again; beyond, its count reads "at least".
pub(super) const MAX_FINGERPRINTS: usize = 10_000;
/// A part of the store holds so many fingerprints.
const IDS_PER_PART: usize = 512;
/// Parts before the fingerprints: what changes often, and the evidence.
const HEAD: u32 = 0;
const EVIDENCE: u32 = 1;
const IDS: u32 = 2;

/// What has been folded into one finding, over all runs.
#[derive(Debug)]
pub(super) struct Folded {
    /// The run that came first.
    pub(super) run: RunId,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) severity: Severity,
    /// The highest metric of a window.
    pub(super) peak: u64,
    pub(super) at_least: bool,
    /// The earliest entries, in order.
    pub(super) evidence: Vec<Entry>,
    ids: Vec<EventId>,
    known: HashSet<EventId, RandomState>,
    /// Per run the times of which every entry has been folded in.
    covered: Vec<(RunId, Ranges)>,
    head_changed: bool,
    evidence_changed: bool,
    /// How many of the ids the store has.
    saved: usize,
    replace: bool,
}

impl Folded {
    /// A finding of which the store has nothing.
    pub(super) fn new(run: RunId) -> Self {
        Self {
            run,
            first: i64::MAX,
            last: i64::MIN,
            severity: Severity::Informational,
            peak: 0,
            at_least: false,
            evidence: Vec::new(),
            ids: Vec::new(),
            known: HashSet::default(),
            covered: Vec::new(),
            head_changed: true,
            evidence_changed: true,
            saved: 0,
            replace: true,
        }
    }

    /// How many distinct events are known to belong to it.
    pub(super) fn count(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Whether the store lacks something of it.
    pub(super) fn is_dirty(&self) -> bool {
        self.head_changed || self.evidence_changed || self.saved < self.ids.len()
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        let evidence: usize = self.evidence.iter().map(Entry::size).sum();
        size_of::<Self>() + evidence + self.ids.len() * 40 + self.covered.len() * 64
    }

    /// Folds an event in; false if that changes nothing that a reader sees.
    pub(super) fn add(&mut self, entry: &Entry) -> bool {
        let fresh = if self.known.contains(&entry.id) {
            false
        } else if self.ids.len() < MAX_FINGERPRINTS {
            self.ids.push(entry.id);
            self.known.insert(entry.id)
        } else {
            !std::mem::replace(&mut self.at_least, true)
        };
        let before = (self.first, self.last, self.severity);
        self.first = self.first.min(entry.time);
        self.last = self.last.max(entry.time);
        self.severity = self.severity.max(entry.severity);
        let wider = before != (self.first, self.last, self.severity);
        let evident = self.keep_evidence(entry);
        self.evidence_changed |= evident;
        self.head_changed |= fresh || wider;
        fresh || wider || evident
    }

    fn keep_evidence(&mut self, entry: &Entry) -> bool {
        let place = self.evidence.partition_point(|kept| kept.key() < entry.key());
        if place >= EVIDENCE_LIMIT || self.evidence.iter().any(|kept| kept.id == entry.id) {
            return false;
        }
        self.evidence.insert(place, entry.clone());
        self.evidence.truncate(EVIDENCE_LIMIT);
        true
    }

    fn reach(&mut self, peak: u64) -> bool {
        let higher = peak > self.peak;
        self.peak = self.peak.max(peak);
        self.head_changed |= higher;
        higher
    }

    /// Folds one event of a single-event rule in; false if that changes nothing.
    pub(super) fn fold_single(&mut self, entry: &Entry) -> bool {
        let fresh = self.add(entry);
        self.reach(1) | fresh
    }

    /// Folds in what windows that hold have in them; false if that changes nothing.
    ///
    /// `entry` was just taken up and is looked at in any case; of the rest only times that no
    /// window of this run has covered before are looked at.
    pub(super) fn fold(
        &mut self,
        run: &RunId,
        entry: &Entry,
        held: &Held,
        group: &Group,
        rule: Threshold,
        steps: &mut u64,
    ) -> bool {
        let mut changed = self.add(entry) | self.reach(held.peak);
        for (from, to) in &held.ranges {
            for (from, to) in self.cover(run, *from, *to) {
                self.head_changed = true;
                for entry in group.range(from, to) {
                    *steps += 1;
                    changed |= self.add(entry);
                }
            }
            if !self.at_least && group.is_truncated(*from, *to, rule) {
                (self.at_least, self.head_changed, changed) = (true, true, true);
            }
        }
        changed
    }

    fn cover(&mut self, run: &RunId, from: i64, to: i64) -> Vec<(i64, i64)> {
        if let Some((_, ranges)) = self.covered.iter_mut().find(|(of, _)| of == run) {
            return ranges.add(from, to);
        }
        let mut ranges = Ranges::default();
        let fresh = ranges.add(from, to);
        self.covered.push((run.clone(), ranges));
        fresh
    }

    /// What the store has to write: whether to throw the old parts away, and the new ones.
    pub(super) fn take_parts(&mut self) -> (bool, Vec<(u32, Vec<u8>)>) {
        let mut parts = Vec::new();
        if std::mem::take(&mut self.head_changed) {
            parts.push((HEAD, self.encode_head()));
        }
        if std::mem::take(&mut self.evidence_changed) {
            let mut out = Writer::new();
            self.evidence.iter().for_each(|entry| entry.encode(&mut out));
            parts.push((EVIDENCE, out.finish()));
        }
        if self.saved < self.ids.len() {
            let first = self.saved / IDS_PER_PART;
            for (part, ids) in self.ids.chunks(IDS_PER_PART).enumerate().skip(first) {
                let mut out = Writer::new();
                ids.iter().for_each(|id| out.fixed(id.as_bytes()));
                parts.push((IDS + part as u32, out.finish()));
            }
            self.saved = self.ids.len();
        }
        (std::mem::take(&mut self.replace), parts)
    }

    fn encode_head(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.bytes(self.run.as_str().as_bytes());
        out.i64(self.first);
        out.i64(self.last);
        out.u8(self.severity as u8);
        out.u64(self.peak);
        out.u8(u8::from(self.at_least));
        out.u32(self.covered.len() as u32);
        for (run, ranges) in &self.covered {
            out.bytes(run.as_str().as_bytes());
            ranges.encode(&mut out);
        }
        out.finish()
    }

    /// Reads the parts that [`take_parts`](Self::take_parts) gave, in their order.
    pub(super) fn decode(parts: &[impl AsRef<[u8]>]) -> Result<Self, StateError> {
        let [head, evidence, ids @ ..] = parts else {
            return Err(StateError::Damaged("parts of a finding are missing"));
        };
        let mut reader = Reader::new(head.as_ref())?;
        let mut folded = Self::new(RunId::new(reader.text()?));
        (folded.first, folded.last) = (reader.i64()?, reader.i64()?);
        let severity = Severity::ALL.get(usize::from(reader.u8()?));
        folded.severity = *severity.ok_or(StateError::Damaged("severity"))?;
        folded.peak = reader.u64()?;
        folded.at_least = reader.u8()? != 0;
        for _ in 0..reader.u32()? {
            let run = RunId::new(reader.text()?);
            folded.covered.push((run, Ranges::decode(&mut reader)?));
        }
        let mut reader = Reader::new(evidence.as_ref())?;
        while !reader.is_empty() {
            folded.evidence.push(Entry::decode(&mut reader)?);
        }
        for part in ids {
            let mut reader = Reader::new(part.as_ref())?;
            while !reader.is_empty() {
                let id = reader.event_id()?;
                folded.ids.push(id);
                folded.known.insert(id);
            }
        }
        folded.saved = folded.ids.len();
        (folded.head_changed, folded.evidence_changed, folded.replace) = (false, false, false);
        Ok(folded)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hubwarden_event::RawPosition;

    use super::*;

    fn entry(number: u64) -> Entry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Entry {
            time: number as i64,
            id: EventId::from_bytes(id),
            value: None,
            severity: Severity::Low,
            position: RawPosition::default(),
            record: Arc::default(),
        }
    }

    #[test]
    fn beyond_the_fingerprints_it_reads_at_least_and_still_widens() {
        let mut folded = Folded::new(RunId::live());
        for number in 100..100 + MAX_FINGERPRINTS as u64 {
            assert!(folded.add(&entry(number)));
            assert!(!folded.add(&entry(number)), "a repeat");
        }
        assert!(!folded.at_least);
        assert!(folded.add(&entry(20_000)));
        assert!(folded.add(&entry(1)));
        assert_eq!((folded.count(), folded.at_least), (MAX_FINGERPRINTS as u64, true));
        assert_eq!((folded.first, folded.last, folded.evidence[0].time), (1, 20_000, 1));
        assert!(!folded.add(&entry(15_000)), "nothing that a reader sees");
    }

    #[test]
    fn the_store_gets_only_what_changed_and_gives_all_of_it_back() {
        let mut folded = Folded::new(RunId::live());
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut store = |folded: &mut Folded| {
            let (_, new) = folded.take_parts();
            let written: Vec<u32> = new.iter().map(|(part, _)| *part).collect();
            for (part, bytes) in new {
                parts.resize(parts.len().max(part as usize + 1), Vec::new());
                parts[part as usize] = bytes;
            }
            (written, Folded::decode(&parts).unwrap())
        };
        for number in 0..600 {
            folded.fold_single(&entry(number));
        }
        assert_eq!(store(&mut folded).0, [0, 1, 2, 3]);
        folded.add(&entry(700));
        let (written, back) = store(&mut folded);
        assert_eq!(written, [0, 3], "neither evidence nor full parts again");
        assert!(!folded.is_dirty() && !back.is_dirty());
        assert_eq!((back.count(), back.first, back.last, back.peak), (601, 0, 700, 1));
        assert_eq!((back.ids, back.evidence), (folded.ids, folded.evidence));
    }
}
