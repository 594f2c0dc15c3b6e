use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::{Bus, Journal, Options, Topic, topic};
use hubwarden_console::{Findings, SqliteStore, raw_bytes};
use hubwarden_detector::{CORRELATE_STAGE, Correlating, MATCH_STAGE, Readiness, Rulebook};
use hubwarden_normalizer::{Counts, Networks, NormalizerStage};
use hubwarden_service::TaskResult;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Config, Failure};

/// Each stage with the topic that it consumes, in the order of the line.
const LINE: [(&str, Topic); 4] = [
    (hubwarden_normalizer::STAGE, topic::RAW),
    (MATCH_STAGE, topic::EVENTS),
    (CORRELATE_STAGE, topic::MATCHES),
    (hubwarden_console::consume::STAGE, topic::FINDINGS),
];

/// How often [`Pipeline::drained`] looks.
const LOOK: Duration = Duration::from_millis(20);

/// What a pipeline needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// How the journal is kept.
    pub journal: Options,
    /// Your own networks.
    pub networks: Networks,
    /// The rules and lists that judge.
    pub rulebook: Rulebook,
    /// How late an event may be, in milliseconds.
    pub lateness_ms: i64,
}

impl Settings {
    /// The settings of a configuration.
    ///
    /// # Errors
    /// Rules or lists that cannot be read.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let storage = &config.storage;
        let journal = Options {
            keep: Duration::from_secs(u64::from(storage.keep_days) * 24 * 3600),
            budget_bytes: storage.budget_gib << 30,
            free_floor_bytes: storage.free_floor_mib << 20,
            ..Options::default()
        };
        Ok(Self {
            data_dir: storage.data_dir.clone(),
            journal,
            networks: config.networks(),
            rulebook: Rulebook::read(&config.rules, &config.lists)?,
            lateness_ms: i64::from(config.detection.lateness_min) * 60_000,
        })
    }
}

/// What has passed through the stages since the start.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// What the normalizer counted.
    pub normalized: Counts,
    /// Matches found.
    pub matches: u64,
    /// Versions of findings published.
    pub findings: u64,
}

/// All stages between raw records and the findings store, over a journal in one folder.
///
/// Data moves only over the journal; a process that dies anywhere resumes where each stage last
/// committed.
#[derive(Clone)]
pub struct Pipeline {
    /// The bus.
    pub journal: Journal,
    /// The questions about what was found.
    pub findings: Findings,
    passed: Arc<Mutex<Passed>>,
}

impl Pipeline {
    /// Opens the folder, publishes the rules and starts the stages as tasks.
    ///
    /// # Errors
    /// The folder is in use or damaged, or a store cannot be opened.
    pub async fn start(
        settings: &Settings,
        tasks: &mut JoinSet<TaskResult>,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let journal = open_journal(&settings.data_dir, settings.journal.clone())?;
        settings.rulebook.publish(&journal).await?;
        let store = Arc::new(SqliteStore::connect(findings_file(&settings.data_dir)).await?);
        let findings = Findings::new(store.clone(), raw_bytes(journal.clone()));
        let passed: Arc<Mutex<Passed>> = Arc::default();
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);

        let normalizer = NormalizerStage::new(settings.networks.clone(), threads);
        let (bus, token, tell) = (journal.clone(), stop.clone(), passed.clone());
        tasks.spawn(async move {
            let told = move |counts| update(&tell, |passed| passed.normalized.merge(counts));
            Ok(hubwarden_normalizer::run(bus, normalizer, token, told).await?)
        });
        let (bus, token, tell) = (journal.clone(), stop.clone(), passed.clone());
        tasks.spawn(async move {
            let told = move |counts: hubwarden_detector::MatchCounts| {
                update(&tell, |passed| passed.matches += counts.matches);
            };
            Ok(hubwarden_detector::run_match(bus, threads, Readiness::default(), token, told)
                .await?)
        });
        let (bus, token, tell) = (journal.clone(), stop.clone(), passed.clone());
        let correlating = Correlating::alone(settings.data_dir.clone(), settings.lateness_ms);
        tasks.spawn(async move {
            let told = move |counts: hubwarden_detector::CorrelateCounts| {
                update(&tell, |passed| passed.findings += counts.findings);
            };
            let ready = Readiness::default();
            Ok(hubwarden_detector::run_correlate(bus, correlating, ready, token, told).await?)
        });
        let reader = journal.reader(hubwarden_console::consume::STAGE, &[topic::FINDINGS])?;
        let token = stop.clone();
        tasks.spawn(
            async move { Ok(hubwarden_console::consume::run(reader, &*store, token).await?) },
        );
        Ok(Self { journal, findings, passed })
    }

    /// What has passed so far.
    pub fn passed(&self) -> Passed {
        self.passed.lock().map(|passed| passed.clone()).unwrap_or_default()
    }

    /// Records that each stage has not consumed yet, in the order of the line.
    pub fn lags(&self) -> Vec<(&'static str, u64)> {
        LINE.map(|(name, topic)| (name, self.journal.backlog(name, topic))).into()
    }

    /// Waits until every stage has consumed everything that is on the bus.
    pub async fn drained(&self) {
        while self.lags().iter().any(|(_, lag)| *lag > 0) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn update(passed: &Mutex<Passed>, change: impl FnOnce(&mut Passed)) {
    if let Ok(mut passed) = passed.lock() {
        change(&mut passed);
    }
}

/// Opens the journal of a data folder, creating the folder readable for this user only.
pub(crate) fn open_journal(data_dir: &Path, options: Options) -> Result<Journal, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    created.map_err(|error| {
        let text = format!(
            "cannot create the data folder {}: {error}; name another with --data-dir",
            data_dir.display()
        );
        Failure::new(crate::Exit::Failed, text)
    })?;
    Ok(Journal::open(journal_dir(data_dir), options)?)
}

/// The folder of the journal inside the data folder.
pub(crate) fn journal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// The file of the findings store inside the data folder.
pub(crate) fn findings_file(data_dir: &Path) -> PathBuf {
    data_dir.join("findings.db")
}
