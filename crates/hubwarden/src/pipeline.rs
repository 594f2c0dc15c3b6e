use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::{Bus, Journal, Options, topic};
use hubwarden_console::{Findings, LINE, Letters, SqliteStore, StageWatch, letters, raw_bytes};
use hubwarden_detector::{CORRELATE_STAGE, Correlating, MATCH_STAGE, Readiness, RuleApi, Rulebook};
use hubwarden_normalizer::{Counts, Networks, NormalizerStage};
use hubwarden_service::TaskResult;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::BusKind;
use crate::{Config, Failure, on_kafka};

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

/// All stages between raw records and the findings store, over one bus; findings are in one folder.
///
/// Data moves only over the bus; a process that dies anywhere resumes where each stage last
/// committed.
#[derive(Clone)]
pub struct Pipeline<B = Journal> {
    /// The bus.
    pub bus: B,
    /// The questions about what was found.
    pub findings: Findings,
    /// The questions about the rules that judge.
    pub rules: RuleApi,
    /// The questions about what could not be read.
    pub letters: Letters,
    /// The last hour of the stages.
    pub watch: StageWatch,
    passed: Arc<Mutex<Passed>>,
}

impl Pipeline {
    /// Opens the journal of the folder, publishes the rules and starts the stages as tasks.
    ///
    /// # Errors
    /// The folder is in use or damaged, or a store cannot be opened.
    pub async fn start(
        settings: &Settings,
        tasks: &mut JoinSet<TaskResult>,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let journal = open_journal(&settings.data_dir, settings.journal.clone())?;
        let correlating = Correlating::alone(settings.data_dir.clone(), settings.lateness_ms);
        Self::over(journal, settings, correlating, tasks, stop).await
    }

    /// Records that each stage has not consumed yet, in the order of the line.
    pub fn lags(&self) -> Vec<(&'static str, u64)> {
        LINE.map(|(name, topic)| (name, self.bus.backlog(name, topic))).into()
    }

    /// Waits until every stage has consumed everything that is on the bus.
    pub async fn drained(&self) {
        while self.lags().iter().any(|(_, lag)| *lag > 0) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl<B: Bus<Reader: Sync>> Pipeline<B> {
    /// Publishes the rules on a bus and starts the stages over it as tasks.
    ///
    /// # Errors
    /// The bus does not take the rules, or the findings store cannot be opened.
    pub async fn over(
        bus: B,
        settings: &Settings,
        correlating: Correlating,
        tasks: &mut JoinSet<TaskResult>,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        settings.rulebook.publish(&bus).await?;
        let store = Arc::new(SqliteStore::connect(findings_file(&settings.data_dir)).await?);
        let findings = Findings::new(store.clone(), raw_bytes(bus.clone()));
        let passed: Arc<Mutex<Passed>> = Arc::default();
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);

        let normalizer = NormalizerStage::new(settings.networks.clone(), threads);
        let (here, token, tell) = (bus.clone(), stop.clone(), passed.clone());
        tasks.spawn(async move {
            let told = move |counts| update(&tell, |passed| passed.normalized.merge(counts));
            Ok(hubwarden_normalizer::run(here, normalizer, token, told).await?)
        });
        let mut rules = RuleApi::default();
        let ready = Readiness::default();
        rules.add(MATCH_STAGE, ready.clone());
        let (here, token, tell) = (bus.clone(), stop.clone(), passed.clone());
        tasks.spawn(async move {
            let told = move |counts: hubwarden_detector::MatchCounts| {
                update(&tell, |passed| passed.matches += counts.matches);
            };
            Ok(hubwarden_detector::run_match(here, threads, ready, token, told).await?)
        });
        let ready = Readiness::default();
        rules.add(CORRELATE_STAGE, ready.clone());
        let (here, token, tell) = (bus.clone(), stop.clone(), passed.clone());
        tasks.spawn(async move {
            let told = move |counts: hubwarden_detector::CorrelateCounts| {
                update(&tell, |passed| passed.findings += counts.findings);
            };
            Ok(hubwarden_detector::run_correlate(here, correlating, ready, token, told).await?)
        });
        // The store has the position; the bus is told only so that it may forget.
        let reader = bus.keeping_reader(hubwarden_console::consume::STAGE, &[topic::FINDINGS])?;
        let (kept, token) = (store.clone(), stop.clone());
        tasks.spawn(
            async move { Ok(hubwarden_console::consume::run(reader, &*kept, token).await?) },
        );
        let reader = bus.keeping_reader(letters::STAGE, &[topic::RAW_DEAD, topic::EVENTS_DEAD])?;
        let (kept, token) = (store.clone(), stop.clone());
        tasks.spawn(async move { Ok(letters::run(reader, &*kept, token).await?) });
        let watch = StageWatch::default();
        tasks.spawn(watch.clone().run(bus.clone(), stop.clone()));
        let letters = Letters::new(store, bus.clone());
        Ok(Self { bus, findings, rules, letters, watch, passed })
    }

    /// What has passed so far.
    pub fn passed(&self) -> Passed {
        self.passed.lock().map(|passed| passed.clone()).unwrap_or_default()
    }
}

fn update(passed: &Mutex<Passed>, change: impl FnOnce(&mut Passed)) {
    if let Ok(mut passed) = passed.lock() {
        change(&mut passed);
    }
}

/// Opens the journal of a data folder, creating the folder readable for this user only.
pub(crate) fn open_journal(data_dir: &Path, options: Options) -> Result<Journal, Failure> {
    create(data_dir)?;
    refuse_other_bus(data_dir, &on_kafka::claim_file(data_dir), BusKind::Kafka)?;
    Ok(Journal::open(journal_dir(data_dir), options)?)
}

/// Creates a data folder, readable for this user only, where it is missing.
pub(crate) fn create(data_dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    created.map_err(|error| {
        let text = format!(
            "cannot create the data folder {}: {error}; name another with --data-dir",
            data_dir.display()
        );
        Failure::new(crate::Exit::Failed, text)
    })
}

/// Fails when a folder holds what belongs to another kind of bus: its positions mean nothing here.
pub(crate) fn refuse_other_bus(
    data_dir: &Path,
    trace: &Path,
    other: BusKind,
) -> Result<(), Failure> {
    if !trace.exists() {
        return Ok(());
    }
    let text = format!(
        "the data folder {} belongs to bus.kind = \"{other}\": its findings and state stand at \
         positions of that bus; set the kind back, or name another folder with --data-dir",
        data_dir.display()
    );
    Err(Failure::new(crate::Exit::Failed, text))
}

/// The folder of the journal inside the data folder.
pub(crate) fn journal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// The file of the findings store inside the data folder.
pub(crate) fn findings_file(data_dir: &Path) -> PathBuf {
    data_dir.join("findings.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_stages_as_they_name_themselves() {
        let names = [
            hubwarden_normalizer::STAGE,
            MATCH_STAGE,
            CORRELATE_STAGE,
            hubwarden_console::consume::STAGE,
        ];
        assert_eq!(LINE.map(|(name, _)| name), names);
    }
}
