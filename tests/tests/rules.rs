//! The cases of the shipped rules, and cases of somebody else's.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hubwarden_testkit::{Home, Server, until};
use serde_json::{Value, json};

#[test]
fn every_shipped_case_passes() {
    let ran = Home::default().run(&["rule", "test", "-o", "ndjson"]).expect(0);
    let outcomes = ran.ndjson();
    assert!(outcomes.len() > 200, "{} cases", outcomes.len());
    assert!(outcomes.iter().all(|outcome| outcome["result"] == "passed"), "{}", ran.out);
    assert!(ran.err.contains(&format!("{} passed, 0 failed", outcomes.len())), "{}", ran.err);
}

#[test]
fn one_rule_is_tested_by_name_and_an_unknown_name_is_a_wrong_usage() {
    let home = Home::default();
    let ran = home.run(&["rule", "test", "sso-disabled", "-o", "ndjson"]).expect(0);
    assert!(ran.ndjson().iter().all(|outcome| outcome["rule"] == "sso-disabled"));
    let ran = home.run(&["rule", "test", "sso-disabledd"]).expect(2);
    assert!(ran.err.contains("no cases ship for `sso-disabledd`"), "{}", ran.err);
}

/// A clone by somebody, without any time: the program gives the events one second each.
fn clone_of(repo: usize) -> serde_json::Value {
    json!({
        "action": "git.clone", "actor": "mallory", "actor_id": 7, "org": "octo", "org_id": 1,
        "repo": format!("octo/r{repo}"), "repo_id": repo, "repository_public": false,
        "transport_protocol_name": "http", "programmatic_access_type": "Personal access token (classic)", "hashed_token": "h",
    })
}

#[test]
fn outside_cases_run_each_in_an_engine_of_its_own() {
    let sso_off = json!({"action": "org.disable_saml", "actor": "mallory", "org": "octo"});
    let member = json!({"action": "org.add_member", "actor": "mallory", "org": "octo"});
    let clones = |repos: std::ops::Range<usize>| repos.map(clone_of).collect::<Vec<_>>();
    let cases = [
        json!({"concept": "sso-disabled", "name": "fires", "event": sso_off, "expect": true}),
        json!({"concept": "sso-disabled", "name": "quiet", "event": member, "expect": false}),
        json!({"concepts": ["sso-disabled", "no-such"], "name": "either", "event": sso_off, "expect": true}),
        json!({"concept": "no-such", "name": "unknown", "event": sso_off, "expect": true}),
        json!({"concept": "sso-disabled", "name": "time and odd id", "expect": true, "events": [
            {"action": "org.disable_saml", "org": "octo", "@timestamp": 1_700_000_000_000_i64, "_document_id": "x"},
        ]}),
        // if one engine were shared, the second half would reach the threshold of the first
        json!({"concept": "mass-clone-by-token", "name": "first half", "events": clones(0..6), "expect": false}),
        json!({"concept": "mass-clone-by-token", "name": "second half", "events": clones(6..12), "expect": false}),
        json!({"concept": "mass-clone-by-token", "name": "both", "events": clones(0..12), "expect": true}),
    ];
    let lines: Vec<_> = cases.iter().map(ToString::to_string).collect();
    let home = Home::default();
    home.write("cases.ndjson", lines.join("\n"));
    let ran = home.run(&["rule", "test", "--cases", "cases.ndjson", "-o", "ndjson"]).expect(0);
    let results: Vec<_> =
        ran.ndjson().iter().map(|row| (row["name"].clone(), row["result"].clone())).collect();
    for (name, result) in [
        ("fires", "passed"),
        ("quiet", "passed"),
        ("either", "passed"),
        ("unknown", "no rule"),
        ("time and odd id", "passed"),
        ("first half", "passed"),
        ("second half", "passed"),
        ("both", "passed"),
    ] {
        assert!(results.contains(&(json!(name), json!(result))), "{name}: {results:?}");
    }
    assert_eq!(results.len(), cases.len());
}

