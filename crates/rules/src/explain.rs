//! Why a rule holds for an event, or does not; asks the same trees as the engine.

use std::fmt;

use hubwarden_event::{FlatRecord, Reason};

use crate::predicate::{Predicate, Witness};
use crate::set::Output;
use crate::tree::Tree;
use crate::view::{Scratch, View};
use crate::{RuleInfo, RuleSet, Window};

/// A rule's condition with the truth of every part for one event; prints as an indented tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What the part says, such as `all of`, `selection filter_bots` or `visibility is public`.
    pub what: String,
    /// Whether it holds.
    pub held: bool,
    /// The value that made a test hold.
    pub value: Option<String>,
    /// Its parts.
    pub parts: Vec<Trace>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Trace {
    fn print(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let mark = if self.held { "yes" } else { "no " };
        write!(f, "{mark} {:indent$}{}", "", self.what, indent = depth * 2)?;
        if let Some(value) = &self.value {
            write!(f, " ({value:?})")?;
        }
        writeln!(f)?;
        self.parts.iter().try_for_each(|part| part.print(f, depth + 1))
    }

    fn group(what: &str, held: bool, parts: Vec<Self>) -> Self {
        Self { what: what.into(), held, value: None, parts }
    }
}

impl RuleSet {
    /// The tests of a rule that held for an event, outside of any `not`, each with its value.
    ///
    /// Those of the severity that applied follow those of the condition. None for an event that
    /// the rule does not match, and for a rule of another set.
    pub fn reasons(&self, rule: &RuleInfo, record: &FlatRecord) -> Vec<Reason> {
        let mut scratch = Scratch::default();
        let mut view = View::new(record, &self.fields, &mut scratch);
        let mut reasons = Vec::new();
        for (matcher, output) in self.parts(rule) {
            if matcher.tree.holds(&mut view) {
                collect(&matcher.tree, &mut view, &mut reasons);
                if let Some(tree) = applied(output, &mut view) {
                    collect(tree, &mut view, &mut reasons);
                }
            }
        }
        reasons
    }

    /// The whole condition of a rule with what each part says about an event.
    ///
    /// Log sources are left out: the record alone decides.
    pub fn explain(&self, rule: &RuleInfo, record: &FlatRecord) -> Trace {
        let mut scratch = Scratch::default();
        let mut view = View::new(record, &self.fields, &mut scratch);
        let mut parts = Vec::new();
        for (matcher, output) in self.parts(rule) {
            let condition = trace(&matcher.tree, &mut view);
            let mut all = vec![condition];
            for (tree, severity) in &output.severity {
                let part = trace(tree, &mut view);
                all.push(Trace::group(&format!("severity {severity} when"), part.held, vec![part]));
            }
            let held = all[0].held;
            parts.push(Trace::group(&format!("detection {}", matcher.name), held, all));
        }
        let held = parts.iter().any(|part| part.held);
        let verdict = match rule.window {
            Window::Single => "rule",
            Window::Events { .. } | Window::Values { .. } => "counted by rule", // one does not decide
        };
        Trace::group(&format!("{verdict} {}", rule.name), held, parts)
    }
}

/// The condition of the highest severity that applies.
fn applied<'a>(output: &'a Output, view: &mut View<'_, '_>) -> Option<&'a Tree> {
    let steps = output.severity.iter().filter(|(tree, _)| tree.holds(view));
    steps.max_by_key(|(_, severity)| *severity).map(|(tree, _)| tree)
}

fn collect(tree: &Tree, view: &mut View<'_, '_>, reasons: &mut Vec<Reason>) {
    match tree {
        Tree::All(parts) | Tree::Any(parts) => {
            for part in parts {
                if part.holds(view) {
                    collect(part, view, reasons);
                }
            }
        }
        Tree::Not(_) => {}
        Tree::Named(_, part) => collect(part, view, reasons),
        Tree::Test(predicate) => {
            let Some(witness) = predicate.witness(view) else { return };
            let (field, value) = seen(predicate, witness, view);
            let condition = said(predicate);
            let reason = Reason { condition, field, value, threshold: None, usual: None };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
}

fn trace(tree: &Tree, view: &mut View<'_, '_>) -> Trace {
    let mut each = |parts: &[Tree]| parts.iter().map(|part| trace(part, view)).collect::<Vec<_>>();
    let (what, parts) = match tree {
        Tree::All(parts) => ("all of".into(), each(parts)),
        Tree::Any(parts) => ("any of".into(), each(parts)),
        Tree::Not(part) => ("not".into(), each(std::slice::from_ref(part))),
        Tree::Named(name, part) => (format!("selection {name}"), each(std::slice::from_ref(part))),
        Tree::Test(predicate) => {
            let witness = predicate.witness(view);
            let value = witness.map(|witness| seen(predicate, witness, view).1);
            let value = value.filter(|_| witness != Some(Witness::Absence));
            return Trace { what: said(predicate), held: witness.is_some(), value, parts: vec![] };
        }
    };
    Trace { what, held: tree.holds(view), value: None, parts }
}

/// The test in words: `visibility is public`.
fn said(predicate: &Predicate) -> String {
    let label = &predicate.label;
    if label.field.is_empty() {
        label.words.clone()
    } else {
        format!("{} {}", label.field, label.words)
    }
}

/// The field and the value that made a test hold.
fn seen(predicate: &Predicate, witness: Witness, view: &View<'_, '_>) -> (String, String) {
    let cell = match witness {
        Witness::Cell(cell) => view.cell(cell),
        Witness::Absence => None,
    };
    let (field, value) = cell.unwrap_or((&predicate.label.field, ""));
    (field.to_owned(), value.to_owned())
}
