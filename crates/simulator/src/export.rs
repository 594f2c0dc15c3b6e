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
        Format::UiJson => array(newest_first(life).filter_map(|event| ui_json(&event.json)), out),
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
    if event.get("action").and_then(Value::as_str).is_some_and(|action| action.starts_with("git."))
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
            object(&event.json).into_iter().flat_map(|event| flat(&event)).map(|(name, _)| name),
        );
    }
    let mut rows = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| Error::Write(io::Error::other(error));
    rows.write_record(&names).map_err(failed)?;
    let mut count = 0;
    for event in newest_first(life) {
        let values: std::collections::HashMap<String, String> =
            object(&event.json).map(|event| flat(&event)).unwrap_or_default().into_iter().collect();
        rows.write_record(names.iter().map(|name| values.get(name).map_or("", String::as_str)))
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
                    fields.iter().map(|(field, value)| (format!("{name}.{field}"), text(value))),
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
    write!(out, "<134>{} github-octo-corp github_audit[4242]: ", time.strftime("%b %e %H:%M:%S"))?;
    serde_json::to_writer(&mut *out, &fields)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    fn written(format: Format) -> (String, u64) {
        let life = Life::new(Plan { days: 1, events: 900, ..Plan::default() });
        let mut out = Vec::new();
        let count = write(&life, format, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), count)
    }

    #[test]
    fn lines_and_arrays_hold_every_event() {
        let (lines, count) = written(Format::Ndjson);
        assert_eq!((count, lines.lines().count()), (900, 900));
        let (text, _) = written(Format::Array);
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        let parsed: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events, parsed);
    }

    #[test]
    fn the_web_exports_are_newest_first() {
        let (text, count) = written(Format::UiJson);
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(events.len() as u64, count);
        let time = |event: &Value| event["created_at"].as_i64();
        assert!(events.is_sorted_by(|one, next| time(one) >= time(next)));
        assert!(
            events
                .iter()
                .all(|event| event["data"].is_object() && event.get("@timestamp").is_none())
        );
        let (text, count) = written(Format::Csv);
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let names = rows.headers().unwrap().clone();
        let column = names.iter().position(|name| name == "@timestamp").unwrap();
        let times: Vec<i64> =
            rows.records().map(|row| row.unwrap()[column].parse().unwrap()).collect();
        assert_eq!(times.len() as u64, count);
        assert!(times.is_sorted_by(|one, next| one >= next));
        assert!(names.iter().any(|name| name == "actor_location.country_code"));
    }

    #[test]
    fn forwarded_lines_have_the_keyword_and_truth_as_text() {
        let (text, _) = written(Format::Syslog);
        let mut truths = 0;
        for line in text.lines() {
            let (start, json) = line.split_once("github_audit[4242]: ").unwrap();
            assert!(start.starts_with("<134>"), "{start}");
            let event: Value = serde_json::from_str(json).unwrap();
            assert!(event.get("_document_id").is_none());
            truths +=
                usize::from(event["actor_is_bot"] == "True" || event["actor_is_bot"] == "False");
        }
        assert!(truths > 100, "{truths}");
    }
}
