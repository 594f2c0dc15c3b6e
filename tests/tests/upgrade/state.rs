//! The state of correlate: what every release left behind is taken up, what a later one left is
//! refused or set aside, and nothing is lost by going back.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Limit, Memory, Positions, Record, Sink, Source, Topic, topic};
use hubwarden_detector::snapshot::Target;
use hubwarden_detector::{
    CORRELATE_STAGE, Correlating, Lost, MATCH_STAGE, Readiness, Rulebook, Snapshots, run_correlate,
    run_match,
};
use hubwarden_event::{
    CellKind, Event, EventBody, EventId, Finding, FlatBuilder, Kind, Progress, RawPosition, RunId,
    Timestamp,
};
use hubwarden_proto as proto;
use hubwarden_rules::RuleFile;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::golden::{self, hex};

const PATIENCE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const ACTORS: u64 = 3;

/// A rule of each kind of window. Its text stays as it is: state of every release is kept by it.
pub(crate) fn book() -> Rulebook {
    let text = "
title: A repository was made
name: made
logsource: { product: github, service: audit }
detection:
    selection: { action: repo.create }
    condition: selection
level: low
---
title: Many repositories by one actor
name: many
correlation:
    type: event_count
    rules: [made]
    group-by: [actor]
    timespan: 24h
    condition: { gte: 3 }
level: high
---
title: Repositories of many names by one actor
name: names
correlation:
    type: value_count
    rules: [made]
    group-by: [actor]
    timespan: 12h
    condition: { gte: 3, field: repo }
level: medium
";
    let one =
        |name: &str, text: &str| RuleFile { name: name.into(), text: text.into(), shipped: false };
    let single = "
title: Single sign-on switched off
name: single
logsource: { product: github, service: audit }
detection:
    selection: { action: repo.create, actor: actor-0 }
    condition: selection
level: critical
";
    let files = vec![one("many.yml", text), one("single.yml", single)];
    Rulebook { files, ..Rulebook::default() }
}

/// An event of each actor, a minute after those of the round before, and how far time has come.
fn events(round: u64) -> Vec<Record> {
    let at = Timestamp::from_millis(1_790_000_000_000 + 60_000 * round as i64);
    let event = |actor: u64| {
        let mut builder = FlatBuilder::default();
        builder.push("action", CellKind::Text, "repo.create");
        builder.push("actor", CellKind::Text, &format!("actor-{actor}"));
        builder.push("repo", CellKind::Text, &format!("octo/r{round}"));
        builder.push("no_id_for_this", CellKind::Number, "1.50");
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(round * ACTORS + actor).to_be_bytes());
        EventBody::Event(Event {
            id: EventId::from_bytes(id),
            occurred_at: at,
            observed_at: at,
            connection: "octo".into(),
            run: RunId::live(),
            kind: Kind::Audit,
            product: "github".into(),
            service: "audit".into(),
            position: RawPosition { partition: 0, offset: round * ACTORS + actor },
            suspect: false,
            record: builder.finish(),
        })
    };
    let mark = EventBody::Progress(Progress {
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        through: at,
    });
    let bodies = (0..ACTORS).map(event).chain([mark]);
    bodies.map(|body| Record::new(topic::EVENTS, "key", proto::encode_event(body)).at(0)).collect()
}

/// A detector over one partition whose stages run one after the other.
struct Detector {
    bus: Memory,
    folder: TempDir,
}

impl Detector {
    async fn new() -> Self {
        let bus = Memory::with_partitions(1);
        book().publish(&bus).await.unwrap();
        Self { bus, folder: TempDir::new().unwrap() }
    }

    async fn write(&self, records: Vec<Record>) {
        self.bus.writer("test").commit(records, &Positions::none()).await.unwrap();
    }

    fn snapshots(&self) -> PathBuf {
        self.folder.path().join("snapshots")
    }

    fn target(&self) -> Target {
        Target::directory(&self.snapshots()).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state/correlate-0.db")
    }

    fn on_a_cluster(&self) -> Correlating {
        let snapshots = Snapshots { target: self.target(), every: DAY, retention: 7 * DAY };
        Correlating { snapshots: Some(snapshots), lost: Lost::Stop, ..self.alone() }
    }

    fn alone(&self) -> Correlating {
        Correlating::alone(self.folder.path().join("state"), 3_600_000)
    }

