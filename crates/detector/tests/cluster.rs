//! The detector over several partitions: where state comes from, and which rules judge.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Limit, Memory, Positions, Record, Sink, Source, topic};
use hubwarden_detector::snapshot::Target;
use hubwarden_detector::{
    CORRELATE_STAGE, CorrelateCounts, Correlating, Error, Lost, MATCH_STAGE, Readiness, Rulebook,
    Snapshots, run_correlate, run_match, state,
};
use hubwarden_event::{
    CellKind, Event, EventBody, EventId, Finding, FlatBuilder, Kind, MatchBody, Progress,
    RawPosition, RunId, Timestamp,
};
use hubwarden_proto::{self as proto, Message, v1};
use hubwarden_rules::RuleFile;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PARTITIONS: u32 = 3;
const ACTORS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a finding of three events of an actor within a day; `note` is prose.
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
    Rulebook {
        files: vec![RuleFile { name: "many.yml".into(), text, shipped: false }],
        ..Rulebook::default()
    }
}

/// One event of each actor.
fn events(round: u64) -> Vec<Record> {
    let event = |actor: u64| {
        let mut builder = FlatBuilder::default();
        builder.push("action", CellKind::Text, "repo.create");
        builder.push("actor", CellKind::Text, &format!("actor-{actor}"));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(round * ACTORS + actor).to_be_bytes());
        let at = Timestamp::from_millis(1_790_000_000_000 + round as i64);
        let event = Event {
            id: EventId::from_bytes(id),
            occurred_at: at,
            observed_at: at,
            connection: "octo".into(),
            run: RunId::live(),
            kind: Kind::Audit,
            product: "github".into(),
            service: "audit".into(),
            position: RawPosition::default(),
            suspect: false,
            record: builder.finish(),
        };
        Record::new(topic::EVENTS, id.to_vec(), proto::encode_event(EventBody::Event(event)))
    };
    (0..ACTORS).map(event).collect()
}

struct Cluster {
    bus: Memory,
    folder: TempDir,
    stop: CancellationToken,
}

type Running = JoinHandle<Result<(), Error>>;

