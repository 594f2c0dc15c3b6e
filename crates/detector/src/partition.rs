//! One partition of `matches`: its correlator, its state file, and where the state comes from.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hubwarden_bus::Delivered;
use hubwarden_event::{EventId, Hash, MatchBody};
use hubwarden_proto as proto;
use hubwarden_rules::{Changes, Correlator, Options, Outcome, RuleSet, StateKey};
use hubwarden_service::trace::Headers;

use crate::correlating::{LOADED_AT_ONCE, load, store};
use crate::snapshot::{self, Target};
use crate::state::State;
use crate::{CorrelateCounts, Error, metrics};

/// What the correlators of a process need.
#[derive(Debug, Clone)]
pub struct Correlating {
    /// Folder of the state files, `correlate-<partition>.db`.
    pub dir: PathBuf,
    /// How late an event may be, in milliseconds.
    pub lateness_ms: i64,
    /// Where state is kept beside this node; needed when `matches` has more than one partition.
    pub snapshots: Option<Snapshots>,
    /// What to do about a partition whose state is nowhere.
    pub lost: Lost,
}

impl Correlating {
    /// For one process that does everything: state lies beside the journal, and what is lost of it
    /// is judged again from there.
    pub fn alone(dir: PathBuf, lateness_ms: i64) -> Self {
        Self { dir, lateness_ms, snapshots: None, lost: Lost::Rebuild }
    }
}

/// Snapshots of the state files.
#[derive(Debug, Clone)]
pub struct Snapshots {
    /// Where they are kept.
    pub target: Target,
    /// How often each partition's state is copied there; also when the partition is given away.
    pub every: Duration,
    /// How long the bus keeps `matches`: a snapshot nearly as old is refused.
    pub retention: Duration,
}

/// What to do about a partition that was judged before and whose state is neither here nor in a
/// snapshot that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lost {
    /// The partition stands still and says why.
    #[default]
    Stop,
    /// Everything that `matches` still keeps is judged again; findings come out with the same ids.
    Rebuild,
    /// Judging goes on where it had stopped; patterns that were under way are missed.
    AcceptLoss,
}

/// A partition in hand.
pub(crate) struct Partition {
    pub(crate) number: u32,
    pub(crate) correlator: Correlator,
    pub(crate) state: State,
    pub(crate) file: PathBuf,
    /// The position of the newest snapshot; 0 when there is none.
    pub(crate) saved_at: Arc<AtomicU64>,
    /// In which trace the findings of the outbox belong, by id, where a sender asked for one.
    pub(crate) traced: HashMap<String, Vec<(String, Bytes)>>,
    _lock: File,
}

/// The trace headers of the matches of a batch, by their event.
type Traces<'a> = HashMap<EventId, &'a Headers>;

/// Where a partition's state begins.
pub(crate) enum Start {
    /// Where it stands.
    At(u64),
    /// At the oldest record that is kept.
    Oldest,
}

/// What becomes of a match of a rule that the correlator does not know.
pub(crate) enum Answer {
    /// These sets have it, the active one last.
    Sets(Vec<Arc<RuleSet>>),
    /// No set has it.
    Gone,
}

