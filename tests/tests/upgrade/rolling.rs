//! Replicas of two releases at once: whichever stage is upgraded first, no verdict is lost.
//!
//! Another release is this one behind a bus that stands for what differs: which field ids it reads and
//! which it writes. Cells change on the way by [`flat`], not by the code under test.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hubwarden_bus::{
    Batch, Bus, Delivered, Error, Limit, Memory, MemoryWriter, Positions, Record, Sink, Source,
    Topic, topic,
};
use hubwarden_collector::{Append, ToBus, source_id};
use hubwarden_console::{FindingStore, SqliteStore, consume};
use hubwarden_detector::snapshot::Target;
use hubwarden_detector::{
    CORRELATE_STAGE, Correlating, Lost, MATCH_STAGE, Readiness, Rulebook, Snapshots, run_correlate,
    run_match,
};
use hubwarden_event::{
    CellKind, ContentType, Event, EventBody, EventId, Feed, FlatBuilder, Kind, Progress, RawBody,
    RawPosition, RawRecord, RunEnd, RunId, Timestamp, dictionary,
};
use hubwarden_normalizer::{Networks, NormalizerStage, STAGE as NORMALIZE_STAGE};
use hubwarden_proto::{self as proto, Message, v1};
use hubwarden_rules::{Engine, RuleFile, Scratch};
use hubwarden_simulator::{Life, Plan};
use hubwarden_tests::{all_findings, assert_same, essence};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::flat::{self, Cell};
use crate::members::{Member, Shared};

const HOUR_MS: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
const PATIENCE: Duration = Duration::from_secs(120);

/// What a release is to the others.
#[derive(Clone, Copy, Debug)]
struct Release {
    /// Field ids below this are in its dictionary.
    reads: u16,
    /// Field ids below this it writes.
    writes: u16,
}

/// The release before: its dictionary ends early. Everything behind, such as all fields of
/// Hubwarden's own, is what the next release adds.
const BEFORE: Release = Release { reads: 40, writes: 40 };
/// The release that adds ids: it reads them and does not write them yet.
const ADDS: Release = Release { reads: u16::MAX, writes: 40 };
/// The one after that.
const AFTER: Release = Release { reads: u16::MAX, writes: u16::MAX };

/// Cells that were written by name although this release has an id for them, over all buses of a test.
#[derive(Clone, Default)]
struct Named(Arc<AtomicU64>);

/// A bus as a release sees it.
#[derive(Clone)]
struct Seen {
    bus: Shared,
    release: Release,
    named: Named,
}

impl Seen {
    /// What this release writes for an event.
    fn written(&self, mut record: Record) -> Record {
        if record.topic == topic::EVENTS {
            let mut body = v1::EventBody::decode(record.body).unwrap();
            if let Some(v1::event_body::Body::Event(event)) = &mut body.body {
                event.record = self.with_names(&event.record).into();
            }
            record.body = body.encode_to_vec().into();
        }
        record
    }

