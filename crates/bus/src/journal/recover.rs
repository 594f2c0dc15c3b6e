//! Opening: from files to the state in memory.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use bytes::Bytes;

use super::Options;
use super::files::{Files, read_full};
use super::frame::{self, Head, Kind, Meta, Stages, Unreadable};
use super::segment::{self, Scan, Segment, io_error, unreadable};
use super::snapshot::{self, Snapshot};
use super::state::State;
use super::writer::head_frame;
use crate::Error;
use crate::topic::COUNT;

/// What a journal folder holds, by address.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) segments: Vec<u64>,
    pub(super) snapshots: Vec<u64>,
    indexes: Vec<u64>,
    temporary: Vec<String>,
}

impl Listing {
    pub(super) fn of(files: &dyn Files) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for name in files.list().map_err(|source| io_error(files, "listing", "", source))? {
            let Some((stem, suffix)) = name.split_once('.') else {
                continue;
            };
            let Some(base) = stem.parse().ok().filter(|_| stem.len() == 20) else {
                continue;
            };
            match suffix {
                "seg" => listing.segments.push(base),
                "snap" => listing.snapshots.push(base),
                "idx" => listing.indexes.push(base),
                "seg.tmp" | "snap.tmp" | "idx.tmp" => listing.temporary.push(name),
                _ => {}
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        Ok(listing)
    }

    /// Takes out what the newest snapshot covers, and gives the names of all that may go.
    ///
    /// A power cut between the snapshot and the removal of segments leaves them behind.
    pub(super) fn covered(&mut self) -> Vec<String> {
        let base = self.snapshots.last().copied().unwrap_or(0);
        let (mut gone, kept) =
            self.segments.iter().partition::<Vec<u64>, _>(|segment| **segment < base);
        self.segments = kept;
        let mut names: Vec<String> = gone.iter().map(|&base| segment::file_name(base)).collect();
        gone.clear();
        let indexes = self.indexes.iter().filter(|index| !self.segments.contains(index));
        names.extend(indexes.map(|&base| segment::index_name(base)));
        let snapshots = self.snapshots.iter().filter(|snapshot| **snapshot < base);
        names.extend(snapshots.map(|&base| snapshot::file_name(base)));
        names.append(&mut self.temporary);
        names
    }
}

/// Reads the state of a journal; changes files only when `writable`.
///
/// Gives the state and the salt.
pub(super) fn recover(
    files: &dyn Files,
    options: &Options,
    writable: bool,
) -> Result<(State, u64), Error> {
    let mut listing = Listing::of(files)?;
    let covered = listing.covered();
    if writable && !covered.is_empty() {
        for name in covered {
            files.remove(&name).map_err(|source| io_error(files, "removing", &name, source))?;
        }
        files.sync_folder().map_err(|source| io_error(files, "syncing", "", source))?;
    }
    let snapshot = listing.snapshots.last().map(|&base| {
        let opened = Snapshot::open(files, base);
        opened.map_err(|source| io_error(files, "opening", &snapshot::file_name(base), source))
    });
    let snapshot = snapshot.transpose()?;
    if listing.segments.is_empty() && snapshot.is_none() {
        return begin(files, options, writable);
    }
    let mut sealed = VecDeque::new();
    let mut end = snapshot.as_ref().map_or(0, |snapshot| snapshot.base);
    let Some((&last, earlier)) = listing.segments.split_last() else {
        return Err(missing(files, end));
    };
    for (place, &base) in earlier.iter().enumerate() {
        if base != end {
            return Err(missing(files, end));
        }
        end = listing.segments[place + 1];
        sealed.push_back(sealed_segment(files, base, end, writable)?);
    }
    if last != end {
        return Err(missing(files, end));
    }
    let scan = segment::scan(files, last)?;
    if writable {
        settle(files, &scan)?;
    } else if let Some((offset, _)) = scan.bad {
        refuse_damage(files, &scan, offset)?;
    }
    check_stages(&scan.stages, &scan.ends)?;
    let salt = scan.head.salt;
    let state = State {
        sealed,
        active: scan.segment,
        snapshot,
        ends: scan.ends,
        stages: scan.stages,
        holds: HashMap::new(),
        next_reader: 0,
        closed: None,
    };
    Ok((state, salt))
}

/// The first segment of an empty folder.
fn begin(files: &dyn Files, options: &Options, writable: bool) -> Result<(State, u64), Error> {
    // Keys of the standard hasher are random; nothing here has to resist anybody who can see it.
    let salt = RandomState::new().build_hasher().finish();
    let head =
        Head { salt, base: 0, at_ms: (options.clock)(), ends: [0; COUNT], stages: Stages::new() };
    let content = head_frame(&head);
    if writable {
        let name = segment::file_name(0);
        let written = segment::write_new(files, &name, &content).and_then(|()| files.sync_folder());
        written.map_err(|source| io_error(files, "writing", &name, source))?;
    }
    let state = State {
        sealed: VecDeque::new(),
        active: Segment::new(&head, content.len() as u64),
        snapshot: None,
        ends: head.ends,
        stages: head.stages,
        holds: HashMap::new(),
        next_reader: 0,
        closed: None,
    };
    Ok((state, salt))
}

fn missing(files: &dyn Files, base: u64) -> Error {
    let name = segment::file_name(base);
    io_error(files, "finding", &name, io::ErrorKind::NotFound.into())
}

/// A segment that is not the last one: from its index, or read as a whole.
fn sealed_segment(
    files: &dyn Files,
    base: u64,
    end: u64,
    writable: bool,
) -> Result<Segment, Error> {
    let name = segment::file_name(base);
    let size = files.open(&name).and_then(|file| file.size());
    let size = size.map_err(|source| io_error(files, "opening", &name, source))?;
    if base + size != end {
        let reason =
            format!("it has {size} bytes, but the next segment begins after {}", end - base);
        return Err(unreadable(files, &name, size.min(end - base), frame::bad(reason)));
    }
    if let Some(mut segment) = segment::load_index(files, base, size) {
        segment.newest = None;
        return Ok(segment);
    }
    tracing::info!(name, "making the index of a journal segment again");
    let scan = segment::scan(files, base)?;
    scan.sound(files)?;
    let mut segment = scan.segment;
    if writable {
        write_index(files, &mut segment)?;
    }
    Ok(segment)
}

pub(super) fn write_index(files: &dyn Files, segment: &mut Segment) -> Result<(), Error> {
    let name = segment::index_name(segment.base);
    let index = segment.encode_index();
    segment::write_new(files, &name, &index)
        .map_err(|source| io_error(files, "writing", &name, source))?;
    segment.index_len = index.len() as u64;
    segment.newest = None;
    Ok(())
}

/// Cuts the torn tail of the last segment and makes the rest durable.
fn settle(files: &dyn Files, scan: &Scan) -> Result<(), Error> {
    let name = segment::file_name(scan.segment.base);
    let file = files.open_for_writing(&name);
    let file = file.map_err(|source| io_error(files, "opening", &name, source))?;
    if let Some((offset, reason)) = &scan.bad {
        refuse_damage(files, scan, *offset)?;
        tracing::warn!(
            name,
            offset,
            reason,
            "cutting the torn end of the journal; nothing of it was acknowledged"
        );
        file.set_len(*offset).map_err(|source| io_error(files, "cutting", &name, source))?;
    }
    // After a kill the end may be in the page cache only, and readers are about to see it.
    file.sync().map_err(|source| io_error(files, "syncing", &name, source))
}

/// Tells damage from a torn tail: a whole group behind the bad one that was written after the bad
/// one had been synced.
fn refuse_damage(files: &dyn Files, scan: &Scan, offset: u64) -> Result<(), Error> {
    let base = scan.segment.base;
    let name = segment::file_name(base);
    let bytes = read_from(files, &name, offset)?;
    let later = |why| unreadable(files, &name, offset, why);
    let next = |at| frame::next_whole(&bytes, at, scan.head.salt, base + offset).map_err(later);
    let mut at = 1;
    while let Some((found, frame, body)) = next(at)? {
        if frame.kind == Kind::Group {
            match Meta::decode(&frame.meta) {
                Ok(meta) if meta.durable > base + offset => return scan.sound(files),
                Err(why @ Unreadable::Later(_)) => return Err(later(why)),
                _ => {}
            }
        }
        at = found + frame.len() as usize;
        drop(body);
    }
    Ok(())
}

/// Everything of a file behind an offset.
pub(super) fn read_from(files: &dyn Files, name: &str, offset: u64) -> Result<Bytes, Error> {
    let read = || {
        let file = files.open(name)?;
        let len = file.size()?.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = read_full(&*file, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    };
    read().map_err(|source| io_error(files, "reading", name, source))
}

fn check_stages(stages: &Stages, ends: &frame::Ends) -> Result<(), Error> {
    for (topic, _, position) in stages.values().flat_map(|stored| stored.iter()) {
        let end = ends[topic.index()];
        if position > end {
            return Err(Error::Ahead { topic, position, end });
        }
    }
    Ok(())
}
