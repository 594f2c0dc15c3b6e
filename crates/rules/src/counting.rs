//! How near events come to the threshold of a rule that counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use hubwarden_event::{Event, EventId, Timestamp};

use crate::engine::{counted_value, group_values};
use crate::view::{Scratch, View};
use crate::{RuleInfo, RuleSet, Window};

/// So many groups are shown; of the others only how many there are.
const SHOWN: usize = 20;

/// Counts the events that match one rule, by group and window, as an explanation.
///
/// The correlator judges in its own way, over state that it keeps; a test holds the two together.
#[derive(Debug)]
pub struct Counter<'a> {
    set: &'a RuleSet,
    rule: &'a RuleInfo,
    scratch: Scratch,
    seen: HashSet<EventId>,
    groups: BTreeMap<Vec<String>, Vec<Counted>>,
    count: Count,
}

#[derive(Debug, Clone)]
struct Counted {
    time: i64,
    value: Option<String>,
}

/// What a [`Counter`] has counted; prints as a few lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What must be seen.
    pub window: Window,
    /// Fields whose values hold events together.
    pub group_by: Arc<[Arc<str>]>,
    /// The groups, the nearest to the threshold first.
    pub groups: Vec<GroupCount>,
    /// Matching events that lack a field to group by: they belong to no group.
    pub ungrouped: u64,
    /// Matching events that lack a field whose values are counted.
    pub without_value: u64,
}

/// How near one group came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCount {
    /// The values of the fields to group by.
    pub values: Vec<String>,
    /// Matching events at any time.
    pub events: usize,
    /// The most that one window held.
    pub peak: u64,
    /// First and last event of that window.
    pub peak_at: (Timestamp, Timestamp),
    /// The shortest time in which the threshold was reached, whatever the window; absent if never.
    pub shortest_ms: Option<i64>,
    /// Whether one window held enough.
    pub reached: bool,
}

impl RuleSet {
    /// A counter for a rule of this set; none for a rule that one event decides.
    pub fn counter<'a>(&'a self, rule: &'a RuleInfo) -> Option<Counter<'a>> {
        if rule.window == Window::Single {
            return None;
        }
        Some(Counter {
            set: self,
            rule,
            scratch: Scratch::default(),
            seen: HashSet::new(),
            groups: BTreeMap::new(),
            count: Count {
                window: rule.window.clone(),
                group_by: rule.group_by.clone(),
                groups: Vec::new(),
                ungrouped: 0,
                without_value: 0,
            },
        })
    }
}

impl Counter<'_> {
    /// Takes an event up if it matches; a repeat counts once.
    pub fn add(&mut self, event: &Event) {
        let mut view = View::new(&event.record, &self.set.fields, &mut self.scratch);
        let parts = self.set.parts(self.rule);
        let Some((_, output)) = parts.into_iter().find(|(one, _)| one.tree.holds(&mut view)) else {
            return;
        };
        if !self.seen.insert(event.id) {
            return;
        }
        let Some(group) = group_values(output, &view) else {
            self.count.ungrouped += 1;
            return;
        };
        let value = match &output.values {
            None => None,
            Some(fields) => match counted_value(fields, &view) {
                Some(value) => Some(value),
                None => {
                    self.count.without_value += 1;
                    return;
                }
            },
        };
        let time = event.occurred_at.as_millis();
        self.groups.entry(group).or_default().push(Counted { time, value });
    }

    /// What has been counted.
    pub fn finish(mut self) -> Count {
        let (at_least, span_ms) = match self.rule.window {
            Window::Single => (1, 0),
            Window::Events { at_least, span_ms } | Window::Values { at_least, span_ms, .. } => {
                (at_least, span_ms)
            }
        };
        let groups = std::mem::take(&mut self.groups).into_iter();
        let mut groups: Vec<_> =
            groups.map(|(values, events)| judge(values, events, at_least, span_ms)).collect();
        groups.sort_by_key(|group| (!group.reached, std::cmp::Reverse(group.peak)));
        self.count.groups = groups;
        self.count
    }
}

