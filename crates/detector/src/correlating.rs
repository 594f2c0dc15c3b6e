use std::sync::Arc;

use hubwarden_event::{Finding, MatchBody};
use hubwarden_rules::{Correlator, Options, Outcome, RuleSet};

use crate::entities;

/// The name under which the bus knows this stage.
pub const CORRELATE_STAGE: &str = "correlate";

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