    fn with_names(&self, record: &[u8]) -> Vec<u8> {
        let (mut cells, flags) = flat::read(record);
        for cell in &mut cells {
            if let Ok(id) = cell.field
                && id >= self.release.writes
            {
                cell.field = Err(dictionary::name(id).unwrap().into());
                self.named.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        flat::write(&cells, flags)
    }

    /// What this release reads: an id beyond its dictionary is one that nobody knows here.
    fn read(&self, mut record: Delivered) -> Delivered {
        if record.topic == topic::EVENTS
            && let Ok(mut body) = v1::EventBody::decode(record.body.clone())
            && let Some(v1::event_body::Body::Event(event)) = &mut body.body
        {
            event.record = self.with_unknown(&event.record).into();
            record.body = body.encode_to_vec().into();
        } else if record.topic == topic::MATCHES
            && let Ok(mut body) = v1::MatchBody::decode(record.body.clone())
            && let Some(v1::match_body::Body::Match(matched)) = &mut body.body
        {
            matched.record = self.with_unknown(&matched.record).into();
            record.body = body.encode_to_vec().into();
        }
        record
    }

    fn with_unknown(&self, record: &[u8]) -> Vec<u8> {
        let (mut cells, flags) = flat::read(record);
        for cell in &mut cells {
            if cell.field.as_ref().is_ok_and(|id| *id >= self.release.reads) {
                cell.field = Ok(u16::MAX - 1);
            }
        }
        flat::write(&cells, flags)
    }
}

impl Bus for Seen {
    type Reader = SeenReader;
    type Writer = MemoryWriter;

    fn partitions(&self, topic: Topic) -> u32 {
        self.bus.partitions(topic)
    }

    fn reader(&self, stage: &str, topics: &[Topic]) -> Result<SeenReader, Error> {
        Ok(SeenReader { inner: self.bus.reader(stage, topics)?, seen: self.clone() })
    }

    fn keeping_reader(&self, stage: &str, topics: &[Topic]) -> Result<SeenReader, Error> {
        Ok(SeenReader { inner: self.bus.keeping_reader(stage, topics)?, seen: self.clone() })
    }

    fn writer(&self, stage: &str) -> MemoryWriter {
        self.bus.writer(stage)
    }

    async fn read_at(&self, topic: Topic, one: u32, at: u64) -> Result<Option<Delivered>, Error> {
        self.bus.read_at(topic, one, at).await
    }

    async fn newest(&self, topic: Topic) -> Result<Vec<Delivered>, Error> {
        self.bus.newest(topic).await
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.bus.ends().await
    }

    async fn stage_positions(&self) -> Result<Vec<(String, Positions)>, Error> {
        self.bus.stage_positions().await
    }

    async fn members(&self) -> Result<Vec<hubwarden_bus::Member>, Error> {
        self.bus.members().await
    }
}

struct SeenReader {
    inner: Member,
    seen: Seen,
}

impl Source for SeenReader {
    async fn next_batch(&mut self, limit: Limit) -> Result<Batch, Error> {
        let mut batch = self.inner.next_batch(limit).await?;
        batch.records = batch.records.into_iter().map(|record| self.seen.read(record)).collect();
        Ok(batch)
    }

    async fn read_from(&mut self, positions: &Positions) -> Result<(), Error> {
        self.inner.read_from(positions).await
    }

    fn assignment(&self) -> Vec<(Topic, u32)> {
        self.inner.assignment()
    }

    fn positions(&self) -> Positions {
        self.inner.positions()
    }

    async fn ends(&self) -> Result<Positions, Error> {
        self.inner.ends().await
    }
}

impl Sink for SeenReader {
    async fn commit(&mut self, outputs: Vec<Record>, consumed: &Positions) -> Result<(), Error> {
        let outputs = outputs.into_iter().map(|record| self.seen.written(record)).collect();
        self.inner.commit(outputs, consumed).await
    }
}

/// A running replica of a stage.
struct Replica {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Replica {
    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// The stages over a bus of four partitions, with two replicas each.
struct Line {
    bus: Shared,
    folder: tempfile::TempDir,
    named: Named,
    unreadable: Arc<AtomicU64>,
    /// By stage, the replicas that run.
    replicas: [Vec<Replica>; 3],
    nodes: u32,
}

const STAGES: [&str; 3] = [NORMALIZE_STAGE, MATCH_STAGE, CORRELATE_STAGE];
const PARTITIONS: u32 = 4;

impl Line {
    async fn new(rulebook: &Rulebook, release: Release) -> Self {
        let bus = Shared::new(Memory::with_partitions(PARTITIONS));
        rulebook.publish(&bus).await.unwrap();
        let mut line = Self {
            bus,
            folder: tempfile::tempdir().unwrap(),
            named: Named::default(),
            unreadable: Arc::default(),
            replicas: Default::default(),
            nodes: 0,
        };
        for stage in 0..STAGES.len() {
            line.start(stage, release);
            line.start(stage, release);
        }
        line
    }

    /// Starts a replica of a release.
    fn start(&mut self, stage: usize, release: Release) {
        let bus = Seen { bus: self.bus.clone(), release, named: self.named.clone() };
        let stop = CancellationToken::new();
        let (token, one) = (stop.clone(), NonZero::<usize>::MIN);
        let running = match STAGES[stage] {
            NORMALIZE_STAGE => tokio::spawn(async move {
                let stage = NormalizerStage::new(Networks::default(), one);
                hubwarden_normalizer::run(bus, stage, token, |_| ()).await.unwrap();
            }),
            MATCH_STAGE => tokio::spawn(async move {
                run_match(bus, one, Readiness::default(), token, |_| ()).await.unwrap();
            }),
            _ => {
                self.nodes += 1;
                let settings = Correlating {
                    dir: self.folder.path().join(format!("node-{}", self.nodes)),
                    lateness_ms: HOUR_MS,
                    snapshots: Some(Snapshots {
                        target: Target::directory(&self.folder.path().join("snapshots")).unwrap(),
                        every: DAY,
                        retention: 7 * DAY,
                    }),
                    lost: Lost::Stop,
                };
                let unreadable = self.unreadable.clone();
                tokio::spawn(async move {
                    let told = |counts: hubwarden_detector::CorrelateCounts| {
                        unreadable.fetch_add(counts.unreadable, Ordering::Relaxed);
                    };
                    run_correlate(bus, settings, Readiness::default(), token, told).await.unwrap();
                })
            }
        };
        self.replicas[stage].push(Replica { stop, running });
    }

    /// Replaces the oldest replica of a stage by one of a release.
    async fn replace(&mut self, stage: usize, release: Release) {
        self.start(stage, release);
        self.replicas[stage].remove(0).end().await;
    }

    async fn write(&self, bodies: &[RawBody]) {
        let mut to = ToBus::new(self.bus.writer("collector"), PARTITIONS);
        for some in bodies.chunks(500) {
            to.append(some.to_vec()).await.unwrap();
        }
    }

    async fn drained(&self) {
        let deadline = Instant::now() + PATIENCE;
        for (stage, topic) in STAGES.into_iter().zip([topic::RAW, topic::EVENTS, topic::MATCHES]) {
            loop {
                let at = self.bus.stage_position(stage).await.unwrap();
                let ends = self.bus.ends().await.unwrap();
                let behind =
                    |one| at.get(topic, one).unwrap_or(0) < ends.get(topic, one).unwrap_or(0);
                if !(0..PARTITIONS).any(behind) {
                    break;
                }
                assert!(Instant::now() < deadline, "{stage} stands still");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// What a console has in the end, and how many events and matches somebody could not read.
    async fn outcome(mut self) -> Outcome {
        self.drained().await;
        for replica in self.replicas.iter_mut().flat_map(std::mem::take) {
            replica.end().await;
        }
        let store = SqliteStore::connect(self.folder.path().join("findings")).await.unwrap();
        let mut reader = self.bus.reader("console", &[topic::FINDINGS]).unwrap();
        reader.next_batch(Limit::default()).await.unwrap(); // tells what it owns
        let ends = self.bus.ends().await.unwrap();
        let left = |at: Positions| {
            (0..PARTITIONS).any(|one| at.get(topic::FINDINGS, one) < ends.get(topic::FINDINGS, one))
        };
        while left(reader.positions()) {
            let batch = reader.next_batch(Limit::default()).await.unwrap();
            store.take_in(consume::read(&batch)).await.unwrap();
        }
        let dead = (0..PARTITIONS).filter_map(|one| ends.get(topic::EVENTS_DEAD, one));
        Outcome {
            findings: essence(&all_findings(&store).await),
            dead: dead.sum(),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            named: self.named.0.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Outcome {
    findings: Vec<Value>,
    dead: u64,
    unreadable: u64,
    named: u64,
}

fn life() -> Life {
    Life::new(Plan { events: 4_000, days: 30, ..Plan::default() })
}

/// The shipped rules, and one for a field that no release has an id for.
fn rulebook(life: &Life) -> Rulebook {
    let mut book = Rulebook::shipped();
    for (name, values) in life.lists() {
        book.lists.insert(name, values);
    }
    book.files.push(rule("new", "brand_new.field: 'yes'"));
    book
}

fn rule(name: &str, item: &str) -> RuleFile {
    let text = format!(
        "title: Rule {name}\nname: rule-{name}\nlogsource: {{ product: github, service: audit }}\n\
         detection:\n    selection:\n        {item}\n    condition: selection\nlevel: low\n"
    );
    RuleFile { name: format!("{name}.yml"), text, shipped: false }
}

/// What a collector writes of a life, a mark every now and then; `change` edits the payload.
fn written(life: &Life, change: impl Fn(usize, Vec<u8>) -> Vec<u8>) -> Vec<RawBody> {
    let run = RunId::from("import-month");
    let mut bodies = Vec::new();
    for (number, event) in life.events().enumerate() {
        bodies.push(RawBody::Record(RawRecord {
            connection: "octo".into(),
            feed: Feed::Import,
            run: run.clone(),
            source_id: source_id(ContentType::Json, &event.json),
            received_at: Timestamp::from_millis(event.at_ms),
            content_type: ContentType::Json,
            payload: change(number, event.json).into(),
            scrubs: Vec::new(),
            origin: None,
            damage: None,
        }));
        if number % 250 == 249 {
            bodies.extend([Kind::Audit, Kind::Git].map(|kind| {
                RawBody::Progress(Progress {
                    connection: "octo".into(),
                    run: run.clone(),
                    kind,
                    through: Timestamp::from_millis(event.at_ms),
                })
            }));
        }
    }
    bodies.push(RawBody::RunEnd(RunEnd { connection: "octo".into(), run }));
    bodies
}

fn as_sent(_: usize, payload: Vec<u8>) -> Vec<u8> {
    payload
}

/// What one release finds when nothing changes.
async fn undisturbed(life: &Life, bodies: &[RawBody]) -> Vec<Value> {
    let line = Line::new(&rulebook(life), AFTER).await;
    line.write(bodies).await;
    let outcome = line.outcome().await;
    assert!(outcome.findings.len() > 20, "{} findings", outcome.findings.len());
    assert_eq!((outcome.dead, outcome.unreadable), (0, 0));
    outcome.findings
}

/// Writes the events while one replica after the other is replaced, stage by stage in this order.
async fn upgraded(
    life: &Life,
    bodies: &[RawBody],
    order: [usize; 3],
    from: Release,
    to: Release,
) -> Outcome {
    let mut line = Line::new(&rulebook(life), from).await;
    let steps = order.into_iter().flat_map(|stage| [stage, stage]);
    let mut parts = bodies.chunks(bodies.len() / 7 + 1);
    for (number, stage) in steps.enumerate() {
        line.write(parts.next().unwrap_or_default()).await;
        if number % 2 == 0 {
            line.drained().await; // else the replicas change in the middle of their work
        }
        line.replace(stage, to).await;
    }
    for part in parts {
        line.write(part).await;
    }
    line.outcome().await
}

const ALONG: [usize; 3] = [0, 1, 2];
const AGAINST: [usize; 3] = [2, 1, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_upgrade_to_a_release_with_new_field_ids_and_back_loses_no_verdict() {
    let life = life();
    let bodies = written(&life, as_sent);
    let expected = undisturbed(&life, &bodies).await;
    for (what, order, from, to) in [
        ("along the line", ALONG, BEFORE, ADDS),
        ("against it", AGAINST, BEFORE, ADDS),
        ("the next one", ALONG, ADDS, AFTER),
        ("the next one, against the line", AGAINST, ADDS, AFTER),
        ("back by one", ALONG, ADDS, BEFORE),
        ("back from the next one", AGAINST, AFTER, ADDS),
    ] {
        let outcome = upgraded(&life, &bodies, order, from, to).await;
        assert!(outcome.named > 1_000, "{what}: {} fields by name", outcome.named);
        assert_eq!((outcome.dead, outcome.unreadable), (0, 0), "{what}");
        assert_same(what, &outcome.findings, &expected);
    }
}

/// Why a release does not write the ids that it adds, and why none is left out of an upgrade.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_release_that_is_left_out_shows_as_dead_letters_and_not_as_absent_fields() {
    let life = life();
    let bodies = written(&life, as_sent);
    let outcome = upgraded(&life, &bodies, ALONG, BEFORE, AFTER).await;
    assert!(outcome.dead > 0, "{} findings", outcome.findings.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_field_of_a_later_normalizer_changes_no_verdict_of_the_rules_that_were_there() {
    let life = life();
    let expected = undisturbed(&life, &written(&life, as_sent)).await;
    let new = |number: usize, payload: Vec<u8>| match number % 3 {
        0 => [br#"{"brand_new":{"field":"yes"},"#, &payload[1..]].concat(),
        _ => payload,
    };
    let line = Line::new(&rulebook(&life), AFTER).await;
    line.write(&written(&life, new)).await;
    let outcome = line.outcome().await;
    assert_eq!((outcome.dead, outcome.unreadable), (0, 0));
    let (of_new, mut others): (Vec<Value>, Vec<Value>) =
        outcome.findings.into_iter().partition(|finding| finding["rule"]["name"] == "rule-new");
    assert!(of_new.len() > 20, "a rule for it holds before it has an id: {}", of_new.len());
    for event in others.iter_mut().flat_map(|one| one["evidence"].as_array_mut().unwrap()) {
        event["record"].as_object_mut().unwrap().remove("brand_new.field");
    }
    assert_same("with a new field", &others, &expected);
}

/// An event that an earlier normalizer wrote, with what it knew.
fn event(cells: &[Cell]) -> Event {
    let record = hubwarden_event::FlatRecord::decode(&flat::write(cells, 0)).unwrap();
    Event {
        id: EventId::from_bytes([1; 16]),
        occurred_at: Timestamp::from_millis(0),
        observed_at: Timestamp::from_millis(0),
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        product: "github".into(),
        service: "audit".into(),
        position: RawPosition::default(),
        suspect: false,
        record: record.into(),
    }
}

#[test]
fn a_field_that_an_earlier_normalizer_did_not_write_is_absent_and_one_by_name_is_there() {
    let field = "hw.repo.visibility";
    let id = dictionary::id(field).unwrap();
    let files = [
        rule("null", &format!("{field}: null")),
        rule("exists", &format!("{field}|exists: true")),
        rule("missing", &format!("{field}|exists: false")),
        rule("private", &format!("{field}: private")),
    ];
    let compiled = hubwarden_rules::RuleSet::compile(&files, &Default::default(), None);
    let engine = Engine::new(Arc::new(compiled.set));
    assert_eq!(engine.rules().rules().len(), files.len(), "{:?}", compiled.problems);
    let holding = |cells: &[Cell]| -> Vec<String> {
        let mut found = Vec::new();
        engine.evaluate(&event(cells), &mut Scratch::default(), &mut found);
        let hits = found.iter().flat_map(|one| &one.hits);
        let name = |hit: &hubwarden_event::Hit| engine.rules().get(&hit.rule).unwrap().name.clone();
        let mut names: Vec<String> = hits.map(name).collect();
        names.sort();
        names
    };
    let action = Cell::new(Ok(dictionary::id("action").unwrap()), 0, "repo.access");
    assert_eq!(holding(std::slice::from_ref(&action)), ["rule-missing", "rule-null"]);
    for field in [Ok(id), Err(field)] {
        let known = Cell::new(field, 0, "private");
        assert_eq!(holding(&[action.clone(), known]), ["rule-exists", "rule-private"], "{field:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_with_an_id_that_nobody_here_knows_is_a_dead_letter_that_names_both() {
    let line = Line::new(&Rulebook::shipped(), AFTER).await;
    let mut builder = FlatBuilder::default();
    builder.push("action", CellKind::Text, "repo.access");
    let mut later = event(&[]);
    later.record = builder.finish();
    let mut body = v1::EventBody::decode(proto::encode_event(EventBody::Event(later))).unwrap();
    let Some(v1::event_body::Body::Event(inner)) = &mut body.body else { panic!("an event") };
    let unknown = Cell::new(Ok(dictionary::len() as u16), 0, "x");
    let (mut cells, flags) = flat::read(&inner.record);
    cells.push(unknown);
    inner.record = flat::write(&cells, flags).into();
    let record = Record::new(topic::EVENTS, "key", body.encode_to_vec()).at(0);
    line.bus.writer("later").commit(vec![record], &Positions::none()).await.unwrap();
    line.drained().await;
    let mut reader = line.bus.reader("reading", &[topic::EVENTS_DEAD]).unwrap();
    let letter = loop {
        if let Some(one) = reader.next_batch(Limit::default()).await.unwrap().records.pop() {
            break proto::decode_dead_letter(one.body).unwrap();
        }
    };
    let known = dictionary::len();
    let chain = format!("field id {known}, this release's dictionary ends at {known}");
    assert!(letter.reason.contains(&chain), "{}", letter.reason);
    assert_eq!(letter.position, RawPosition { partition: 0, offset: 0 });
    let outcome = line.outcome().await;
    assert_eq!((outcome.dead, outcome.findings.len()), (1, 0));
}