impl Cluster {
    async fn new() -> Self {
        let bus = Memory::with_partitions(PARTITIONS);
        book("", 3).publish(&bus).await.unwrap();
        Self { bus, folder: TempDir::new().unwrap(), stop: CancellationToken::new() }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn target(&self) -> Target {
        Target::directory(&self.folder.path().join("snapshots")).unwrap()
    }

    /// Runs both stages until they have worked these rounds off.
    async fn work(&mut self, rounds: std::ops::Range<u64>) {
        let running = vec![
            self.matching(&Readiness::default()),
            self.correlate(Lost::Stop, &Readiness::default()),
        ];
        for round in rounds {
            self.write(events(round)).await;
        }
        self.all_drained().await;
        self.stop(running).await;
    }

    fn correlating(&self, lost: Lost) -> Correlating {
        let day = Duration::from_secs(24 * 3600);
        let target = self.target();
        let snapshots = Some(Snapshots { target, every: day, retention: 7 * day });
        Correlating { dir: self.dir(), lateness_ms: 3_600_000, snapshots, lost }
    }

    fn matching(&self, ready: &Readiness) -> Running {
        let (bus, ready, stop) = (self.bus.clone(), ready.clone(), self.stop.clone());
        let one = NonZero::<usize>::MIN;
        tokio::spawn(async move { run_match(bus, one, ready, stop, |_| ()).await })
    }

    fn correlate(&self, lost: Lost, ready: &Readiness) -> Running {
        let (bus, ready, stop) = (self.bus.clone(), ready.clone(), self.stop.clone());
        let settings = self.correlating(lost);
        tokio::spawn(async move { run_correlate(bus, settings, ready, stop, |_| ()).await })
    }

    /// Stops both stages, as a restart would.
    async fn stop(&mut self, running: Vec<Running>) {
        std::mem::take(&mut self.stop).cancel();
        for one in running {
            one.await.unwrap().unwrap();
        }
    }

    async fn write(&self, records: Vec<Record>) {
        self.bus.writer("test").commit(records, &Positions::none()).await.unwrap();
    }

    async fn behind(&self, stage: &str, topic: hubwarden_bus::Topic) -> u64 {
        let stages = self.bus.stage_positions().await.unwrap();
        let at = stages.into_iter().find(|(name, _)| name == stage);
        let at = at.map(|(_, at)| at).unwrap_or_default();
        let ends = self.bus.ends().await.unwrap();
        let ends = ends.iter().filter(|(of, ..)| *of == topic);
        ends.map(|(_, one, end)| end - at.get(topic, one).unwrap_or(0)).sum()
    }

    async fn drained(&self, stages: &[(&str, hubwarden_bus::Topic)]) {
        for (stage, topic) in stages {
            let deadline = Instant::now() + PATIENCE;
            while self.behind(stage, *topic).await > 0 {
                assert!(Instant::now() < deadline, "{stage} stands still");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn all_drained(&self) {
        self.drained(&[(MATCH_STAGE, topic::EVENTS), (CORRELATE_STAGE, topic::MATCHES)]).await;
    }

    /// The highest count of each finding, by id, and how many versions were published.
    async fn findings(&self) -> (BTreeMap<String, u64>, usize) {
        let mut reader = self.bus.reader("reading", &[topic::FINDINGS]).unwrap();
        let (mut counts, mut versions) = (BTreeMap::new(), 0);
        while reader.positions() != reader.ends().await.unwrap() {
            for record in reader.next_batch(Limit::default()).await.unwrap().records {
                let finding: Finding = proto::decode_finding(record.body).unwrap();
                let count = counts.entry(finding.id.to_string()).or_insert(0);
                *count = finding.count.max(*count);
                versions += 1;
            }
        }
        (counts, versions)
    }

    /// Drops state files and snapshots.
    fn lose_everything(&self) {
        std::fs::remove_dir_all(self.dir()).unwrap();
        std::fs::remove_dir_all(self.folder.path().join("snapshots")).unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_do_not_start_without_a_place_for_snapshots() {
    let cluster = Cluster::new().await;
    let alone = Correlating::alone(cluster.dir(), 0);
    let stop = CancellationToken::new();
    let ended = run_correlate(cluster.bus.clone(), alone, Readiness::default(), stop, |_| ()).await;
    assert!(matches!(ended, Err(Error::NoSnapshots { partitions: PARTITIONS })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_a_file_and_another_node_goes_on_from_the_snapshots() {
    let mut cluster = Cluster::new().await;
    let ready = Readiness::default();
    let running =
        vec![cluster.matching(&Readiness::default()), cluster.correlate(Lost::Stop, &ready)];
    for round in 0..2 {
        cluster.write(events(round)).await;
    }
    cluster.all_drained().await;
    assert!(ready.is_ready(), "{:?}", ready.reasons());
    cluster.stop(running).await;
    assert_eq!(cluster.findings().await.0.len(), 0, "two are not enough");
    std::fs::remove_dir_all(cluster.dir()).unwrap();

    let running = vec![
        cluster.matching(&Readiness::default()),
        cluster.correlate(Lost::Stop, &Readiness::default()),
    ];
    cluster.write(events(2)).await;
    cluster.all_drained().await;
    cluster.stop(running).await;
    let (counts, _) = cluster.findings().await;
    assert_eq!(counts.len() as u64, ACTORS);
    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
    for partition in 0..PARTITIONS {
        assert!(cluster.dir().join(format!("correlate-{partition}.db")).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_state_is_lost_stands_still_until_told_what_to_do() {
    for lost in [Lost::Rebuild, Lost::AcceptLoss] {
        let mut cluster = Cluster::new().await;
        let running = vec![
            cluster.matching(&Readiness::default()),
            cluster.correlate(Lost::Stop, &Readiness::default()),
        ];
        for round in 0..2 {
            cluster.write(events(round)).await;
        }
        cluster.all_drained().await;
        cluster.stop(running).await;
        cluster.lose_everything();

        let ready = Readiness::default();
        let running =
            vec![cluster.matching(&Readiness::default()), cluster.correlate(Lost::Stop, &ready)];
        cluster.write(events(2)).await;
        cluster.drained(&[(MATCH_STAGE, topic::EVENTS)]).await;
        until("all partitions are held", || ready.reasons().len() == PARTITIONS as usize).await;
        let reasons = ready.reasons().join("\n");
        assert!(reasons.contains("--rebuild") && reasons.contains("--accept-loss"), "{reasons}");
        assert!(cluster.behind(CORRELATE_STAGE, topic::MATCHES).await > 0);
        cluster.stop(running).await;
        assert_eq!(cluster.findings().await.1, 0, "nothing was judged by half a state");

        let ready = Readiness::default();
        let running = vec![cluster.correlate(lost, &ready)];
        cluster.drained(&[(CORRELATE_STAGE, topic::MATCHES)]).await;
        assert!(ready.is_ready(), "{:?}", ready.reasons());
        cluster.stop(running).await;
        let expected = if lost == Lost::Rebuild { ACTORS as usize } else { 0 };
        assert_eq!(cluster.findings().await.0.len(), expected, "{lost:?}");

        // what was begun anew is a state: the next start needs no word
        let running = vec![
            cluster.matching(&Readiness::default()),
            cluster.correlate(Lost::Stop, &Readiness::default()),
        ];
        cluster.write([events(3), events(4)].concat()).await;
        cluster.all_drained().await;
        cluster.stop(running).await;
        let (counts, _) = cluster.findings().await;
        let expected = if lost == Lost::Rebuild { 5 } else { 3 };
        assert_eq!(counts.len() as u64, ACTORS);
        assert!(counts.values().all(|count| *count == expected), "{lost:?}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_lost_before_the_first_snapshot_stops_nothing() {
    let mut cluster = Cluster::new().await;
    let (bus, stop) = (cluster.bus.clone(), cluster.stop.clone());
    let judged = Arc::new(AtomicU64::new(0));
    let settings = cluster.correlating(Lost::Stop);
    let correlating = tokio::spawn({
        let (judged, ready) = (judged.clone(), Readiness::default());
        async move {
            let told = |counts: CorrelateCounts| {
                judged.fetch_add(counts.records, Ordering::Relaxed);
            };
            run_correlate(bus, settings, ready, stop, told).await
        }
    });
    let states = cluster.dir();
    let open = || (0..PARTITIONS).all(|at| states.join(format!("correlate-{at}.db")).exists());
    until("every partition is open", open).await;
    let snapshots = cluster.folder.path().join("snapshots");
    std::fs::remove_dir_all(&snapshots).unwrap();
    std::fs::write(&snapshots, "no folder any more").unwrap();
    let running = vec![cluster.matching(&Readiness::default()), correlating];
    cluster.write([events(0), events(1)].concat()).await;
    until("all is judged", || judged.load(Ordering::Relaxed) == 2 * ACTORS).await;
    cluster.stop(running).await;
    std::fs::remove_file(&snapshots).unwrap();
    std::fs::remove_dir_all(cluster.dir()).unwrap();

    cluster.work(2..3).await;
    let (counts, _) = cluster.findings().await;
    assert_eq!(counts.len() as u64, ACTORS);
    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_file_and_a_second_process_are_held_by_name_and_the_others_go_on() {
    let mut cluster = Cluster::new().await;
    std::fs::create_dir_all(cluster.dir()).unwrap();
    let newer = cluster.dir().join("correlate-1.db");
    drop(state::State::open(&newer, 1).unwrap());
    let mut bytes = std::fs::read(&newer).unwrap();
    bytes[60..64].copy_from_slice(&99_i32.to_be_bytes());
    std::fs::write(&newer, bytes).unwrap();
    let first = Readiness::default();
    let mut running =
        vec![cluster.matching(&Readiness::default()), cluster.correlate(Lost::Stop, &first)];
    let held = |ready: &Readiness, reason: &str| ready.reasons().join("\n").contains(reason);
    until("the newer file is held", || held(&first, "correlate-1.db has format 99")).await;

    let second = Readiness::default();
    running.push(cluster.correlate(Lost::Stop, &second));
    until("the file is in use", || held(&second, "correlate-0.db is in use by another")).await;

    for round in 0..3 {
        cluster.write(events(round)).await;
    }
    cluster.drained(&[(MATCH_STAGE, topic::EVENTS)]).await;
    let deadline = Instant::now() + PATIENCE;
    while cluster.findings().await.0.is_empty() {
        assert!(Instant::now() < deadline, "the other partitions stand still too");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_every_source_partition_go_to_all_partitions() {
    let mut cluster = Cluster::new().await;
    let progress = Progress {
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        through: Timestamp::from_millis(7),
    };
    let mark = proto::encode_event(EventBody::Progress(progress));
    let records =
        (0..PARTITIONS).map(|one| Record::new(topic::EVENTS, "octo", mark.clone()).at(one));
    cluster.write(records.collect()).await;
    let running = vec![cluster.matching(&Readiness::default())];
    cluster.drained(&[(MATCH_STAGE, topic::EVENTS)]).await;
    cluster.stop(running).await;
    let mut reader = cluster.bus.reader("reading", &[topic::MATCHES]).unwrap();
    let mut heard = Vec::new();
    while reader.positions() != reader.ends().await.unwrap() {
        for record in reader.next_batch(Limit::default()).await.unwrap().records {
            let MatchBody::Watermark(mark) = proto::decode_match(record.body).unwrap() else {
                panic!("only marks were written");
            };
            heard.push((record.partition, mark.source_partition));
        }
    }
    heard.sort_unstable();
    let all = (0..PARTITIONS).flat_map(|to| (0..PARTITIONS).map(move |from| (to, from)));
    assert_eq!(heard, all.collect::<Vec<_>>());
}

/// What a publisher writes whose release makes something else of the same files.
async fn publish_by_another_release(bus: &Memory) {
    let mut active = bus.newest(topic::RULES).await.unwrap();
    active.retain(|record| &record.key[..] == b"active");
    let mut body = v1::RuleBody::decode(active[0].body.clone()).unwrap();
    let Some(v1::rule_body::Body::Set(set)) = &mut body.body else { panic!("no set") };
    assert_eq!(set.compiled.len(), 32);
    set.compiled = vec![7; 32].into();
    let record = Record::new(topic::RULES, active[0].key.clone(), body.encode_to_vec());
    bus.writer("rules").commit(vec![record], &Positions::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_cannot_judge_by_the_active_set_takes_no_batch_until_there_is_another() {
    let mut cluster = Cluster::new().await;
    publish_by_another_release(&cluster.bus).await;
    cluster.write(events(0)).await;
    let (matching, correlating) = (Readiness::default(), Readiness::default());
    let running = vec![cluster.matching(&matching), cluster.correlate(Lost::Stop, &correlating)];
    for ready in [&matching, &correlating] {
        until("the set is refused", || {
            ready.reasons().iter().any(|reason| reason.contains("compiles to"))
        })
        .await;
        assert!(!ready.is_ready());
    }
    assert_eq!(cluster.behind(MATCH_STAGE, topic::EVENTS).await, ACTORS);
    book("again", 3).publish(&cluster.bus).await.unwrap();
    cluster.all_drained().await;
    assert!(matching.is_ready() && correlating.is_ready());
    cluster.stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_of_an_earlier_set_are_judged_by_it_even_by_who_came_later() {
    let mut cluster = Cluster::new().await;
    let running = vec![cluster.matching(&Readiness::default())];
    for round in 0..3 {
        cluster.write(events(round)).await;
    }
    cluster.drained(&[(MATCH_STAGE, topic::EVENTS)]).await;
    cluster.stop(running).await;
    book("", 100).publish(&cluster.bus).await.unwrap(); // a changed rule
    book("", 200).publish(&cluster.bus).await.unwrap(); // and another
    let running = vec![cluster.correlate(Lost::Stop, &Readiness::default())];
    cluster.drained(&[(CORRELATE_STAGE, topic::MATCHES)]).await;
    cluster.stop(running).await;
    assert_eq!(cluster.findings().await.0.len() as u64, ACTORS);
}

/// Lets every set on the topic be one that compiles to something else where it was published.
async fn as_by_another_release(bus: &Memory) {
    let mut records = Vec::new();
    for record in bus.newest(topic::RULES).await.unwrap() {
        let mut body = v1::RuleBody::decode(record.body).unwrap();
        if let Some(v1::rule_body::Body::Set(set)) = &mut body.body {
            set.compiled = vec![7; 32].into();
            records.push(Record::new(topic::RULES, record.key, body.encode_to_vec()));
        }
    }
    assert_eq!(records.len(), 2, "the set and that it is active");
    bus.writer("rules").commit(records, &Positions::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rollback_matches_of_rules_that_both_releases_know_still_count() {
    let mut cluster = Cluster::new().await;
    let running = vec![cluster.matching(&Readiness::default())];
    for round in 0..3 {
        cluster.write(events(round)).await;
    }
    cluster.drained(&[(MATCH_STAGE, topic::EVENTS)]).await;
    cluster.stop(running).await;
    as_by_another_release(&cluster.bus).await;
    book("", 100).publish(&cluster.bus).await.unwrap(); // what the release before has
    let running = vec![cluster.correlate(Lost::Stop, &Readiness::default())];
    cluster.drained(&[(CORRELATE_STAGE, topic::MATCHES)]).await;
    cluster.stop(running).await;
    assert_eq!(cluster.findings().await.0.len() as u64, ACTORS);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rule_or_of_a_later_kind_on_the_topic_of_rules_stops_nobody() {
    let mut cluster = Cluster::new().await;
    let later_kind = [0x7a, 0x02, 0x08, 0x01]; // field 15 of the body, which is none yet
    for (key, body) in [("foreign", &b"not protobuf"[..]), ("later", &later_kind), ("empty", b"")] {
        cluster.write(vec![Record::new(topic::RULES, key, Vec::from(body))]).await;
    }
    cluster.work(0..3).await;
    assert_eq!(cluster.findings().await.0.len() as u64, ACTORS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_snapshot_is_passed_over_for_the_one_before_it() {
    let mut cluster = Cluster::new().await;
    cluster.work(0..1).await;
    cluster.work(1..2).await;
    let target = cluster.target();
    for partition in 0..PARTITIONS {
        let saved = target.list(partition).await.unwrap();
        assert_eq!(saved.len(), 2);
        let newest = cluster.folder.path().join("snapshots").join(&saved[0].name);
        let bytes = std::fs::read(&newest).unwrap();
        std::fs::write(&newest, &bytes[..bytes.len() - 9]).unwrap();
    }
    std::fs::remove_dir_all(cluster.dir()).unwrap();
    cluster.work(2..3).await;
    let (counts, _) = cluster.findings().await;
    assert_eq!(counts.len() as u64, ACTORS);
    assert!(counts.values().all(|count| *count == 3), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_stored_while_judging_goes_on_and_only_of_what_is_new() {
    let mut cluster = Cluster::new().await;
    cluster.write(events(0)).await;
    let (bus, stop) = (cluster.bus.clone(), cluster.stop.clone());
    let mut settings = cluster.correlating(Lost::Stop);
    settings.snapshots.as_mut().unwrap().every = Duration::from_millis(1);
    let correlating = tokio::spawn(async move {
        run_correlate(bus, settings, Readiness::default(), stop, |_| ()).await
    });
    let running = vec![cluster.matching(&Readiness::default()), correlating];
    let target = cluster.target();
    let deadline = Instant::now() + PATIENCE;
    for partition in 0..PARTITIONS {
        while target.list(partition).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "no snapshot of partition {partition}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    cluster.all_drained().await;
    cluster.stop(running).await;
    let ends = cluster.bus.ends().await.unwrap();
    for partition in 0..PARTITIONS {
        let saved = target.list(partition).await.unwrap();
        assert_eq!(Some(saved[0].position), ends.get(topic::MATCHES, partition));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_correlators_given_the_same_partitions_find_the_same() {
    let mut cluster = Cluster::new().await;
    let mut running = vec![cluster.matching(&Readiness::default())];
    for node in ["one", "two"] {
        let settings = Correlating {
            dir: cluster.folder.path().join(node),
            ..cluster.correlating(Lost::Stop)
        };
        let (bus, stop) = (cluster.bus.clone(), cluster.stop.clone());
        running.push(tokio::spawn(async move {
            run_correlate(bus, settings, Readiness::default(), stop, |_| ()).await
        }));
    }
    for round in 0..4 {
        cluster.write(events(round)).await;
    }
    cluster.all_drained().await;
    cluster.stop(running).await;
    let (counts, versions) = cluster.findings().await;
    assert_eq!(counts.len() as u64, ACTORS);
    assert!(counts.values().all(|count| *count == 4), "{counts:?}");
    assert!(versions as u64 >= ACTORS);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_comes_to_judge_by_the_published_set_also_while_nothing_happens() {
    let mut cluster = Cluster::new().await;
    let replicas = [(); 3].map(|()| Readiness::default());
    let running = vec![
        cluster.matching(&replicas[0]),
        cluster.matching(&replicas[1]),
        cluster.correlate(Lost::Stop, &replicas[2]),
    ];
    for note in ["", "with other words"] {
        book(note, 3).publish(&cluster.bus).await.unwrap();
        let published = Some(book(note, 3).compile().set.hash());
        until("all tell one hash", || replicas.iter().all(|one| one.rule_set() == published)).await;
    }
    cluster.stop(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_moves_when_the_marks_of_all_source_partitions_have_come() {
    let mut cluster = Cluster::new().await;
    let mark = |days: i64, partition| {
        let progress = Progress {
            connection: "octo".into(),
            run: RunId::live(),
            kind: Kind::Audit,
            through: Timestamp::from_millis(1_790_000_000_000 + days * 86_400_000),
        };
        let body = proto::encode_event(EventBody::Progress(progress));
        Record::new(topic::EVENTS, "octo", body).at(partition)
    };
    cluster.work(0..2).await;
    cluster.write(vec![mark(10, 0), mark(10, 1)]).await;
    cluster.write(vec![mark(20, 0), mark(20, 1)]).await;
    cluster.work(2..3).await;
    let (counts, _) = cluster.findings().await;
    assert_eq!(counts.len() as u64, ACTORS, "a partition was silent, so nothing was forgotten");

    cluster.write(vec![mark(10, 2), mark(20, 2)]).await;
    cluster.work(3..4).await;
    let (counts, _) = cluster.findings().await;
    assert!(counts.values().all(|count| *count == 3), "the windows had been freed: {counts:?}");
}