#[test]
fn a_failing_case_and_a_broken_file_have_exit_codes_of_their_own() {
    let home = Home::default();
    let wrong = json!({"concept": "sso-disabled", "name": "wrong", "expect": false,
        "event": {"action": "org.disable_saml", "actor": "mallory", "org": "octo"}});
    home.write("wrong.ndjson", wrong.to_string());
    let ran = home.run(&["rule", "test", "--cases", "wrong.ndjson", "-o", "ndjson"]).expect(3);
    let row = &ran.ndjson()[0];
    assert_eq!((&row["expected"], &row["actual"]), (&json!("quiet"), &json!("fires")));
    assert!(ran.err.contains("1 failed"), "{}", ran.err);
    home.write("broken.ndjson", "\n{\"concept\": \"sso-disabled\"}\n");
    let ran = home.run(&["rule", "test", "--cases", "broken.ndjson"]).expect(2);
    assert!(ran.err.contains("line 2 is not a case"), "{}", ran.err);
    let ran = home.run(&["rule", "test", "--cases", "missing.ndjson"]).expect(2);
    assert!(ran.err.contains("missing.ndjson"), "{}", ran.err);
}

/// A rule of one's own: its head, and the action that it looks for.
fn own(head: &str, action: &str) -> String {
    format!(
        "title: Own\n{head}logsource: {{ product: github, service: audit }}\ndetection:\n  s:\n    \
         action: {action}\n  condition: s\nlevel: low\n"
    )
}

fn with_folder() -> Home {
    let home = Home::new("[rules]\ndirs = [\"mine\"]\n");
    std::fs::create_dir_all(home.path("mine")).unwrap();
    home
}

#[test]
fn a_rule_of_ones_own_replaces_the_shipped_one_of_its_name_and_every_command_says_so() {
    let home = with_folder();
    home.write("mine/off.yml", own("name: sso-disabled\n", "org.block_user"));
    let said = "replaces the shipped rule sso-disabled";
    let listed = home.run(&["rule", "list"]).expect(0);
    assert!(listed.out.contains(said), "{}", listed.out);
    let listed = home.run(&["rule", "list", "-o", "ndjson"]).expect(0).ndjson();
    let rule: Vec<_> = listed.iter().filter(|rule| rule["name"] == "sso-disabled").collect();
    assert_eq!((rule.len(), &rule[0]["file"]), (1, &json!("mine/off.yml")));
    assert_eq!(rule[0]["replaces"], json!(["sso-disabled"]));
    let doctor = home.run(&["doctor"]).expect(0);
    assert!(doctor.out.contains("mine/off.yml:1") && doctor.out.contains(said), "{}", doctor.out);
    for paths in [&["rule", "lint"][..], &["rule", "lint", "mine/off.yml"]] {
        let lint = home.run(paths).expect(0);
        assert!(lint.out.contains("replaces the shipped rule `sso-disabled`"), "{}", lint.out);
    }
    let events = [
        json!({"action": "org.disable_saml"}),
        json!({"action": "org.block_user", "_document_id": "b"}),
    ];
    let events = events.map(|mut event| {
        event["@timestamp"] = json!(1_767_603_600_000_i64);
        event["org"] = json!("octo");
        event.to_string()
    });
    home.write("events.ndjson", events.join("\n"));
    let found = home.run(&["scan", "events.ndjson", "-o", "ndjson"]).expect(0).ndjson();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["evidence"][0]["action"], "org.block_user");
    assert_eq!(found[0]["sentence"], "Own", "a rule without a sentence is told by its title");
}

#[test]
fn the_same_id_twice_in_ones_own_folders_names_both_files() {
    let home = with_folder();
    let id = "id: 6f0c3a52-8c0e-4f0e-9d55-2f3f8a1b7c15\n";
    home.write("mine/a.yml", own(id, "org.block_user"));
    home.write("mine/b.yml", own(id, "org.unblock_user"));
    for paths in
        [&["rule", "lint", "-o", "ndjson"][..], &["rule", "lint", "mine/b.yml", "-o", "ndjson"]]
    {
        let lint = home.run(paths).expect(3).ndjson();
        let error: Vec<_> = lint.iter().filter(|row| row["severity"] == "error").collect();
        assert_eq!(error[0]["file"], "mine/b.yml");
        assert!(error[0]["message"].as_str().unwrap().contains("mine/a.yml:1"), "{error:?}");
    }
    let lint = home.run(&["rule", "lint", "mine/a.yml"]).expect(0);
    assert!(lint.out.contains("mine/b.yml:1, which is not loaded"), "{}", lint.out);
    let doctor = home.run(&["doctor"]).expect(3);
    assert!(
        doctor.out.contains("mine/b.yml:1") && doctor.out.contains("mine/a.yml:1"),
        "{}",
        doctor.out
    );
}

