//! What could not be read, over a running server: shown, put back, and not twice unseen.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hubwarden_testkit::{Home, Server, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn letters(home: &Home) -> Vec<Value> {
    home.run(&["dead-letter", "list", "-o", "ndjson"]).expect(0).ndjson()
}

#[test]
fn a_dead_letter_is_put_back_and_read_again() {
    let home = Home::new("");
    let server = Server::start(&home);
    let bad = "{\"actor\":\"\\u001b[31mocto\"}";
    let good =
        r#"{"_document_id":"1","@timestamp":1741611463961,"action":"repo.create","actor":"octo"}"#;
    home.write("some.ndjson", format!("{good}\n{bad}\n"));
    home.run(&["import", "some.ndjson"]);
    let found = until("the dead letter", PATIENCE, || {
        let found = letters(&home);
        (found.len() == 1).then_some(found)
    });
    let id = found[0]["id"].as_str().unwrap();
    assert_eq!(found[0]["topic"], "raw.dead");
    assert!(found[0]["origin"].as_str().unwrap().ends_with("some.ndjson:2"), "{found:?}");
    let shown = home.run(&["dead-letter", "list"]).expect(0);
    assert!(shown.out.contains(id) && !shown.out.contains('\u{1b}'), "{}", shown.out);

    let retried = home.run(&["dead-letter", "retry", id, "-o", "json"]).expect(0).json();
    assert_eq!(retried["put"], 1);
    // It is read again, and is again no event: the whole way was gone.
    let found = until("the second letter", PATIENCE, || {
        let found = letters(&home);
        (found.len() == 2).then_some(found)
    });
    assert_eq!(found[0]["hash"], found[1]["hash"], "the same record");
    assert_eq!(found[0]["connection"], found[1]["connection"]);
    assert_eq!(found[0]["origin"], found[1]["origin"]);
    assert_eq!(found[1]["retry"]["by"], "operator");
    assert_eq!(found[1]["retry"]["arrived"], true);
    let refused = home.run(&["dead-letter", "retry", id]).expect(1);
    assert!(refused.err.contains("--again repeats it"), "{}", refused.err);
    home.run(&["dead-letter", "retry", "raw.dead-0-999"]).expect(1);
    home.run(&["dead-letter", "retry", "nonsense"]).expect(1);

    let status = home.run(&["status"]).expect(0).out;
    assert!(status.contains("dead letters on raw.dead: 2, 1 not put back"), "{status}");
    let top = home.run(&["top"]).expect(0).out;
    assert!(top.contains("NORMALIZER") || top.contains("normalizer"), "{top}");
    let sample = home.run(&["top", "--once", "-o", "json"]).expect(0).json();
    assert_eq!(sample["stages"].as_array().unwrap().len(), 4);
    assert_eq!(sample["stages"][0]["members"].as_array().unwrap().len(), 1, "this process");

    // The same asked of a console by its address and a token.
    let address: Value =
        serde_json::from_slice(&std::fs::read(home.data().join("server.json")).unwrap()).unwrap();
    let url = format!("http://{}", address["listen"].as_str().unwrap());
    home.write("right.token", address["api_token"].as_str().unwrap());
    home.write("wrong.token", "wrong");
    for token in ["right", "wrong"] {
        let remote = format!("[remote]\ntoken = {{ file = \"{token}.token\" }}\n");
        home.write(&format!("{token}.toml"), &remote);
    }
    for (config, code) in [("right.toml", 0), ("wrong.toml", 4)] {
        for command in [&["status"][..], &["top", "--once"], &["dead-letter", "list"]] {
            let mut args = command.to_vec();
            // A folder of no server, so that nothing but the address can answer.
            args.extend(["--server", &url, "--config", config, "--data-dir", "elsewhere"]);
            home.run(&args).expect(code);
        }
    }
    home.run(&["top", "--server", &url]).expect(4);
    server.stop();
    home.run(&["top"]).expect(1);
}