    /// Runs a stage until it has consumed its topic, or until `enough`.
    async fn run(
        &self,
        (stage, topic): (&str, Topic),
        running: impl Future<Output = Result<(), hubwarden_detector::Error>>,
        stop: CancellationToken,
        mut enough: impl FnMut() -> bool,
    ) {
        let watching = async {
            let deadline = Instant::now() + PATIENCE;
            while !enough() {
                let at = self.bus.stage_position(stage).await.unwrap();
                let ends = self.bus.ends().await.unwrap();
                if at.get(topic, 0) == ends.get(topic, 0) {
                    break;
                }
                assert!(Instant::now() < deadline, "{stage} stands still");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let mut running = std::pin::pin!(running);
        tokio::select! {
            ended = &mut running => panic!("{stage} ended by itself: {ended:?}"),
            () = watching => running.await.unwrap(),
        }
    }

    async fn judge(&self) {
        let stop = CancellationToken::new();
        let one = NonZero::<usize>::MIN;
        let running = run_match(self.bus.clone(), one, Readiness::default(), stop.clone(), |_| ());
        self.run((MATCH_STAGE, topic::EVENTS), running, stop, || false).await;
    }

    async fn correlate(&self, settings: Correlating) {
        let stop = CancellationToken::new();
        let ready = Readiness::default();
        let running = run_correlate(self.bus.clone(), settings, ready, stop.clone(), |_| ());
        self.run((CORRELATE_STAGE, topic::MATCHES), running, stop, || false).await;
    }

    /// What the stage says while it waits for somebody.
    async fn held(&self, settings: Correlating) -> String {
        let stop = CancellationToken::new();
        let ready = Readiness::default();
        let running =
            run_correlate(self.bus.clone(), settings, ready.clone(), stop.clone(), |_| ());
        let held =
            || ready.reasons().iter().any(|reason| reason.contains("partition 0 of matches"));
        self.run((CORRELATE_STAGE, topic::MATCHES), running, stop, held).await;
        ready.reasons().join("\n")
    }

    /// The newest version of each finding that was published, by id.
    async fn findings(&self) -> BTreeMap<String, Finding> {
        let mut reader = self.bus.reader("reading", &[topic::FINDINGS]).unwrap();
        let mut findings = BTreeMap::new();
        while reader.positions() != reader.ends().await.unwrap() {
            for record in reader.next_batch(Limit::default()).await.unwrap().records {
                let finding = proto::decode_finding(record.body).unwrap();
                findings.insert(finding.id.to_string(), finding);
            }
        }
        findings
    }
}

/// What a detector finds that nobody disturbs.
async fn undisturbed(rounds: u64) -> BTreeMap<String, Finding> {
    let detector = Detector::new().await;
    for round in 0..rounds {
        detector.write(events(round)).await;
    }
    detector.judge().await;
    detector.correlate(detector.alone()).await;
    detector.findings().await
}

/// A detector that has worked off two rounds, with the snapshot of it.
async fn after_two_rounds() -> Detector {
    let detector = Detector::new().await;
    detector.write(events(0)).await;
    detector.write(events(1)).await;
    detector.judge().await;
    detector.correlate(detector.on_a_cluster()).await;
    detector
}

/// Writes the snapshot of two rounds.
pub(crate) async fn write(folder: &Path) {
    let detector = after_two_rounds().await;
    copy_snapshots(&detector.snapshots(), folder);
}

fn copy_snapshots(from: &Path, to: &Path) {
    let (from, to) = (from.join("correlate-0"), to.join("correlate-0"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The state file in the newest snapshot of a folder.
pub(crate) async fn unpacked(folder: &Path) -> (TempDir, PathBuf) {
    let here = TempDir::new().unwrap();
    let target = Target::directory(folder).unwrap();
    let newest = target.list(0).await.unwrap().remove(0);
    let file = here.path().join("correlate-0.db");
    target.fetch(&newest, &file).await.unwrap();
    (here, file)
}

/// Everything of a state file but the numbers of its rows, and the hash of the rules it is of.
pub(crate) fn dump(file: &Path) -> Value {
    let db = Connection::open(file).unwrap();
    let number =
        |name: &str| -> i64 { db.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
    let rows = |sql: &str| -> Vec<Value> {
        let mut query = db.prepare(sql).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            let column = |at| -> rusqlite::Result<Value> {
                Ok(match row.get_ref(at)? {
                    rusqlite::types::ValueRef::Null => Value::Null,
                    rusqlite::types::ValueRef::Integer(number) => number.into(),
                    rusqlite::types::ValueRef::Real(number) => number.into(),
                    rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                    rusqlite::types::ValueRef::Blob(bytes) => hex(bytes).into(),
                })
            };
            (0..columns).map(column).collect::<Result<Value, _>>()
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    json!({
        "format": number("user_version"),
        "application": number("application_id"),
        "rules": book().compile().set.hash().to_string(),
        "schema": rows("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"),
        "position": rows("SELECT next FROM position"),
        "scopes": rows("SELECT name, freed, sweep FROM scope ORDER BY name"),
        "state": rows("SELECT scope.name, item, expires_at FROM state JOIN scope ON scope.id = scope
                       ORDER BY scope.name, item"),
        "parts": rows("SELECT scope.name, item, part.id & 1048575, bytes FROM part
                       JOIN state ON state.id = part.id >> 20 JOIN scope ON scope.id = scope
                       ORDER BY scope.name, item, part.id"),
        "outbox": rows("SELECT finding, body FROM outbox ORDER BY finding"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn this_release_writes_the_state_of_the_newest_folder() {
    let detector = after_two_rounds().await;
    let (_here, file) = unpacked(&detector.snapshots()).await;
    golden::assert_unchanged("state", &dump(&file), &golden::state(&golden::newest()));
}

/// A piece of state is met in the middle of work; a file of another release is refused when it is
/// opened. So the format of the file tells the layout of its pieces.
#[test]
fn a_new_layout_of_pieces_is_a_new_format_of_the_file() {
    let mut layouts: BTreeMap<String, String> = BTreeMap::new();
    for folder in golden::folders() {
        let state = golden::state(&folder);
        let parts = state["parts"].as_array().unwrap();
        assert!(parts.len() > 5, "{}", folder.display());
        for part in parts {
            let layout = part[3].as_str().unwrap()[..2].to_owned();
            let before = layouts.insert(state["format"].to_string(), layout.clone());
            assert!(before.is_none_or(|before| before == layout), "{}", folder.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_every_release_go_on_after_an_upgrade() {
    let expected = undisturbed(3).await;
    for folder in golden::folders() {
        let detector = Detector::new().await;
        copy_snapshots(&folder.join("snapshots"), &detector.snapshots());
        let position = detector.target().list(0).await.unwrap()[0].position;
        // In place of what the snapshot stands for, so that only the snapshot knows of it.
        let gone = Record::new(topic::MATCHES, "gone", "gone").at(0);
        detector.write(vec![gone; usize::try_from(position).unwrap()]).await;
        detector.write(events(2)).await;
        detector.judge().await;
        detector.correlate(detector.on_a_cluster()).await;
        let found = detector.findings().await;
        let many = |finding: &&Finding| finding.rule.name == "many" && finding.count == 3;
        assert_eq!(found.values().filter(many).count() as u64, ACTORS, "{}", folder.display());
        for (id, finding) in &found {
            assert_eq!(Some(finding), expected.get(id), "{}", folder.display());
        }
    }
}

/// Lets a state file and its newest snapshot be those of a later release.
async fn as_by_a_later_release(detector: &Detector) -> i64 {
    let db = Connection::open(detector.file()).unwrap();
    let format: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    db.pragma_update(None, "user_version", format + 1).unwrap();
    db.close().unwrap();
    let scratch = detector.folder.path();
    detector.target().save(&detector.file(), 0, scratch).await.unwrap();
    format + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_to_the_release_before_loses_nothing_once_its_file_is_moved_away() {
    let detector = after_two_rounds().await;
    detector.write(events(2)).await;
    detector.judge().await;
    detector.correlate(detector.on_a_cluster()).await; // the later release
    let format = as_by_a_later_release(&detector).await;
    assert_eq!(detector.target().list(0).await.unwrap().len(), 2);
    let before = fs::read(detector.file()).unwrap();

    detector.write(events(3)).await;
    detector.judge().await;
    let said = detector.held(detector.on_a_cluster()).await;
    let next = "start the release that wrote it, or move the file away";
    let names = format!("state/correlate-0.db has format {format}, this release reads");
    assert!(said.contains(&names) && said.contains(next), "{said}");
    assert_eq!(fs::read(detector.file()).unwrap(), before, "nothing is overwritten");

    fs::rename(detector.file(), detector.folder.path().join("away")).unwrap();
    detector.correlate(detector.on_a_cluster()).await;
    assert_eq!(detector.findings().await, undisturbed(4).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_sets_a_later_state_aside_and_judges_again_what_its_bus_keeps() {
    let detector = after_two_rounds().await;
    as_by_a_later_release(&detector).await;
    let before = fs::read(detector.file()).unwrap();
    detector.write(events(2)).await;
    detector.judge().await;
    detector.correlate(detector.alone()).await;
    assert_eq!(detector.findings().await, undisturbed(3).await);
    let aside = detector.file().with_extension("refused-1");
    assert_eq!(fs::read(aside).unwrap(), before);
}
