//! Snapshots of state files, so that another node can go on where this one stopped.
//!
//! A snapshot is the state file of one partition, copied whole and compressed, under a name that
//! tells partition and position: `correlate-3/00000000000000004711.db.zst`. Whoever takes a
//! partition over reads the newest and replays `matches` from its position on.

mod error;
mod file;
mod target;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::Path;
use std::time::Duration;

use object_store::buffered::BufWriter;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;

pub use error::Error;
pub use target::{S3, Target};

/// What stands behind the position in a name.
const ENDING: &str = ".db.zst";

/// How many snapshots of a partition are kept: the newest, and one in case that is unreadable.
const KEPT: usize = 2;

/// One stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The partition of `matches`.
    pub partition: u32,
    /// The next position of that partition to read.
    pub position: u64,
    /// When it was stored, by the clock of the store, in milliseconds of Unix time.
    pub stored_at_ms: i64,
    /// How it is called in the store.
    pub name: String,
}

impl Target {
    /// The snapshots of a partition, newest position first; what is not named like one is left out.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list(&self, partition: u32) -> Result<Vec<Snapshot>, Error> {
        let folder = self.folder(partition);
        let mut objects = self.store.list(Some(&folder));
        let mut found = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(self.failed("listing", &folder))?;
            if let Some(position) = position_of(&object.location) {
                found.push(Snapshot {
                    partition,
                    position,
                    stored_at_ms: object.last_modified.timestamp_millis(),
                    name: object.location.to_string(),
                });
            }
        }
        found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.position));
        Ok(found)
    }

    /// Stores a state file as the snapshot of its position, and removes those before the last two.
    ///
    /// `scratch` is a folder on a disk with room for the copy. The file may be in use meanwhile.
    ///
    /// # Errors
    /// The copy cannot be made, or the store does not take it; the older snapshots stay.
    pub async fn save(
        &self,
        state: &Path,
        partition: u32,
        scratch: &Path,
    ) -> Result<Snapshot, Error> {
        let state = state.to_path_buf();
        let packed = scratch.join(format!("correlate-{partition}.snapshot"));
        let made = packed.clone();
        let position = blocking(move || file::pack(&state, &made)).await?;
        let location = self.folder(partition).join(format!("{position:020}{ENDING}"));
        let stored = self.upload(&packed, &location).await;
        let _ = std::fs::remove_file(&packed); // a scratch file, overwritten next time
        stored?;
        let snapshots = self.list(partition).await?;
        for old in snapshots.iter().filter(|old| old.position <= position).skip(KEPT) {
            let location = Location::from(old.name.as_str());
            self.store.delete(&location).await.map_err(self.failed("removing", &location))?;
        }
        let saved = snapshots.into_iter().find(|snapshot| snapshot.position == position);
        saved.ok_or_else(|| Error::Vanished { name: self.full(&location) })
    }

    async fn upload(&self, packed: &Path, location: &Location) -> Result<(), Error> {
        let broken = |source| Error::Io { doing: "storing", file: packed.into(), source };
        let mut source = tokio::fs::File::open(packed).await.map_err(broken)?;
        let mut writer = BufWriter::new(self.store.clone(), location.clone());
        let copied = tokio::io::copy(&mut source, &mut writer).await;
        let ended = match copied {
            Ok(_) => writer.shutdown().await,
            Err(error) => {
                let _ = writer.abort().await; // the first error is the one to tell
                Err(error)
            }
        };
        ended.map_err(|source| Error::Upload { name: self.full(location), source })
    }

    /// Puts a snapshot in the place of a state file, which nobody has open.
    ///
    /// # Errors
    /// It is torn, foreign or of a later release, which is told by name; the state file then stays
    /// as it was. Or the store does not answer.
    pub async fn fetch(&self, snapshot: &Snapshot, state: &Path) -> Result<(), Error> {
        let location = Location::from(snapshot.name.as_str());
        let name = self.full(&location);
        let packed = state.with_extension("fetched");
        let broken = |source| Error::Io { doing: "fetching into", file: packed.clone(), source };
        let failed = self.failed("reading", &location);
        let mut bytes = self.store.get(&location).await.map_err(&failed)?.into_stream();
        let mut file = tokio::fs::File::create(&packed).await.map_err(broken)?;
        while let Some(part) = bytes.next().await {
            file.write_all(&part.map_err(&failed)?).await.map_err(broken)?;
        }
        file.flush().await.map_err(broken)?;
        drop(file);
        let (snapshot, from, to) = (snapshot.clone(), packed.clone(), state.to_path_buf());
        let unpacked = blocking(move || file::unpack(&from, &to, &snapshot, &name)).await;
        let _ = std::fs::remove_file(&packed); // a scratch file, overwritten next time
        unpacked
    }

    /// Refuses a snapshot so old that records behind it may soon be gone, or already are.
    ///
    /// # Errors
    /// Its age and a day are more than `retention`, for which `matches` is kept.
    pub fn check_age(
        &self,
        snapshot: &Snapshot,
        now_ms: i64,
        retention: Duration,
    ) -> Result<(), Error> {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let age = u64::try_from(now_ms.saturating_sub(snapshot.stored_at_ms)).unwrap_or(0);
        let age = Duration::from_millis(age);
        if age.saturating_add(DAY) > retention {
            let name = self.full(&Location::from(snapshot.name.as_str()));
            return Err(Error::TooOld { name, age, retention });
        }
        Ok(())
    }

    /// Writes, reads and removes an object, so that a wrong target is known at the start.
    ///
    /// # Errors
    /// The store does not let it.
    pub async fn probe(&self) -> Result<(), Error> {
        let name = format!("probe-{:016x}", RandomState::new().hash_one(std::process::id()));
        let location = self.prefix.clone().join(name); // others may probe at the same moment
        let failed = |doing| self.failed(doing, &location);
        let payload = PutPayload::from_static(b"hubwarden");
        self.store.put(&location, payload).await.map_err(failed("writing"))?;
        self.store.get(&location).await.map_err(failed("reading"))?;
        self.store.delete(&location).await.map_err(failed("removing"))
    }

    fn folder(&self, partition: u32) -> Location {
        self.prefix.clone().join(format!("correlate-{partition}"))
    }

    fn full(&self, location: &Location) -> String {
        format!("{location} in {}", self.url)
    }

    fn failed(
        &self,
        doing: &'static str,
        location: &Location,
    ) -> impl Fn(object_store::Error) -> Error + use<> {
        let name = self.full(location);
        move |source| Error::Store { doing, name: name.clone(), source: Box::new(source) }
    }
}

fn position_of(location: &Location) -> Option<u64> {
    let digits = location.filename()?.strip_suffix(ENDING)?;
    digits.parse().ok().filter(|_| digits.len() == 20)
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Stopped),
    }
}

#[cfg(test)]
mod tests;
