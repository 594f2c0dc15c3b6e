//! One partition or twelve, one member of each stage or two, partitions that wander, commits that
//! come to nothing and a lost disk: the findings are the same.
#![allow(clippy::unwrap_used)]

mod members;

use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Limit, Memory, Source, topic};
use hubwarden_collector::{Append, ToBus, source_id};
use hubwarden_console::{FindingStore, SqliteStore, consume};
use hubwarden_detector::snapshot::Target;
use hubwarden_detector::{
    CORRELATE_STAGE, Correlating, Lost, MATCH_STAGE, Readiness, Rulebook, Snapshots, run_correlate,
    run_match,
};
use hubwarden_event::{
    ContentType, Feed, Kind, Progress, RawBody, RawRecord, RunEnd, RunId, Timestamp,
};
use hubwarden_normalizer::{Networks, NormalizerStage, STAGE as NORMALIZE_STAGE};
use hubwarden_simulator::{Life, Plan};
use hubwarden_tests::{all_findings, assert_same, essence};
use members::Shared;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const HOUR_MS: i64 = 3_600_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// No step of these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

fn life() -> Life {
    Life::new(Plan { events: 12_000, days: 30, ..Plan::default() })
}

/// What a collector writes of a life: every event, time every now and then, and the end of the run.
/// Every 20th event comes twice.
fn written(life: &Life) -> Vec<RawBody> {
    let run = RunId::from("import-month");
    let mut bodies = Vec::new();
    for (number, event) in life.events().enumerate() {
        let record = RawBody::Record(RawRecord {
            connection: "octo".into(),
            feed: Feed::Import,
            run: run.clone(),
            source_id: source_id(ContentType::Json, &event.json),
            received_at: Timestamp::from_millis(event.at_ms),
            content_type: ContentType::Json,
            payload: event.json.into(),
            scrubs: Vec::new(),
            origin: None,
            damage: None,
        });
        if number % 20 == 0 {
            bodies.push(record.clone());
        }
        bodies.push(record);
        if number % 250 == 249 {
            for kind in [Kind::Audit, Kind::Git] {
                bodies.push(RawBody::Progress(Progress {
                    connection: "octo".into(),
                    run: run.clone(),
                    kind,
                    through: Timestamp::from_millis(event.at_ms),
                }));
            }
        }
    }
    bodies.push(RawBody::RunEnd(RunEnd { connection: "octo".into(), run }));
    bodies
}

/// The stages over a bus, each with its members.
struct Line {
    bus: Shared,
    folder: tempfile::TempDir,
    tasks: JoinSet<()>,
    correlators: JoinSet<()>,
    stop: CancellationToken,
    stop_correlators: CancellationToken,
}

impl Line {
    async fn new(partitions: u32, members: usize, rulebook: &Rulebook) -> Self {
        let bus = Shared::new(Memory::with_partitions(partitions));
        rulebook.publish(&bus).await.unwrap();
        let mut line = Self {
            bus,
            folder: tempfile::tempdir().unwrap(),
            tasks: JoinSet::new(),
            correlators: JoinSet::new(),
            stop: CancellationToken::new(),
            stop_correlators: CancellationToken::new(),
        };
        let threads = NonZero::<usize>::MIN;
        for member in 0..members {
            let (bus, stop) = (line.bus.clone(), line.stop.clone());
            let stage = NormalizerStage::new(Networks::default(), threads);
            line.tasks.spawn(async move {
                hubwarden_normalizer::run(bus, stage, stop, |_| ()).await.unwrap();
            });
            let (bus, stop) = (line.bus.clone(), line.stop.clone());
            line.tasks.spawn(async move {
                run_match(bus, threads, Readiness::default(), stop, |_| ()).await.unwrap();
            });
            line.correlate(&format!("node-{member}"));
        }
        line
    }

    fn target(&self) -> Target {
        Target::directory(&self.folder.path().join("snapshots")).unwrap()
    }

