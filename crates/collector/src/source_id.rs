use std::sync::LazyLock;

use hubwarden_event::{ContentType, Hash, SourceId, canonical_json};
use memchr::{memchr2, memmem};
use serde_json::{Map, Value};

use crate::files::scanner::{Found, Scanner};

const DOCUMENT_ID: &str = "_document_id";

static QUOTED: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\"_document_id\""));

/// What the sender calls this record, or a name made of its content.
///
/// GitHub's `_document_id`, also inside the envelope of a stream, so that the same event by stream,
/// poll and import is one; else `h:` and the SHA-256 of the canonical JSON, or of the bytes where
/// they cannot be read.
pub fn source_id(content_type: ContentType, payload: &[u8]) -> SourceId {
    match content_type {
        ContentType::Json => json_id(payload),
        ContentType::SyslogLine => json_id(syslog_json(payload).unwrap_or(payload)),
        ContentType::CsvRow => csv_id(payload),
        ContentType::Unknown => hashed(payload),
    }
}

fn hashed(bytes: &[u8]) -> SourceId {
    named(Hash::of(bytes))
}

/// The name of a record by the hash of its content.
pub(crate) fn named(hash: Hash) -> SourceId {
    SourceId::new(format!("h:{hash}"))
}

fn json_id(payload: &[u8]) -> SourceId {
    if let Some(id) = quick_id(payload) {
        return SourceId::new(id);
    }
    let Ok(value) = serde_json::from_slice::<Value>(payload) else { return hashed(payload) };
    let event = unwrapped(value);
    match event.get(DOCUMENT_ID).and_then(Value::as_str) {
        Some(id) if !id.is_empty() => SourceId::new(id),
        _ => hashed(canonical_json(&event).as_bytes()),
    }
}

/// The first `_document_id` of the object itself, found without parsing it.
fn quick_id(payload: &[u8]) -> Option<&str> {
    let start = payload.len() - payload.trim_ascii_start().len();
    let payload = &payload[start..];
    let depth = if payload.starts_with(br#"{"event":{"#) { 2 } else { 1 };
    let (mut scanner, mut scanned) = (Scanner::default(), 0);
    for at in QUOTED.find_iter(payload) {
        if scanner.scan(&payload[scanned..at]) != Found::More {
            return None;
        }
        scanned = at;
        if scanner.depth() != depth || scanner.in_text() {
            continue;
        }
        let rest = payload[at + DOCUMENT_ID.len() + 2..].trim_ascii_start().strip_prefix(b":")?;
        let text = rest.trim_ascii_start().strip_prefix(b"\"")?;
        let end = memchr2(b'"', b'\\', text)?;
        return match text[end] {
            b'"' if end > 0 => std::str::from_utf8(&text[..end]).ok(),
            _ => None,
        };
    }
    None
}

/// The event inside an envelope of the stream, else the value itself.
///
/// Bare events of some categories have a field `event` too, so an envelope is only what has no
/// `action` of its own.
fn unwrapped(mut value: Value) -> Value {
    if value.get("action").is_some() {
        return value;
    }
    match value.get_mut("event").map(Value::take) {
        Some(inner @ Value::Object(_)) => inner,
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(inner @ Value::Object(_)) => inner,
            _ => {
                value["event"] = Value::String(text);
                value
            }
        },
        Some(other) => {
            value["event"] = other;
            value
        }
        None => value,
    }
}

/// The JSON behind the prefix of a syslog line.
fn syslog_json(line: &[u8]) -> Option<&[u8]> {
    let from = memmem::find(line, b"github_audit").unwrap_or(0);
    let object = memchr::memchr(b'{', &line[from..])?;
    Some(&line[from + object..])
}

fn csv_id(payload: &[u8]) -> SourceId {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(payload);
    let mut rows = reader.records();
    let (Some(Ok(header)), Some(Ok(row))) = (rows.next(), rows.next()) else {
        return hashed(payload);
    };
    let cells = header.iter().map(str::trim).zip(row.iter());
    if let Some((_, id)) = cells.clone().find(|(name, id)| *name == DOCUMENT_ID && !id.is_empty()) {
        return SourceId::new(id);
    }
    let object: Map<String, Value> =
        cells.map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect();
    hashed(canonical_json(&Value::Object(object)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> String {
        source_id(ContentType::Json, text.as_bytes()).to_string()
    }

    #[test]
    fn takes_the_document_id_of_the_object_itself() {
        for (text, expected) in [
            (r#"{"_document_id":"abc","action":"a"}"#, "abc"),
            (r#" {"@timestamp": 1, "_document_id" : "abc" }"#, "abc"),
            (r#"{"a":"x\"_document_id","b":{"_document_id":"no"},"_document_id":"yes"}"#, "yes"),
            (r#"{"event":{"action":"a","_document_id":"inner"},"time":1}"#, "inner"),
            (r#"{"time":1,"event":{"action":"a","_document_id":"inner"}}"#, "inner"),
            (r#"{"event":"{\"action\":\"a\",\"_document_id\":\"text\"}"}"#, "text"),
            (r#"{"_document_id":"a\u0062c"}"#, "abc"),
        ] {
            assert_eq!(id(text), expected, "{text}");
        }
    }

    #[test]
    fn names_a_record_without_one_by_its_canonical_content() {
        let plain = id(r#"{"action":"a","event":"push"}"#);
        assert!(plain.starts_with("h:") && plain.len() == 66, "{plain}");
        assert_eq!(plain, id("{ \"event\": \"push\",\n \"action\": \"a\" }"));
        assert_eq!(id(r#"{"event":{"action":"a"}}"#), id(r#"{"action":"a"}"#), "envelope");
        assert_ne!(plain, id(r#"{"action":"b","event":"push"}"#));
        for odd in [r#"{"_document_id":""}"#, r#"{"_document_id":7}"#, "{", "", "\"_document_id\""]
        {
            assert!(id(odd).starts_with("h:"), "{odd}");
        }
        let deep = "[".repeat(10_000);
        assert!(id(&deep).starts_with("h:"));
    }

    #[test]
    fn reads_rows_and_syslog_lines() {
        let row = |text: &str| source_id(ContentType::CsvRow, text.as_bytes()).to_string();
        assert_eq!(row("action,_document_id\na,\"x,y\""), "x,y");
        assert_eq!(row("action,_document_id\na,"), row("action,_document_id\n\"a\",\"\""));
        assert_ne!(row("action,actor\na,b"), row("action,actor\na,c"));
        let line = r#"<134>Nov 1 10:00:00 {x} github_audit[9]: {"action":"a"}"#;
        let line = source_id(ContentType::SyslogLine, line.as_bytes());
        assert_eq!(line.to_string(), id(r#"{"action":"a"}"#));
    }
}
