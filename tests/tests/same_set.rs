//! The same events give the same findings: in any order within lateness, with repeats, over files or the journal.
#![allow(clippy::unwrap_used)]

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use hubwarden::scan::{ScanSettings, scan};
use hubwarden::{Pipeline, Settings};
use hubwarden_bus::{Bus, Options};
use hubwarden_collector::files::Input;
use hubwarden_collector::{Import, ToBus, import};
use hubwarden_detector::Rulebook;
use hubwarden_event::{Finding, Severity, Timestamp};
use hubwarden_normalizer::Networks;
use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::Home;
use hubwarden_tests::{all_findings, assert_same, essence};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const HOUR_MS: i64 = 3_600_000;

/// A life that fits one run of this test.
fn life() -> Life {
    Life::new(Plan { events: 20_000, days: 5, ..Plan::default() })
}

fn rulebook(life: &Life) -> Rulebook {
    let mut book = Rulebook::shipped();
    for (name, values) in life.lists() {
        book.lists.insert(name, values);
    }
    book
}

type Events = Vec<(i64, Vec<u8>)>;

fn write(folder: &Path, name: &str, events: &[(i64, Vec<u8>)]) -> Input {
    let path = folder.join(name);
    let lines: Vec<&[u8]> = events.iter().map(|(_, json)| json.as_slice()).collect();
    std::fs::write(&path, lines.join(&b'\n')).unwrap();
    Input::from_argument(path)
}

/// Moves every event by less than an hour, each by its own amount, the same in every run.
fn shuffled(events: &Events) -> Events {
    let mut state = 7_u64;
    let mut moved: Vec<(i64, &(i64, Vec<u8>))> = events
        .iter()
        .map(|event| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (event.0 + i64::try_from(state >> 33).unwrap() % HOUR_MS, event)
        })
        .collect();
    moved.sort_by_key(|(at, _)| *at);
    moved.into_iter().map(|(_, event)| event.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_order_repeats_and_files_and_the_journal_give_the_findings_of_the_sorted_file() {
    let life = life();
    let folder = tempfile::tempdir().unwrap();
    let sorted: Events = life.events().map(|event| (event.at_ms, event.json)).collect();
    let newest_first: Events = sorted.iter().rev().cloned().collect();
    let shuffled = shuffled(&sorted);
    assert_ne!(shuffled, sorted);
    let doubled: Events =
        shuffled.iter().flat_map(|event| [event.clone(), event.clone()]).collect();
    let (early, late) = sorted.split_at(sorted.len() / 2);
    let file = |name: &str, events: &[(i64, Vec<u8>)]| write(folder.path(), name, events);
    let whole = file("sorted", &sorted);
    let arrangements = [
        ("newest first", vec![file("newest-first", &newest_first)]),
        ("shuffled within an hour", vec![file("shuffled", &shuffled)]),
        ("doubled", vec![file("doubled", &doubled)]),
        ("the same file twice", vec![whole.clone(), whole.clone()]),
        ("two files in the wrong order", vec![file("late", late), file("early", early)]),
    ];
    let settings = ScanSettings {
        rulebook: rulebook(&life),
        networks: Networks::default(),
        connection: "same".into(),
        threads: NonZero::new(2).unwrap(),
        started_at: Timestamp::from_millis(life.plan().end_ms()),
    };
    let scanned = |inputs: &[Input]| {
        let report = scan(inputs, &settings, |line| panic!("{line:?}"), |_| {}).unwrap();
        assert_eq!(report.unseen(), None);
        essence(&report.findings)
    };
    let expected = scanned(std::slice::from_ref(&whole));
    assert!(expected.len() > 20, "{} findings", expected.len());
    for (name, inputs) in &arrangements {
        assert_same(name, &scanned(inputs), &expected);
    }
    let (_, shuffled) = &arrangements[1];
    let through_journal = imported(&folder.path().join("data"), shuffled, &settings).await;
    assert_same("imported into the journal", &essence(&through_journal), &expected);
}

/// The findings of these files after they went through the whole durable line, and again after a second import.
async fn imported(data: &Path, inputs: &[Input], scan: &ScanSettings) -> Vec<Finding> {
    let settings = Settings {
        data_dir: data.into(),
        journal: Options::default(),
        networks: scan.networks.clone(),
        rulebook: scan.rulebook.clone(),
        lateness_ms: HOUR_MS,
    };
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let pipeline = Pipeline::start(&settings, &mut tasks, &stop).await.unwrap();
    for _ in 0..2 {
        let run = Import::new(scan.connection.clone(), inputs, scan.started_at);
        let mut to = ToBus::new(pipeline.bus.writer("import"), 1);
        import(inputs.to_vec(), &run, &mut to, |_| {}, &stop).await.unwrap();
        pipeline.drained().await;
    }
    let findings = all_findings(pipeline.findings.store()).await;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    findings
}

/// What people read does not change either when the same life is told to other worker threads.
#[test]
fn the_number_of_threads_does_not_matter() {
    let life = Life::new(Plan { events: 3_000, days: 2, ..Plan::default() });
    let folder = tempfile::tempdir().unwrap();
    let events: Events = life.events().map(|event| (event.at_ms, event.json)).collect();
    let input = write(folder.path(), "events", &events);
    let book = Arc::new(rulebook(&life));
    let scanned = |threads| {
        let settings = ScanSettings {
            rulebook: (*book).clone(),
            networks: Networks::default(),
            connection: "same".into(),
            threads: NonZero::new(threads).unwrap(),
            started_at: Timestamp::from_millis(life.plan().end_ms()),
        };
        scan(std::slice::from_ref(&input), &settings, |line| panic!("{line:?}"), |_| {}).unwrap()
    };
    let (one, many) = (scanned(1), scanned(5));
    assert!(one.findings.iter().any(|finding| finding.severity == Severity::Critical));
    assert_same("five threads", &essence(&many.findings), &essence(&one.findings));
}

/// Each import is a run and a process of its own; what it adds to a finding is counted from what was there.
#[test]
fn a_later_import_adds_to_what_an_earlier_one_found() {
    let home = Home::default();
    for (number, count) in [(0, 1), (1, 2), (1, 2), (2, 3)] {
        let event = serde_json::json!({
            "action": "org.disable_saml", "actor": "mallory", "org": "octo",
            "@timestamp": 1_790_000_000_000_i64 + number * 1000, "_document_id": number.to_string(),
        });
        home.write("one.ndjson", event.to_string());
        home.run(&["import", "one.ndjson"]).expect(0);
        let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
        let shown: Vec<_> = found.iter().map(|one| one["count"].as_u64().unwrap()).collect();
        assert_eq!(shown, [count], "after event {number}");
    }
}
