use std::collections::BTreeMap;
use std::sync::Arc;

use hubwarden_event::Hash;
use tokio::sync::watch;

use crate::LoadedRules;

/// Why a stage is not ready, as it stands now; clones tell the same.
///
/// A stage that cannot judge says so here and takes no batch, instead of ending: probes then keep
/// traffic and rollouts away from it, and it goes on by itself when the cause is gone.
#[derive(Debug, Clone)]
pub struct Readiness {
    reasons: Arc<watch::Sender<BTreeMap<String, String>>>,
    rules: Arc<watch::Sender<Option<Arc<LoadedRules>>>>,
}

impl Default for Readiness {
    /// A stage that has not begun yet is not ready.
    fn default() -> Self {
        let starting = ("stage".into(), "it is starting".into());
        Self {
            reasons: Arc::new(watch::Sender::new(BTreeMap::from([starting]))),
            rules: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Readiness {
    /// Whether nothing stands in the way.
    pub fn is_ready(&self) -> bool {
        self.reasons.borrow().is_empty()
    }

    /// What stands in the way, as `part: reason`.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.borrow();
        reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.reasons.subscribe()
    }

    /// Hash of the rule set that the stage judges by; every replica comes to tell the same.
    pub fn rule_set(&self) -> Option<Hash> {
        self.rules.borrow().as_ref().map(|rules| rules.set.hash())
    }

    /// The rules that the stage judges by.
    pub(crate) fn rules(&self) -> Option<Arc<LoadedRules>> {
        self.rules.borrow().clone()
    }

    pub(crate) fn judges_by(&self, rules: Arc<LoadedRules>) {
        self.rules.send_replace(Some(rules));
    }

    /// Notes or clears what stands in the way of one part; the first time it is logged.
    pub(crate) fn set(&self, part: &str, reason: Option<String>) {
        self.reasons.send_if_modified(|reasons| match reason {
            Some(reason) if reasons.get(part) != Some(&reason) => {
                if part != "stage" {
                    tracing::error!(part, reason, "not ready");
                }
                reasons.insert(part.into(), reason);
                true
            }
            Some(_) => false,
            None => reasons.remove(part).is_some(),
        });
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_no_part_has_a_reason() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.set("stage", None);
        assert!(readiness.is_ready());
        let mut heard = readiness.subscribe();
        readiness.set("partition 3", Some("lost".into()));
        assert!(heard.has_changed().unwrap());
        heard.mark_unchanged();
        readiness.clone().set("partition 3", Some("lost".into()));
        assert!(!heard.has_changed().unwrap(), "nothing new");
        assert_eq!(readiness.reasons(), ["partition 3: lost"]);
    }
}
