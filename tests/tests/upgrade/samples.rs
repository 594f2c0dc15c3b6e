//! One record of every sort that a topic carries, with every field set.

use bytes::Bytes;
use hubwarden_bus::{Topic, topic};
use hubwarden_event::{
    Confidence, ContentType, DeadLetter, EntityRef, Event, EventBody, EventId, Evidence, Feed,
    Finding, FindingId, FlatRecord, GroupKey, Hash, Hit, Kind, Match, MatchBody, Origin, Progress,
    RawBody, RawPosition, RawRecord, Reason, RuleRef, RunEnd, RunId, Severity, Timestamp,
    Watermark,
};
use hubwarden_proto::{self as proto, Message, v1};
use std::sync::Arc;

use crate::flat::{self, Cell};

const AT: i64 = 1_790_000_000_000;

/// A record of a topic, ready to be written.
pub(crate) struct Sample {
    pub(crate) topic: Topic,
    pub(crate) what: &'static str,
    pub(crate) body: Bytes,
}

/// Every kind of cell, fields with an id and fields without, a value that was cut, and the mark of a
/// record that is not whole.
pub(crate) fn flat_record() -> Arc<FlatRecord> {
    let cells = [
        Cell::new(Ok(2), 0, "repo.access"),
        Cell::new(Ok(4), 1, "9007199254740993"),
        Cell::new(Ok(0), 1, "1790000000000"),
        Cell::new(Ok(41), 2, "true"),
        Cell::new(Ok(19), 0, ""),
        Cell::new(Ok(20), 3, ""),
        Cell::new(Ok(31), 4, ""),
        Cell::new(Ok(32), 0, "DE"),
        Cell::new(Ok(29), 5, ""),
        Cell::new(Err("not.in.the.dictionary"), 0x80, "größer"),
        Cell::new(Err("not.in.the.dictionary"), 1, "1.50"),
    ];
    FlatRecord::decode(&flat::write(&cells, 1)).unwrap().into()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(AT + seconds * 1000)
}

fn place() -> RawPosition {
    RawPosition { partition: 7, offset: 4711 }
}

fn progress() -> Progress {
    let (connection, run) = ("octo".into(), RunId::live());
    Progress { connection, run, kind: Kind::Git, through: at(60) }
}

fn run_end() -> RunEnd {
    RunEnd { connection: "octo".into(), run: RunId::from("import-1") }
}

