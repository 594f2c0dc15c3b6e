//! `serve` is killed again and again while it reads; nothing is lost, nothing is found twice.
//!
//! `HUBWARDEN_KILLS` and `HUBWARDEN_KILL_EVENTS` set how often and over how many events; the acceptance run is 50
//! kills over 200,000 events.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Journal, Limit, Positions, Source, topic};
use hubwarden_console::SqliteStore;
use hubwarden_event::{RawBody, Timestamp};
use hubwarden_proto::{Message, decode_raw, v1};
use hubwarden_simulator::{Life, Plan, Settings, Simulator, Token};
use hubwarden_testkit::{Home, Server, until};
use hubwarden_tests::{all_findings, assert_same, essence, github_section, lists_section, scanned};
use serde_json::Value;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap())
}

/// What the simulator's log holds.
struct Known {
    at_ms: i64,
    id: String,
    git: bool,
}

fn known(life: &Life) -> Vec<Known> {
    let one = |event: hubwarden_simulator::Generated| {
        let json: Value = serde_json::from_slice(&event.json).unwrap();
        let git = json["action"].as_str().unwrap().starts_with("git.");
        Known { at_ms: event.at_ms, id: json["_document_id"].as_str().unwrap().to_owned(), git }
    };
    life.events().map(one).collect()
}

fn home(simulator: &Simulator, life: &Life) -> Home {
    let github = github_section(life, &simulator.url());
    let home = Home::new(&format!("{github}{}", lists_section(life)));
    home.write("github.token", "ghp_simulator\n");
    home
}

/// Whether everything up to `end` has been read and judged.
fn finished(home: &Home, end: Timestamp) -> bool {
    let status = home.run(&["status", "-o", "json"]).expect(0).json();
    let source = &status["sources"][0];
    let read: Option<Timestamp> =
        source["read_through"].as_str().and_then(|through| through.parse().ok());
    let stages = status["stages"].as_array().unwrap();
    source["backfill"]["done"] == true
        && read.is_some_and(|through| through >= end)
        && stages.iter().all(|stage| stage["lag"] == 0)
}

/// What the journal holds, followed over many openings.
#[derive(Default)]
struct Followed {
    /// Records of each run, and the events among them.
    runs: HashMap<String, (u64, HashSet<String>)>,
    next: u64,
}

impl Followed {
    /// Reads on and holds each cursor against the records of its run.
    async fn check(&mut self, home: &Home, known: &[Known]) {
        let folder = home.data().join("journal");
        if !folder.is_dir() {
            return; // killed before it began
        }
        let journal = Journal::open_read_only(&folder).unwrap();
        let mut reader = journal.reader("check", &[topic::RAW]).unwrap();
        reader.read_from(&Positions::of(topic::RAW, 0, self.next)).await.unwrap();
        let end = reader.ends().await.unwrap().get(topic::RAW, 0).unwrap_or(0);
        while self.next < end {
            for delivered in reader.next_batch(Limit::default()).await.unwrap().records {
                self.next = delivered.position + 1;
                if let RawBody::Record(record) = decode_raw(delivered.body).unwrap() {
                    let (count, ids) = self.runs.entry(record.run.to_string()).or_default();
                    *count += 1;
                    ids.insert(record.source_id.to_string());
                }
            }
        }
        for cursor in journal.newest(topic::CURSORS).await.unwrap() {
            let cursor = v1::Cursor::decode(cursor.body).unwrap();
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for feed in &cursor.feeds {
                *counts.entry(&feed.run).or_default() += feed.records;
                self.holds(feed, known);
            }
            for (run, records) in counts {
                let written = self.runs.get(run).map_or(0, |(count, _)| *count);
                assert_eq!(written, records, "the cursor of {run} stands for as many records");
            }
        }
    }

    /// Every event that stands on the bus.
    fn read(&self) -> HashSet<&String> {
        self.runs.values().flat_map(|(_, ids)| ids).collect()
    }

    /// Fails unless every event that the feed says it has read is there.
    fn holds(&self, feed: &v1::FeedCursor, known: &[Known]) {
        let none = HashSet::new();
        let ids = self.runs.get(&feed.run).map_or(&none, |(_, ids)| ids);
        for event in known {
            let of_feed = match feed.scope.split_once('#') {
                None => true,
                Some((_, "git")) => event.git,
                Some(_) => !event.git,
            };
            let read = event.at_ms >= feed.from_ms && event.at_ms <= feed.through_ms;
            assert!(!(of_feed && read) || ids.contains(&event.id), "{feed:?} lacks {}", event.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_again_and_again_it_finds_what_an_undisturbed_run_finds() {
    let kills = setting("HUBWARDEN_KILLS", 12);
    let events = setting("HUBWARDEN_KILL_EVENTS", 12_000);
    let now = hubwarden_console::web::now().as_millis();
    // a minute ago, so that both runs see all of it
    let life = Life::new(Plan { events, days: 5, ..Plan::default() }.ending_at(now - 60_000));
    let end = Timestamp::from_millis(life.plan().end_ms());
    let known = known(&life);
    let settings = Settings {
        rate_limit: u64::MAX / 2,
        tokens: vec![Token::new("ghp_simulator")],
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.add(life.events()).unwrap();

    let undisturbed = home(&simulator, &life);
    let server = Server::start(&undisturbed);
    let patience = Duration::from_secs(120 + events / 200);
    until("the undisturbed run", patience, || finished(&undisturbed, end).then_some(()));
    assert!(server.stop().success());
    Followed::default().check(&undisturbed, &known).await;
    let expected = findings(&undisturbed).await;
    assert!(expected.len() > 20, "{} findings", expected.len());

    let disturbed = home(&simulator, &life);
    let (mut followed, mut interrupted) = (Followed::default(), 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut dice = move |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % sides
    };
    for _ in 0..kills {
        let server = Server::spawn(&disturbed);
        let pages = dice((events / 100 * 3 / 2 / kills).max(3));
        let (asked, started) = (simulator.audit_requests(), Instant::now());
        while simulator.audit_requests() < asked + pages
            && started.elapsed() < Duration::from_secs(20)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // anywhere within the work on a page, or while the program still starts
        tokio::time::sleep(Duration::from_micros(dice(80_000))).await;
        server.kill();
        followed.check(&disturbed, &known).await;
        interrupted += u64::from(followed.read().len() < known.len());
    }
    assert!(interrupted * 3 >= kills, "{interrupted} of {kills} kills came before all was read");
    let server = Server::start(&disturbed);
    until("the rest of the disturbed run", patience, || finished(&disturbed, end).then_some(()));
    assert!(server.stop().success());
    followed.check(&disturbed, &known).await;
    let read = followed.read();
    assert!(known.iter().all(|event| read.contains(&event.id)), "every event was read");
    assert_same("killed and undisturbed", &findings(&disturbed).await, &expected);
    assert_same("served and scanned", &expected, &scanned(&life));
}

async fn findings(home: &Home) -> Vec<Value> {
    let store = SqliteStore::connect(home.data().join("findings.db")).await.unwrap();
    essence(&all_findings(&store).await)
}
