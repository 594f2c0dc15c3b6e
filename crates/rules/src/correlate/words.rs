use std::fmt::Write;

use hubwarden_event::{
    ConnectionId, Evidence, Finding, FindingId, FlatRecord, Reason, RuleRef, Severity, Timestamp,
};

use super::folded::Folded;
use super::known::Known;
use super::segment::Entry;
use crate::{RuleInfo, Window};

/// A value in a sentence keeps at most so many bytes.
const MAX_INSERTED: usize = 200;
/// A sentence, and a response, keep at most so many bytes.
const MAX_SENTENCE: usize = 4 * 1024;
const MAX_RESPONSE: usize = 16 * 1024;
/// A finding gives at most so many reasons, with at most so many bytes of value each.
const MAX_REASONS: usize = 32;
const MAX_REASON: usize = 512;

/// The finding as people read it.
pub(super) fn finding(
    id: &FindingId,
    connection: &ConnectionId,
    known: &Known,
    folded: &Folded,
) -> Finding {
    let rule = &known.info;
    let steps = rule.severity_steps.iter().filter(|(from, _)| folded.peak >= *from);
    let stepped = steps.map(|(_, level)| *level).max().unwrap_or(Severity::Informational);
    let empty = FlatRecord::default();
    let record = folded.evidence.first().map_or(&empty, |entry| &entry.record);
    let words = Words { record, folded };
    let mut reason = known.reasons(record);
    reason.truncate(MAX_REASONS);
    for one in &mut reason {
        one.condition = cut(&one.condition, MAX_REASON);
        one.value = cut(&one.value, MAX_REASON);
    }
    reason.extend(window_reason(rule, folded));
    Finding {
        id: id.clone(),
        revision: folded.count(),
        severity: folded.severity.max(stepped),
        confidence: rule.confidence,
        rule: RuleRef {
            id: rule.id.clone(),
            name: rule.name.clone(),
            title: rule.title.clone(),
            hash: rule.hash.to_string(),
            attack: rule.attack.clone(),
        },
        connection: connection.clone(),
        run: folded.run.clone(),
        first_seen: Timestamp::from_millis(folded.first),
        last_seen: Timestamp::from_millis(folded.last),
        count: folded.count(),
        at_least: folded.at_least,
        sentence: cut(&words.fill(&rule.sentence), MAX_SENTENCE),
        reason,
        entities: Vec::new(),
        event_ids: folded.evidence.iter().map(|entry| entry.id).collect(),
        evidence: folded.evidence.iter().map(evidence).collect(),
        response: cut(&words.fill(&rule.response), MAX_RESPONSE),
    }
}

fn evidence(entry: &Entry) -> Evidence {
    Evidence {
        id: entry.id,
        occurred_at: Timestamp::from_millis(entry.time),
        action: entry.record.first("action").unwrap_or_default().into(),
        position: entry.position,
        record: entry.record.to_json(),
    }
}

/// The count that made a threshold rule hold, with what it had to be.
fn window_reason(rule: &RuleInfo, folded: &Folded) -> Option<Reason> {
    let (what, field, at_least, span) = match &rule.window {
        Window::Single => return None,
        Window::Events { at_least, span_ms } => {
            ("events".into(), "count".into(), at_least, span_ms)
        }
        Window::Values { fields, at_least, span_ms } => {
            let fields = fields.join(", ");
            (format!("distinct {fields}"), fields, at_least, span_ms)
        }
    };
    Some(Reason {
        condition: format!("{} {what} within {}", folded.peak, span_text(*span)),
        field,
        value: folded.peak.to_string(),
        threshold: Some(at_least.to_string()),
        usual: None,
    })
}

/// A span in the largest unit that divides it: `90m`, `1d`.
fn span_text(span_ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(length, _)| span_ms % length == 0);
    unit.map_or_else(
        || format!("{span_ms}ms"),
        |(length, unit)| format!("{}{unit}", span_ms / length),
    )
}

fn cut(text: &str, limit: usize) -> String {
    match text.floor_char_boundary(limit) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.into(),
    }
}

/// Fills templates in from the earliest evidence.
struct Words<'a> {
    record: &'a FlatRecord,
    folded: &'a Folded,
}

impl Words<'_> {
    /// Replaces `{field}`, `{a|b}`, `{count}` and `{distinct}`; what is missing reads "unknown".
    ///
    /// Inserted text is not looked at again. A brace without its partner stays.
    fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len() + 64);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                out.push('{');
                rest = after;
                continue;
            };
            self.insert(name, &mut out);
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn insert(&self, name: &str, out: &mut String) {
        match name.trim() {
            "count" => {
                let lead = if self.folded.at_least { "at least " } else { "" };
                let written = write!(out, "{lead}{}", self.folded.count());
                written.expect("writing to a string cannot fail");
            }
            "distinct" => out.push_str(&self.folded.peak.to_string()),
            name => {
                let value = name.split('|').find_map(|field| self.record.typed(field.trim()));
                out.push_str(&cut(value.unwrap_or("unknown"), MAX_INSERTED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hubwarden_event::{CellKind, EventId, FlatBuilder, RawPosition, RunId};

    use super::*;

    #[test]
    fn fills_templates_from_the_earliest_evidence() {
        let mut builder = FlatBuilder::default();
        builder.push("actor", CellKind::Text, "mona{org}");
        builder.push("org", CellKind::Text, "");
        builder.push("note", CellKind::Text, &"é".repeat(300));
        let mut folded = Folded::new(RunId::live());
        folded.fold_single(&Entry {
            time: 0,
            id: EventId::from_bytes([0; 16]),
            value: None,
            severity: Severity::Low,
            position: RawPosition::default(),
            record: builder.finish(),
        });
        let record = Arc::clone(&folded.evidence[0].record);
        let words = Words { record: &record, folded: &folded };
        let long = format!("{}…", "é".repeat(100));
        for (template, text) in [
            ("{actor} did {count} in {repo}", "mona{org} did 1 in unknown"),
            ("{repo|actor} {org}", "mona{org} unknown"),
            ("{distinct} a{b", "1 a{b"),
            ("}{}{", "}unknown{"),
            ("{note}", &long),
        ] {
            assert_eq!(words.fill(template), text, "{template}");
        }
    }

    #[test]
    fn spans_are_said_in_the_largest_unit() {
        for (span, text) in [
            (86_400_000, "1d"),
            (5_400_000, "90m"),
            (60_000, "1m"),
            (1500, "1500ms"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(span_text(span), text);
        }
    }
}
