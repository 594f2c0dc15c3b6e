//! Judges files without keeping anything: the same reading, normalizing, matching and correlating
//! as the pipeline, as function calls in one process.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use hubwarden_collector::Import;
use hubwarden_collector::files::{self, Chunk, Input};
use hubwarden_detector::{Rulebook, Transient};
use hubwarden_event::{ConnectionId, Finding, Match, MatchBody, RawPosition, Timestamp};
use hubwarden_normalizer::{Networks, Normalizer};
use hubwarden_rules::{Engine, RuleSet, Scratch};

use crate::failure::with_causes;

/// Chunks that may wait between two steps, about 1 MiB each.
const WAITING: usize = 4;

/// What a scan needs besides the files.
#[derive(Debug, Clone)]
pub struct ScanSettings {
    /// The rules and lists that judge.
    pub rulebook: Rulebook,
    /// Your own networks.
    pub networks: Networks,
    /// Name that goes into the ids of findings.
    pub connection: ConnectionId,
    /// How many threads normalize and match.
    pub threads: NonZero<usize>,
    /// The moment that the files count as received.
    pub started_at: Timestamp,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedLine {
    /// The file as given.
    pub file: Arc<str>,
    /// The line the record begins at.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// A file that was not read whole, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file as given.
    pub file: Arc<str>,
    /// Why; where a part of it was read, a rejected line says the same.
    pub reason: String,
    /// Whether a part of it was read and judged.
    pub in_part: bool,
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct ScanReport {
    /// Records read.
    pub read: u64,
    /// Records that could not be read as events.
    pub rejected: u64,
    /// Lines of other programs in syslog files, passed over.
    pub foreign: u64,
    /// Files that were not read whole.
    pub unread: Vec<Unread>,
    /// The findings, the worst first, then by time.
    pub findings: Vec<Finding>,
}

impl ScanReport {
    /// Why the findings may not be all, in words; `None` when every record of every file was judged.
    pub fn unseen(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.unread.is_empty() {
            let names =
                self.unread.iter().map(|unread| &*unread.file).collect::<Vec<_>>().join(", ");
            parts.push(format!(
                "{} not read whole ({names})",
                counted(self.unread.len() as u64, "file")
            ));
        }
        if self.rejected > 0 {
            parts.push(format!("{} rejected", counted(self.rejected, "record")));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What a worker made of a chunk.
struct Judged {
    matches: Vec<Match>,
    read: u64,
    foreign: u64,
    rejected: Vec<RejectedLine>,
}

/// Reads the files and judges their events as one set, whatever their order.
///
/// `rejected` hears of every record that could not be read, `progress` of the bytes read so far. A file that
/// cannot be read stops nothing: the report names it.
///
/// # Errors
/// There is no room for temporary files.
pub fn scan(
    inputs: &[Input],
    settings: &ScanSettings,
    mut rejected: impl FnMut(&RejectedLine),
    progress: impl Fn(u64) + Sync,
) -> Result<ScanReport, hubwarden_detector::Error> {
    let rules = Arc::new(settings.rulebook.compile().set);
    let networks = Arc::new(settings.networks.clone());
    let (chunks, waiting) = sync_channel::<Chunk>(WAITING);
    let waiting = Mutex::new(waiting);
    let (judged, results) = sync_channel::<Judged>(WAITING);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_all(inputs, chunks, &progress));
        for _ in 0..settings.threads.get() {
            let (results, waiting) = (judged.clone(), &waiting);
            let (rules, networks) = (rules.clone(), networks.clone());
            // a copy of the names for each thread: every event counts its references to them
            let connection = ConnectionId::new(settings.connection.as_str());
            let import = Import::new(connection, inputs, settings.started_at);
            scope.spawn(move || {
                let mut worker = Worker::new(rules, networks, import);
                while let Some(chunk) = next(waiting) {
                    if results.send(worker.judge(&chunk)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(judged);
        let mut correlator = Transient::new(rules);
        let mut failed = Ok(()); // the rest is still taken, or the threads that give it would wait for ever
        let mut report = ScanReport::default();
        for part in results {
            report.read += part.read;
            report.foreign += part.foreign;
            report.rejected += part.rejected.len() as u64;
            part.rejected.iter().for_each(&mut rejected);
            for matched in part.matches {
                if failed.is_ok() {
                    failed = correlator.apply(&MatchBody::Match(matched));
                }
            }
        }
        match reading.join() {
            Ok(unread) => report.unread = unread,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        failed?;
        report.findings = correlator.into_findings()?;
        report.findings.sort_by(|a, b| {
            let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.first_seen);
            key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
        });
        Ok(report)
    })
}

fn next(waiting: &Mutex<Receiver<Chunk>>) -> Option<Chunk> {
    waiting.lock().ok()?.recv().ok()
}

fn read_all(
    inputs: &[Input],
    chunks: std::sync::mpsc::SyncSender<Chunk>,
    progress: &impl Fn(u64),
) -> Vec<Unread> {
    let mut before = 0;
    let mut unread = Vec::new();
    for input in inputs {
        let mut reader = match files::open(input) {
            Ok(reader) => reader,
            Err(error) => {
                let reason = with_causes(&error);
                unread.push(Unread { file: input.name(), reason, in_part: false });
                continue;
            }
        };
        let consumed = reader.consumed();
        while let Some(chunk) = reader.next_chunk() {
            progress(before + consumed.bytes());
            if chunks.send(chunk).is_err() {
                return unread; // every worker has ended by a panic, which is passed on
            }
        }
        if let Some(reason) = reader.unread() {
            unread.push(Unread { file: input.name(), reason: reason.into(), in_part: true });
        }
        before += consumed.bytes();
    }
    unread
}

struct Worker {
    normalizer: Normalizer,
    engine: Engine,
    scratch: Scratch,
    import: Import,
}

impl Worker {
    fn new(rules: Arc<RuleSet>, networks: Arc<Networks>, import: Import) -> Self {
        let normalizer = Normalizer::new(networks);
        Self { normalizer, engine: Engine::new(rules), scratch: Scratch::default(), import }
    }

    fn judge(&mut self, chunk: &Chunk) -> Judged {
        let mut judged = Judged {
            matches: Vec::new(),
            read: chunk.items.len() as u64,
            foreign: chunk.foreign,
            rejected: Vec::new(),
        };
        for item in &chunk.items {
            let raw = self.import.record(chunk, item);
            match self.normalizer.normalize(&raw, RawPosition::default()) {
                Ok(event) => self.engine.evaluate(&event, &mut self.scratch, &mut judged.matches),
                Err(reason) => judged.rejected.push(RejectedLine {
                    file: chunk.file.clone(),
                    line: item.line,
                    reason: reason.to_string(),
                }),
            }
        }
        judged
    }
}
