//! `hubwarden serve` with its stages on a real Kafka: the same findings as over one file, also when it
//! is killed, and the commands around it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hubwarden_console::SqliteStore;
use hubwarden_simulator::{Life, Plan, Settings, Simulator, Token};
use hubwarden_testkit::{Home, Kafka, Server, until};
use hubwarden_tests::{all_findings, assert_same, essence, github_section, lists_section, scanned};
use serde_json::Value;

/// Events of the life.
const EVENTS: u64 = 6_000;
/// `serve` is given so long for all of it.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(200);

fn bus_section(kafka: &Kafka, prefix: &str) -> String {
    format!(
        r#"
        [bus]
        kind = "kafka"
        [bus.kafka]
        brokers = {:?}
        topic_prefix = "{prefix}"
        replication = 1
        "#,
        kafka.addresses()
    )
}

fn home(kafka: &Kafka, prefix: &str, simulator: &Simulator, life: &Life) -> Home {
    let (bus, github) = (bus_section(kafka, prefix), github_section(life, &simulator.url()));
    let home = Home::new(&format!("{bus}{github}{}", lists_section(life)));
    home.write("github.token", "ghp_simulator\n");
    home
}

/// Waits until the store of a home holds exactly this.
async fn finds(home: &Home, server: &Server, expected: &[Value]) {
    let file = home.data().join("findings.db");
    until("the findings store", PATIENCE, || file.is_file().then_some(()));
    let store = SqliteStore::connect(file).await.unwrap();
    let started = Instant::now();
    let mut found = Vec::new();
    while found != expected && started.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        found = essence(&all_findings(&store).await);
    }
    if found != expected {
        let status = home.run(&["status"]);
        eprintln!("{} of {}: {status:#?}\n{}", found.len(), expected.len(), server.said());
    }
    assert_same("served over Kafka and scanned", &found, expected);
    eprintln!("{} findings after {:.1} s", found.len(), started.elapsed().as_secs_f64());
}

/// A stage that has consumed everything is still so far behind at most: each second brings marks of
/// time and of transactions to every partition.
const MARKS: u64 = 12 * 20;

