//! Reads topics of the journal in the order of commits.

use std::sync::Arc;

use tokio::sync::watch;

use super::body::Records;
use super::files::File;
use super::frame::{Frame, Kind, Meta, Unreadable, bad};
use super::segment::{self, unreadable};
use super::snapshot::{Part, Snapshot};
use super::state::Shared;
use super::{Handle, commit};
use crate::topic::COUNT;
use crate::{Batch, Delivered, Error, Limit, Positions, Record, Sink, Source, Topic};

/// How many groups of other topics are passed before other tasks get their turn.
const TURN: usize = 256;

/// Reads topics of a [`Journal`](crate::Journal) for a stage, and commits for it.
pub struct JournalReader {
    handle: Arc<Handle>,
    stage: Arc<str>,
    id: u64,
    topics: Vec<Topic>,
    durable: watch::Receiver<u64>,
    walk: Walk,
    /// Read, but one more than the last batch took.
    pending: Option<Delivered>,
}

/// A walk over the groups of the journal that hold wanted topics.
pub(super) struct Walk {
    shared: Arc<Shared>,
    /// The next position of each topic, for those that are wanted.
    next: [Option<u64>; COUNT],
    place: Place,
    /// What is left of the group that was read last.
    records: Option<Records>,
    open: Option<Open>,
}

enum Place {
    /// Has to be found from the positions.
    Unknown,
    Snapshot(Snapshot, u64),
    /// The address of the next group.
    Log(u64),
}

/// The segment file that was read last.
struct Open {
    base: u64,
    file: Arc<dyn File>,
}

/// How far a step came.
enum Step {
    /// Records are at hand.
    Records,
    /// Something was passed over.
    Passed,
    /// Everything durable was read.
    End,
}

impl JournalReader {
    pub(super) fn new(
        handle: Arc<Handle>,
        stage: &str,
        topics: &[Topic],
        keeps: bool,
    ) -> Result<JournalReader, Error> {
        let shared = handle.shared.clone();
        let _files = shared.keep_files();
        let mut state = shared.write();
        let stage: Arc<str> = stage.into();
        let stored = state.stages.get(&stage).cloned().unwrap_or_default();
        let mut positions = Positions::none();
        for &topic in topics {
            let stored = stored.get(topic, 0);
            positions.set(topic, 0, stored.unwrap_or_else(|| state.oldest(topic)));
        }
        state.check(&positions)?;
        let id = state.next_reader;
        state.next_reader += 1;
        state.holds.insert(id, (stage.clone(), positions.clone()));
        drop(state);
        if keeps {
            positions = Positions::none();
        }
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        Ok(JournalReader {
            stage,
            id,
            topics,
            durable: shared.durable.subscribe(),
            walk: Walk::new(shared.clone(), &positions),
            pending: None,
            handle,
        })
    }

    /// Takes what is there, up to the limit; `None` when others should have their turn first.
    fn take(&mut self, limit: Limit) -> Result<Option<Batch>, Error> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut passed = 0;
        loop {
            let record = match self.pending.take() {
                Some(record) => Some(record),
                None => match self.walk.record() {
                    // What was read so far is good; the next call meets the error again.
                    Err(_) if !batch.records.is_empty() => break,
                    record => record?,
                },
            };
            if let Some(record) = record {
                let size = record.size();
                if !limit.admits(batch.records.len(), bytes, size) {
                    self.pending = Some(record);
                    break;
                }
                bytes += size;
                batch.records.push(record);
                continue;
            }
            match self.walk.step() {
                Err(_) if !batch.records.is_empty() => break,
                step => match step? {
                    Step::Records => {}
                    Step::End => break,
                    Step::Passed => passed += 1,
                },
            }
            if passed > TURN {
                return Ok(Some(batch).filter(|batch| !batch.records.is_empty()));
            }
        }
        Ok(Some(batch))
    }
}

