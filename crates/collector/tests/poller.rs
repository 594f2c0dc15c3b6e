//! The poller against a look-alike of GitHub: nothing lost, nothing twice, every refusal explained.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hubwarden_bus::{Bus, Limit, Memory, Source, topic};
use hubwarden_collector::audit::{Clock, Level, Poll, Poller, check};
use hubwarden_collector::{Connection, Error};
use hubwarden_event::{RawBody, RunId, Timestamp};
use hubwarden_proto::{Message, decode_raw, v1};
use hubwarden_service::SecretRef;
use hubwarden_simulator::{
    Clock as Time, Fault, Generated, Life, Plan, Settings, Simulator, Token,
};
use tokio_util::sync::CancellationToken;

const NOW: i64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    simulator: Simulator,
    life: Vec<Generated>,
    folder: tempfile::TempDir,
    bus: Memory,
}

async fn world(events: u64, change: impl FnOnce(&mut Settings)) -> World {
    let mut settings =
        Settings { clock: Time::fixed(NOW), rate_limit: 1_000_000, ..Settings::default() };
    change(&mut settings);
    let simulator = Simulator::start(settings).await.unwrap();
    let plan = Plan { days: 6, events, ..Plan::default() }.ending_at(NOW);
    let life: Vec<Generated> = Life::new(plan).events().collect();
    simulator.add(life.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut token = std::fs::File::create(folder.path().join("token")).unwrap();
    writeln!(token, "ghp_simulator").unwrap();
    World { simulator, life, folder, bus: Memory::default() }
}

impl World {
    fn enterprise(&self) -> Connection {
        let life = Life::new(Plan { events: 0, stories: false, ..Plan::default() });
        Connection {
            name: "octo".into(),
            id: "c".into(),
            enterprise: Some(life.enterprise().into()),
            org: None,
            base_url: self.simulator.url(),
            token: SecretRef::File(self.folder.path().join("token")),
            poll: Poll {
                interval: Duration::from_millis(10),
                requests_per_hour: 100_000_000,
                budget: 1.0,
                backfill_days: 7,
                timeout: Duration::from_millis(1500),
                ..Poll::default()
            },
        }
    }

    fn org(&self, name: &str) -> Connection {
        Connection { enterprise: None, org: Some(name.into()), ..self.enterprise() }
    }

    fn poller(&self, connection: &Connection) -> Poller {
        Poller::new(connection.clone(), HOUR, clock())
    }

    /// Runs a poller until the bus is as wanted, then drops it.
    async fn run_until(&self, connection: &Connection, wanted: impl Fn(&[RawBody]) -> bool) {
        let poller = self.poller(connection);
        let status = poller.status();
        let mut reader = self.bus.reader("watch", &[topic::RAW]).unwrap();
        let watching = async {
            let mut bodies = Vec::new();
            while !wanted(&bodies) {
                let batch = reader.next_batch(Limit::default()).await.unwrap();
                bodies.extend(
                    batch.records.into_iter().map(|record| decode_raw(record.body).unwrap()),
                );
            }
        };
        tokio::select! {
            () = watching => {}
            ended = poller.run(&self.bus, CancellationToken::new()) => panic!("{ended:?}"),
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{:?}", status.borrow()),
        }
    }

    async fn bodies(&self) -> Vec<RawBody> {
        let mut reader = self.bus.reader("test", &[topic::RAW]).unwrap();
        let mut bodies = Vec::new();
        while reader.positions() != reader.ends().await.unwrap() {
            let batch = reader.next_batch(Limit::default()).await.unwrap();
            bodies.extend(batch.records.into_iter().map(|record| decode_raw(record.body).unwrap()));
        }
        bodies
    }

    /// What the log of one organization, or of the enterprise, holds from a moment on.
    fn expected(&self, org: Option<&str>, from: i64) -> BTreeSet<String> {
        let shown = |event: &&Generated| {
            org.is_none_or(|org| !event.enterprise_only && &*event.org == org)
                && event.at_ms >= from
        };
        self.life.iter().filter(shown).map(|event| document_id(&event.json)).collect()
    }
}

/// The time of the simulated world, which goes on as ours does.
fn clock() -> Clock {
    let start = Instant::now();
    Arc::new(move || Timestamp::from_millis(NOW + start.elapsed().as_millis() as i64))
}

fn document_id(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).unwrap();
    value["_document_id"].as_str().unwrap().into()
}

fn ids(bodies: &[RawBody], live: bool) -> Vec<&str> {
    let ids = bodies.iter().filter_map(|body| match body {
        RawBody::Record(record) if (record.run == RunId::live()) == live => {
            Some(record.source_id.as_str())
        }
        _ => None,
    });
    ids.collect()
}