/// Slides both windows, the rule's and the shortest that is enough, over the events of a group.
fn judge(values: Vec<String>, mut events: Vec<Counted>, at_least: u64, span_ms: i64) -> GroupCount {
    events.sort_by_key(|event| event.time);
    let (mut within, mut enough) = (Sliding::default(), Sliding::default());
    let (mut peak, mut peak_at, mut shortest_ms) = (0, (0, 0), None::<i64>);
    for event in &events {
        within.push(event);
        while event.time.saturating_sub(events[within.start].time) > span_ms {
            within.drop_first(&events);
        }
        if within.metric() > peak {
            (peak, peak_at) = (within.metric(), (events[within.start].time, event.time));
        }
        enough.push(event);
        while enough.metric() >= at_least && enough.size > 0 {
            let length = event.time.saturating_sub(events[enough.start].time);
            shortest_ms = Some(shortest_ms.map_or(length, |other| other.min(length)));
            enough.drop_first(&events);
        }
    }
    GroupCount {
        values,
        events: events.len(),
        peak,
        peak_at: (Timestamp::from_millis(peak_at.0), Timestamp::from_millis(peak_at.1)),
        shortest_ms,
        reached: peak >= at_least,
    }
}

/// A stretch of sorted events and what it holds.
#[derive(Default)]
struct Sliding<'a> {
    start: usize,
    size: u64,
    /// How often each value stands in it; empty where events are counted.
    values: HashMap<&'a str, u64>,
}

impl<'a> Sliding<'a> {
    fn push(&mut self, event: &'a Counted) {
        self.size += 1;
        if let Some(value) = &event.value {
            *self.values.entry(value).or_default() += 1;
        }
    }

    fn drop_first(&mut self, events: &'a [Counted]) {
        if let Some(value) = &events[self.start].value
            && let Some(times) = self.values.get_mut(value.as_str())
        {
            *times -= 1;
            if *times == 0 {
                self.values.remove(value.as_str());
            }
        }
        self.start += 1;
        self.size -= 1;
    }

    /// Distinct values, else events.
    fn metric(&self) -> u64 {
        if self.values.is_empty() { self.size } else { self.values.len() as u64 }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.group_by.iter().map(|name| &**name).collect();
        let by = if names.is_empty() { "all together".into() } else { names.join(", ") };
        writeln!(f, "needs {}, counted by {by}", self.window)?;
        if self.groups.is_empty() {
            writeln!(f, "no  no event counts")?;
        }
        for group in self.groups.iter().take(SHOWN) {
            self.print(group, f)?;
        }
        if let Some(more) = self.groups.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            writeln!(f, "and {more} more groups, none nearer than these")?;
        }
        if self.ungrouped > 0 {
            let lacking = "matching events lack a field to group by and belong to no group";
            writeln!(f, "{} {lacking}", self.ungrouped)?;
        }
        if self.without_value > 0 {
            let lacking = "matching events lack the field whose values are counted";
            writeln!(f, "{} {lacking}", self.without_value)?;
        }
        Ok(())
    }
}

impl Count {
    fn print(&self, group: &GroupCount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if group.reached { "yes" } else { "no " };
        let named = self.group_by.iter().zip(&group.values);
        let named: Vec<_> =
            named.map(|(name, value)| format!("{} {value:?}", name.replace('|', " or "))).collect();
        let whose = if named.is_empty() { "all".into() } else { named.join(", ") };
        write!(f, "{mark} {whose}: {} of {} needed", group.peak, self.window)?;
        match (group.reached, group.shortest_ms) {
            (true, _) => write!(f, ", from {} to {}", group.peak_at.0, group.peak_at.1)?,
            (false, Some(shortest)) => write!(f, "; enough only within {}", text(shortest))?,
            (false, None) => {}
        }
        writeln!(f)
    }
}

/// A length of time in the largest unit that divides it.
pub(crate) fn text(millis: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(length, _)| millis != 0 && millis % length == 0);
    unit.map_or_else(
        || format!("{millis}ms"),
        |(length, unit)| format!("{}{unit}", millis / length),
    )
}