impl Source for JournalReader {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, Error> {
        loop {
            self.durable.mark_unchanged();
            // Reads of at most the limit and one group, most of them from memory: not worth a
            // thread of their own. Nothing is awaited while records are at hand.
            match self.take(limit)? {
                None => tokio::task::yield_now().await,
                Some(batch) if !batch.records.is_empty() => return Ok(batch),
                // The sender lives in what this reader holds, so it cannot be gone.
                Some(_) => drop(self.durable.changed().await),
            }
        }
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        let shared = self.walk.shared.clone();
        let _files = shared.keep_files();
        let mut state = shared.write();
        state.check(positions)?;
        let mut wanted = self.positions();
        for (topic, partition, next) in positions.iter() {
            if self.topics.contains(&topic) {
                wanted.set(topic, partition, next);
            }
        }
        if let Some((_, hold)) = state.holds.get_mut(&self.id) {
            hold.overwrite(&wanted);
        }
        self.pending = None;
        self.walk = Walk::new(shared.clone(), &wanted);
        Ok(())
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.topics.iter().map(|topic| (*topic, 0)).collect()
    }

    fn positions(&self) -> Positions {
        let mut positions = self.walk.positions();
        if let Some(pending) = &self.pending {
            positions.set(pending.topic, 0, pending.position);
        }
        positions
    }

    async fn ends(&self) -> Result<Positions, Error> {
        let state = self.handle.shared.read();
        let mut ends = Positions::none();
        for topic in &self.topics {
            ends.set(*topic, 0, state.ends[topic.index()]);
        }
        Ok(ends)
    }
}

impl Sink for JournalReader {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        commit(&self.handle, &self.stage, outputs, consumed).await
    }
}

impl Drop for JournalReader {
    fn drop(&mut self) {
        self.walk.shared.write().holds.remove(&self.id);
    }
}

impl Walk {
    pub(super) fn new(shared: Arc<Shared>, positions: &Positions) -> Walk {
        let mut next = [None; COUNT];
        for (topic, _, position) in positions.iter() {
            next[topic.index()] = Some(position);
        }
        Walk { shared, next, place: Place::Unknown, records: None, open: None }
    }

    fn positions(&self) -> Positions {
        let mut positions = Positions::none();
        for (topic, next) in crate::topic::ALL.into_iter().zip(self.next) {
            if let Some(next) = next {
                positions.set(topic, 0, next);
            }
        }
        positions
    }

    /// The next record of what is at hand.
    pub(super) fn record(&mut self) -> Result<Option<Delivered>, Error> {
        let Some(records) = &mut self.records else {
            return Ok(None);
        };
        let next = &mut self.next;
        let wanted =
            |topic: Topic, position| next[topic.index()].is_some_and(|next| position >= next);
        let record = records.next(wanted).map_err(|why| {
            // The checksum was right, so whoever wrote it knew topics that this version does not.
            unreadable(&*self.shared.files, "", 0, why)
        })?;
        match &record {
            None => self.records = None,
            Some(record) => next[record.topic.index()] = Some(record.position + 1),
        }
        Ok(record)
    }

    /// The next record, wherever it is, up to the durable end.
    pub(super) fn next(&mut self) -> Result<Option<Delivered>, Error> {
        loop {
            if let Some(record) = self.record()? {
                return Ok(Some(record));
            }
            if matches!(self.step()?, Step::End) {
                return Ok(None);
            }
        }
    }

    /// Goes on by one group, or one part of the snapshot.
    fn step(&mut self) -> Result<Step, Error> {
        match &mut self.place {
            Place::Unknown => {
                self.place = self.locate()?;
                Ok(Step::Passed)
            }
            Place::Snapshot(snapshot, offset) => {
                let (part, behind) = snapshot.part(&*self.shared.files, *offset)?;
                *offset = behind;
                match part {
                    Part::Values(records) => {
                        self.records = Some(records);
                        Ok(Step::Records)
                    }
                    Part::Head(head) => {
                        // Positions between its values have gone for good.
                        for (next, end) in self.next.iter_mut().zip(head.ends) {
                            *next = next.map(|next| next.max(end));
                        }
                        self.place = Place::Unknown;
                        Ok(Step::Passed)
                    }
                }
            }
            Place::Log(address) => {
                let address = *address;
                self.step_at(address)
            }
        }
    }

