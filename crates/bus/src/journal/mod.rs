//! The embedded bus: one segmented journal in a folder.
//!
//! Everything that is committed goes, in order, to the end of one file; topics are views of it.
//! Files of a journal, each named by the address (place among all bytes ever written) at which it
//! begins:
//!
//! - `….seg`: a segment. Its head says what was known when it began: the end of every topic, the
//!   position of every stage. Behind it one frame for each commit. Only the last one grows.
//! - `….idx`: the index of a sealed segment; can be made again from it.
//! - `….snap`: what is left of the removed segments before that address: the newest values of
//!   compacted topics, and again ends and positions.
//! - `lock`: held by the process that writes.
//!
//! `frame` and `body` say how bytes stand in files, `segment` and `snapshot` what is in them,
//! `recover` how they become the `state` in memory, `writer` how commits get in, `reader` how records
//! get out, `retention` how they leave, `repair` what can be done about damage.

use std::path::Path;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, oneshot};

use self::body::Encoded;
use self::files::Folder;
use self::reader::Walk;
use self::retention::Place;
use self::state::Shared;
use self::writer::{Commit, Order, Writer};
use crate::{Bus, Delivered, Error, Member, Positions, Record, Sink, Topic, topic};

mod admit;
mod append;
mod body;
mod files;
mod frame;
mod options;
mod reader;
mod recover;
mod repair;
mod retention;
mod segment;
mod snapshot;
mod state;
mod status;
mod writer;

pub use self::files::{File, Files};
pub use self::options::{Clock, Options};
pub use self::reader::JournalReader;
pub use self::repair::{Damage, Repair, Repaired};
pub use self::status::{Lag, Status};

/// The queue before the writer, in shares of 64 KiB: 64 MiB of commits may wait.
const QUEUE: u32 = 1024;
const SHARE: usize = 64 << 10;

/// The bus in a folder, for one process at a time.
///
/// A clone is another handle of the same journal. It is closed, and the folder free again, once the
/// last handle, reader and writer are dropped.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

/// Keeps the writer's thread going.
struct Handle {
    shared: Arc<Shared>,
    /// `None` for a journal that was opened for reading only.
    entrance: Option<Entrance>,
    /// Unlocks the folder when it is dropped, after the thread has ended.
    _lock: Option<std::fs::File>,
}

struct Entrance {
    /// `None` only while it is being closed.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    room: Arc<Semaphore>,
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

impl Journal {
    /// Opens the journal of a folder, or begins one there.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Corrupt`] when a file is damaged
    /// other than by a torn end, [`Error::Later`] when a later release wrote to it, [`Error::Ahead`]
    /// when a stage stands beyond the end.
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Journal, Error> {
        let folder = folder.as_ref();
        let files = Folder::create(folder).map_err(|source| Error::Io {
            doing: "creating",
            file: folder.to_path_buf(),
            source,
        })?;
        let lock = lock(folder)?;
        Journal::start(Arc::new(files), options, Some(lock))
    }

    /// Opens the journal for reading beside nobody: commits are refused, and no file is changed.
    ///
    /// For the command line while no server runs. A torn end is passed over.
    ///
    /// # Errors
    /// As [`Journal::open`], but it does not ask whether the journal is in use.
    pub fn open_read_only(folder: impl AsRef<Path>) -> Result<Journal, Error> {
        let files = Arc::new(Folder::at(folder.as_ref()));
        let options = Options::default();
        let (state, salt) = recover::recover(&*files, &options, false)?;
        let shared = Arc::new(Shared::new(files, options, salt, state));
        let handle = Handle { shared, entrance: None, _lock: None };
        Ok(Journal { handle: Arc::new(handle) })
    }

    /// Opens a journal over a file layer of the caller's; nothing is locked.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_over(files: Arc<dyn Files>, options: Options) -> Result<Journal, Error> {
        Journal::start(files, options, None)
    }

    fn start(
        files: Arc<dyn Files>,
        options: Options,
        lock: Option<std::fs::File>,
    ) -> Result<Journal, Error> {
        let (state, salt) = recover::recover(&*files, &options, true)?;
        let name = segment::file_name(state.active.base);
        let file = files.open_for_writing(&name);
        let file = file.map_err(|source| segment::io_error(&*files, "opening", &name, source))?;
        let shared = Arc::new(Shared::new(files, options, salt, state));
        let writer = Writer::new(shared.clone(), file);
        let (orders, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run(&inbox)).map_err(|source| Error::Io {
            doing: "starting the writer of",
            file: shared.files.folder().to_path_buf(),
            source,
        })?;
        let entrance = Entrance {
            orders: Some(orders),
            thread: Some(thread),
            room: Arc::new(Semaphore::new(QUEUE as usize)),
        };
        let handle = Handle { shared, entrance: Some(entrance), _lock: lock };
        Ok(Journal { handle: Arc::new(handle) })
    }

    /// Removes what may be removed now, and gives the number of removed segments.
    ///
    /// Happens by itself when a segment is full, when the budget is, and every minute.
    ///
    /// # Errors
    /// When the snapshot cannot be written; nothing is removed then.
    pub async fn retain(&self) -> Result<usize, Error> {
        let (done, answer) = oneshot::channel();
        self.handle.send(Order::Retain(done))?;
        answer.await.map_err(|_| self.handle.closed())?
    }
}

fn lock(folder: &Path) -> Result<std::fs::File, Error> {
    let file = folder.join("lock");
    let io = |source| Error::Io { doing: "locking", file: file.clone(), source };
    let mut how = std::fs::OpenOptions::new();
    let lock = how.create(true).truncate(false).write(true).open(&file).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Error::InUse { folder: folder.to_path_buf() })
        }
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