impl Partition {
    /// Opens the state of a partition: the newer of the file here and the newest good snapshot.
    ///
    /// `committed` is the position that the bus knows of the stage: above 0 there was a state.
    pub(crate) async fn open(
        settings: &Correlating,
        number: u32,
        rules: Arc<RuleSet>,
        source_partitions: u32,
        committed: u64,
    ) -> Result<(Self, Start), Error> {
        let file = settings.dir.join(format!("correlate-{number}.db"));
        let lock = lock(&file)?;
        let found = newest_state(settings, number, &file).await;
        let (state, saved_at) = match found {
            Ok(found) => found,
            Err(error) if settings.lost == Lost::Stop || !is_refusal(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(
                    partition = number,
                    error = crate::readiness::chain(&error),
                    "the state is begun anew"
                );
                set_aside(&file)?;
                // A snapshot from before may still be good.
                match newest_state(settings, number, &file).await {
                    Err(error) if is_refusal(&error) => (State::open(&file, number)?, 0),
                    found => found?,
                }
            }
        };
        let start = match (state.position()?, settings.lost) {
            (Some(position), _) => Start::At(position),
            (None, Lost::Stop) if committed > 0 => {
                let (partition, dir) = (number, settings.dir.clone());
                return Err(Error::StateLost { partition, dir, position: committed });
            }
            (None, Lost::AcceptLoss) => Start::At(committed),
            (None, _) => Start::Oldest,
        };
        let options = Options { lateness_ms: settings.lateness_ms, source_partitions };
        let correlator = Correlator::new(rules, options);
        Ok((
            Self {
                number,
                correlator,
                state,
                file,
                saved_at: Arc::new(saved_at.into()),
                traced: HashMap::new(),
                _lock: lock,
            },
            start,
        ))
    }

    /// Notes where the state begins, so that a restart finds a state.
    pub(crate) fn begin_at(&mut self, position: u64) -> Result<(), Error> {
        if self.state.position()?.is_none_or(|stored| stored < position) {
            self.state.commit(&Changes::default(), position)?;
        }
        Ok(())
    }

    /// Judges records of this partition and stores what they changed: at their end, and whenever
    /// memory is full.
    ///
    /// After an error the memory no longer fits the file: the partition is opened anew.
    pub(crate) fn work(
        &mut self,
        records: &[Delivered],
        memory_bytes: usize,
        ask: &dyn Fn(Hash) -> Result<Answer, Error>,
    ) -> Result<CorrelateCounts, Error> {
        let stored = self.state.position()?.unwrap_or(0);
        let mut counts = CorrelateCounts::default();
        let mut traces = Traces::new();
        let fresh = records.iter().filter(|delivered| delivered.position >= stored);
        for some in fresh.collect::<Vec<_>>().chunks(LOADED_AT_ONCE) {
            let mut bodies = Vec::with_capacity(some.len());
            for delivered in some {
                match proto::decode_match(delivered.body.clone()) {
                    Ok(body) => {
                        if let (MatchBody::Match(one), [_, ..]) = (&body, &delivered.headers[..]) {
                            traces.insert(one.event_id, &delivered.headers[..]);
                        }
                        bodies.push((delivered.position, body));
                    }
                    Err(error) => {
                        counts.unreadable += 1;
                        let (partition, position) = (self.number, delivered.position);
                        let error = crate::readiness::chain(&error);
                        tracing::error!(partition, position, error, "left a record of matches out");
                    }
                }
            }
            for key in self.correlator.missing(bodies.iter().map(|(_, body)| body)) {
                if self.correlator.bytes() > memory_bytes {
                    break; // the rest comes one by one, with room made in between
                }
                self.load(&key)?;
            }
            for (position, body) in &bodies {
                self.apply(body, ask)?;
                if self.correlator.bytes() > memory_bytes {
                    self.store(position + 1, memory_bytes, &traces)?;
                }
            }
            counts.records += bodies.len() as u64;
        }
        let next = records.last().map_or(stored, |last| last.position + 1);
        self.store(next.max(stored), memory_bytes, &traces)?;
        Ok(counts)
    }

    /// Stores what has changed, and notes in which trace its findings belong: that of the latest
    /// event that has one.
    fn store(&mut self, next: u64, memory: usize, traces: &Traces<'_>) -> Result<(), Error> {
        let storing = metrics::storing();
        let findings = store(&mut self.correlator, &mut self.state, next, memory)?;
        drop(storing);
        for finding in findings.iter().filter(|_| !traces.is_empty()) {
            let trace = finding.event_ids.iter().rev().find_map(|event| traces.get(event));
            if let Some(headers) = trace {
                self.traced.insert(finding.id.to_string(), headers.to_vec());
            }
        }
        Ok(())
    }

    /// Takes findings out of the outbox up to this id: the bus has them. Gives how many they were.
    pub(crate) fn published(&mut self, through: &str) -> Result<usize, Error> {
        let count = self.state.published(through)?;
        self.traced.retain(|id, _| id.as_str() > through);
        Ok(count)
    }

