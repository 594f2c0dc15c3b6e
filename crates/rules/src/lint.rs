//! What a schema knows better than a rule's author: names of fields and actions.

use crate::house::placeholders;
use crate::problem::quoted;
use crate::{Lists, LogSource, Problem, ProblemSeverity, RuleFile, RuleSet};

/// What is known about an action that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionStatus {
    /// It exists.
    Known,
    /// It was called so once.
    Legacy {
        /// What it is called now.
        now: String,
    },
    /// There is no such action.
    Unknown {
        /// The most similar one.
        nearest: Option<String>,
    },
}

/// What is known about a field that a rule reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldStatus {
    /// It exists.
    Known,
    /// No event has it.
    Unknown {
        /// The most similar one.
        nearest: Option<String>,
    },
}

/// Knows the events that rules are written for.
pub trait Schema {
    /// What is known about an action.
    fn action(&self, name: &str) -> ActionStatus;

    /// What is known about a field of events with these actions; of any event if there are none.
    fn field(&self, name: &str, actions: &[String]) -> FieldStatus;

    /// Whether there are events of this log source; rules for others are not compiled in.
    fn has_source(&self, source: &LogSource) -> bool {
        let _ = source;
        true
    }
}

/// Everything to tell the authors of these files, unknown actions as errors.
pub fn lint(files: &[RuleFile], lists: &Lists, schema: Option<&dyn Schema>) -> Vec<Problem> {
    let mut problems = RuleSet::compile(files, lists, schema).problems;
    for problem in &mut problems {
        if problem.message.starts_with(UNKNOWN_ACTION) {
            problem.severity = ProblemSeverity::Error;
        }
    }
    problems
}

const UNKNOWN_ACTION: &str = "unknown action ";

/// What the schema says about the names that a document uses.
pub(crate) fn check_names(
    schema: &dyn Schema,
    actions: &[(String, usize)],
    fields: &[(String, usize)],
    implied: &[String],
    mut tell: impl FnMut(usize, ProblemSeverity, String),
) {
    let near = |nearest: Option<String>| match nearest {
        Some(name) => format!(" (did you mean {}?)", quoted(&name)),
        None => String::new(),
    };
    for (name, line) in actions {
        match schema.action(name) {
            ActionStatus::Known => {}
            ActionStatus::Legacy { now } => {
                let (name, now) = (quoted(name), quoted(&now));
                tell(*line, ProblemSeverity::Note, format!("{name} is an older name of {now}"));
            }
            ActionStatus::Unknown { nearest } => {
                let message = format!("{UNKNOWN_ACTION}{}{}", quoted(name), near(nearest));
                tell(*line, ProblemSeverity::Warning, message);
            }
        }
    }
    for (position, (name, line)) in fields.iter().enumerate() {
        if fields[..position].iter().any(|(other, _)| other == name) {
            continue;
        }
        if let FieldStatus::Unknown { nearest } = schema.field(name, implied) {
            let message = format!("unknown field {}{}", quoted(name), near(nearest));
            tell(*line, ProblemSeverity::Warning, message);
        }
    }
}

/// The fields that a sentence or response prints.
pub(crate) fn printed_fields(text: &str, line: usize) -> Vec<(String, usize)> {
    let fields = placeholders(text).unwrap_or_default().into_iter();
    let fields = fields.filter(|field| !matches!(*field, "count" | "distinct"));
    fields.map(|field| (field.to_owned(), line)).collect()
}