impl Handle {
    fn send(&self, order: Order) -> Result<(), Error> {
        let orders = self.entrance.as_ref().and_then(|entrance| entrance.orders.as_ref());
        orders.map_or_else(
            || Err(self.closed()),
            |orders| orders.send(order).map_err(|_| self.closed()),
        )
    }

    fn closed(&self) -> Error {
        if self.entrance.is_none() {
            let folder = self.shared.files.folder().to_path_buf();
            return Error::ReadOnly { folder };
        }
        let reason = self.shared.read().closed.clone();
        let reason = reason.unwrap_or_else(|| "its writer has ended".to_owned());
        Error::Closed { reason }
    }
}

/// Commits for a stage: gets the outputs ready here, so that stages do it side by side.
async fn commit(
    handle: &Arc<Handle>,
    stage: &Arc<str>,
    outputs: Vec<Record>,
    consumed: &Positions,
) -> Result<(), Error> {
    for record in &outputs {
        record.check_size()?;
        record.partition_among(1)?;
    }
    let whole = outputs.iter().map(|record| record.size() + 16).sum();
    for (what, size, limit) in [
        ("a commit", whole, frame::MAX_FRAME_BODY),
        ("a stage name", stage.len(), usize::from(u8::MAX)),
    ] {
        if size > limit {
            return Err(Error::TooLarge { what, size, limit });
        }
    }
    let Some(entrance) = &handle.entrance else {
        return Err(handle.closed());
    };
    if outputs.is_empty() && consumed.is_empty() {
        return Ok(());
    }
    let encoded = Encoded::of(&outputs);
    drop(outputs);
    let shares = u32::try_from(encoded.body.len() / SHARE + 1).unwrap_or(QUEUE).min(QUEUE);
    let room = entrance.room.clone().acquire_many_owned(shares).await;
    let room = room.map_err(|_| handle.closed())?;
    let (done, answer) = oneshot::channel();
    handle.send(Order::Commit(Commit {
        stage: stage.clone(),
        outputs: encoded,
        consumed: consumed.clone(),
        done,
        _room: room,
    }))?;
    answer.await.map_err(|_| handle.closed())?
}

impl Bus for Journal {
    type Reader = JournalReader;
    type Writer = JournalWriter;

    fn partitions(&self, _: Topic) -> u32 {
        1
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<JournalReader, Error> {
        JournalReader::new(self.handle.clone(), stage, topics, false)
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<JournalReader, Error> {
        JournalReader::new(self.handle.clone(), stage, topics, true)
    }

    fn writer(&self, stage: &str) -> JournalWriter {
        JournalWriter { handle: self.handle.clone(), stage: stage.into() }
    }

    async fn read_at(
        &self,
        topic: Topic,
        partition: u32,
        position: u64,
    ) -> Result<Option<Delivered>, Error> {
        if partition != 0 {
            return Ok(None);
        }
        let mut walk = Walk::new(self.handle.shared.clone(), &Positions::of(topic, 0, position));
        match walk.next() {
            Ok(record) => Ok(record.filter(|record| record.position == position)),
            Err(Error::Gone { .. } | Error::Ahead { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        let shared = &self.handle.shared;
        let _files = shared.keep_files();
        let state = shared.read();
        let segments = state.sealed.iter().chain([&state.active]);
        let places: Vec<Place> = segments.map(Place::of).collect();
        let snapshot = state.snapshot.clone();
        drop(state);
        let mut seen = std::collections::HashSet::new();
        let mut newest = Vec::new();
        // From the newest segment back, so that only what counts is read.
        for place in places.into_iter().rev() {
            let base = place.base;
            let values = place.newest(shared)?;
            let wanted = |of: Topic, key: &bytes::Bytes| of == topic && !seen.contains(key);
            let take = |record| {
                newest.push(record);
                Ok(())
            };
            snapshot::newest_of_segment(&*shared.files, shared.salt, base, &values, wanted, take)?;
            let keys = values.into_keys().filter(|(of, _)| *of == topic);
            seen.extend(keys.map(|(_, key)| key));
        }
        if let Some(snapshot) = snapshot {
            let take = |record: Delivered| {
                if !seen.contains(&record.key) {
                    newest.push(record);
                }
                Ok(())
            };
            snapshot.values(&*shared.files, |of, _| of == topic, take)?;
        }
        newest.sort_unstable_by_key(|record| record.position);
        Ok(newest)
    }

    async fn ends(&self) -> Result<Positions, Error> {
        let state = self.handle.shared.read();
        let mut ends = Positions::none();
        for topic in topic::ALL {
            ends.set(topic, 0, state.ends[topic.index()]);
        }
        Ok(ends)
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        let state = self.handle.shared.read();
        let stages = state.stages.iter();
        Ok(stages.map(|(stage, positions)| (stage.to_string(), positions.clone())).collect())
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        let state = self.handle.shared.read();
        let readers = state.holds.iter();
        let mut members: Vec<Member> =
            readers.map(|(number, (stage, owns))| Member::here(*number, stage, owns)).collect();
        members.sort_unstable();
        Ok(members)
    }
}

/// Commits to a [`Journal`] for a stage.
#[derive(Clone)]
pub struct JournalWriter {
    handle: Arc<Handle>,
    stage: Arc<str>,
}

impl Sink for JournalWriter {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        commit(&self.handle, &self.stage, outputs, consumed).await
    }
}
