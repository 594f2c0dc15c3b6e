use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hubwarden_event::{EventId, FlatRecord, RawPosition, Severity};

use super::codec::{Reader, StateError, Writer};
use super::known::Cap;

/// A part of a segment is closed at this size and not written again.
const PART_BYTES: usize = 16 * 1024;

/// A segment keeps at most so many bytes, as far as its rule can still count ([`Cap::least`]).
const MAX_BYTES: usize = 8 << 20;

/// A distinct value as 128 bits of its SHA-256: state does not grow with what attackers write.
pub(super) type Value = [u8; 16];

/// One matching event, with what a finding needs of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) time: i64,
    pub(super) id: EventId,
    pub(super) value: Option<Value>,
    pub(super) severity: Severity,
    pub(super) position: RawPosition,
    pub(super) record: Arc<FlatRecord>,
}

impl Entry {
    /// What orders entries: time, then id.
    pub(super) fn key(&self) -> (i64, EventId) {
        (self.time, self.id)
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + size_of::<FlatRecord>() + 16 + self.record.encoded_len()
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.i64(self.time);
        out.fixed(self.id.as_bytes());
        out.u8(self.severity as u8 | if self.value.is_some() { 0x80 } else { 0 });
        if let Some(value) = &self.value {
            out.fixed(value);
        }
        out.u32(self.position.partition);
        out.u64(self.position.offset);
        out.bytes(&self.record.to_bytes());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let (time, id) = (reader.i64()?, reader.event_id()?);
        let flags = reader.u8()?;
        let severity = Severity::ALL.get(usize::from(flags & 0x7f));
        let severity = *severity.ok_or(StateError::Damaged("severity"))?;
        let value = if flags & 0x80 != 0 { Some(reader.array()?) } else { None };
        let position = RawPosition { partition: reader.u32()?, offset: reader.u64()? };
        let record = Arc::new(FlatRecord::decode(reader.bytes()?)?);
        Ok(Self { time, id, value, severity, position, record })
    }
}

/// The matching events of one group in `[index * span, (index + 1) * span)`, in order of time and id.
///
/// In the store it is a list of parts in order of arrival: an event rewrites the last one at most.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) index: i64,
    entries: VecDeque<Entry>,
    /// Whether entries have been left out at the cap.
    pub(super) truncated: bool,
    /// Entries of the last part, which is still open.
    open: Vec<(i64, EventId)>,
    open_bytes: usize,
    open_part: u32,
    open_changed: bool,
    /// Closed parts that the store does not have yet.
    closed: Vec<(u32, Vec<(i64, EventId)>)>,
    /// Whether the store's parts, if any, are void.
    replace: bool,
    /// Whether the store lacks something of it.
    pub(super) dirty: bool,
    /// The watermark at which it is freed.
    pub(super) expires_at: i64,
    /// The batch that last used it.
    pub(super) used: u64,
    size: usize,
}

impl Segment {
    /// A segment of which the store has nothing.
    pub(super) fn empty(index: i64, expires_at: i64) -> Self {
        Self {
            index,
            entries: VecDeque::new(),
            truncated: false,
            open: Vec::new(),
            open_bytes: 0,
            open_part: 0,
            open_changed: false,
            closed: Vec::new(),
            replace: true,
            dirty: false,
            expires_at,
            used: 0,
            size: 0,
        }
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + 48 + self.size
    }

