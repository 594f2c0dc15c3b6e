use std::collections::HashMap;

use hubwarden_event::{Hash, hash_parts};

use crate::{RuleInfo, Window};

/// Rules that have been compiled together: every event is judged by exactly one set.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<RuleInfo>,
    by_hash: HashMap<Hash, usize, foldhash::fast::RandomState>,
    hash: Hash,
}

impl RuleSet {
    /// A set of rules whose matches come from elsewhere: it knows them by hash and matches nothing.
    pub fn from_rules(rules: Vec<RuleInfo>) -> Self {
        let by_hash = rules.iter().enumerate().map(|(position, rule)| (rule.hash, position));
        let by_hash = by_hash.collect();
        let hash = Hash(hash_parts(rules.iter().map(|rule| rule.hash.0.as_slice())));
        Self { rules, by_hash, hash }
    }

    /// Every rule that makes findings, by file and line.
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// The rule with this content hash.
    pub fn get(&self, hash: &Hash) -> Option<&RuleInfo> {
        self.by_hash.get(hash).map(|position| &self.rules[*position])
    }

    /// The same for sets that find the same and say the same about it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Length of the longest threshold window in milliseconds; 0 without one.
    pub fn longest_span_ms(&self) -> i64 {
        let spans = self.rules.iter().map(|rule| match rule.window {
            Window::Single => 0,
            Window::Events { span_ms, .. } | Window::Values { span_ms, .. } => span_ms,
        });
        spans.max().unwrap_or(0)
    }
}
