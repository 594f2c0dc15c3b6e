use std::sync::Arc;

use hubwarden_event::{Event, GroupKey, Hit, Match, Severity};

use crate::RuleSet;
use crate::set::{Output, Table};
use crate::text::fold;
use crate::view::{Scratch, View};

/// Judges events by a rule set, one at a time and without memory of those before.
#[derive(Debug, Clone)]
pub struct Engine {
    set: Arc<RuleSet>,
}

impl Engine {
    /// An engine for this set; as many as wanted can share one.
    pub fn new(set: Arc<RuleSet>) -> Self {
        Self { set }
    }

    /// The set that it judges by.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.set
    }

    /// Adds the event's matches to `out`: one a group key, with every rule that held for it.
    ///
    /// Nothing is allocated when nothing matches.
    pub fn evaluate(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        let mut candidates = std::mem::take(&mut scratch.candidates);
        let mut view = View::new(&event.record, &self.set.fields, scratch);
        self.find_candidates(event, &mut view, &mut candidates);
        let ungrouped = self.judge(event, &candidates, &mut view, out);
        scratch.ungrouped += ungrouped;
        scratch.candidates = candidates;
    }

    /// As [`evaluate`](Self::evaluate), without the index: what the index is tested against.
    #[cfg(test)]
    pub(crate) fn evaluate_all(&self, event: &Event, scratch: &mut Scratch, out: &mut Vec<Match>) {
        let sees =
            |matcher: &crate::set::Matcher| matcher.source.sees(&event.product, &event.service);
        let all = (0..).zip(&self.set.matchers).filter(|(_, matcher)| sees(matcher));
        let all: Vec<u32> = all.map(|(number, _)| number).collect();
        let mut view = View::new(&event.record, &self.set.fields, scratch);
        self.judge(event, &all, &mut view, out);
    }

    /// Collects the detections that can hold for the event's log source and action.
    fn find_candidates(&self, event: &Event, view: &mut View<'_, '_>, found: &mut Vec<u32>) {
        found.clear();
        let sees = |table: &&Table| table.source.sees(&event.product, &event.service);
        for table in self.set.tables.iter().filter(sees) {
            found.extend(&table.always);
            view.find_folded(self.set.action, |action| {
                found.extend(table.by_action.get(action).into_iter().flatten());
                false // every action of an array counts
            });
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Adds the matches of the candidates that hold; says how many belong to no group.
    fn judge(
        &self,
        event: &Event,
        candidates: &[u32],
        view: &mut View<'_, '_>,
        out: &mut Vec<Match>,
    ) -> u64 {
        let first = out.len();
        let mut ungrouped = 0;
        for number in candidates {
            let matcher = &self.set.matchers[*number as usize];
            if !matcher.tree.holds(view) {
                continue;
            }
            for output in &matcher.outputs {
                match group_values(output, view) {
                    Some(values) => self.add(event, output, values, view, first, out),
                    None => ungrouped += 1,
                }
            }
        }
        ungrouped
    }

    /// Adds a hit to the match of its group, which is made if there is none yet.
    fn add(
        &self,
        event: &Event,
        output: &Output,
        values: Vec<String>,
        view: &mut View<'_, '_>,
        first: usize,
        out: &mut Vec<Match>,
    ) {
        let rule = &self.set.rules()[output.rule];
        let hit = Hit {
            rule: rule.hash,
            state: rule.state_hash,
            severity: severity(output, rule.level, view),
            value: output.values.as_ref().and_then(|fields| counted_value(fields, view)),
        };
        let same =
            |one: &&mut Match| one.group.names == rule.group_by && one.group.values == values;
        if let Some(found) = out[first..].iter_mut().find(same) {
            // Two detections of one correlation hold for the same event: it counts once.
            if !found.hits.iter().any(|other| other.rule == hit.rule) {
                found.hits.push(hit);
            }
            return;
        }
        out.push(Match {
            event_id: event.id,
            occurred_at: event.occurred_at,
            connection: event.connection.clone(),
            run: event.run.clone(),
            kind: event.kind,
            position: event.position,
            group: GroupKey { names: rule.group_by.clone(), values },
            hits: vec![hit],
            record: event.record.clone(),
        });
    }
}

/// The highest severity whose condition holds, else the rule's level.
pub(crate) fn severity(output: &Output, level: Severity, view: &mut View<'_, '_>) -> Severity {
    let steps = output.severity.iter();
    let applying = steps.filter(|(tree, _)| tree.holds(view)).map(|(_, severity)| *severity);
    applying.max().unwrap_or(level)
}

/// The folded group values; absent where a correlation's event lacks one.
///
/// Of `a|b` the first that says something counts, since GitHub sends `""` for what is not there.
pub(crate) fn group_values(output: &Output, view: &View<'_, '_>) -> Option<Vec<String>> {
    let mut values = Vec::with_capacity(output.group.len());
    for slots in &output.group {
        match first_of(slots, view) {
            Some(text) => values.push(fold(text)),
            None if output.strict => return None,
            None => values.push(String::new()),
        }
    }
    Some(values)
}

/// The value of a field, or of the first of several that says something.
fn first_of<'a>(slots: &[u32], view: &View<'a, '_>) -> Option<&'a str> {
    let mut found = slots.iter().filter_map(|slot| view.first_text(*slot));
    match slots.len() {
        1 => found.next(),
        _ => found.find(|text| !text.is_empty()),
    }
}

/// The folded value that the event adds to a count of values; absent where a field is missing.
///
/// Several fields make a tuple, each part preceded by its length so that no two tuples are alike.
pub(crate) fn counted_value(fields: &[Vec<u32>], view: &View<'_, '_>) -> Option<String> {
    match fields {
        [one] => first_of(one, view).map(fold),
        _ => {
            let mut tuple = String::new();
            for field in fields {
                let text = fold(first_of(field, view)?);
                tuple.push_str(&format!("{}:{text}", text.len()));
            }
            Some(tuple)
        }
    }
}
