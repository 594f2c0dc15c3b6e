use std::fmt;
use std::sync::Arc;

use hubwarden_event::{Confidence, Hash, Severity};

use crate::counting::text;

/// What must be seen within a window for a rule to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// One matching event is enough.
    Single,
    /// At least so many matching events of a group in `[t - span, t]`.
    Events {
        /// The count that must be reached (`gt: n` is `n + 1`).
        at_least: u64,
        /// Length of the window in milliseconds.
        span_ms: i64,
    },
    /// At least so many distinct values of `fields` among the matching events in `[t - span, t]`.
    Values {
        /// The fields whose values are counted, as a tuple.
        fields: Vec<String>,
        /// The count that must be reached.
        at_least: u64,
        /// Length of the window in milliseconds.
        span_ms: i64,
    },
}

/// `10 events within 5m`
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("one event"),
            Self::Events { at_least, span_ms } => {
                write!(f, "{at_least} events within {}", text(*span_ms))
            }
            Self::Values { fields, at_least, span_ms } => {
                let fields = fields.join("+").replace('|', " or ");
                write!(f, "{at_least} distinct {fields} within {}", text(*span_ms))
            }
        }
    }
}

/// A document that makes findings: what the correlator and people need of it.
#[derive(Debug, Clone)]
pub struct RuleInfo {
    /// Sigma's `id`.
    pub id: Option<String>,
    /// Sigma's `name`; the concept is what stands before `--`. Without a name: the file's stem.
    pub name: String,
    /// Sigma's `title`.
    pub title: String,
    /// Sigma's `description`.
    pub description: String,
    /// Hash of the whole document and of what it refers to (base rules, contents of lists).
    pub hash: Hash,
    /// Hash of what decides match, group, window and fold only.
    pub state_hash: Hash,
    /// Sigma's `level`.
    pub level: Severity,
    /// `hubwarden.confidence`, else medium.
    pub confidence: Confidence,
    /// ATT&CK techniques out of the tags, such as `T1562.001`.
    pub attack: Vec<String>,
    /// Fields whose values hold matches together.
    pub group_by: Arc<[Arc<str>]>,
    /// Length of a finding's bucket in milliseconds.
    pub fold_ms: i64,
    /// What must be seen.
    pub window: Window,
    /// From which window count on which severity applies at least (`hubwarden.severity: [{gte, level}]`).
    pub severity_steps: Vec<(u64, Severity)>,
    /// Template of the sentence, else the title: `{field}`, `{a|b}` for the first present, `{count}`, `{distinct}`.
    pub sentence: String,
    /// Template of the response, the same placeholders.
    pub response: String,
    /// Known harmless causes.
    pub false_positives: Vec<String>,
    /// The file it came from.
    pub file: String,
}

impl RuleInfo {
    /// What goes into finding ids: the `id`, else the name.
    pub fn identity(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }

    /// The concept of the catalogue of detections that the rule stands for.
    pub fn concept(&self) -> &str {
        self.name.split_once("--").map_or(&self.name, |(concept, _)| concept)
    }
}