    fn apply(
        &mut self,
        body: &MatchBody,
        ask: &dyn Fn(Hash) -> Result<Answer, Error>,
    ) -> Result<(), Error> {
        loop {
            match self.correlator.apply(body) {
                Outcome::Applied => return Ok(()),
                Outcome::Missing(keys) => keys.iter().try_for_each(|key| self.load(key))?,
                Outcome::UnknownRule(rule) => match ask(rule)? {
                    Answer::Sets(sets) => {
                        sets.into_iter().for_each(|set| self.correlator.replace_rules(set));
                    }
                    Answer::Gone => self.correlator.retire_rule(rule),
                },
            }
        }
    }

    fn load(&mut self, key: &StateKey) -> Result<(), Error> {
        let stored = self.state.load(key)?;
        load(&mut self.correlator, key, stored, &self.file)
    }

    /// Whether there is no snapshot of it.
    pub(crate) fn is_never_saved(&self) -> bool {
        self.saved_at.load(Ordering::Relaxed) == 0
    }

    /// Whether a snapshot would hold something new.
    pub(crate) fn is_unsaved(&self) -> Result<bool, Error> {
        let position = self.state.position()?;
        Ok(position.is_some_and(|position| position != self.saved_at.load(Ordering::Relaxed)))
    }

    /// Where the stage stands on this partition.
    pub(crate) fn position(&self) -> Result<u64, Error> {
        Ok(self.state.position()?.unwrap_or(0))
    }
}

/// The newest state of a partition, here or in a snapshot, and the position of the newest snapshot.
async fn newest_state(
    settings: &Correlating,
    number: u32,
    file: &Path,
) -> Result<(State, u64), Error> {
    let here = if file.exists() { State::open(file, number)?.position()? } else { None };
    let Some(Snapshots { target, retention, .. }) = &settings.snapshots else {
        return Ok((State::open(file, number)?, 0));
    };
    let mut refused = None;
    for snapshot in target.list(number).await? {
        if here.is_some_and(|here| here >= snapshot.position) {
            return Ok((State::open(file, number)?, snapshot.position));
        }
        let fetched = match target.check_age(&snapshot, now_ms(), *retention) {
            Ok(()) => target.fetch(&snapshot, file).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(()) => {
                let (partition, position) = (number, snapshot.position);
                tracing::info!(partition, position, "took the state over from a snapshot");
                return Ok((State::open(file, number)?, position));
            }
            Err(error) if error.is_refusal() => {
                let text = crate::readiness::chain(&error);
                tracing::error!(partition = number, error = text, "a snapshot is passed over");
                refused = refused.or(Some(error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    match refused {
        Some(error) if here.is_none() => Err(error.into()),
        _ => Ok((State::open(file, number)?, 0)),
    }
}

/// Whether there is a state that this release will never be able to use.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::State(error) => error.is_refusal(),
        Error::Snapshot(snapshot::Error::TooOld { .. }) => true,
        Error::Snapshot(error) => error.is_refusal(),
        _ => false,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Keeps a second process away from the state file as long as this one lives.
fn lock(file: &Path) -> Result<File, Error> {
    let path = file.with_extension("lock");
    let failed = |source| Error::Dir { path: path.clone(), source };
    let lock = File::create(&path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { file: file.into() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Moves a state that cannot be used out of the way, to the first free `….refused-<number>`; what
/// SQLite keeps beside it goes along.
fn set_aside(file: &Path) -> Result<(), Error> {
    let mut names = (1..).map(|number: u64| file.with_extension(format!("refused-{number}")));
    let aside = names.find(|aside| !aside.exists()).expect("there are more names than files");
    for ending in ["", "-wal", "-shm"] {
        let mut from = file.as_os_str().to_owned();
        from.push(ending);
        let mut to = aside.clone().into_os_string();
        to.push(ending);
        match std::fs::rename(&from, &to) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Dir { path: from.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