    /// Where to read on, by the positions.
    fn locate(&self) -> Result<Place, Error> {
        let state = self.shared.read();
        state.check(&self.positions())?;
        let mut address = state.end();
        for (topic, next, first) in self.wanted(&state.oldest_segment().firsts) {
            if next < first
                && let Some(snapshot) = &state.snapshot
            {
                return Ok(Place::Snapshot(snapshot.clone(), 0));
            }
            address = address.min(state.address_of(topic, next));
        }
        Ok(Place::Log(address))
    }

    /// Wanted topics with their next position, and what `ends` says of them.
    fn wanted<'a>(
        &'a self,
        ends: &'a [u64; COUNT],
    ) -> impl Iterator<Item = (Topic, u64, u64)> + 'a {
        let topics = crate::topic::ALL.into_iter().zip(self.next).zip(ends);
        topics.filter_map(|((topic, next), &end)| Some((topic, next?, end)))
    }

    fn wants(&self, meta: &Meta) -> bool {
        let mut topics = meta.topics.iter();
        topics.any(|&(topic, first, count)| {
            self.next[topic.index()].is_some_and(|next| next < first + u64::from(count))
        })
    }

    fn step_at(&mut self, address: u64) -> Result<Step, Error> {
        if let Some(group) = self.shared.cached(address) {
            self.place = Place::Log(address + group.len);
            if !self.wants(&group.meta) {
                return Ok(Step::Passed);
            }
            self.records = Some(Records::of_group(&group.meta, group.body.clone()));
            return Ok(Step::Records);
        }
        let shared = self.shared.clone();
        let files = shared.keep_files();
        let state = shared.read();
        if address >= state.end() {
            return Ok(Step::End);
        }
        let Some((segment, next)) = state.segment_at(address) else {
            // It was removed: whatever was wanted there had been consumed, or this fails.
            drop(state);
            self.place = Place::Unknown;
            return Ok(Step::Passed);
        };
        let base = segment.base;
        let ends = next.map_or(&state.ends, |next| &next.firsts);
        if self.wanted(ends).all(|(_, next, end)| next >= end) {
            let behind = next.map_or(state.end(), |next| next.base);
            self.place = Place::Log(behind);
            return Ok(Step::Passed);
        }
        drop(state);
        let file = self.file(base)?;
        drop(files);
        self.read_at(&*file, base, address).map_err(|why| {
            unreadable(&*shared.files, &segment::file_name(base), address - base, why)
        })
    }

    fn file(&mut self, base: u64) -> Result<Arc<dyn File>, Error> {
        if let Some(open) = self.open.as_ref().filter(|open| open.base == base) {
            return Ok(open.file.clone());
        }
        let files = &self.shared.files;
        let name = segment::file_name(base);
        let file = files
            .open(&name)
            .map_err(|source| segment::io_error(&**files, "opening", &name, source))?;
        let open = self.open.insert(Open { base, file });
        Ok(open.file.clone())
    }

    fn read_at(&mut self, file: &dyn File, base: u64, address: u64) -> Result<Step, Unreadable> {
        let offset = address - base;
        let seed = match offset {
            0 => super::frame::NO_SALT.wrapping_add(base),
            _ => self.shared.salt.wrapping_add(address),
        };
        let frame = Frame::read(file, offset, seed)?;
        let frame = frame.ok_or_else(|| bad("the file ends before its end"))?;
        let behind = Place::Log(address + frame.len());
        if frame.kind == Kind::Group {
            let meta = Meta::decode(&frame.meta)?;
            if self.wants(&meta) {
                let body = frame.read_body(file, offset)?;
                self.records = Some(Records::of_group(&meta, body));
                self.place = behind;
                return Ok(Step::Records);
            }
        }
        self.place = behind;
        Ok(Step::Passed)
    }
}
