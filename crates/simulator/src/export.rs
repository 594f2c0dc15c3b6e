//! Events as the files in which audit logs travel.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::life::Generated;
use crate::{Error, Life};

/// The form of a file of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, as streams and object stores have it.
    Ndjson,
    /// One JSON array, as the REST API answers.
    Array,
    /// The comma-separated export of the web pages: flat, newest first.
    Csv,
    /// The JSON export of the web pages: newest first, specific fields under `data`, no Git events.
    UiJson,
    /// Lines of GitHub Enterprise Server's forwarded log.
    Syslog,
}

/// Names that the JSON export of the web pages keeps at its top; all others go under `data`.
const UI_TOP: [&str; 12] = [
    "action",
    "actor",
    "actor_id",
    "actor_ip",
    "actor_location",
    "created_at",
    "business",
    "org",
    "org_id",
    "repo",
    "user",
    "user_agent",
];

/// Writes all events of a life; newest-first forms hold them in memory, the others do not.
///
/// # Errors
/// When `out` takes no more bytes.
pub fn write(life: &Life, format: Format, out: &mut impl Write) -> Result<u64, Error> {
    match format {
        Format::Ndjson => each(life.events(), out, |event, out| {
            out.write_all(&event.json)?;
            out.write_all(b"\n")
        }),
        Format::Array => array(life.events().map(|event| event.json), out),
        Format::UiJson => array(
            newest_first(life).filter_map(|event| ui_json(&event.json)),
            out,
        ),
        Format::Csv => csv(life, out),
        Format::Syslog => each(life.events(), out, syslog),
    }
}

fn each<W: Write>(
    events: impl Iterator<Item = Generated>,
    out: &mut W,
    mut one: impl FnMut(&Generated, &mut W) -> io::Result<()>,
) -> Result<u64, Error> {
    let mut count = 0;
    for event in events {
        one(&event, out)?;
        count += 1;
    }
    Ok(count)
}

fn array(events: impl Iterator<Item = Vec<u8>>, out: &mut impl Write) -> Result<u64, Error> {
    let mut count = 0;
    for event in events {
        out.write_all(if count == 0 { b"[" } else { b",\n" })?;
        out.write_all(&event)?;
        count += 1;
    }
    out.write_all(if count == 0 { b"[]\n" } else { b"]\n" })?;
    Ok(count)
}

fn newest_first(life: &Life) -> impl Iterator<Item = Generated> {
    let mut events: Vec<Generated> = life.events().collect();
    events.reverse();
    events.into_iter()
}

fn object(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(json).ok()
}

fn ui_json(json: &[u8]) -> Option<Vec<u8>> {
    let event = object(json)?;
    if event
        .get("action")
        .and_then(Value::as_str)
        .is_some_and(|action| action.starts_with("git."))
    {
        return None;
    }
    let (mut top, mut data) = (Map::new(), Map::new());
    for (name, value) in event {
        match name.as_str() {
            "@timestamp" | "hashed_token" | "_document_id" => {}
            known if UI_TOP.contains(&known) => {
                top.insert(name, value);
            }
            _ => {
                data.insert(name, value);
            }
        }
    }
    top.insert("data".to_owned(), Value::Object(data));
    serde_json::to_vec(&top).ok()
}

/// The columns are the names of all events, so the life is read twice.
fn csv(life: &Life, out: &mut impl Write) -> Result<u64, Error> {
    let mut names = BTreeSet::new();
    for event in life.events() {
        names.extend(
            object(&event.json)
                .into_iter()
                .flat_map(|event| flat(&event))
                .map(|(name, _)| name),
        );
    }
    let mut rows = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| Error::Write(io::Error::other(error));
    rows.write_record(&names).map_err(failed)?;
    let mut count = 0;
    for event in newest_first(life) {
        let values: std::collections::HashMap<String, String> = object(&event.json)
            .map(|event| flat(&event))
            .unwrap_or_default()
            .into_iter()
            .collect();
        rows.write_record(
            names
                .iter()
                .map(|name| values.get(name).map_or("", String::as_str)),
        )
        .map_err(failed)?;
        count += 1;
    }
    rows.flush()?;
    Ok(count)
}

/// Values as texts; the country is taken out of its object, other composite values stay JSON.
fn flat(event: &Map<String, Value>) -> Vec<(String, String)> {
    let mut cells = Vec::with_capacity(event.len());
    for (name, value) in event {
        match value {
            Value::Object(fields) => {
                cells.extend(
                    fields
                        .iter()
                        .map(|(field, value)| (format!("{name}.{field}"), text(value))),
                );
            }
            _ if name == "hashed_token" => {}
            _ => cells.push((name.clone(), text(value))),
        }
    }
    cells
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `<PRI>time host github_audit[pid]: {json}`, with truth values as texts and no `_document_id`.
fn syslog(event: &Generated, out: &mut impl Write) -> io::Result<()> {
    let mut fields = object(&event.json).unwrap_or_default();
    fields.remove("_document_id");
    if let Some(Value::Bool(is_bot)) = fields.get("actor_is_bot") {
        let word = if *is_bot { "True" } else { "False" };
        fields.insert("actor_is_bot".to_owned(), Value::from(word));
    }
    let time = jiff::Timestamp::from_millisecond(event.at_ms).unwrap_or_default();
    write!(
        out,
        "<134>{} github-octo-corp github_audit[4242]: ",
        time.strftime("%b %e %H:%M:%S")
    )?;
    serde_json::to_writer(&mut *out, &fields)?;
    out.write_all(b"\n")
}
