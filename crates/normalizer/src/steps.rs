use hubwarden_event::{CellKind, CellRef, RawPosition, RawRecord};
use serde::Serialize;

use crate::normalize::{Trace, Wrapping};
use crate::{Counts, Normalizer};

/// So much of a payload is shown.
const SHOWN_BYTES: usize = 64 * 1024;

/// Every step from one payload to its event, for people who want to see how it is read.
#[derive(Debug, Clone, Serialize)]
pub struct Steps {
    /// The way it came.
    pub feed: &'static str,
    /// How the payload is written.
    pub content_type: &'static str,
    /// Length of the payload in bytes.
    pub bytes: usize,
    /// The payload, at most 64 KiB of it, with U+FFFD for what is not UTF-8.
    pub payload: String,
    /// What lay around the event.
    pub wrapping: &'static str,
    /// The event's time; absent when none was found.
    pub time: Option<TimeStep>,
    /// The event's envelope; absent when the record was rejected.
    pub event: Option<EventStep>,
    /// The values as GitHub sent them.
    pub fields: Vec<CellStep>,
    /// The values that Hubwarden added.
    pub enriched: Vec<CellStep>,
    /// What a reader should know: what is unknown, was converted or was left out.
    pub warnings: Vec<String>,
    /// Why the record is no event; absent when it is one.
    pub rejected: Option<String>,
}

/// Where an event's time came from.
#[derive(Debug, Clone, Serialize)]
pub struct TimeStep {
    /// The field that was chosen.
    pub field: &'static str,
    /// What stood there.
    pub sent: String,
    /// `milliseconds`, `seconds` or `calendar`.
    pub written_as: &'static str,
    /// The moment in RFC 3339.
    pub occurred_at: String,
    /// Whether it is more than five minutes after the record was received.
    pub suspect: bool,
}

/// The event around its fields.
#[derive(Debug, Clone, Serialize)]
pub struct EventStep {
    /// What the sender calls the record.
    pub source_id: String,
    /// The event's id.
    pub id: String,
    /// `audit` or `git`.
    pub kind: &'static str,
    /// For Sigma's log source.
    pub product: String,
    /// For Sigma's log source.
    pub service: String,
}

/// One value of one field.
#[derive(Debug, Clone, Serialize)]
pub struct CellStep {
    /// The field's name.
    pub name: String,
    /// `text`, `number`, `bool`, `null`, `object` or `empty-array`.
    pub kind: &'static str,
    /// The value in text form.
    pub value: String,
    /// Whether the value was cut.
    pub cut: bool,
}

impl From<CellRef<'_>> for CellStep {
    fn from(cell: CellRef<'_>) -> Self {
        let kind = match cell.kind {
            CellKind::Text => "text",
            CellKind::Number => "number",
            CellKind::Bool => "bool",
            CellKind::Null => "null",
            CellKind::Object => "object",
            CellKind::EmptyArray => "empty-array",
        };
        Self { name: cell.name.into(), kind, value: cell.text.into(), cut: cell.cut }
    }
}

impl Normalizer {
    /// Normalizes one record and tells every step, counting nothing.
    pub fn normalize_steps(&self, raw: &RawRecord) -> Steps {
        let mut normalizer = self.fresh();
        let mut trace = Trace { wanted: true, ..Trace::default() };
        let result = normalizer.traced(raw, RawPosition::default(), &mut trace);
        let shown = &raw.payload[..raw.payload.len().min(SHOWN_BYTES)];
        let mut steps = Steps {
            feed: raw.feed.as_str(),
            content_type: raw.content_type.as_str(),
            bytes: raw.payload.len(),
            payload: String::from_utf8_lossy(shown).into_owned(),
            wrapping: match trace.wrapping {
                Wrapping::Bare => "none: the payload is the event",
                Wrapping::Envelope => "an envelope with the event under `event`",
                Wrapping::EnvelopeText => "an envelope with the event as text under `event`",
            },
            time: None,
            event: None,
            fields: Vec::new(),
            enriched: Vec::new(),
            warnings: warnings(&normalizer.take_counts()),
            rejected: None,
        };
        let event = match result {
            Ok(event) => event,
            Err(rejected) => {
                steps.rejected = Some(rejected.to_string());
                return steps;
            }
        };
        steps.time = trace.time.map(|(field, sent, form)| TimeStep {
            field,
            sent,
            written_as: form.as_str(),
            occurred_at: event.occurred_at.to_string(),
            suspect: event.suspect,
        });
        steps.event = Some(EventStep {
            source_id: raw.source_id.to_string(),
            id: event.id.to_string(),
            kind: event.kind.as_str(),
            product: event.product.to_string(),
            service: event.service.to_string(),
        });
        let cells = event.record.cells().map(CellStep::from);
        (steps.enriched, steps.fields) = cells.partition(|cell| cell.name.starts_with("hw."));
        steps
    }
}

fn warnings(counts: &Counts) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in counts.unknown_actions.names.keys() {
        warnings.push(format!("action `{name}` is not in the catalogue"));
    }
    for name in counts.unknown_fields.names.keys() {
        warnings.push(format!("field `{name}` is not in the dictionary"));
    }
    for (count, what) in [
        (counts.unknown_fields.others, "further fields are not in the dictionary"),
        (counts.seconds_converted, "time in seconds converted to milliseconds"),
        (counts.suspect_times, "time is more than five minutes after the record was received"),
        (counts.duplicate_keys, "repeated key left out, the last value counts"),
        (counts.shadowed_values, "nested value left out beside a flat dotted key"),
        (counts.reserved_fields, "field left out because names under `hw.` are reserved"),
        (counts.truncated, "event was cut to the size limits"),
    ] {
        if count > 0 {
            warnings.push(format!("{count} × {what}"));
        }
    }
    warnings
}
