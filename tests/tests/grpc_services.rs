//! Sources and rules, asked for by the command line: at the running server of a folder, over the network
//! at the services, and in process when nothing runs.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hubwarden_proto::v1;
use hubwarden_proto::v1::rule_service_client::RuleServiceClient;
use hubwarden_simulator::Fault::Status;
use hubwarden_simulator::{Life, Plan, Settings, Simulator, Token};
use hubwarden_testkit::{Home, INGEST_TOKEN, Kafka, Ran, Server, Services, VIEWER_TOKEN, until};
use hubwarden_tests::{github_section, lists_section};
use serde_json::{Value, json};
use tonic::transport::Endpoint;

/// Reading a life, and moving a connection, are given so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// A GitHub with a small life that ended a minute ago.
async fn github() -> (Life, Simulator) {
    let now = hubwarden_console::web::now().as_millis();
    let life = Life::new(Plan { events: 300, days: 2, ..Plan::default() }.ending_at(now - 60_000));
    let settings = Settings {
        rate_limit: u64::MAX / 2,
        tokens: vec![Token::new("ghp_simulator")],
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.add(life.events()).unwrap();
    (life, simulator)
}

fn own_rule(action: &str) -> String {
    format!(
        "title: Own\nname: own\nlogsource: {{ product: github, service: audit }}\ndetection:\n  s:\n    \
         action: {action}\n  condition: s\nlevel: low\n"
    )
}

/// Rows of a list, by name, with `-o json`.
fn rows(ran: Ran) -> Vec<Value> {
    let mut rows = ran.expect(0).json().as_array().unwrap().clone();
    rows.sort_by_key(|row| row["name"].to_string() + &row["id"].to_string());
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_tells_what_it_reads_and_by_which_rules_it_really_judges() {
    let (life, simulator) = github().await;
    let config = format!("{}[rules]\ndirs = [\"mine\"]\n", github_section(&life, &simulator.url()));
    let home = Home::new(&(config + &lists_section(&life)));
    home.write("github.token", "ghp_simulator\n");
    home.write("mine/own.yml", own_rule("repo.create"));
    let nothing = home.run(&["source", "list"]).expect(1);
    assert!(nothing.err.contains("nothing has been read"), "{}", nothing.err);

    let server = Server::start(&home);
    let source = until("everything to be read", PATIENCE, || {
        let source = home.run(&["source", "get", "octo", "-o", "json"]).expect(0).json();
        let read = source["backfill"]["done"] == true && source["health"] == "healthy";
        read.then_some(source)
    });
    assert_eq!(source["id"], "octo/audit-rest");
    assert_eq!((&source["reader"], &source["errors"]), (&json!("here"), &json!(0)));
    assert!(source["records"].as_u64().unwrap() >= 300, "{source}");
    assert!(source["requests_left"].is_u64() && source["interval_ms"] == 1000, "{source}");
    let status = home.run(&["status", "-o", "json"]).expect(0).json();
    for key in ["id", "connection", "feed", "scope", "records", "backfill", "reader"] {
        assert_eq!(status["sources"][0][key], source[key], "{key}: one computation");
    }
    let listed = home.run(&["source", "list"]).expect(0);
    assert!(listed.out.contains("octo/audit-rest") && listed.out.contains("healthy"), "{listed:?}");
    let shown = home.run(&["source", "get", "octo/audit-rest"]).expect(0);
    assert!(shown.out.contains("left in GitHub's hour"), "{}", shown.out);
    let csv = home.run(&["source", "list", "-o", "csv"]).expect(0);
    assert!(csv.out.starts_with("source,connection,scope,state,"), "{}", csv.out);
    assert_eq!(home.run(&["source", "list", "-o", "ndjson"]).expect(0).ndjson().len(), 1);
    let wrong = home.run(&["source", "get", "octp"]).expect(1);
    assert!(wrong.err.contains("did you mean `octo`?"), "{}", wrong.err);

    // what judges is what the folders say, until one of them is broken
    let here = |args: &[&str]| home.run(&[args, &["--data-dir", "none"]].concat());
    let list = ["rule", "list", "-o", "json"];
    assert_eq!(rows(home.run(&list)), rows(here(&list)));
    home.write("mine/own.yml", own_rule("repo.create").replace("action:", "action|nonsense:"));
    until("the broken file to be told", PATIENCE, || {
        let told = home.run(&["rule", "list"]).expect(0);
        told.err.contains("mine/own.yml").then_some(())
    });
    let own = home.run(&["rule", "get", "own"]).expect(0);
    assert!(own.out.contains("    action: repo.create"), "as it judges: {}", own.out);
    assert!(here(&["rule", "get", "own"]).expect(2).err.contains("no rule is named `own`"));
    let wrong = home.run(&["rule", "get", "sso-disable"]).expect(2);
    assert!(wrong.err.contains("did you mean `sso-disabled`?"), "{}", wrong.err);

    until("everything to be judged", PATIENCE, || {
        let status = home.run(&["status", "-o", "json"]).expect(0).json();
        status["stages"].as_array()?.iter().all(|stage| stage["lag"] == 0).then_some(())
    });
    over_the_network(&home);

    assert!(server.stop().success());
    let stopped = home.run(&["source", "get", "octo", "-o", "json"]).expect(0).json();
    assert_eq!((&stopped["reader"], &stopped["requests_left"]), (&json!("nobody"), &Value::Null));
    assert_eq!(
        (&stopped["records"], &stopped["backfill"]),
        (&source["records"], &source["backfill"])
    );
    assert!(home.run(&["source", "list"]).expect(0).out.contains("not read"));
}

/// The same server, asked from a place that knows only its address and a token.
fn over_the_network(home: &Home) {
    let address: Value =
        serde_json::from_slice(&std::fs::read(home.data().join("server.json")).unwrap()).unwrap();
    let url = format!("http://{}", address["listen"].as_str().unwrap());
    let away = Home::new("[remote]\ntoken = { file = \"token\" }\n");
    let ask = |args: &[&str]| away.run(&[args, &["--server", &url]].concat());
    away.write("token", "hwt_wrong\n");
    assert!(ask(&["source", "list"]).expect(4).err.contains("wants its token"));
    away.write("token", address["api_token"].as_str().unwrap());
    for list in [
        ["source", "list", "-o", "json"],
        ["rule", "list", "-o", "json"],
        ["finding", "list", "-o", "json"],
    ] {
        let (there, at_home) = (rows(ask(&list)), rows(home.run(&list)));
        let ids = |rows: &[Value]| -> Vec<Value> {
            rows.iter().map(|row| json!([row["id"], row["name"], row["hash"]])).collect()
        };
        assert!(!there.is_empty(), "{list:?}");
        assert_eq!(ids(&there), ids(&at_home), "{list:?}");
    }
    let event = json!({
        "action": "org.disable_saml", "actor": "mallory", "org": "elsewhere",
        "@timestamp": 1_790_000_000_000_i64, "_document_id": "imported-1",
    });
    away.write("one.ndjson", event.to_string());
    let imported = ask(&["import", "one.ndjson"]).expect(0);
    assert!(imported.err.contains("1 read, 0 rejected"), "{}", imported.err);
    until("the imported finding", PATIENCE, || {
        let found = ask(&["finding", "list", "--org", "elsewhere", "-o", "ndjson"]).expect(0);
        (!found.out.is_empty()).then_some(())
    });
    let gone = away.run(&["rule", "list", "--server", "http://127.0.0.1:1"]).expect(1);
    assert!(gone.err.contains("cannot reach") && gone.err.contains("check --server"), "{gone:?}");
    assert!(away.run(&["rule", "list", "--server", "x"]).expect(2).err.contains("no address"));
    away.write("token", "\n");
    assert!(ask(&["rule", "list"]).expect(1).err.contains("holds no secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_replica_tells_all_sources_and_the_rules_it_judges_by() {
    let (life, simulator) = github().await;
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let mut services = Services::new(&kafka.addresses(), "");
    services.secret("github.token", "ghp_simulator");
    let github = github_section(&life, &simulator.url());
    let snapshots = services.folder().join("snapshots");
    let state =
        format!("[state]\ndir = \"state\"\nsnapshots = \"file://{}\"\n", snapshots.display());
    services.start("hubwarden-detector", &["--role", "match"], "match", &lists_section(&life));
    services.start("hubwarden-detector", &["--role", "correlate"], "correlate", &state);
    services.start("hubwarden-collector", &[], "collector-0", &github);
    services.start("hubwarden-collector", &[], "collector-1", &github);
    let remote = "[remote]\ntoken = { file = \"token\" }\n";
    let home = Home::new(&(remote.to_owned() + &lists_section(&life)));
    home.write("token", VIEWER_TOKEN);
    let names = ["collector-0", "collector-1", "match", "correlate"];
    let urls = names.map(|name| format!("http://{}", services.grpc(name)));
    let ask = |of: usize, args: &[&str]| {
        home.run(&[args, &["--server", &urls[of], "-o", "json"]].concat())
    };
    let source = |of| ask(of, &["source", "get", "octo"]).expect(0).json();
    let has_read = |source: &Value| source["backfill"]["done"] == true;

    let owner = until("one to read and the other to know", PATIENCE, || {
        let told = [source(0), source(1)];
        let owner = told.iter().position(|source| source["reader"] == "here")?;
        let other = &told[1 - owner];
        let agree = other["reader"] == "elsewhere" && told[0]["records"] == told[1]["records"];
        (agree && told.iter().all(has_read)).then_some(owner)
    });
    let other = 1 - owner;
    assert!(source(owner)["requests_left"].is_u64());
    assert_eq!(source(other)["requests_left"], Value::Null, "the owner knows");
    assert_eq!(rows(ask(other, &["source", "list"])).len(), 1);

    simulator.fault_always(Some(Status(401)));
    until("the owner to tell what is wrong", PATIENCE, || {
        let told = source(owner);
        let said = told["last_error"].as_str().is_some_and(|error| error.contains("the token"));
        (said && told["health"] == "failing").then_some(())
    });
    assert_eq!(source(other)["last_error"], Value::Null, "it reads nothing and has seen no error");
    simulator.fault_always(None);
    services.stop(names[owner]);
    until("the other to take over", PATIENCE, || {
        let told = source(other);
        (told["reader"] == "here" && told["health"] == "healthy").then_some(())
    });

    // both roles judge by one set, and it is the one of these rules and lists
    let expected = rows(home.run(&["rule", "list", "-o", "json"]));
    for of in [2, 3] {
        let told = until("a set to judge by", PATIENCE, || {
            let ran = ask(of, &["rule", "list"]);
            (ran.code == 0).then(|| rows(ran))
        });
        assert_eq!(told, expected, "{}", names[of]);
    }
    let sets = [judging(&urls[2]).await, judging(&urls[3]).await];
    assert_eq!(sets.each_ref().map(|set| set.stage.as_str()), ["match", "correlate"]);
    assert_eq!(sets[0].hash, sets[1].hash);
    assert_eq!((sets[0].hash.len(), sets[0].loaded), (64, expected.len() as u64));
    let wrong = ask(3, &["rule", "get", "sso-disable"]).expect(2);
    assert!(wrong.err.contains("did you mean `sso-disabled`?"), "{}", wrong.err);

    let elsewhere = ask(2, &["source", "list"]).expect(1);
    assert!(elsewhere.err.contains("told by hubwarden-collector"), "{}", elsewhere.err);
    home.write("token", INGEST_TOKEN);
    let refused = ask(other, &["source", "list"]).expect(4);
    assert!(refused.err.contains("role ingest may not call"), "{}", refused.err);
    assert!(ask(2, &["rule", "list"]).expect(4).err.contains("role ingest may not call"));
}

/// What the only stage of a detector judges by.
async fn judging(url: &str) -> v1::JudgingSet {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    let mut client =
        RuleServiceClient::with_interceptor(channel, |mut request: tonic::Request<()>| {
            let token = format!("Bearer {VIEWER_TOKEN}").parse().unwrap();
            request.metadata_mut().insert("authorization", token);
            Ok(request)
        });
    let answer = client.get_rule_set(v1::GetRuleSetRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.stages.len(), 1, "{answer:?}");
    answer.stages.into_iter().next().unwrap()
}