fn raw_record() -> RawRecord {
    RawRecord {
        connection: "octo".into(),
        feed: Feed::Import,
        run: RunId::from("import-1"),
        source_id: "d1".into(),
        received_at: at(5),
        content_type: ContentType::Json,
        payload: Bytes::from_static(br#"{"action":"repo.access"}"#),
        scrubs: vec!["query".into()],
        origin: Some(Origin { file: "audit.json".into(), line: 3 }),
        damage: Some("the file ends inside it".into()),
    }
}

fn event() -> Event {
    Event {
        id: EventId::from_bytes([0xe1; 16]),
        occurred_at: at(0),
        observed_at: at(5),
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        product: "github".into(),
        service: "audit".into(),
        position: place(),
        suspect: true,
        record: flat_record(),
    }
}

fn matched() -> Match {
    Match {
        event_id: EventId::from_bytes([0xe1; 16]),
        occurred_at: at(0),
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        position: place(),
        group: GroupKey {
            names: Arc::from(["actor".into(), "repo|org".into()]),
            values: vec!["mona".into(), String::new()],
        },
        hits: vec![
            Hit {
                rule: Hash([1; 32]),
                state: Hash([2; 32]),
                severity: Severity::Critical,
                value: Some("v".into()),
            },
            Hit { rule: Hash([3; 32]), state: Hash([4; 32]), severity: Severity::Low, value: None },
        ],
        record: flat_record(),
    }
}

/// A finding with every field set.
pub(crate) fn finding() -> Finding {
    let evidence = Evidence {
        id: EventId::from_bytes([0xe1; 16]),
        occurred_at: at(0),
        action: "repo.access".into(),
        position: place(),
        record: flat_record().to_json(),
    };
    Finding {
        id: FindingId::from_text("F-ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        revision: 3,
        severity: Severity::High,
        confidence: Confidence::Medium,
        rule: RuleRef {
            id: Some("11111111-2222-4333-8444-555555555555".into()),
            name: "repo-made-public".into(),
            title: "Repository made public".into(),
            hash: "ab".repeat(32),
            attack: vec!["T1567".into()],
        },
        connection: "octo".into(),
        run: RunId::live(),
        first_seen: at(0),
        last_seen: at(30),
        count: 3,
        at_least: true,
        sentence: "mona made octo/web public".into(),
        reason: vec![Reason {
            condition: "visibility is public".into(),
            field: "visibility".into(),
            value: "public".into(),
            threshold: Some("gte 3".into()),
            usual: Some("0".into()),
        }],
        entities: vec![EntityRef {
            role: "actor".into(),
            kind: "user".into(),
            id: Some("17".into()),
            name: "mona".into(),
        }],
        event_ids: vec![evidence.id],
        evidence: vec![evidence],
        response: "Make it private again.".into(),
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter {
        position: place(),
        connection: Some("octo".into()),
        origin: Some(Origin { file: "audit.json".into(), line: 3 }),
        reason: "field `action` is missing".into(),
        hash: Hash::of(b"{}"),
        length: 2,
        record: Bytes::from_static(b"{}"),
        envelope: Some(Box::new(RawRecord { payload: Bytes::new(), ..raw_record() })),
    }
}

fn cursor() -> v1::Cursor {
    let feed = v1::FeedCursor {
        feed: "audit-rest".into(),
        scope: "enterprise/octo-corp".into(),
        run: "live".into(),
        from_ms: AT,
        until_ms: AT + 1,
        through_ms: AT + 2,
        next_link: "https://example.com/page/2".into(),
        done: true,
        records: 99,
        pass_from_ms: AT + 3,
    };
    v1::Cursor { connection: "octo".into(), feeds: vec![feed] }
}

fn rule(body: v1::rule_body::Body) -> Bytes {
    v1::RuleBody { body: Some(body) }.encode_to_vec().into()
}

/// The samples, as this release writes them.
pub(crate) fn all() -> Vec<Sample> {
    use v1::rule_body::Body;
    let sample = |topic, what, body| Sample { topic, what, body };
    let mark = Watermark {
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        through: at(60),
        source_partition: 11,
    };
    let file = v1::RuleFile {
        name: "github/repo-made-public.yml".into(),
        text: "title: Made public\n".into(),
        shipped: true,
    };
    let list = v1::RuleList { name: "allowed".into(), values: vec!["a".into(), "b".into()] };
    let set = v1::RuleSet {
        files: vec![vec![1; 32].into()],
        lists: vec![vec![2; 32].into()],
        compiled: vec![3; 32].into(),
    };
    let ended = MatchBody::RunEnd { end: run_end(), source_partition: 11 };
    vec![
        sample(topic::RAW, "record", proto::encode_raw(RawBody::Record(raw_record()))),
        sample(topic::RAW, "progress", proto::encode_raw(RawBody::Progress(progress()))),
        sample(topic::RAW, "run end", proto::encode_raw(RawBody::RunEnd(run_end()))),
        sample(topic::EVENTS, "event", proto::encode_event(EventBody::Event(event()))),
        sample(topic::EVENTS, "progress", proto::encode_event(EventBody::Progress(progress()))),
        sample(topic::EVENTS, "run end", proto::encode_event(EventBody::RunEnd(run_end()))),
        sample(topic::MATCHES, "match", proto::encode_match(MatchBody::Match(matched()))),
        sample(topic::MATCHES, "watermark", proto::encode_match(MatchBody::Watermark(mark))),
        sample(topic::MATCHES, "run end", proto::encode_match(ended)),
        sample(topic::FINDINGS, "finding", proto::encode_finding(finding())),
        sample(topic::RAW_DEAD, "dead letter", proto::encode_dead_letter(dead_letter())),
        sample(topic::EVENTS_DEAD, "dead letter", proto::encode_dead_letter(dead_letter())),
        sample(topic::CURSORS, "cursor", cursor().encode_to_vec().into()),
        sample(topic::RULES, "file", rule(Body::File(file))),
        sample(topic::RULES, "list", rule(Body::List(list))),
        sample(topic::RULES, "set", rule(Body::Set(set))),
    ]
}
