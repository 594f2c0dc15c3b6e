//! The stages on a real Kafka: what is poison, what is huge, and rules that change.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hubwarden_bus::topic::{EVENTS, FINDINGS, MATCHES, RAW, RAW_DEAD};
use hubwarden_bus::{Bus, Kafka, MAX_BODY, Positions, Record, Sink, Topic, commit_when_room};
use hubwarden_collector::source_id;
use hubwarden_detector::snapshot::Target;
use hubwarden_detector::{
    CORRELATE_STAGE, Correlating, Lost, MATCH_STAGE, Readiness, Rulebook, Snapshots, run_correlate,
    run_match,
};
use hubwarden_event::{
    ContentType, EventBody, Feed, MatchBody, RawBody, RawPosition, RawRecord, RunId, Timestamp,
};
use hubwarden_normalizer::{Networks, NormalizerStage, STAGE as NORMALIZER_STAGE};
use hubwarden_proto as proto;
use hubwarden_rules::RuleFile;
use tokio_util::sync::CancellationToken;

use crate::fresh;
use crate::promises::records::read_all;

const PATIENCE: Duration = Duration::from_secs(120);

fn raw(payload: impl Into<Bytes>) -> Record {
    let payload = payload.into();
    let source_id = source_id(ContentType::Json, &payload);
    let key = payload.slice(..payload.len().min(40));
    let record = RawRecord {
        connection: "octo".into(),
        feed: Feed::Import,
        run: RunId::from("import-poison"),
        source_id,
        received_at: Timestamp::from_millis(1_790_000_000_000),
        content_type: ContentType::Json,
        payload,
        scrubs: Vec::new(),
        origin: None,
        damage: None,
    };
    Record::new(RAW, key, proto::encode_raw(RawBody::Record(record)))
}

fn event(number: u64, actor: u64) -> String {
    let at = 1_790_000_000_000 + number;
    format!(
        r#"{{"_document_id":"doc-{number}","@timestamp":{at},"action":"repo.create","actor":"actor-{actor}"}}"#
    )
}

async fn write(bus: &Kafka, records: Vec<Record>) {
    commit_when_room(&mut bus.writer("w"), records, &Positions::none()).await.unwrap();
}

