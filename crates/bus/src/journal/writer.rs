//! The thread that owns the end of the journal.
//!
//! It takes every commit that waits, writes them one behind the other, syncs once and then tells
//! all of them, so that stages share the sync. Nobody reads a group before that sync.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::append::Appender;
use super::body::Encoded;
use super::files::File;
use super::frame::{self, Ends, Head, Kind, Meta, NO_SALT};
use super::segment::{self, Segment};
use super::state::{Group, Shared};
use crate::topic::ALL;
use crate::{Error, Positions};

/// How often age is looked at while nothing is committed.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// How many bytes share one sync at most, so that nobody waits for long.
const MOST_PER_SYNC: usize = 32 << 20;
/// What a group takes on disk beside its body, roughly.
const GROUP_OVERHEAD: u64 = 512;

/// What the thread is asked to do.
pub(super) enum Order {
    Commit(Commit),
    /// Remove what may be removed; answered with the number of segments.
    Retain(oneshot::Sender<Result<usize, Error>>),
}

pub(super) struct Commit {
    pub(super) stage: Arc<str>,
    pub(super) outputs: Encoded,
    pub(super) consumed: Positions,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
    /// Its share of the queue, given back once it is answered.
    pub(super) _room: OwnedSemaphorePermit,
}

impl Commit {
    fn answer(self, result: Result<(), Error>) {
        // Nobody listens when the stage was stopped meanwhile.
        let _ = self.done.send(result);
    }
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    /// The active segment.
    file: Arc<dyn File>,
    pub(super) base: u64,
    /// Its durable bytes.
    pub(super) len: u64,
    pub(super) ends: Ends,
    newest_ms: i64,
    pub(super) closed: Option<String>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, file: Arc<dyn File>) -> Writer {
        let state = shared.read();
        let (base, len, ends) = (state.active.base, state.active.len, state.ends);
        let newest_ms = state.active.newest_ms;
        drop(state);
        Writer { shared, file, base, len, ends, newest_ms, closed: None }
    }

    /// Works until nobody can send orders any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let mut order = match orders.recv_timeout(RETENTION_EVERY) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.retain_and_log();
                    continue;
                }
            };
            let mut commits = Vec::new();
            let mut bytes = 0;
            while let Some(next) = order {
                match next {
                    Order::Commit(commit) => {
                        bytes += commit.outputs.body.len();
                        commits.push(commit);
                    }
                    Order::Retain(done) => {
                        let _ = done.send(self.retain(0));
                    }
                }
                order = if bytes < MOST_PER_SYNC { orders.try_recv().ok() } else { None };
            }
            self.commit(commits);
        }
    }

    fn commit(&mut self, commits: Vec<Commit>) {
        if self.len >= self.shared.options.segment_bytes && self.closed.is_none() {
            if let Err(error) = self.roll() {
                // Nothing is lost by staying in this segment; the next commit tries again.
                tracing::warn!(error = &error as &dyn std::error::Error, "no new journal segment");
            } else {
                self.retain_and_log();
            }
        }
        let mut accepted = Vec::new();
        let mut pending = 0;
        for commit in commits {
            let size = commit.outputs.body.len() as u64 + GROUP_OVERHEAD;
            match self.admit(&commit, pending + size) {
                Ok(()) => {
                    pending += size;
                    accepted.push(commit);
                }
                Err(error) => commit.answer(Err(error)),
            }
        }
        if !accepted.is_empty() {
            self.append(accepted);
        }
    }

    /// Writes, syncs, publishes and answers.
    fn append(&mut self, commits: Vec<Commit>) {
        let now = (self.shared.options.clock)().max(self.newest_ms);
        let mut ends = self.ends;
        let mut groups = Vec::with_capacity(commits.len());
        let mut out = Appender::new(&*self.file, self.len);
        let mut written = Ok(());
        for commit in &commits {
            let address = self.base + out.end();
            let meta = self.meta(commit, now, &mut ends);
            let start = out.end();
            written = written.and_then(|()| {
                out.put(&meta, &commit.outputs, self.shared.salt.wrapping_add(address))
            });
            groups.push((address, out.end() - start, meta));
        }
        let written = written.and_then(|()| out.flush());
        let len = out.end();
        if let Err(error) = written {
            return self.take_back(commits, &error);
        }
        if let Err(error) = self.file.sync() {
            // After a failed sync the kernel may have marked the pages as clean although they never
            // reached the disk: reading them back proves nothing, and a second sync that succeeds
            // proves nothing either. So nothing more is written until the journal is opened again,
            // and what is not known to be durable is cut off, that an open does not trust it.
            let _ = self.file.set_len(self.len).and_then(|()| self.file.sync());
            self.close(format!("a sync of {} failed: {error}", segment::file_name(self.base)));
            return self.refuse(commits, &error);
        }
        self.len = len;
        self.ends = ends;
        self.newest_ms = now;
        self.publish(commits, groups);
    }

    fn meta(&self, commit: &Commit, now: i64, ends: &mut Ends) -> Meta {
        let mut topics = Vec::new();
        for topic in ALL {
            let count = commit.outputs.counts[topic.index()];
            if count > 0 {
                let end = &mut ends[topic.index()];
                topics.push((topic, *end, count));
                *end += u64::from(count);
            }
        }
        Meta {
            durable: self.base + self.len,
            appended_at_ms: now,
            stage: commit.stage.clone(),
            consumed: commit.consumed.clone(),
            topics,
        }
    }

    /// Makes synced groups readable and answers their commits.
    fn publish(&mut self, commits: Vec<Commit>, groups: Vec<(u64, u64, Meta)>) {
        let mut state = self.shared.write();
        for (commit, (_, len, meta)) in commits.iter().zip(&groups) {
            let firsts = Ends::from(ALL.map(|topic| first_of(meta, topic)));
            let keys = commit.outputs.keys.iter();
            let keys = keys.map(|(topic, key, nth)| {
                // Copied, so that a key does not keep a whole commit in memory.
                let key = bytes::Bytes::copy_from_slice(key);
                (*topic, key, firsts[topic.index()] + u64::from(*nth))
            });
            state.active.add(meta, *len, keys);
            if !meta.consumed.is_empty() {
                let stage = state.stages.entry(meta.stage.clone()).or_default();
                stage.overwrite(&meta.consumed);
            }
        }
        state.ends = self.ends;
        drop(state);
        for (commit, (address, len, meta)) in commits.iter().zip(groups) {
            let body = commit.outputs.body.clone();
            self.shared.remember(Group { address, len, meta, body });
        }
        self.shared.durable.send_replace(self.base + self.len);
        commits.into_iter().for_each(|commit| commit.answer(Ok(())));
    }

    /// Undoes a write that failed half way, so that later commits find a sound end.
    fn take_back(&mut self, commits: Vec<Commit>, error: &io::Error) {
        // Synced at once: a whole group of a refused commit must not come back after a power cut.
        let cut = self.file.set_len(self.len).and_then(|()| self.file.sync());
        if let Err(cut) = cut {
            let name = segment::file_name(self.base);
            self.close(format!("writing {name} failed ({error}), and so did cutting it ({cut})"));
        }
        self.refuse(commits, error);
    }

    fn refuse(&self, commits: Vec<Commit>, error: &io::Error) {
        for commit in commits {
            let refusal = self.refusal(&segment::file_name(self.base), error);
            commit.answer(Err(refusal));
        }
    }

    fn refusal(&self, name: &str, error: &io::Error) -> Error {
        if let Some(reason) = self.closed.clone() {
            return Error::Closed { reason };
        }
        let files = &self.shared.files;
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Error::DiskFull {
                folder: files.folder().to_path_buf(),
                free: files.free_bytes().unwrap_or(0),
            };
        }
        segment::io_error(&**files, "writing", name, copy_of(error))
    }

    fn close(&mut self, reason: String) {
        tracing::error!(reason, "the journal takes no more commits");
        self.shared.write().closed = Some(reason.clone());
        self.closed = Some(reason);
    }

    /// Seals the active segment and begins the next.
    pub(super) fn roll(&mut self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let files = &*shared.files;
        let state = shared.read();
        let head = Head {
            salt: shared.salt,
            base: self.base + self.len,
            at_ms: (shared.options.clock)().max(self.newest_ms),
            ends: self.ends,
            stages: state.stages.clone(),
        };
        let index = state.active.encode_index();
        drop(state);
        let name = segment::file_name(head.base);
        let content = head_frame(&head);
        segment::write_new(files, &name, &content).map_err(|error| self.refusal(&name, &error))?;
        // From here on the new name may be on disk, and a longer old segment would not fit it.
        let opened = files.sync_folder().and_then(|()| files.open_for_writing(&name));
        let file = opened.map_err(|error| {
            self.close(format!("beginning segment {name} failed: {error}"));
            self.refusal(&name, &error)
        })?;
        let index_name = segment::index_name(self.base);
        let indexed = segment::write_new(files, &index_name, &index);
        if let Err(error) = &indexed {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                index_name,
                "index not written"
            );
        }
        let mut state = shared.write();
        let next = Segment::new(&head, content.len() as u64);
        let mut sealed = std::mem::replace(&mut state.active, next);
        if indexed.is_ok() {
            sealed.newest = None;
            sealed.index_len = index.len() as u64;
        }
        state.sealed.push_back(sealed);
        drop(state);
        self.file = file;
        self.base = head.base;
        self.len = content.len() as u64;
        shared.durable.send_replace(self.base + self.len);
        Ok(())
    }
}

/// The frame that begins a segment.
pub(super) fn head_frame(head: &Head) -> Vec<u8> {
    let mut content = Vec::new();
    let seed = NO_SALT.wrapping_add(head.base);
    frame::put(&mut content, Kind::Head, &head.encode(), &[], seed);
    content
}

fn first_of(meta: &Meta, topic: crate::Topic) -> u64 {
    let found = meta.topics.iter().find(|(other, _, _)| *other == topic);
    found.map_or(0, |(_, first, _)| *first)
}

/// The same error once more: several commits may have to hear of it.
fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
