//! A GitHub that refuses, or behaves oddly: `doctor` and `status` say why nothing is read, and reading goes on.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hubwarden_simulator::{Fault, Life, Plan, Settings, Simulator, Token};
use hubwarden_testkit::{Home, Server, until};
use hubwarden_tests::lists_section;

const PATIENCE: Duration = Duration::from_secs(90);

async fn simulator() -> Simulator {
    let mut unscoped = Token::new("unscoped");
    unscoped.scopes = vec!["repo".into()];
    let mut unauthorized = Token::new("unauthorized");
    unauthorized.sso_authorized = false;
    let tokens = vec![Token::new("good"), unscoped, unauthorized];
    Simulator::start(Settings { tokens, rate_limit: 1_000_000, ..Settings::default() })
        .await
        .unwrap()
}

fn home(simulator: &Simulator, scope: &str, token: &str, more: &str) -> Home {
    let home = Home::new(&format!(
        "[[github]]\nname = \"octo\"\nid = \"octo\"\n{scope}\nbase_url = \"{}\"\n\
         token = {{ file = \"github.token\" }}\n[github.poll]\ninterval = \"1s\"\ntimeout = \"2s\"\n\
         budget = 1.0\nrequests_per_hour = 1000000\nbackfill_days = 4\nbackfill_git_days = 4\n{more}",
        simulator.url()
    ));
    home.write("github.token", token);
    home
}

/// What `doctor` says about reading the log; it must have failed.
fn doctor(home: &Home) -> String {
    let ran = home.run(&["doctor", "-o", "json"]).expect(3);
    let failed = ran.json();
    let failed = failed.as_array().unwrap().iter().filter(|line| line["level"] == "fail");
    let found: Vec<_> = failed.map(|line| line["found"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), 1, "one clear message: {found:?}");
    found.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_what_is_wrong_what_follows_and_what_to_do() {
    let simulator = simulator().await;
    let life = Life::new(Plan { events: 0, stories: false, ..Plan::default() });
    let enterprise = format!("enterprise = \"{}\"", life.enterprise());
    let scope = enterprise.as_str();
    let good = home(&simulator, scope, "good", "").run(&["doctor"]).expect(0);
    assert!(good.out.contains("readable with this token"), "{}", good.out);
    for (scope, token, parts) in [
        (scope, "wrong", ["refused the token", "a new one"]),
        (scope, "unscoped", ["lacks a scope", "read:audit_log"]),
        ("org = \"nobody\"", "good", ["org/nobody", "the plan"]),
        ("org = \"nobody\"", "good", ["the name", "the permission"]),
    ] {
        let found = doctor(&home(&simulator, scope, token, ""));
        assert!(parts.iter().all(|part| found.contains(part)), "{scope} {token}: {found}");
        assert!(!found.contains(token) || token == "good", "the token is not shown: {found}");
    }
    let here = home(&simulator, scope, "good", "");
    for (fault, part) in [
        (Fault::Html, "expected a list of events"),
        (Fault::Huge(64 << 20), "larger than"),
        (Fault::Slow(Duration::from_secs(600)), "did not answer"),
        (Fault::Truncated, "expected a list of events"),
        (Fault::Status(502), "502"),
        (Fault::SsoRequired, "single sign-on"),
        (Fault::OtherHost("evil.example".into()), "another host"),
    ] {
        simulator.fault_next(fault.clone());
        let found = doctor(&here);
        assert!(found.contains(part), "{fault:?}: {found}");
    }
}

fn last_error(home: &Home) -> Option<String> {
    let status = home.run(&["status", "-o", "json"]).expect(0).json();
    Some(status["sources"][0]["last_error"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_a_circle_is_named_by_status_and_not_followed_for_ever() {
    let simulator = simulator().await;
    let now = hubwarden_console::web::now().as_millis();
    let life = Life::new(Plan { events: 1_500, days: 2, ..Plan::default() }.ending_at(now));
    simulator.add(life.events()).unwrap();
    simulator.fault_always(Some(Fault::LoopPages));
    let home = home(&simulator, &format!("enterprise = \"{}\"", life.enterprise()), "good", "");
    let server = Server::start(&home);
    let error = until("the complaint", PATIENCE, || last_error(&home));
    assert!(error.contains("in a circle") && error.contains("proxy"), "{error}");
    let shown = home.run(&["status"]).expect(0);
    assert!(shown.out.contains("FAILING: the server sends pages in a circle"), "{}", shown.out);
    let asked = simulator.audit_requests();
    assert!(asked < 20, "{asked} requests");
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_over_pages_that_fail() {
    let simulator = simulator().await;
    let now = hubwarden_console::web::now().as_millis();
    let life =
        Life::new(Plan { events: 2_000, days: 3, ..Plan::default() }.ending_at(now - 60_000));
    simulator.add(life.events()).unwrap();
    for (number, fault) in [
        (1, Fault::Html),
        (3, Fault::Aborted),
        (5, Fault::Status(502)),
        (6, Fault::Truncated),
        (8, Fault::Huge(64 << 20)),
        (10, Fault::SecondaryLimit { status: 403, retry_after: Some(1) }),
    ] {
        simulator.fault_at(number, fault);
    }
    let scope = format!("enterprise = \"{}\"", life.enterprise());
    let home = home(&simulator, &scope, "good", &lists_section(&life));
    let server = Server::start(&home);
    until("the end of the backfill", PATIENCE, || {
        let status = home.run(&["status", "-o", "json"]).expect(0).json();
        let idle = status["stages"].as_array().unwrap().iter().all(|stage| stage["lag"] == 0);
        let source = &status["sources"][0];
        (source["backfill"]["done"] == true && source["read_through"].is_string() && idle)
            .then_some(())
    });
    assert!(simulator.audit_requests() > 10, "every fault was met");
    assert_eq!(last_error(&home), None, "what has passed is no longer complained about");
    assert!(server.stop().success());
    let served =
        home.run(&["finding", "list", "--limit", "500", "-o", "ndjson"]).expect(0).ndjson();
    let lines: Vec<Vec<u8>> = life.events().map(|event| event.json).collect();
    home.write("all.ndjson", lines.join(&b'\n'));
    let scanned = home.run(&["scan", "all.ndjson", "-o", "ndjson"]).expect(0).ndjson();
    let essence = |findings: &[serde_json::Value]| {
        let mut all: Vec<_> = findings
            .iter()
            .map(|one| {
                (
                    one["rule"]["name"].to_string(),
                    one["first_seen"].to_string(),
                    one["count"].as_u64(),
                )
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(essence(&served), essence(&scanned), "what was found is what a file of all gives");
}
