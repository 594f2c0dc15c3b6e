use std::path::Path;
use std::sync::Arc;

use hubwarden_bus::{Batch, Bus, Limit, Positions, Record, Source, commit_when_room, topic};
use hubwarden_event::{Finding, MatchBody};
use hubwarden_proto as proto;
use hubwarden_rules::{Correlator, Options, Outcome, RuleSet};
use tokio_util::sync::CancellationToken;

use crate::state::State;
use crate::{Error, Rulebook, entities};

/// The name under which the bus knows this stage.
pub const CORRELATE_STAGE: &str = "correlate";

/// State that may stay in memory; the rest is read again from the state file when it is needed.
const MEMORY_BYTES: usize = 64 << 20;

/// What has been correlated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CorrelateCounts {
    /// Matches, watermarks and run ends taken in.
    pub records: u64,
    /// Versions of findings published.
    pub findings: u64,
    /// Records that are not matches of this release.
    pub unreadable: u64,
}

/// A correlator without a store: for scans and cases.
#[derive(Debug)]
pub struct InMemory {
    correlator: Correlator,
}

impl InMemory {
    /// A correlator that knows nothing yet.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { correlator: Correlator::new(rules, Options::default()) }
    }

    /// Judges one record of `matches`.
    pub fn apply(&mut self, body: &MatchBody) {
        loop {
            match self.correlator.apply(body) {
                Outcome::Applied => return,
                Outcome::Missing(keys) => {
                    for key in keys {
                        let loaded = self.correlator.load(&key, None);
                        debug_assert!(loaded.is_ok(), "there are no bytes to be damaged");
                    }
                }
                Outcome::UnknownRule(rule) => self.correlator.retire_rule(rule),
            }
        }
    }

    /// The findings that are new or changed since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        let mut findings = self.correlator.take_findings();
        findings.iter_mut().for_each(entities::fill);
        findings
    }
}

/// Turns matches into findings until stopped.
///
/// State, outbox and position are one transaction of the state file; a finding leaves the outbox
/// once the bus has it. `told` hears of every batch.
///
/// # Errors
/// When the bus or the state file fails, or the bus holds no rule set.
pub async fn run_correlate<B: Bus>(
    bus: B,
    file: &Path,
    lateness_ms: i64,
    stop: CancellationToken,
    mut told: impl FnMut(CorrelateCounts),
) -> Result<(), Error> {
    let mut reader = bus.reader(CORRELATE_STAGE, &[topic::MATCHES])?;
    let mut stage = Stage::open(bus, file, lateness_ms).await?;
    if let Some(position) = stage.state.position()? {
        reader.read_from(&Positions::of(topic::MATCHES, 0, position)).await?;
    }
    loop {
        let records = stage.outbox()?;
        let sent = records.len() as u64;
        let at = stage
            .state
            .position()?
            .map_or_else(Positions::none, |next| Positions::of(topic::MATCHES, 0, next));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            committed = commit_when_room(&mut reader, records, &at) => committed?,
        }
        stage.state.clear_outbox()?;
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = reader.next_batch(Limit::default()) => batch?,
        };
        let mut counts = tokio::task::block_in_place(|| stage.work(&batch))?;
        counts.findings = sent;
        told(counts);
    }
}

struct Stage<B> {
    bus: B,
    correlator: Correlator,
    state: State,
}

impl<B: Bus> Stage<B> {
    async fn open(bus: B, file: &Path, lateness_ms: i64) -> Result<Self, Error> {
        let rules = active(&bus).await?;
        let options = Options { lateness_ms, ..Options::default() };
        Ok(Self { bus, correlator: Correlator::new(rules, options), state: State::open(file)? })
    }

    /// What is still to be published, also after a crash between two transactions.
    fn outbox(&self) -> Result<Vec<Record>, Error> {
        let findings = self.state.outbox()?.into_iter();
        Ok(findings.map(|(id, body)| Record::new(topic::FINDINGS, id, body)).collect())
    }

    /// Judges a batch and stores what it changed.
    ///
    /// After an error the memory no longer fits the file: the stage ends and starts anew from it.
    fn work(&mut self, batch: &Batch) -> Result<CorrelateCounts, Error> {
        let stored = self.state.position()?.unwrap_or(0);
        let mut counts = CorrelateCounts::default();
        let mut bodies = Vec::with_capacity(batch.records.len());
        for delivered in batch.records.iter().filter(|delivered| delivered.position >= stored) {
            match proto::decode_match(delivered.body.clone()) {
                Ok(body) => bodies.push(body),
                Err(error) => {
                    counts.unreadable += 1;
                    tracing::error!(position = delivered.position, %error, "left a record of matches out");
                }
            }
        }
        for key in self.correlator.missing(&bodies) {
            self.load(&key)?;
        }
        for body in &bodies {
            self.apply(body)?;
        }
        counts.records = bodies.len() as u64;
        let mut changes = self.correlator.take_changes();
        changes.findings.iter_mut().for_each(entities::fill);
        let next = batch.consumed().get(topic::MATCHES, 0).unwrap_or(stored);
        self.state.commit(&changes, next.max(stored))?;
        self.correlator.forget_clean(MEMORY_BYTES);
        Ok(counts)
    }

    fn apply(&mut self, body: &MatchBody) -> Result<(), Error> {
        loop {
            match self.correlator.apply(body) {
                Outcome::Applied => return Ok(()),
                Outcome::Missing(keys) => keys.iter().try_for_each(|key| self.load(key))?,
                Outcome::UnknownRule(rule) => {
                    // Batches are worked on where blocking is allowed.
                    let rules = tokio::runtime::Handle::current().block_on(active(&self.bus))?;
                    match rules.get(&rule) {
                        Some(_) => self.correlator.replace_rules(rules),
                        None => self.correlator.retire_rule(rule),
                    }
                }
            }
        }
    }

    fn load(&mut self, key: &hubwarden_rules::StateKey) -> Result<(), Error> {
        let stored = self.state.load(key)?;
        Ok(self.correlator.load(key, stored.as_ref()).map_err(crate::state::Error::from)?)
    }
}

async fn active<B: Bus>(bus: &B) -> Result<Arc<RuleSet>, Error> {
    let book = Rulebook::active(bus).await?.ok_or(Error::NoRuleSet)?;
    Ok(Arc::new(book.compile().set))
}
