//! What leaves the journal, and what is left of it.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::Head;
use super::segment::{self, Newest, Segment, consumable, unreadable};
use super::snapshot::{self, Snapshot};
use super::state::{Shared, State};
use super::writer::Writer;
use crate::{Error, Topic};

impl Writer {
    /// Removes the oldest segments that are too old, or too much with `size` bytes to come.
    ///
    /// Stops at the first segment that a stage has not consumed. Gives the number of removed ones.
    pub(super) fn retain(&mut self, size: u64) -> Result<usize, Error> {
        let shared = self.shared.clone();
        let mut removed = 0;
        // From looking to removing: a reader that begins meanwhile would miss what goes.
        let _removal = shared.remove_files();
        let due = due(&shared, &shared.read(), size);
        if due.sealed > 0 {
            remove(&shared, due.sealed)?;
            removed = due.sealed;
        }
        // The active segment can only leave once it is sealed.
        if due.active && shared.read().closed.is_none() {
            self.roll()?;
            remove(&shared, 1)?;
            removed += 1;
        }
        Ok(removed)
    }

    pub(super) fn retain_and_log(&mut self) {
        match self.retain(0) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, "removed the oldest journal segments"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no journal segment removed"
            ),
        }
    }
}

struct Due {
    /// How many of the oldest sealed segments.
    sealed: usize,
    /// Whether the active one would be next.
    active: bool,
}

fn due(shared: &Shared, state: &State, size: u64) -> Due {
    let options = &shared.options;
    let keep_ms = i64::try_from(options.keep.as_millis()).unwrap_or(i64::MAX);
    let too_old = (options.clock)().saturating_sub(keep_ms);
    let floors = state.floors();
    let mut used = state.bytes().saturating_add(size);
    let mut sealed = 0;
    let segments = state.sealed.iter().chain([&state.active]);
    for (place, segment) in segments.enumerate() {
        let next = state.sealed.get(place + 1).unwrap_or(&state.active);
        let active = place == state.sealed.len();
        let ends = if active { &state.ends } else { &next.firsts };
        let consumed = consumable().all(|topic| floors[topic.index()].0 >= ends[topic.index()]);
        let old = segment.newest_ms < too_old || used > options.budget_bytes;
        if !consumed || !old {
            return Due { sealed, active: false };
        }
        if active {
            let grown = segment.firsts != state.ends;
            return Due { sealed, active: grown };
        }
        used = used.saturating_sub(segment.len + segment.index_len);
        sealed += 1;
    }
    Due { sealed, active: false }
}

/// Removes the `count` oldest sealed segments, with the removal lock held; their compacted values go into a new snapshot.
///
/// The order makes every power cut harmless: the snapshot is durable under its name before the
/// first segment goes, and an open finishes what was begun.
fn remove(shared: &Arc<Shared>, count: usize) -> Result<(), Error> {
    let state = shared.read();
    let gone: Vec<u64> = state.sealed.iter().take(count).map(|segment| segment.base).collect();
    let kept = state.sealed.get(count).unwrap_or(&state.active).base;
    let old = state.snapshot.clone();
    let places: Vec<Place> = state.sealed.iter().take(count).map(Place::of).collect();
    drop(state);
    let mut newest = Vec::new();
    for place in places {
        newest.push((place.base, place.newest(shared)?));
    }
    let snapshot = write_snapshot(shared, old.as_ref(), &newest, kept)?;
    let mut state = shared.write();
    state.sealed.drain(..count);
    state.snapshot = Some(snapshot);
    drop(state);
    let files = &*shared.files;
    let names = gone.iter().flat_map(|&base| [segment::file_name(base), segment::index_name(base)]);
    let names = names.chain(old.iter().map(|old| snapshot::file_name(old.base)));
    for name in names {
        // What stays is removed by the next open: the snapshot says that it is covered.
        if let Err(error) = files.remove(&name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(error = &error as &dyn std::error::Error, name, "not removed");
        }
    }
    files.sync_folder().map_err(|source| segment::io_error(files, "syncing", "", source))
}

/// Where the newest values of a sealed segment are known.
pub(super) struct Place {
    pub(super) base: u64,
    len: u64,
    known: Option<Newest>,
}

impl Place {
    pub(super) fn of(segment: &Segment) -> Place {
        Place { base: segment.base, len: segment.len, known: segment.newest.clone() }
    }

    /// From memory, or from the index file.
    pub(super) fn newest(self, shared: &Shared) -> Result<Newest, Error> {
        if let Some(newest) = self.known {
            return Ok(newest);
        }
        let loaded = segment::load_index(&*shared.files, self.base, self.len);
        if let Some(newest) = loaded.and_then(|segment| segment.newest) {
            return Ok(newest);
        }
        // The index was lost while the journal is open: read the segment itself.
        let scan = segment::scan(&*shared.files, self.base)?;
        scan.sound(&*shared.files)?;
        Ok(scan.segment.newest.unwrap_or_default())
    }
}

fn write_snapshot(
    shared: &Shared,
    old: Option<&Snapshot>,
    newest: &[(u64, Newest)],
    kept: u64,
) -> Result<Snapshot, Error> {
    let files = &*shared.files;
    let name = snapshot::file_name(kept);
    let failed = |source| match source {
        source if is_full(&source) => Error::DiskFull {
            folder: files.folder().to_path_buf(),
            free: files.free_bytes().unwrap_or(0),
        },
        source => segment::io_error(files, "writing", &name, source),
    };
    let mut out = snapshot::Writer::create(files, kept).map_err(failed)?;
    if let Some(old) = old {
        let replaced: HashSet<&(Topic, Bytes)> =
            newest.iter().flat_map(|(_, newest)| newest.keys()).collect();
        let put = |record: crate::Delivered| {
            if replaced.contains(&(record.topic, record.key.clone())) {
                return Ok(());
            }
            out.put(&record).map_err(failed)
        };
        old.values(files, |_, _| true, put)?;
    }
    for (place, (base, values)) in newest.iter().enumerate() {
        let later = &newest[place + 1..];
        let wanted = |topic: Topic, key: &Bytes| {
            let name = (topic, key.clone());
            later.iter().all(|(_, later)| !later.contains_key(&name))
        };
        let put = |record| out.put(&record).map_err(failed);
        snapshot::newest_of_segment(files, shared.salt, *base, values, wanted, put)?;
    }
    out.finish(&head_of(shared, kept)?).map_err(failed)
}

/// What was known when a segment began.
fn head_of(shared: &Shared, base: u64) -> Result<Head, Error> {
    let files = &*shared.files;
    let name = segment::file_name(base);
    let file =
        files.open(&name).map_err(|source| segment::io_error(files, "opening", &name, source))?;
    let head = segment::read_head(&*file, base).map_err(|why| unreadable(files, &name, 0, why))?;
    Ok(head.0)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
