use std::path::Path;
use std::sync::Arc;

use hubwarden_bus::{
    Batch, Bus, Delivered, Limit, Positions, Record, Source, commit_when_room, topic,
};
use hubwarden_event::{Finding, MatchBody};
use hubwarden_proto as proto;
use hubwarden_rules::{Correlator, Options, Outcome, RuleSet, StateKey, Stored};
use tokio_util::sync::CancellationToken;

use crate::state::State;
use crate::{Error, Rulebook, entities};

/// The name under which the bus knows this stage.
pub const CORRELATE_STAGE: &str = "correlate";

/// State that may stay in memory; the rest is read again from the state file when it is needed.
const MEMORY_BYTES: usize = 24 << 20;

/// State of so many records is looked up together, in the order in which the file has it.
const LOADED_AT_ONCE: usize = 256;

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

/// A correlator that leaves nothing behind: for scans and cases.
///
/// What does not fit into memory lies in a temporary file that goes with it.
#[derive(Debug)]
pub struct Transient {
    correlator: Correlator,
    spilled: Option<State>,
}

impl Transient {
    /// A correlator that knows nothing yet.
    pub fn new(rules: Arc<RuleSet>) -> Self {
        Self { correlator: Correlator::new(rules, Options::default()), spilled: None }
    }

    /// Judges one record of `matches`.
    ///
    /// # Errors
    /// The temporary file cannot be written or read.
    pub fn apply(&mut self, body: &MatchBody) -> Result<(), Error> {
        loop {
            match self.correlator.apply(body) {
                Outcome::Applied => break,
                Outcome::Missing(keys) => {
                    for key in keys {
                        let spilled = self.spilled.as_ref();
                        let stored = spilled.map(|state| state.load(&key)).transpose()?.flatten();
                        load(&mut self.correlator, &key, stored)?;
                    }
                }
                Outcome::UnknownRule(rule) => self.correlator.retire_rule(rule),
            }
        }
        if self.correlator.bytes() > MEMORY_BYTES { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), Error> {
        let state = match &mut self.spilled {
            Some(state) => state,
            none => none.insert(State::temporary()?),
        };
        store(&mut self.correlator, state, 0)
    }

    /// The findings, by id.
    ///
    /// # Errors
    /// The temporary file cannot be written or read.
    pub fn into_findings(mut self) -> Result<Vec<Finding>, Error> {
        if self.spilled.is_none() {
            let mut findings = self.correlator.take_findings();
            findings.iter_mut().for_each(entities::fill);
            return Ok(findings);
        }
        self.spill()?;
        self.spilled.map_or(Ok(Vec::new()), |state| Ok(state.findings()?))
    }
}

fn load(correlator: &mut Correlator, key: &StateKey, stored: Option<Stored>) -> Result<(), Error> {
    Ok(correlator.load(key, stored.as_ref()).map_err(crate::state::Error::from)?)
}

/// Stores what has changed, with the position behind it, and makes room in memory.
fn store(correlator: &mut Correlator, state: &mut State, next: u64) -> Result<(), Error> {
    let mut changes = correlator.take_changes();
    changes.findings.iter_mut().for_each(entities::fill);
    state.commit(&changes, next)?;
    correlator.forget_clean(MEMORY_BYTES);
    Ok(())
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
        let mut sent = 0;
        loop {
            let findings = stage.state.outbox(Limit::default().bytes)?;
            if findings.is_empty() && sent > 0 {
                break;
            }
            let last = findings.last().map(|(id, _)| id.clone());
            sent += findings.len() as u64;
            let findings = findings.into_iter();
            let records = findings.map(|(id, body)| Record::new(topic::FINDINGS, id, body));
            let at = stage.state.position()?;
            let at = at.map_or_else(Positions::none, |at| Positions::of(topic::MATCHES, 0, at));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                committed = commit_when_room(&mut reader, records.collect(), &at) => committed?,
            }
            let Some(last) = last else { break };
            stage.state.published(&last)?;
        }
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

    /// Judges a batch and stores what it changed: at its end, and whenever memory is full.
    ///
    /// After an error the memory no longer fits the file: the stage ends and starts anew from it.
    fn work(&mut self, batch: &Batch) -> Result<CorrelateCounts, Error> {
        let stored = self.state.position()?.unwrap_or(0);
        let mut counts = CorrelateCounts::default();
        let records = batch.records.iter().filter(|delivered| delivered.position >= stored);
        let records: Vec<&Delivered> = records.collect();
        for some in records.chunks(LOADED_AT_ONCE) {
            let mut bodies = Vec::with_capacity(some.len());
            for delivered in some {
                match proto::decode_match(delivered.body.clone()) {
                    Ok(body) => bodies.push((delivered.position, body)),
                    Err(error) => {
                        counts.unreadable += 1;
                        tracing::error!(position = delivered.position, %error, "left a record of matches out");
                    }
                }
            }
            for key in self.correlator.missing(bodies.iter().map(|(_, body)| body)) {
                if self.correlator.bytes() > MEMORY_BYTES {
                    break; // the rest comes one by one, with room made in between
                }
                self.load(&key)?;
            }
            for (position, body) in &bodies {
                self.apply(body)?;
                if self.correlator.bytes() > MEMORY_BYTES {
                    store(&mut self.correlator, &mut self.state, position + 1)?;
                }
            }
            counts.records += bodies.len() as u64;
        }
        let next = batch.consumed().get(topic::MATCHES, 0).unwrap_or(stored);
        store(&mut self.correlator, &mut self.state, next.max(stored))?;
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

    fn load(&mut self, key: &StateKey) -> Result<(), Error> {
        let stored = self.state.load(key)?;
        load(&mut self.correlator, key, stored)
    }
}

async fn active<B: Bus>(bus: &B) -> Result<Arc<RuleSet>, Error> {
    let book = Rulebook::active(bus).await?.ok_or(Error::NoRuleSet)?;
    Ok(Arc::new(book.compile().set))
}