    /// The entries from `from` to `to`, both included.
    pub(super) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.before(from)..self.through(to))
    }

    /// How many entries lie in `[from, to]`.
    pub(super) fn count(&self, from: i64, to: i64) -> usize {
        self.through(to) - self.before(from)
    }

    fn before(&self, from: i64) -> usize {
        match self.entries.front() {
            Some(first) if first.time < from => self.entries.partition_point(|e| e.time < from),
            _ => 0,
        }
    }

    fn through(&self, to: i64) -> usize {
        match self.entries.back() {
            Some(last) if last.time > to => self.entries.partition_point(|e| e.time <= to),
            _ => self.entries.len(),
        }
    }

    pub(super) fn last_time(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.time)
    }

    /// Takes an event up; false if it is there already.
    ///
    /// Beyond the cap, or beyond 8 MiB, the earliest go: a window that ends later than all of them and
    /// holds enough events still does. Where distinct values count, the last event of each value goes
    /// last.
    pub(super) fn insert(&mut self, entry: Entry, cap: Cap) -> bool {
        let key = entry.key();
        let place = match self.entries.back() {
            Some(last) if last.key() >= key => self.entries.partition_point(|e| e.key() < key),
            _ => self.entries.len(),
        };
        if self.entries.get(place).is_some_and(|there| there.key() == key) {
            return false;
        }
        let size = entry.size();
        self.entries.insert(place, entry);
        self.size += size;
        self.append(key, size);
        let count = self.entries.len();
        if count > cap.entries {
            self.truncate(cap.entries - cap.entries / 8, cap.distinct);
        } else if self.size > MAX_BYTES && count > cap.least {
            self.truncate(cap.least.max(count - count.div_ceil(8)), cap.distinct);
        }
        true
    }

    fn append(&mut self, key: (i64, EventId), size: usize) {
        self.open.push(key);
        self.open_bytes += size;
        self.open_changed = true;
        self.dirty = true;
        if self.open_bytes >= PART_BYTES {
            self.closed.push((self.open_part, std::mem::take(&mut self.open)));
            self.open_part += 1;
            self.open_bytes = 0;
            self.open_changed = false;
        }
    }

    fn truncate(&mut self, target: usize, distinct: bool) {
        let mut excess = self.entries.len() - target;
        if distinct {
            let mut seen: HashSet<Value, RandomState> = HashSet::default();
            let last: Vec<bool> = self
                .entries
                .iter()
                .rev()
                .map(|e| e.value.is_some_and(|v| seen.insert(v)))
                .collect();
            let mut last = last.into_iter().rev();
            self.entries.retain(|_| {
                let keep = excess == 0 || last.next() == Some(true);
                excess -= usize::from(!keep);
                keep
            });
        }
        self.entries.drain(..excess);
        self.truncated = true;
        self.replace = true;
        self.closed.clear();
        self.open.clear();
        (self.open_part, self.open_bytes, self.open_changed, self.size) = (0, 0, true, 0);
        let sizes: Vec<_> = self.entries.iter().map(|e| (e.key(), e.size())).collect();
        for (key, size) in sizes {
            self.size += size;
            self.append(key, size);
        }
    }

    /// What the store has to write: whether to throw the old parts away, and the new ones.
    pub(super) fn take_parts(&mut self) -> (bool, Vec<(u32, Vec<u8>)>) {
        let mut parts = std::mem::take(&mut self.closed);
        if std::mem::take(&mut self.open_changed) {
            parts.push((self.open_part, self.open.clone()));
        }
        self.dirty = false;
        let parts = parts.into_iter().map(|(part, keys)| (part, self.encode(&keys))).collect();
        (std::mem::take(&mut self.replace), parts)
    }

    fn encode(&self, keys: &[(i64, EventId)]) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(u8::from(self.truncated));
        for key in keys {
            if let Ok(place) = self.entries.binary_search_by(|entry| entry.key().cmp(key)) {
                self.entries[place].encode(&mut out);
            }
        }
        out.finish()
    }

    /// Reads the parts that [`take_parts`](Self::take_parts) gave, in their order.
    pub(super) fn decode(
        index: i64,
        expires_at: i64,
        parts: &[impl AsRef<[u8]>],
    ) -> Result<Self, StateError> {
        let mut segment = Self { replace: false, ..Self::empty(index, expires_at) };
        let mut entries = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let mut reader = Reader::new(part.as_ref())?;
            segment.truncated |= reader.u8()? != 0;
            segment.open.clear();
            segment.open_bytes = 0;
            segment.open_part = number as u32;
            while !reader.is_empty() {
                let entry = Entry::decode(&mut reader)?;
                segment.open.push(entry.key());
                segment.open_bytes += entry.size();
                segment.size += entry.size();
                entries.push(entry);
            }
        }
        if segment.open_bytes >= PART_BYTES {
            segment.open.clear();
            segment.open_bytes = 0;
            segment.open_part += 1;
        }
        entries.sort_by_key(Entry::key);
        segment.entries = entries.into();
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: i64, value: Option<u8>) -> Entry {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&time.to_be_bytes());
        Entry {
            time,
            id: EventId::from_bytes(id),
            value: value.map(|value| [value; 16]),
            severity: Severity::High,
            position: RawPosition { partition: 1, offset: 7 },
            record: Arc::default(),
        }
    }

    fn cap(entries: usize) -> Cap {
        Cap { entries, least: 4, distinct: true }
    }

    #[test]
    fn large_entries_go_by_their_bytes_and_never_below_what_the_rule_counts() {
        let large = |time| {
            let mut builder = hubwarden_event::FlatBuilder::default();
            for _ in 0..64 {
                builder.push("note", hubwarden_event::CellKind::Text, &"x".repeat(16 << 10));
            }
            Entry { record: builder.finish(), ..entry(time, None) }
        };
        let mut segment = Segment::empty(0, 0);
        for time in 0..40 {
            segment.insert(large(time), cap(10_000));
            assert!(segment.size() < MAX_BYTES + (2 << 20), "{}", segment.size());
        }
        assert!(segment.truncated);
        assert_eq!(segment.last_time(), Some(39));
        let mut segment = Segment::empty(0, 0);
        for time in 0..60 {
            segment.insert(large(time), Cap { least: 40, ..cap(10_000) });
        }
        assert_eq!(segment.count(0, 60), 40);
    }

    /// What a store that got every change would hand back.
    fn store(parts: &mut Vec<Vec<u8>>, segment: &mut Segment) -> usize {
        let (replace, new) = segment.take_parts();
        if replace {
            parts.clear();
        }
        let written = new.iter().map(|(_, bytes)| bytes.len()).sum();
        for (part, bytes) in new {
            parts.resize(parts.len().max(part as usize + 1), Vec::new());
            parts[part as usize] = bytes;
        }
        written
    }

    #[test]
    fn comes_back_from_its_parts_and_rewrites_only_the_last() {
        let mut segment = Segment::empty(0, 9);
        let mut parts = Vec::new();
        for time in [5, 3, 900].into_iter().chain(10..700) {
            assert!(segment.insert(entry(time, Some(1)), cap(10_000)));
            assert!(!segment.insert(entry(time, Some(1)), cap(10_000)), "a repeat");
            let written = store(&mut parts, &mut segment);
            assert!(written < PART_BYTES, "{written}");
            if time % 97 == 0 {
                let size = segment.size();
                segment = Segment::decode(0, 9, &parts).unwrap();
                assert_eq!(segment.size(), size);
            }
        }
        assert!(parts.len() > 3);
        let back = Segment::decode(0, 9, &parts).unwrap();
        assert_eq!(back.entries, segment.entries);
        assert_eq!((back.entries.len(), back.count(3, 10), back.count(11, 12)), (693, 3, 2));
    }

    #[test]
    fn at_the_cap_the_earliest_go_but_the_last_of_each_value_stays() {
        let mut segment = Segment::empty(0, 0);
        let mut parts = Vec::new();
        for time in 0..16 {
            segment.insert(entry(time, Some(if time == 1 { 9 } else { 0 })), cap(16));
        }
        store(&mut parts, &mut segment);
        segment.insert(entry(16, None), cap(16));
        assert!(segment.truncated);
        let times: Vec<_> = segment.range(0, 20).map(|entry| entry.time).collect();
        assert_eq!(times, [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        store(&mut parts, &mut segment);
        let back = Segment::decode(0, 0, &parts).unwrap();
        assert!(back.truncated);
        assert_eq!(back.entries, segment.entries);
        assert_eq!(back.size(), segment.size());
    }

    #[test]
    fn damaged_parts_are_an_error_and_never_a_panic() {
        let mut segment = Segment::empty(0, 0);
        segment.insert(entry(1, Some(3)), cap(100));
        let (_, parts) = segment.take_parts();
        let bytes = &parts[0].1;
        assert!(Segment::decode(0, 0, &[bytes]).is_ok());
        for end in (0..bytes.len()).filter(|end| *end != 2) {
            assert!(Segment::decode(0, 0, &[&bytes[..end]]).is_err(), "cut at {end}");
        }
        let mut other = bytes.clone();
        other[0] = 77;
        let error = Segment::decode(0, 0, &[other]).unwrap_err();
        assert_eq!(error, StateError::Version { found: 77 });
    }
}
