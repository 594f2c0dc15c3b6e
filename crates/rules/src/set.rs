use std::collections::HashMap;
use std::sync::Arc;

use hubwarden_event::{Hash, Severity, hash_parts};

use crate::document::LogSource;
use crate::item::ACTION;
use crate::tree::Tree;
use crate::view::Fields;
use crate::{RuleInfo, Window};

/// Rules that have been compiled together: every event is judged by exactly one set.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<RuleInfo>,
    by_hash: HashMap<Hash, usize, foldhash::fast::RandomState>,
    hash: Hash,
    pub(crate) fields: Fields,
    pub(crate) action: u32,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) tables: Vec<Table>,
}

/// A detection and the rules that make something of its matches.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) name: String,
    pub(crate) source: LogSource,
    pub(crate) tree: Tree,
    pub(crate) outputs: Vec<Output>,
}

/// What a match of a detection means for one rule.
#[derive(Debug)]
pub(crate) struct Output {
    /// The rule's position in the set.
    pub(crate) rule: usize,
    /// For each group-by field the slots of which the first present counts.
    pub(crate) group: Vec<Vec<u32>>,
    /// Whether an event without a group-by field belongs to no group.
    pub(crate) strict: bool,
    /// The fields whose values are counted: for each the slots of which the first present counts.
    pub(crate) values: Option<Vec<Vec<u32>>>,
    /// Severities that replace the rule's level while their condition holds.
    pub(crate) severity: Vec<(Tree, Severity)>,
}

/// The detections of one log source by the actions that they can hold on.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) source: LogSource,
    pub(crate) by_action: HashMap<Box<str>, Vec<u32>, foldhash::fast::RandomState>,
    pub(crate) always: Vec<u32>,
}

impl RuleSet {
    /// A set of rules whose matches come from elsewhere: it knows them by hash and matches nothing.
    pub fn from_rules(rules: Vec<RuleInfo>) -> Self {
        Self::build(rules, Vec::new(), Fields::default())
    }

    pub(crate) fn build(rules: Vec<RuleInfo>, matchers: Vec<Matcher>, mut fields: Fields) -> Self {
        let by_hash = rules.iter().enumerate().map(|(position, rule)| (rule.hash, position));
        let by_hash = by_hash.collect();
        let hash = Hash(hash_parts(rules.iter().map(|rule| rule.hash.0.as_slice())));
        let action = fields.slot(ACTION);
        let tables = tables(&matchers, action);
        Self { rules, by_hash, hash, fields, action, matchers, tables }
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

    /// The detections of a rule, each with what its matches mean for it.
    pub(crate) fn parts<'a>(
        &'a self,
        rule: &RuleInfo,
    ) -> impl Iterator<Item = (&'a Matcher, &'a Output)> + use<'a> {
        let position = self.by_hash.get(&rule.hash).copied();
        let outputs =
            self.matchers.iter().flat_map(|one| one.outputs.iter().map(move |to| (one, to)));
        outputs.filter(move |(_, output)| Some(output.rule) == position)
    }
}

fn tables(matchers: &[Matcher], action: u32) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut by_source: HashMap<&LogSource, usize> = HashMap::new();
    for (number, matcher) in (0..).zip(matchers) {
        if matcher.outputs.is_empty() {
            continue;
        }
        let table = *by_source.entry(&matcher.source).or_insert_with(|| {
            tables.push(Table { source: matcher.source.clone(), ..Table::default() });
            tables.len() - 1
        });
        let table = &mut tables[table];
        match matcher.tree.implied(action) {
            None => table.always.push(number),
            Some(actions) => {
                for name in actions {
                    table.by_action.entry(name.into()).or_default().push(number);
                }
            }
        }
    }
    tables
}

/// For each field to group by, the slots of which the first present counts.
pub(crate) fn group_slots<'a>(
    names: impl IntoIterator<Item = &'a str>,
    fields: &mut Fields,
) -> Vec<Vec<u32>> {
    let slots = |name: &str, fields: &mut Fields| -> Vec<u32> {
        name.split('|').map(|one| fields.slot(one)).collect()
    };
    names.into_iter().map(|name| slots(name, fields)).collect()
}

/// Names of group-by fields as matches carry them.
pub(crate) fn group_names(names: &[String]) -> Arc<[Arc<str>]> {
    names.iter().map(|name| Arc::from(name.as_str())).collect()
}
