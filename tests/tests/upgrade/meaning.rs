//! What a record means, as JSON: every field that this release reads of it.

use bytes::Bytes;
use hubwarden_bus::{Topic, topic};
use hubwarden_event::{
    DeadLetter, Event, EventBody, FlatRecord, Match, MatchBody, Origin, Progress, RawBody,
    RawPosition, RawRecord, RunEnd,
};
use hubwarden_proto::{self as proto, Message, v1};
use serde_json::{Value, json};

use crate::golden::hex;

/// What a record of a topic means, or why this release cannot read it.
pub(crate) fn of(topic: Topic, body: Bytes) -> Result<Value, String> {
    let failed = |error: proto::Error| error.to_string();
    let cursor = |body: Bytes| v1::Cursor::decode(body).map_err(|error| error.to_string());
    let rule = |body: Bytes| v1::RuleBody::decode(body).map_err(|error| error.to_string());
    Ok(match topic {
        topic::RAW => match proto::decode_raw(body).map_err(failed)? {
            RawBody::Record(record) => raw(&record),
            RawBody::Progress(progress) => progress_of(&progress),
            RawBody::RunEnd(end) => run_end(&end),
        },
        topic::EVENTS => match proto::decode_event(body).map_err(failed)? {
            EventBody::Event(one) => event(&one),
            EventBody::Progress(progress) => progress_of(&progress),
            EventBody::RunEnd(end) => run_end(&end),
        },
        topic::MATCHES => match proto::decode_match(body).map_err(failed)? {
            MatchBody::Match(one) => matched(&one),
            MatchBody::Watermark(mark) => json!({
                "connection": mark.connection.as_str(), "run": mark.run.to_string(),
                "kind": mark.kind.as_str(), "through": mark.through.as_millis(),
                "source_partition": mark.source_partition,
            }),
            MatchBody::RunEnd { end, source_partition } => {
                json!({ "end": run_end(&end), "source_partition": source_partition })
            }
        },
        topic::FINDINGS => serde_json::to_value(proto::decode_finding(body).map_err(failed)?)
            .map_err(|error| error.to_string())?,
        topic::RAW_DEAD | topic::EVENTS_DEAD => {
            dead(&proto::decode_dead_letter(body).map_err(failed)?)
        }
        topic::CURSORS => {
            let v1::Cursor { connection, feeds } = cursor(body)?;
            let feeds: Vec<Value> = feeds.iter().map(feed).collect();
            json!({ "connection": connection, "feeds": feeds })
        }
        topic::RULES => match rule(body)?.body.ok_or("no body")? {
            v1::rule_body::Body::File(v1::RuleFile { name, text, shipped }) => {
                json!({ "name": name, "text": text, "shipped": shipped })
            }
            v1::rule_body::Body::List(v1::RuleList { name, values }) => {
                json!({ "name": name, "values": values })
            }
            v1::rule_body::Body::Set(v1::RuleSet { files, lists, compiled }) => {
                let hashes = |all: &[Bytes]| all.iter().map(|one| hex(one)).collect::<Vec<_>>();
                json!({ "files": hashes(&files), "lists": hashes(&lists), "compiled": hex(&compiled) })
            }
        },
        other => return Err(format!("nothing is written to {other} yet")),
    })
}

/// Whether everything that `expected` says is said by `found`; a release may add fields.
pub(crate) fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected
            .iter()
            .all(|(name, expected)| found.get(name).is_some_and(|one| contains(one, expected))),
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| contains(found, expected))
        }
        _ => found == expected,
    }
}

fn place(place: RawPosition) -> Value {
    json!([place.partition, place.offset])
}

fn origin(origin: Option<&Origin>) -> Value {
    origin.map_or(Value::Null, |origin| json!([origin.file, origin.line]))
}

fn raw(record: &RawRecord) -> Value {
    json!({
        "connection": record.connection.as_str(), "feed": record.feed.as_str(),
        "run": record.run.to_string(), "source_id": record.source_id.to_string(),
        "received_at": record.received_at.as_millis(),
        "content_type": record.content_type.as_str(), "payload": hex(&record.payload),
        "scrubs": record.scrubs, "origin": origin(record.origin.as_ref()),
        "damage": record.damage, "event_id": record.event_id().to_string(),
    })
}

fn progress_of(progress: &Progress) -> Value {
    json!({
        "connection": progress.connection.as_str(), "run": progress.run.to_string(),
        "kind": progress.kind.as_str(), "through": progress.through.as_millis(),
    })
}

fn run_end(end: &RunEnd) -> Value {
    json!({ "connection": end.connection.as_str(), "run": end.run.to_string() })
}

fn event(event: &Event) -> Value {
    json!({
        "id": event.id.to_string(), "occurred_at": event.occurred_at.as_millis(),
        "observed_at": event.observed_at.as_millis(), "connection": event.connection.as_str(),
        "run": event.run.to_string(), "kind": event.kind.as_str(),
        "product": &*event.product, "service": &*event.service,
        "position": place(event.position), "suspect": event.suspect,
        "record": record(&event.record),
    })
}

/// By name: whether a field stands there by its id or its name is nobody's concern.
fn record(record: &FlatRecord) -> Value {
    let cells = record.cells().map(|cell| {
        json!([cell.name, format!("{:?}", cell.kind), cell.text, if cell.cut { "cut" } else { "" }])
    });
    json!({ "cells": cells.collect::<Vec<_>>(), "dropped": record.is_dropped() })
}

fn matched(one: &Match) -> Value {
    let names = one.group.names.iter().map(|name| &**name);
    let hits = one.hits.iter().map(|hit| {
        json!([hit.rule.to_string(), hit.state.to_string(), hit.severity.as_str(), hit.value])
    });
    json!({
        "event_id": one.event_id.to_string(), "occurred_at": one.occurred_at.as_millis(),
        "connection": one.connection.as_str(), "run": one.run.to_string(),
        "kind": one.kind.as_str(), "position": place(one.position),
        "group": { "names": names.collect::<Vec<_>>(), "values": one.group.values },
        "bus_key": hex(&one.group.bus_key(&one.connection).0),
        "hits": hits.collect::<Vec<_>>(), "record": record(&one.record),
    })
}

fn dead(letter: &DeadLetter) -> Value {
    json!({
        "position": place(letter.position), "reason": letter.reason,
        "connection": letter.connection.as_ref().map(|one| one.as_str()),
        "origin": origin(letter.origin.as_ref()), "hash": letter.hash.to_string(),
        "length": letter.length, "record": hex(&letter.record),
        "envelope": letter.envelope.as_deref().map(raw),
    })
}

fn feed(feed: &v1::FeedCursor) -> Value {
    json!({
        "feed": feed.feed, "scope": feed.scope, "run": feed.run,
        "from_ms": feed.from_ms, "until_ms": feed.until_ms, "through_ms": feed.through_ms,
        "next_link": feed.next_link, "done": feed.done, "records": feed.records,
        "pass_from_ms": feed.pass_from_ms,
    })
}