/// Whether everything is read and every stage has consumed all of it but the newest marks.
fn is_done(home: &Home) -> bool {
    let status = home.run(&["status", "-o", "json"]).expect(0).json();
    let stages = status["stages"].as_array().unwrap();
    status["sources"][0]["backfill"]["done"] == true
        && stages.len() == 4
        && stages.iter().all(|stage| stage["lag"].as_u64().unwrap() < MARKS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_on_kafka_finds_what_a_scan_finds_also_when_it_is_killed() {
    let now = hubwarden_console::web::now().as_millis();
    let life =
        Life::new(Plan { events: EVENTS, days: 5, ..Plan::default() }.ending_at(now - 60_000));
    let expected = scanned(&life);
    assert!(expected.len() > 20, "{} findings", expected.len());
    let settings = Settings {
        rate_limit: u64::MAX / 2,
        tokens: vec![Token::new("ghp_simulator")],
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.add(life.events()).unwrap();
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();

    let undisturbed = home(&kafka, "undisturbed.", &simulator, &life);
    let server = Server::start(&undisturbed);
    finds(&undisturbed, &server, &expected).await;
    until("the figures of the stages", PATIENCE, || is_done(&undisturbed).then_some(()));
    commands_ask_it(&undisturbed);
    let said = server.said();
    assert!(server.stop().success(), "{said}");
    for partition in 0..12 {
        assert!(undisturbed.data().join(format!("correlate-{partition}.db")).is_file());
        let snapshots = undisturbed.data().join(format!("snapshots/correlate-{partition}"));
        assert!(snapshots.read_dir().unwrap().count() > 0, "a snapshot of partition {partition}");
    }
    commands_without_it(&undisturbed);

    let disturbed = home(&kafka, "disturbed.", &simulator, &life);
    let asked = simulator.audit_requests();
    let server = Server::spawn(&disturbed);
    let pages = EVENTS / 100 / 2;
    until("half of the pages", PATIENCE, || {
        (simulator.audit_requests() > asked + pages).then_some(())
    });
    server.kill();
    let file = disturbed.data().join("findings.db");
    let early = all_findings(&SqliteStore::connect(file).await.unwrap()).await;
    assert!(essence(&early) != expected, "it was killed in the middle");
    let first = Server::start(&disturbed);
    finds(&disturbed, &first, &expected).await;

    // in an empty folder, on the same topics: it takes the place of the first, and judges again what
    // is kept
    let elsewhere = home(&kafka, "disturbed.", &simulator, &life);
    let second = Server::start(&elsewhere);
    until("the end of the first", PATIENCE, || {
        first.said().contains("failed for good").then_some(())
    });
    assert!(!first.stop().success(), "the first ended with an error");
    finds(&elsewhere, &second, &expected).await;
    let said = second.said();
    assert!(second.stop().success(), "{said}");
}

/// What people do beside a running server.
fn commands_ask_it(home: &Home) {
    let event = serde_json::json!({
        "action": "org.disable_saml", "actor": "mallory", "org": "elsewhere",
        "@timestamp": 1_790_000_000_000_i64, "_document_id": "imported-1",
    });
    home.write("one.ndjson", event.to_string());
    let imported = home.run(&["import", "one.ndjson"]).expect(0);
    assert!(imported.err.contains("1 read, 0 rejected"), "{}", imported.err);
    let found = until("the imported finding", PATIENCE, || {
        let found = home.run(&["finding", "list", "--org", "elsewhere", "-o", "ndjson"]).expect(0);
        found.ndjson().into_iter().next()
    });
    let id = found["id"].as_str().unwrap();
    let timeline = home.run(&["finding", "timeline", id, "-o", "json"]).expect(0);
    let raw: Value = serde_json::from_str(timeline.json()[0]["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw, event, "what was imported, byte for byte, from the brokers");
    let doctor = home.run(&["doctor"]);
    assert!(doctor.out.contains("a server runs on it"), "{doctor:?}");
    assert!(doctor.out.contains("takes connections"), "{doctor:?}");
    let second = home.run(&["serve"]).expect(1);
    assert!(second.err.contains("in use by another process"), "{}", second.err);
}

/// What they are told when it has stopped.
fn commands_without_it(home: &Home) {
    let listed = home.run(&["finding", "list", "-o", "ndjson"]).expect(0);
    let first = &listed.ndjson()[0];
    let timeline = home.run(&["finding", "timeline", first["id"].as_str().unwrap()]).expect(0);
    assert!(timeline.err.contains("is on the brokers"), "{}", timeline.err);
    for (command, next) in
        [(&["status"][..], "hubwarden serve"), (&["import", "one.ndjson"], "scan")]
    {
        let ran = home.run(command).expect(1);
        assert!(ran.err.contains("no server runs") && ran.err.contains(next), "{}", ran.err);
    }
    let config = std::fs::read_to_string(home.path("hubwarden.toml")).unwrap();
    for (was, is, named) in [
        ("topic_prefix = \"undisturbed.\"", "topic_prefix = \"other.\"", "topic_prefix = "),
        ("kind = \"kafka\"", "kind = \"journal\"", "set kind = "),
    ] {
        home.write("other.toml", config.replace(was, is));
        let ran = home.run(&["serve", "--config", "other.toml"]);
        assert!(ran.code > 0 && ran.err.contains(named), "{ran:?}");
    }
}

#[test]
fn a_wrong_section_is_named_by_every_command_that_reads_it() {
    let check = |section: &str, named: &str| {
        let home = Home::new(section);
        for command in [&["config", "validate"][..], &["doctor"], &["serve"]] {
            let ran = home.run(command).expect(2);
            assert!(ran.err.contains(named), "{command:?}: {}", ran.err);
        }
    };
    check("[bus]\nkind = \"kafka\"\n", "bus.kafka.brokers names no broker");
    check("[bus]\nkind = \"rabbit\"\n", "key `bus.kind`: `rabbit` is none of journal, kafka");
    check("[bus.kafka]\nbrokers = [\"k:9092\"]\n", "set kind = \"kafka\"");
    check(
        "[bus]\nkind = \"kafka\"\n[bus.kafka]\nbroker = [\"k:9092\"]\n",
        "did you mean `brokers`",
    );
    check(
        "[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = [\"k:9092\"]\n\
         sasl = { mechanism = \"plain\", user = \"u\", password = \"secret-itself\" }\n",
        "the secret itself never stands in the configuration",
    );
}

#[test]
fn what_cannot_be_reached_or_read_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = Home::new(&format!(
        "[bus]\nkind = \"kafka\"\n[bus.kafka]\nbrokers = [\"{free}\"]\n\
         sasl = {{ mechanism = \"plain\", user = \"u\", password = {{ file = \"missing.password\" }} }}\n"
    ));
    let shown = home.run(&["config", "show", "--origin"]).expect(0);
    assert!(shown.out.contains("bus.kafka.brokers"), "{}", shown.out);
    let doctor = home.run(&["doctor"]).expect(3);
    assert!(doctor.out.contains("cannot be reached"), "{}", doctor.out);
    assert!(doctor.out.contains("missing.password"), "{}", doctor.out);
    let served = home.run(&["serve"]).expect(2);
    assert!(served.err.contains("missing.password"), "{}", served.err);
    home.write("missing.password", "here now\n");
    let served = home.run(&["serve"]).expect(1);
    assert!(served.err.contains("reaching the brokers failed"), "{}", served.err);
}