fn is_complete(bodies: &[RawBody]) -> bool {
    bodies.iter().any(|body| matches!(body, RawBody::RunEnd(_)))
        && bodies.iter().any(
            |body| matches!(body, RawBody::Progress(progress) if progress.run == RunId::live()),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_the_whole_log_once_in_both_views() {
    for view in [None, Some(0), Some(1)] {
        let world = world(4_000, |settings| settings.twice_per_mille = 20).await;
        let life = Life::new(Plan { events: 0, stories: false, ..Plan::default() });
        let orgs: Vec<String> = life.orgs().map(|(name, _)| name.to_string()).collect();
        let org = view.map(|view: usize| orgs[view].as_str());
        let connection = org.map_or_else(|| world.enterprise(), |org| world.org(org));
        world.run_until(&connection, is_complete).await;
        let bodies = world.bodies().await;
        for (live, from) in [(false, i64::MIN), (true, NOW - 3_600_000)] {
            let found = ids(&bodies, live);
            let distinct: BTreeSet<String> = found.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(distinct, world.expected(org, from), "{org:?} live {live}");
            assert_eq!(found.len(), distinct.len(), "published twice: {org:?} live {live}");
        }
        for body in &bodies {
            let RawBody::Record(record) = body else { continue };
            let sent = world.life.iter().any(|event| event.json == record.payload);
            assert!(sent, "not byte for byte: {:?}", record.payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_number_of_a_server_are_followed_too() {
    let world = world(1_000, |settings| settings.ghes = Some("3.19.0".into())).await;
    world.run_until(&world.enterprise(), is_complete).await;
    let bodies = world.bodies().await;
    let found: BTreeSet<String> = ids(&bodies, false).into_iter().map(str::to_owned).collect();
    assert_eq!(found, world.expected(None, i64::MIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_page_it_goes_on_exactly_there() {
    let world = world(4_000, |_| ()).await;
    let connection =
        Connection { poll: Poll { per_page: 10, ..world.enterprise().poll }, ..world.enterprise() };
    let mut lives = 0u64;
    loop {
        // 1 to 40 ms of life, in an order without pattern
        let time = Duration::from_micros(1_000 + (lives * 7_919 + 13) % 40_000);
        let poller = world.poller(&connection);
        let ended =
            tokio::time::timeout(time, poller.run(&world.bus, CancellationToken::new())).await;
        assert!(ended.is_err(), "{ended:?}");
        lives += 1;
        let bodies = world.bodies().await;
        for feed in cursor(&world.bus).await.feeds {
            let of_part = |record: &hubwarden_event::RawRecord| match feed.scope.split_once('#') {
                None => true,
                Some((_, part)) => (part == "git") == is_git(&record.payload),
            };
            let written = bodies.iter().filter(|body| {
                matches!(body, RawBody::Record(record) if *record.run.as_str() == feed.run && of_part(record))
            });
            assert_eq!(feed.records, written.count() as u64, "cursor and records differ: {feed:?}");
        }
        assert!(lives < 3_000, "it does not get on");
        if is_complete(&bodies) && lives >= 50 {
            let backfill = ids(&bodies, false);
            let distinct: BTreeSet<String> = backfill.iter().map(|id| (*id).to_owned()).collect();
            assert_eq!(distinct, world.expected(None, i64::MIN));
            let live: BTreeSet<String> =
                ids(&bodies, true).into_iter().map(str::to_owned).collect();
            assert_eq!(live, world.expected(None, NOW - 3_600_000));
            let ends = bodies.iter().filter(|body| matches!(body, RawBody::RunEnd(_))).count();
            assert_eq!(ends, 1, "the run ended more than once");
            return;
        }
    }
}

async fn cursor(bus: &Memory) -> v1::Cursor {
    let newest = bus.newest(topic::CURSORS).await.unwrap();
    newest
        .first()
        .map(|record| v1::Cursor::decode(record.body.clone()).unwrap())
        .unwrap_or_default()
}

fn is_git(payload: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(payload).unwrap();
    value["action"].as_str().unwrap().starts_with("git.")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_appears_late_is_found_by_the_overlap() {
    let world = world(1_000, |_| ()).await;
    let connection = world.enterprise();
    let late = |id: &str, at: i64| {
        format!(
            r#"{{"_document_id":"{id}","action":"repo.create","org":"octo","@timestamp":{at},"created_at":{at}}}"#
        )
    };
    let progress = |bodies: &[RawBody]| {
        let live = |body: &&RawBody| matches!(body, RawBody::Progress(progress) if progress.run == RunId::live());
        bodies.iter().filter(live).count()
    };
    let has = |bodies: &[RawBody], id: &str| ids(bodies, true).contains(&id);
    let added = std::sync::atomic::AtomicBool::new(false);
    world
        .run_until(&connection, |bodies| {
            if progress(bodies) >= 2 && !added.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let events = [late("late-30", NOW - 1_800_000), late("late-0", NOW)];
                world.simulator.add_json(events).unwrap();
            }
            has(bodies, "late-30") && has(bodies, "late-0")
        })
        .await;
    let bodies = world.bodies().await;
    for id in ["late-30", "late-0"] {
        assert_eq!(ids(&bodies, true).iter().filter(|found| **found == id).count(), 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_explained_and_nothing_is_lost_by_it() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other_host = other.local_addr().unwrap().to_string();
    let slow = Fault::Slow(Duration::from_secs(10));
    let secondary = |retry_after| Fault::SecondaryLimit { status: 403, retry_after };
    let all: Vec<(Fault, &str)> = vec![
        (Fault::Status(401), "refused the token"),
        (Fault::Status(403), "refuses access"),
        (Fault::Status(404), "the name, the plan"),
        (Fault::Status(422), "search phrase"),
        (Fault::Status(502), "answered 502"),
        (Fault::SsoRequired, "authorization_request="),
        (Fault::RateLimited, "primary rate limit"),
        (secondary(Some(1)), "secondary rate limit"),
        (secondary(None), "secondary rate limit"),
        (slow, "did not answer"),
        (Fault::Html, "an HTML or XML page"),
        (Fault::Huge(40 << 20), "larger than"),
        (Fault::Truncated, "cut off"),
        (Fault::Aborted, "did not answer"),
        (Fault::LoopPages, "in a circle"),
        (Fault::OtherHost(other_host), "on another host"),
    ];
    for (fault, part) in all {
        let world = world(800, |_| ()).await;
        let poll = Poll { per_page: 10, ..world.enterprise().poll };
        let connection = Connection { poll, ..world.enterprise() };
        // a page in the middle of the first day of the backfill
        world.simulator.fault_at(3, fault.clone());
        if fault == Fault::LoopPages {
            // the first page has no cursor, so only the second time is it the same address
            world.simulator.fault_at(4, fault.clone());
        }
        let poller = world.poller(&connection);
        let mut status = poller.status();
        let seen = |status: &hubwarden_collector::audit::Status| {
            status.error.as_ref().is_some_and(|error| error.contains(part))
        };
        tokio::select! {
            found = status.wait_for(seen) => drop(found.unwrap()),
            ended = poller.run(&world.bus, CancellationToken::new()) => panic!("{ended:?}"),
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
        }
        let error = status.borrow().error.clone();
        assert!(error.as_ref().is_some_and(|error| error.contains(part)), "{fault:?}: {error:?}");
        // the next start, or the next try where it makes sense, brings the rest
        world.run_until(&connection, is_complete).await;
        let bodies = world.bodies().await;
        let found: BTreeSet<String> = ids(&bodies, false).into_iter().map(str::to_owned).collect();
        assert_eq!(found, world.expected(None, i64::MIN), "{fault:?}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(1), other.accept()).await;
    assert!(connected.is_err(), "the other host was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_bad_hour_everything_is_there() {
    let faults = [
        Fault::Status(500),
        Fault::Html,
        Fault::Truncated,
        Fault::Aborted,
        Fault::SecondaryLimit { status: 429, retry_after: Some(1) },
    ];
    let world = world(1_500, |_| ()).await;
    for (place, fault) in faults.into_iter().enumerate() {
        world.simulator.fault_at(place as u64 * 4 + 2, fault);
    }
    world.run_until(&world.enterprise(), is_complete).await;
    let bodies = world.bodies().await;
    let found: BTreeSet<String> = ids(&bodies, false).into_iter().map(str::to_owned).collect();
    assert_eq!(found, world.expected(None, i64::MIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_is_wrong_with_a_connection() {
    let narrow = Token { scopes: vec!["repo".into()], ..Token::new("ghp_narrow") };
    let wide = Token {
        scopes: vec!["read:audit_log".into(), "repo".into()],
        expires: Some("2027-01-20 09:00:00 UTC".into()),
        ..Token::new("ghp_wide")
    };
    let world = world(0, |settings| settings.tokens.extend([narrow, wide])).await;
    let cases = [
        ("ghp_simulator", None, Level::Ok, "readable"),
        ("ghp_wrong", None, Level::Fail, "refused the token"),
        ("ghp_narrow", None, Level::Fail, "read:audit_log"),
        ("ghp_wide", None, Level::Warn, "does not need"),
        ("ghp_simulator", Some("nobody"), Level::Fail, "plan"),
    ];
    for (token, org, level, part) in cases {
        std::fs::write(world.folder.path().join("token"), token).unwrap();
        let connection = org.map_or_else(|| world.enterprise(), |org| world.org(org));
        let report = check(&connection, clock()).await;
        assert_eq!(report.level(), level, "{report:?}");
        assert!(report.lines.iter().any(|line| line.found.contains(part)), "{report:?}");
    }
    std::fs::remove_file(world.folder.path().join("token")).unwrap();
    assert_eq!(check(&world.enterprise(), clock()).await.level(), Level::Fail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senseless_configuration_ends_it_at_once() {
    let world = world(0, |_| ()).await;
    let connection = Connection { enterprise: None, ..world.enterprise() };
    let ended = world.poller(&connection).run(&world.bus, CancellationToken::new()).await;
    assert!(matches!(ended, Err(Error::Config(_))), "{ended:?}");
}
