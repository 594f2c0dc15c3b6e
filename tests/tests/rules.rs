//! The cases of the shipped rules, and cases of somebody else's.
#![allow(clippy::unwrap_used)]

use hubwarden_testkit::Home;
use serde_json::json;

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
