use std::sync::Arc;

use hubwarden_event::{ContentType, Event, FlatBuilder, Kind, RawPosition, RawRecord, Timestamp};

use crate::facts::{Fact, Facts, Slot};
use crate::flatten::{Flatten, Scratch};
use crate::json::Member;
use crate::networks::Networks;
use crate::time::{self, TimeForm};
use crate::{Counts, Rejected, csv_row, enrich, json};

/// A later time than this after its arrival cannot be right.
const MAX_AHEAD_MS: i64 = 5 * 60 * 1_000;

/// Turns raw records into enriched events; keeps buffers and counts, and nothing of the events.
///
/// The same record gives the same event whatever came before. One normalizer serves one thread.
#[derive(Debug)]
pub struct Normalizer {
    networks: Arc<Networks>,
    product: Arc<str>,
    service: Arc<str>,
    builder: FlatBuilder,
    scratch: Scratch,
    counts: Counts,
}

/// What was found on the way, for those who want to see every step.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// How the event lay in the payload.
    pub(crate) wrapping: Wrapping,
    /// Which field gave the time, what stood there, and how it was written.
    pub(crate) time: Option<(&'static str, String, TimeForm)>,
    /// Whether to fill the above; costs a copy.
    pub(crate) wanted: bool,
}

/// How the event lay in the payload.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// The payload is the event.
    #[default]
    Bare,
    /// As `event` of an envelope, as a stream sends it.
    Envelope,
    /// As the text of `event` of an envelope.
    EnvelopeText,
}

impl Normalizer {
    /// A normalizer that knows the operator's networks.
    pub fn new(networks: Arc<Networks>) -> Self {
        Self {
            networks,
            product: "github".into(),
            service: "audit".into(),
            builder: FlatBuilder::default(),
            scratch: Scratch::default(),
            counts: Counts::default(),
        }
    }

    /// The event that a record stands for.
    ///
    /// # Errors
    /// Why the record is no event; it then belongs into [`dead_letter`](crate::dead_letter).
    pub fn normalize(&mut self, raw: &RawRecord, position: RawPosition) -> Result<Event, Rejected> {
        self.traced(raw, position, &mut Trace::default())
    }

