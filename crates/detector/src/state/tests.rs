use std::collections::BTreeMap;
use std::sync::Arc;

use hubwarden_event::{
    CellKind, Confidence, ConnectionId, EventId, FindingId, FlatBuilder, GroupKey, Hash, Hit, Kind,
    Match, MatchBody, RawPosition, RunEnd, RunId, Severity, SourceId, Timestamp, Watermark,
};
use hubwarden_rules::{
    Correlator, Item, Options, Outcome, Put, RuleInfo, RuleSet, Scope, StateKey, Window,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn rules() -> Arc<RuleSet> {
    let rule = |name: &str, window| RuleInfo {
        id: None,
        name: name.into(),
        title: name.into(),
        description: String::new(),
        hash: Hash::of(name.as_bytes()),
        state_hash: Hash::of(name.as_bytes()),
        level: Severity::High,
        confidence: Confidence::High,
        attack: vec![],
        group_by: Arc::new(["actor".into()]),
        fold_ms: 1000,
        window,
        severity_steps: vec![],
        sentence: "{actor} did {count}".into(),
        response: String::new(),
        false_positives: vec![],
        file: String::new(),
    };
    Arc::new(RuleSet::from_rules(vec![
        rule("many", Window::Events { at_least: 3, span_ms: 700 }),
        rule("one", Window::Single),
    ]))
}

fn matched(number: u64, at: i64, run: &str) -> MatchBody {
    let connection = ConnectionId::from("octo");
    let source = SourceId::new(number.to_string());
    let mut builder = FlatBuilder::default();
    builder.push("actor", CellKind::Text, "mona");
    builder.push("note", CellKind::Text, &"x".repeat(3000)); // a few entries fill a part
    MatchBody::Match(Match {
        event_id: EventId::of(&connection, &RunId::live(), &source),
        occurred_at: Timestamp::from_millis(at),
        connection,
        run: run.into(),
        kind: Kind::Audit,
        position: RawPosition::default(),
        group: GroupKey { names: Arc::new(["actor".into()]), values: vec!["mona".into()] },
        hits: ["many", "one"]
            .map(|name| Hash::of(name.as_bytes()))
            .map(|hash| Hit { rule: hash, state: hash, severity: Severity::High, value: None })
            .into(),
        record: builder.finish(),
    })
}

fn mark(through: i64) -> MatchBody {
    MatchBody::Watermark(Watermark {
        connection: "octo".into(),
        run: RunId::live(),
        kind: Kind::Audit,
        through: Timestamp::from_millis(through),
        source_partition: 0,
    })
}

fn run_end(run: &str) -> MatchBody {
    let end = RunEnd { connection: "octo".into(), run: run.into() };
    MatchBody::RunEnd { end, source_partition: 0 }
}

/// The stage without a bus: what has been published, by finding.
struct Stage {
    folder: TempDir,
    correlator: Correlator,
    state: State,
    published: BTreeMap<String, Vec<u8>>,
}

const OPTIONS: Options = Options { lateness_ms: 1000, source_partitions: 1 };

impl Stage {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let state = State::open(&folder.path().join("correlate-0.db"), 0).unwrap();
        let correlator = Correlator::new(rules(), OPTIONS);
        Self { folder, correlator, state, published: BTreeMap::new() }
    }

    fn restart(&mut self) {
        self.correlator = Correlator::new(rules(), OPTIONS);
        self.state = State::open(&self.folder.path().join("correlate-0.db"), 0).unwrap();
    }

    /// Judges what stands between two positions of `bodies`; returns what is to be stored.
    fn judge(&mut self, bodies: &[MatchBody]) -> Changes {
        for body in bodies {
            loop {
                match self.correlator.apply(body) {
                    Outcome::Applied => break,
                    Outcome::Missing(keys) => {
                        for key in keys {
                            let stored = self.state.load(&key).unwrap();
                            self.correlator.load(&key, stored.as_ref()).unwrap();
                        }
                    }
                    Outcome::UnknownRule(rule) => panic!("{rule}"),
                }
            }
        }
        self.correlator.take_changes()
    }

    fn publish(&mut self) {
        self.published.extend(self.state.outbox(usize::MAX).unwrap());
        self.state.published("G").unwrap();
    }

    fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.state.db.query_row(&sql, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn what_an_earlier_run_found_is_loaded_although_no_watermark_was_ever_heard() {
    let mut stage = Stage::new();
    for (number, run) in [(0, "import-1"), (1, "import-2")] {
        let changes = stage.judge(&[matched(number, 500, run), run_end(run)]);
        stage.state.commit(&changes, number + 1).unwrap();
        stage.restart();
    }
    stage.publish();
    let bodies = stage.published.values().cloned();
    let counts: Vec<u64> =
        bodies.map(|body| proto::decode_finding(body.into()).unwrap().count).collect();
    assert_eq!(counts, [2], "the second run adds to the finding of the first");
}

/// How far a batch comes before the process dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    Never,
    BeforeCommit,
    WithinTransaction,
    BeforePublish,
    BeforeClear,
    AfterClear,
}

const WAYS: [Dies; 6] = [
    Dies::Never,
    Dies::BeforeCommit,
    Dies::WithinTransaction,
    Dies::BeforePublish,
    Dies::BeforeClear,
    Dies::AfterClear,
];

/// Works through the topic in batches of 4; `dies` says where each attempt at one ends.
fn work(topic: &[MatchBody], dies: &[Dies]) -> BTreeMap<String, Vec<u8>> {
    let mut stage = Stage::new();
    let mut dies = dies.iter().copied();
    loop {
        let position = stage.state.position().unwrap().unwrap_or(0) as usize;
        stage.publish();
        if position == topic.len() {
            return stage.published;
        }
        let end = topic.len().min(position + 4);
        let changes = stage.judge(&topic[position..end]);
        let way = dies.next().unwrap_or(Dies::Never);
        if way == Dies::WithinTransaction {
            let transaction = stage.state.db.transaction().unwrap();
            store(&transaction, &changes, end as u64).unwrap();
            drop(transaction);
        }
        if !matches!(way, Dies::BeforeCommit | Dies::WithinTransaction) {
            stage.state.commit(&changes, end as u64).unwrap();
            stage.correlator.forget_clean(0);
        }
        if matches!(way, Dies::BeforeClear) {
            stage.published.extend(stage.state.outbox(usize::MAX).unwrap());
        }
        if matches!(way, Dies::AfterClear) {
            stage.publish();
        }
        if way != Dies::Never {
            stage.restart();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_anywhere_changes_nothing(
        dies in prop::collection::vec(prop::sample::select(&WAYS[..]), 1..20),
        gaps in prop::collection::vec((0i64..900, any::<bool>()), 1..40),
    ) {
        let mut topic = Vec::new();
        let mut at = 0;
        for (number, (gap, old)) in (0..).zip(gaps) {
            at += gap;
            topic.push(matched(number, at - 300 * i64::from(old), "live"));
            topic.push(matched(number / 2, at, "backfill-1"));
            topic.push(mark(at));
        }
        topic.push(run_end("backfill-1"));
        let undisturbed = work(&topic, &[]);
        prop_assert!(!undisturbed.is_empty());
        prop_assert_eq!(work(&topic, &dies), undisturbed);
    }
}

fn key(scope: &Scope, number: i64) -> StateKey {
    StateKey { scope: scope.clone(), item: Item::Segment([7; 32], number) }
}

fn put(scope: &Scope, number: i64, expires_at: i64, parts: &[(u32, &[u8])]) -> Put {
    let parts = parts.iter().map(|(part, bytes)| (*part, bytes.to_vec())).collect();
    Put { key: key(scope, number), expires_at, replace: false, parts }
}

#[test]
fn parts_are_rewritten_one_by_one_or_all_at_once() {
    let mut stage = Stage::new();
    let scope = Scope::Run("octo".into(), RunId::live());
    let mut commit = |next, put: Put| {
        stage.state.commit(&Changes { put: vec![put], ..Changes::default() }, next).unwrap();
        stage.restart();
        stage.state.load(&key(&scope, 1)).unwrap().unwrap()
    };
    let stored = commit(1, put(&scope, 1, 10, &[(0, b"a"), (1, b"b")]));
    assert_eq!(stored, Stored { expires_at: 10, parts: vec![b"a".into(), b"b".into()] });
    let stored = commit(2, put(&scope, 1, 20, &[(1, b"c"), (2, b"d")]));
    assert_eq!(stored.parts, [b"a", b"c", b"d"]);
    assert_eq!(commit(3, put(&scope, 1, 30, &[])).expires_at, 30);
    let whole = Put { replace: true, ..put(&scope, 1, 30, &[(0, b"e")]) };
    assert_eq!(commit(4, whole).parts, [b"e"]);
    let other = Scope::Run("octo".into(), "backfill-1".into());
    assert_eq!(stage.state.load(&key(&other, 1)).unwrap(), None);
    assert_eq!(stage.state.load(&key(&scope, 2)).unwrap(), None);
}

#[test]
fn what_is_freed_is_gone_at_once_and_swept_bit_by_bit() {
    let mut stage = Stage::new();
    let (live, ended) =
        (Scope::Run("octo".into(), RunId::live()), Scope::Run("octo".into(), "old".into()));
    let count = SWEPT_AT_ONCE as i64;
    let puts = (0..count)
        .flat_map(|n| [put(&live, n, n, &[(0, b"x")]), put(&ended, n, n, &[(0, b"x"), (1, b"y")])]);
    let changes = Changes { put: puts.collect(), ..Changes::default() };
    stage.state.commit(&changes, 1).unwrap();
    assert_eq!((stage.rows("state"), stage.rows("part")), (2 * count, 3 * count));

    // The run's id comes back in the very commit that drops it.
    let changes = Changes {
        dropped: vec![ended.clone()],
        put: vec![put(&ended, 3, 9, &[(0, b"new")])],
        freed: vec![(live.clone(), count / 2)],
        ..Changes::default()
    };
    stage.state.commit(&changes, 2).unwrap();
    let parts = |stage: &Stage, scope, number| {
        stage.state.load(&key(scope, number)).unwrap().map(|stored| stored.parts)
    };
    assert_eq!(parts(&stage, &ended, 3), Some(vec![b"new".to_vec()]));
    assert_eq!(parts(&stage, &ended, 4), None);
    assert_eq!(parts(&stage, &live, count / 2), None);
    assert!(parts(&stage, &live, count / 2 + 1).is_some());
    assert_eq!(stage.rows("state"), count + 1, "no more than the limit was deleted");

    stage.state.commit(&Changes::default(), 3).unwrap();
    let left = count - count / 2 - 1 + 1;
    assert_eq!((stage.rows("state"), stage.rows("part")), (left, left));
    assert_eq!(stage.rows("scope"), 2, "the nameless one is gone");
}

#[test]
fn a_replay_changes_nothing() {
    let mut stage = Stage::new();
    let changes = stage.judge(&[matched(0, 0, "live")]);
    stage.state.commit(&changes, 10).unwrap();
    stage.publish();
    let (state, outbox) = (stage.rows("state"), stage.rows("outbox"));
    let replayed = stage.judge(&[matched(1, 900_000, "live")]);
    assert!(!replayed.findings.is_empty());
    stage.state.commit(&replayed, 9).unwrap();
    assert_eq!((stage.rows("state"), stage.rows("outbox")), (state, outbox));
    assert_eq!(stage.state.position().unwrap(), Some(10));
}

#[test]
fn the_outbox_holds_the_newest_version_until_it_is_cleared() {
    let mut stage = Stage::new();
    for number in 0..2 {
        let changes = stage.judge(&[matched(number, number as i64, "live")]);
        stage.state.commit(&changes, number + 1).unwrap();
    }
    stage.restart();
    let outbox = stage.state.outbox(usize::MAX).unwrap();
    assert_eq!(outbox.len(), 1);
    let finding = proto::decode_finding(outbox[0].1.clone().into()).unwrap();
    assert_eq!((finding.revision, finding.id), (2, FindingId::from_text(&*outbox[0].0)));
    stage.state.published("G").unwrap();
    stage.restart();
    assert_eq!(stage.state.outbox(usize::MAX).unwrap(), []);
}

#[test]
fn what_is_refused_is_named_and_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("correlate-0.db");
    let database = |sql: &str| {
        let _ = std::fs::remove_file(&file);
        Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    };
    let mark = application_id(0);
    for (what, sql, said) in [
        (
            "newer",
            format!("{SCHEMA} PRAGMA user_version = 99; PRAGMA application_id = {mark};"),
            "has format 99, this release reads 1; start",
        ),
        (
            "another program's",
            "CREATE TABLE song (name TEXT);".into(),
            "is not the state of partition 0",
        ),
        (
            "another partition's",
            format!("{SCHEMA} PRAGMA user_version = 1; PRAGMA application_id = {};", mark + 1),
            "is not the state of partition 0",
        ),
    ] {
        database(&sql);
        let before = std::fs::read(&file).unwrap();
        let error = State::open(&file, 0).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(said) && text.contains("correlate-0.db"), "{what}: {text}");
        assert!(error.is_refusal(), "{what}");
        assert_eq!(std::fs::read(&file).unwrap(), before, "{what}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{what}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_now_is_not_given_up() {
    let folder = TempDir::new().unwrap();
    let error = State::open(&folder.path().join("missing/correlate-0.db"), 0).unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    let torn = folder.path().join("correlate-0.db");
    std::fs::write(&torn, "no database ".repeat(100)).unwrap();
    let error = State::open(&torn, 0).unwrap_err();
    assert!(error.is_refusal(), "{error}");
}