#[test]
fn lint_tells_every_error_of_a_document() {
    let home = Home::default();
    home.write("wrong.yml", "titel: x\nid: 1\nlogsource: {product: github}\ndetection:\n  s:\n    action|oops: a\n    b|ha: c\n  condition: s and t\n");
    let lint = home.run(&["rule", "lint", "wrong.yml", "-o", "ndjson"]).expect(3).ndjson();
    let errors = lint.iter().filter(|row| row["severity"] == "error");
    let lines: Vec<_> = errors.map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 2, 6, 7, 8]);
}

#[test]
fn explain_counts_for_a_rule_that_counts() {
    let home = Home::default();
    let clone = |repo: usize, second: usize| {
        let mut event = clone_of(repo);
        event["@timestamp"] = json!(1_767_603_600_000_i64 + second as i64 * 1000);
        event["_document_id"] = json!(format!("{repo}-{second}"));
        event.to_string()
    };
    home.write("one", clone(0, 0));
    let explain = |file| home.run(&["rule", "explain", "mass-clone-by-token", file]).expect(0).out;
    let said = explain("one");
    assert!(said.contains("yes counted by rule mass-clone-by-token"), "{said}");
    assert!(
        said.contains("no  hashed_token or token_id \"h\": 1 of 10 distinct repo or repository within 5m needed"),
        "{said}"
    );
    let lines = |every: usize| (0..10).map(|n| clone(n, n * every)).collect::<Vec<_>>().join("\n");
    home.write("near", lines(40));
    let said = explain("near");
    assert!(
        said.contains(
            "8 of 10 distinct repo or repository within 5m needed; enough only within 6m"
        ),
        "{said}"
    );
    home.write("enough", lines(30));
    let said = explain("enough");
    assert!(
        said.contains(
            "yes hashed_token or token_id \"h\": 10 of 10 distinct repo or repository within 5m needed, from 2026-"
        ),
        "{said}"
    );
}

#[test]
fn rules_that_change_while_it_serves_are_taken_up_and_broken_ones_change_nothing() {
    let within = Duration::from_secs(60);
    let home = with_folder();
    home.write("mine/own.yml", own("name: own\n", "org.block_user"));
    let server = Server::start(&home);
    let status = || home.run(&["status", "-o", "json"]).expect(0).json()["rules"].clone();
    let loaded = status()["loaded"].as_u64().unwrap();
    let mut number = 0;
    // Imports one event and waits until an event after it, which ships a rule, has been judged.
    let mut finds = |action: &str| {
        number += 1;
        let event = |id: String, action: &str, actor: String| json!({"_document_id": id, "action": action, "actor": actor, "org": format!("octo-{number}"), "@timestamp": 1_767_603_600_000_i64});
        let events = [
            event(format!("a{number}"), action, "mona".into()),
            event(format!("z{number}"), "org.disable_two_factor_requirement", "mona".into()),
        ];
        home.write("events", events.map(|event| event.to_string()).join("\n"));
        home.run(&["import", "events"]).expect(0);
        let org = format!("octo-{number}");
        let of_org = |finding: &&Value| finding["evidence"][0]["record"]["org"] == json!(org);
        until("the finding of the shipped rule", within, || {
            let found = home
                .run(&["finding", "list", "--limit", "1000", "-o", "ndjson"])
                .expect(0)
                .ndjson();
            let names: Vec<_> =
                found.iter().filter(of_org).map(|one| one["rule"]["name"].clone()).collect();
            names
                .contains(&json!("two-factor-requirement-disabled"))
                .then(|| names.contains(&json!("own")))
        })
    };
    assert!(finds("org.block_user") && !finds("org.unblock_user"));

    home.write("mine/own.yml", own("name: own\n", "org.unblock_user"));
    until("the edit", within, || finds("org.unblock_user").then_some(()));
    assert!(!finds("org.block_user"), "the rule before is gone");

    home.write(
        "mine/own.yml",
        own("name: own\n", "org.unblock_user").replace("action:", "action|oops:"),
    );
    let refused = until("the broken edit", within, || status()["refused"].get(0).cloned());
    assert_eq!(refused["name"], "mine/own.yml:6");
    let shown = home.run(&["status"]).expect(0).out;
    assert!(shown.contains("REFUSED: mine/own.yml:6: unknown modifier `oops`"), "{shown}");
    assert_eq!(status()["loaded"], loaded);
    assert!(finds("org.unblock_user"), "what was in force stays in force");

    std::fs::remove_file(home.path("mine/own.yml")).unwrap();
    until("the deletion", within, || (status()["loaded"] == loaded - 1).then_some(()));
    assert_eq!(status()["refused"], json!([]));
    until("the rule's end", within, || (!finds("org.unblock_user")).then_some(()));
    assert!(server.stop().success());
}