    /// What has been counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Another normalizer with the same networks, its own buffers and counts.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(Arc::clone(&self.networks))
    }

    pub(crate) fn traced(
        &mut self,
        raw: &RawRecord,
        position: RawPosition,
        trace: &mut Trace,
    ) -> Result<Event, Rejected> {
        let event = self.payload(raw, position, trace);
        match event {
            Ok(_) => self.counts.events += 1,
            Err(_) => self.counts.rejected += 1,
        }
        event
    }

    fn payload(
        &mut self,
        raw: &RawRecord,
        position: RawPosition,
        trace: &mut Trace,
    ) -> Result<Event, Rejected> {
        if let Some(damage) = &raw.damage {
            return Err(Rejected::new(damage.clone()));
        }
        let text = std::str::from_utf8(&raw.payload)
            .map_err(|error| Rejected::new(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match raw.content_type {
            ContentType::Json => self.json(text, raw, position, trace),
            ContentType::SyslogLine => self.json(after_prefix(text)?, raw, position, trace),
            ContentType::CsvRow => {
                let records = csv_row::read(text)?;
                self.members(csv_row::members(&records), text.len(), raw, position, trace)
            }
            ContentType::Unknown => Err(Rejected::new("neither JSON, CSV nor a syslog line")),
        }
    }

    /// A value without an action of its own may be an envelope, whose `event` is the event; a bare
    /// event may have a field `event` too (`workflows.*` do).
    fn json(
        &mut self,
        text: &str,
        raw: &RawRecord,
        position: RawPosition,
        trace: &mut Trace,
    ) -> Result<Event, Rejected> {
        let members = json::members(text)?;
        if !members.iter().any(|member| member.key == "action")
            && let Some(inner) = members.iter().rev().find(|member| member.key == "event")
        {
            let inner = inner.value;
            if inner.starts_with('{') {
                trace.wrapping = Wrapping::Envelope;
                return self.members(json::members(inner)?, inner.len(), raw, position, trace);
            }
            if inner.starts_with('"') {
                let inner = json::unescape(inner)?;
                if inner.trim_start().starts_with('{') {
                    trace.wrapping = Wrapping::EnvelopeText;
                    return self.members(json::members(&inner)?, inner.len(), raw, position, trace);
                }
            }
        }
        self.members(members, text.len(), raw, position, trace)
    }

    fn members(
        &mut self,
        members: Vec<Member<'_>>,
        payload_length: usize,
        raw: &RawRecord,
        position: RawPosition,
        trace: &mut Trace,
    ) -> Result<Event, Rejected> {
        let mut flatten = Flatten::new(&mut self.builder, &mut self.scratch, &mut self.counts);
        flatten.event(members, payload_length)?;
        let Flatten { facts, truncated, .. } = flatten;
        let action = action(&facts)?;
        let (occurred_at, form) = occurred_at(&facts, trace)?;
        self.counts.seconds_converted += u64::from(form == TimeForm::Seconds);
        let suspect = occurred_at.millis_since(raw.received_at) > MAX_AHEAD_MS;
        self.counts.suspect_times += u64::from(suspect);
        enrich::enrich(&mut self.builder, &facts, action, &self.networks, &mut self.counts);
        if truncated {
            self.counts.truncated += 1;
            enrich::mark_truncated(&mut self.builder);
        }
        Ok(Event {
            id: raw.event_id(),
            occurred_at,
            observed_at: raw.received_at,
            connection: raw.connection.clone(),
            run: raw.run.clone(),
            kind: if action.starts_with("git.") { Kind::Git } else { Kind::Audit },
            product: Arc::clone(&self.product),
            service: Arc::clone(&self.service),
            position,
            suspect,
            record: self.builder.finish(),
        })
    }
}

/// The JSON of a line `<PRI>timestamp HOST github_audit[PID]: {…}`.
fn after_prefix(line: &str) -> Result<&str, Rejected> {
    let program = line.find("github_audit").unwrap_or(0);
    let start = line[program..].find('{').map(|at| at + program).or_else(|| line.find('{'));
    let start = start.ok_or_else(|| Rejected::new("the syslog line has no JSON object"))?;
    Ok(&line[start..])
}

fn action<'f>(facts: &'f Facts<'_>) -> Result<&'f str, Rejected> {
    use hubwarden_event::CellKind::Text;
    match facts.get(Slot::Action) {
        Some(Fact { kind: Text, text }) if !text.is_empty() => Ok(text),
        Some(Fact { kind: Text, .. }) => Err(Rejected::new("field `action` is empty")),
        None if !facts.came(Slot::Action) => Err(Rejected::new("field `action` is missing")),
        _ => Err(Rejected::new("field `action` is not text")),
    }
}

/// The first of the fields that holds a time.
fn occurred_at(facts: &Facts<'_>, trace: &mut Trace) -> Result<(Timestamp, TimeForm), Rejected> {
    let mut unreadable = None;
    for (slot, name) in [
        (Slot::Timestamp, "@timestamp"),
        (Slot::CreatedAt, "created_at"),
        (Slot::AtSignTimestamp, crate::facts::AT_SIGN_TIMESTAMP),
    ] {
        let Some(fact) = facts.get(slot).filter(|fact| !fact.text.is_empty()) else { continue };
        if let Some((time, form)) = time::parse(&fact.text) {
            if trace.wanted {
                trace.time = Some((name, fact.text.clone().into_owned(), form));
            }
            return Ok((time, form));
        }
        unreadable = unreadable.or(Some(name));
    }
    Err(match unreadable {
        Some(name) => Rejected::new(format!("field `{name}` is not a time")),
        None => Rejected::new("neither `@timestamp` nor `created_at`"),
    })
}

#[cfg(test)]
pub(crate) mod tests;