/// Waits until a stage has consumed every record that stands in a topic now; gives how long it took.
async fn drained(bus: &Kafka, stage: &str, topic: Topic) -> Duration {
    let began = Instant::now();
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for record in read_all(bus, topic).await.unwrap() {
        let newest = last.entry(record.partition).or_default();
        *newest = record.position.max(*newest);
    }
    loop {
        let stands = bus.stage_position(stage).await.unwrap();
        if last.iter().all(|(partition, last)| stands.get(topic, *partition) > Some(*last)) {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{stage} stands at {stands:?}, last are {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_becomes_dead_letters_and_the_largest_record_passes() {
    let bus = fresh().await;
    let stop = CancellationToken::new();
    let stage = NormalizerStage::new(Networks::default(), NonZero::<usize>::MIN);
    let running = tokio::spawn(hubwarden_normalizer::run(bus.clone(), stage, stop.clone(), |_| ()));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let poison = [
        Record::new(RAW, "foreign", "no record of ours \u{0}\u{1}"),
        raw(r#"{"action":"repo.create","@timestamp":"#),
        raw(deep),
    ];
    for (number, poison) in (0..).zip(&poison) {
        let good = (0..999).map(|of| raw(event(number * 1000 + of, of)));
        write(&bus, good.chain([poison.clone()]).collect()).await;
    }
    let lag = drained(&bus, NORMALIZER_STAGE, RAW).await;

    let mut huge = event(9_999_999, 1);
    let around = proto::encode_raw(RawBody::Record(RawRecord {
        payload: Bytes::new(),
        ..record_of(&raw(huge.clone()))
    }));
    // Room for the lengths of the payload and of what is around it.
    let filling = MAX_BODY - around.len() - huge.len() - 32;
    huge.insert_str(huge.len() - 1, &format!(r#","data":"{}""#, "x".repeat(filling)));
    let largest = raw(huge.clone());
    assert!(largest.body.len() <= MAX_BODY && largest.body.len() > MAX_BODY - 64);
    write(&bus, vec![largest]).await;
    huge.insert_str(huge.len() - 1, &format!(r#","more":"{}""#, "x".repeat(128)));
    let above = bus.writer("w").commit(vec![raw(huge)], &Positions::none()).await.unwrap_err();
    assert!(above.to_string().contains(&MAX_BODY.to_string()), "{above}");
    drained(&bus, NORMALIZER_STAGE, RAW).await;
    stop.cancel();
    running.await.unwrap().unwrap();

    let dead = read_all(&bus, RAW_DEAD).await.unwrap();
    let letters: Vec<_> =
        dead.iter().map(|record| proto::decode_dead_letter(record.body.clone()).unwrap()).collect();
    let at: BTreeSet<RawPosition> = letters.iter().map(|letter| letter.position).collect();
    let written = read_all(&bus, RAW).await.unwrap();
    let bodies: Vec<&Bytes> = poison.iter().map(|record| &record.body).collect();
    let poisoned = written.iter().filter(|record| bodies.contains(&&record.body));
    let poisoned: BTreeSet<RawPosition> = poisoned
        .map(|record| RawPosition { partition: record.partition, offset: record.position })
        .collect();
    assert_eq!(at, poisoned);
    assert!(letters.iter().all(|letter| !letter.reason.is_empty() && !letter.record.is_empty()));
    let events = read_all(&bus, EVENTS).await.unwrap();
    assert_eq!(events.len(), 3 * 999 + 1);
    eprintln!(
        "3 of 3,000 records were poison; all was consumed {lag:?} after the last was written"
    );
}

fn record_of(record: &Record) -> RawRecord {
    match proto::decode_raw(record.body.clone()).unwrap() {
        RawBody::Record(record) => record,
        other => panic!("{other:?}"),
    }
}

/// Finds an actor of so many events within a day; `note` is prose.
fn book(note: &str, at_least: u32) -> Rulebook {
    let text = format!(
        "
title: Events of one actor {note}
name: many--events
logsource: {{ product: github, service: audit }}
detection:
    selection: {{ action: repo.create }}
    condition: selection
level: informational
---
title: Many events of one actor {note}
name: many
correlation:
    type: event_count
    rules: [many--events]
    group-by: [actor]
    timespan: 24h
    condition: {{ gte: {at_least} }}
level: high
"
    );
    let file = RuleFile { name: "many.yml".into(), text, shipped: false };
    Rulebook { files: vec![file], ..Rulebook::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_change_under_load_judge_every_event_once_and_lose_no_window() {
    const ACTORS: u64 = 12;
    let bus = fresh().await;
    let folder = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(24 * 3600);
    let target = Target::directory(&folder.path().join("snapshots")).unwrap();
    let correlating = Correlating {
        dir: folder.path().join("state"),
        lateness_ms: 3_600_000,
        snapshots: Some(Snapshots { target, every: day, retention: 7 * day }),
        lost: Lost::Stop,
    };
    let stop = CancellationToken::new();
    book("", 4).publish(&bus).await.unwrap();
    let one = NonZero::<usize>::MIN;
    let stage = NormalizerStage::new(Networks::default(), one);
    let replicas: [Readiness; 3] = std::array::from_fn(|_| Readiness::default());
    let mut running = tokio::task::JoinSet::new();
    {
        let (bus, stop) = (bus.clone(), stop.clone());
        running.spawn(async move {
            hubwarden_normalizer::run(bus, stage, stop, |_| ()).await.unwrap();
        });
    }
    for ready in &replicas[..2] {
        let (bus, ready, stop) = (bus.clone(), ready.clone(), stop.clone());
        running.spawn(async move { run_match(bus, one, ready, stop, |_| ()).await.unwrap() });
    }
    {
        let (bus, ready, stop) = (bus.clone(), replicas[2].clone(), stop.clone());
        running.spawn(async move {
            run_correlate(bus, correlating, ready, stop, |_| ()).await.unwrap();
        });
    }
    let mut number = 0;
    let mut round = || {
        number += 1;
        (0..ACTORS).map(|actor| raw(event(number * ACTORS + actor, actor))).collect::<Vec<_>>()
    };
    let all_through = async || {
        for (stage, topic) in
            [(NORMALIZER_STAGE, RAW), (MATCH_STAGE, EVENTS), (CORRELATE_STAGE, MATCHES)]
        {
            drained(&bus, stage, topic).await;
        }
    };
    write(&bus, round()).await;
    write(&bus, round()).await;
    all_through().await;
    // Only prose changes, in the middle of every window, while events come.
    book("with other words", 4).publish(&bus).await.unwrap();
    write(&bus, round()).await;
    write(&bus, round()).await;
    all_through().await;
    let findings = async || {
        let mut counts = BTreeMap::new();
        for record in read_all(&bus, FINDINGS).await.unwrap() {
            let finding = proto::decode_finding(record.body).unwrap();
            counts.insert(finding.id.to_string(), finding.count);
        }
        counts
    };
    let found = findings().await;
    assert_eq!(found.len(), ACTORS as usize);
    assert!(found.values().all(|count| *count == 4), "{found:?}");
    // Now the rule changes, and every replica comes to judge by the same set.
    book("with other words", 3).publish(&bus).await.unwrap();
    for _ in 0..3 {
        write(&bus, round()).await;
    }
    all_through().await;
    let began = Instant::now();
    loop {
        let sets: BTreeSet<_> = replicas.iter().map(Readiness::rule_set).collect();
        if sets.len() == 1 && !sets.contains(&None) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{sets:?}");
        tokio::time::sleep(Duration::from_millis(50)).await; // between two looks
    }
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    let mut judged: BTreeMap<_, u32> = BTreeMap::new();
    for record in read_all(&bus, MATCHES).await.unwrap() {
        if let MatchBody::Match(matched) = proto::decode_match(record.body).unwrap() {
            *judged.entry(matched.event_id).or_default() += 1;
        }
    }
    assert_eq!(judged.len(), (7 * ACTORS) as usize);
    assert!(judged.values().all(|times| *times == 1), "judged by two sets: {judged:?}");
    let events = read_all(&bus, EVENTS).await.unwrap();
    let is_event =
        |body: &Bytes| matches!(proto::decode_event(body.clone()), Ok(EventBody::Event(_)));
    assert_eq!(events.iter().filter(|event| is_event(&event.body)).count(), judged.len());
}
