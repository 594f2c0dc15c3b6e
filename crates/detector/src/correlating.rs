use std::path::Path;
use std::sync::Arc;

use hubwarden_event::{Finding, MatchBody};
use hubwarden_rules::{Correlator, Options, Outcome, RuleSet, StateKey, Stored};

use crate::state::State;
use crate::{Error, entities};

/// The name under which the bus knows this stage.
pub const CORRELATE_STAGE: &str = "correlate";

/// State that may stay in memory; the rest is read again from the state file when it is needed.
pub(crate) const MEMORY_BYTES: usize = 24 << 20;

/// State of so many records is looked up together, in the order in which the file has it.
pub(crate) const LOADED_AT_ONCE: usize = 256;

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
                        let file = Path::new("(temporary)");
                        load(&mut self.correlator, &key, stored, file)?;
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
        store(&mut self.correlator, state, 0, MEMORY_BYTES).map(|_| ())
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

/// Puts what a state file has under a key into memory.
pub(crate) fn load(
    correlator: &mut Correlator,
    key: &StateKey,
    stored: Option<Stored>,
    file: &Path,
) -> Result<(), Error> {
    let damaged = |source| crate::state::Error::Damaged { file: file.into(), source };
    Ok(correlator.load(key, stored.as_ref()).map_err(damaged)?)
}

/// Stores what has changed, with the position behind it, and makes room in memory.
///
/// Gives the findings that are now in the outbox for it.
pub(crate) fn store(
    correlator: &mut Correlator,
    state: &mut State,
    next: u64,
    memory: usize,
) -> Result<Vec<Finding>, Error> {
    let mut changes = correlator.take_changes();
    changes.findings.iter_mut().for_each(entities::fill);
    state.commit(&changes, next)?;
    correlator.forget_clean(memory);
    Ok(changes.findings)
}