    fn disk(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    /// Stops the correlators, each with its last snapshots.
    async fn leave(&mut self) {
        std::mem::take(&mut self.stop_correlators).cancel();
        while let Some(ended) = self.correlators.join_next().await {
            ended.unwrap();
        }
    }

    /// Starts a correlator on a node.
    fn correlate(&mut self, node: &str) {
        let (bus, stop) = (self.bus.clone(), self.stop_correlators.clone());
        let settings = Correlating {
            dir: self.disk(node),
            lateness_ms: HOUR_MS,
            snapshots: Some(Snapshots { target: self.target(), every: DAY, retention: 7 * DAY }),
            lost: Lost::Stop,
        };
        self.correlators.spawn(async move {
            run_correlate(bus, settings, Readiness::default(), stop, |_| ()).await.unwrap();
        });
    }

    async fn write(&self, bodies: &[RawBody]) {
        let mut to = ToBus::new(self.bus.writer("collector"), self.bus.partitions(topic::RAW));
        for some in bodies.chunks(500) {
            to.append(some.to_vec()).await.unwrap();
        }
    }

    /// Waits until every stage has committed everything that is on its topic.
    async fn drained(&self) {
        let line = [
            (NORMALIZE_STAGE, topic::RAW),
            (MATCH_STAGE, topic::EVENTS),
            (CORRELATE_STAGE, topic::MATCHES),
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stages = self.bus.stage_positions().await.unwrap();
            let ends = self.bus.ends().await.unwrap();
            let behind: Vec<_> = line
                .iter()
                .filter(|(name, topic)| {
                    let at = stages.iter().find(|(stage, _)| stage == name);
                    (0..self.bus.partitions(*topic)).any(|partition| {
                        let end = ends.get(*topic, partition).unwrap_or(0);
                        let at = at.and_then(|(_, at)| at.get(*topic, partition)).unwrap_or(0);
                        at < end
                    })
                })
                .collect();
            if behind.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{behind:?} stand still");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What a console would have, read from the topic `findings`.
    async fn findings(mut self) -> Vec<Value> {
        self.drained().await;
        let store = SqliteStore::connect(self.folder.path().join("findings.db")).await.unwrap();
        let mut reader = self.bus.reader("console", &[topic::FINDINGS]).unwrap();
        let ends = self.bus.ends().await.unwrap();
        let reached = |reader: &members::Member| {
            let at = reader.positions();
            (0..self.bus.partitions(topic::FINDINGS)).all(|partition| {
                at.get(topic::FINDINGS, partition) >= ends.get(topic::FINDINGS, partition)
            })
        };
        reader.next_batch(Limit::default()).await.unwrap(); // tells what it owns
        while !reached(&reader) {
            let batch = reader.next_batch(Limit::default()).await.unwrap();
            store.take_in(consume::read(&batch)).await.unwrap();
        }
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.leave().await;
        essence(&all_findings(&store).await)
    }
}

fn rulebook(life: &Life) -> Rulebook {
    let mut book = Rulebook::shipped();
    for (name, values) in life.lists() {
        book.lists.insert(name, values);
    }
    book
}

async fn undisturbed(partitions: u32, members: usize, life: &Life) -> Vec<Value> {
    let line = Line::new(partitions, members, &rulebook(life)).await;
    line.write(&written(life)).await;
    line.findings().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twelve_partitions_and_two_members_give_the_findings_of_one() {
    let life = life();
    let expected = undisturbed(1, 1, &life).await;
    assert!(expected.len() > 20, "{} findings", expected.len());
    assert_same("twelve partitions", &undisturbed(12, 2, &life).await, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wandering_partitions_and_commits_given_up_change_nothing() {
    let life = life();
    let expected = undisturbed(1, 1, &life).await;
    let bodies = written(&life);
    let line = Line::new(12, 2, &rulebook(&life)).await;
    for (number, some) in bodies.chunks(400).enumerate() {
        line.write(some).await;
        for (place, stage) in
            [NORMALIZE_STAGE, MATCH_STAGE, CORRELATE_STAGE].into_iter().enumerate()
        {
            if (number + place) % 3 == 0 {
                line.bus.fail(stage, 2);
            }
            if (number + place) % 4 == 0 {
                line.bus.rebalance(stage);
            }
        }
        if number % 2 == 1 {
            line.drained().await; // or everything would be a single batch
        }
    }
    for stage in [NORMALIZE_STAGE, MATCH_STAGE, CORRELATE_STAGE] {
        assert!(line.bus.given_up(stage) > 5, "{stage}: {}", line.bus.given_up(stage));
    }
    assert_same("disturbed", &line.findings().await, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn correlators_that_lose_their_disks_go_on_from_snapshots() {
    let life = life();
    let expected = undisturbed(1, 1, &life).await;
    let bodies = written(&life);
    let third = bodies.len() / 3;
    let mut line = Line::new(12, 2, &rulebook(&life)).await;
    line.write(&bodies[..third]).await;
    line.drained().await;
    line.leave().await; // a snapshot of every partition
    let target = line.target();
    let mut saved = Vec::new();
    for partition in 0..12 {
        saved.push(target.list(partition).await.unwrap()[0].position);
    }
    line.correlate("node-0");
    line.correlate("node-1");
    line.write(&bodies[third..2 * third]).await;
    line.drained().await;

    line.correlators.abort_all(); // no last snapshot, as after a kill
    while line.correlators.join_next().await.is_some() {}
    for node in ["node-0", "node-1"] {
        std::fs::remove_dir_all(line.disk(node)).unwrap();
    }
    let ends = line.bus.ends().await.unwrap();
    for (partition, saved) in (0..).zip(saved) {
        let newest = target.list(partition).await.unwrap()[0].position;
        assert_eq!(newest, saved, "nothing was saved since");
        assert!(ends.get(topic::MATCHES, partition) > Some(saved), "there is something to replay");
    }
    let lost = Instant::now();
    line.correlate("node-2");
    line.correlate("node-3");
    line.write(&bodies[2 * third..]).await;
    line.drained().await;
    eprintln!("two correlators without disks had caught up after {:?}", lost.elapsed());
    assert_same("resumed", &line.findings().await, &expected);
}
