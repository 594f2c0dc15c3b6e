//! A reader that goes away, as `| head -0` does, is no failure of any command: no panic, the same exit code.
#![allow(clippy::unwrap_used)]

use std::io::pipe;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hubwarden_testkit::{Home, Server, until};

/// Runs to the end with outputs that nobody reads.
fn run_unread(mut command: Command, errors: bool) -> Output {
    let (reader, writer) = pipe().unwrap();
    if errors {
        command.stderr(writer.try_clone().unwrap());
    } else {
        command.stderr(Stdio::piped());
    }
    command.stdout(writer);
    drop(reader); // before the first byte is written
    let child = command.spawn().unwrap();
    drop(command); // and with it this process's own ends of the pipe
    child.wait_with_output().unwrap()
}

fn check(home: &Home, args: &[&str]) {
    let expected = home.run(args).code;
    assert!((0..=4).contains(&expected), "{args:?} ended with {expected}");
    let ran = run_unread(home.command(args), false);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(expected), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    let ran = run_unread(home.command(args), true);
    assert_eq!(ran.status.code(), Some(expected), "{args:?} with closed standard error");
}

const EVENT: &str = r#"{"action":"org.disable_saml","actor":"a","org":"o","@timestamp":1790000000000,"_document_id":"1"}"#;

#[test]
fn no_command_panics_when_nobody_reads() {
    let home = Home::new("[log]\nfilter = \"trace\"\n");
    home.write("off.ndjson", format!("{EVENT}\nneither this nor that\n"));
    home.run(&["import", "off.ndjson"]).expect(0);
    let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
    let id = found[0]["id"].as_str().unwrap();
    for args in [
        &["--help"][..],
        &["--version"],
        &["nonsense"],
        &["init", "--force", "--config", "other.toml"],
        &["config", "show", "--origin"],
        &["config", "validate"],
        &["status"],
        &["status", "--link"],
        &["doctor"],
        &["scan", "off.ndjson", "missing", "--fail-on", "low"],
        &["scan", "off.ndjson", "-o", "json"],
        &["scan", "off.ndjson", "-o", "csv"],
        &["import", "off.ndjson"],
        &["finding", "list", "-o", "table"],
        &["finding", "list", "--limit", "0"],
        &["finding", "get", id],
        &["finding", "explain", id],
        &["finding", "timeline", id],
        &["finding", "get", "NOPE"],
        &["event", "normalize", "off.ndjson"],
        &["source", "list"],
        &["source", "get", "NOPE"],
        &["rule", "list"],
        &["rule", "get", "sso-disabled"],
        &["rule", "lint"],
        &["rule", "test", "sso-disabled"],
        &["rule", "explain", "sso-disabled", "off.ndjson"],
        &["demo", "--no-serve", "--events", "1000", "--days", "1"],
    ] {
        check(&home, args);
    }
}

#[test]
fn a_server_is_asked_by_commands_that_nobody_reads() {
    let home = Home::default();
    let server = Server::start(&home);
    for args in [
        &["status"][..],
        &["status", "--link"],
        &["finding", "list"],
        &["source", "list"],
        &["rule", "list"],
        &["doctor"],
    ] {
        check(&home, args);
    }
    assert!(server.stop().success());
}

/// A process that does not outlive the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill()); // it may have ended already
        drop(self.0.wait());
    }
}

#[test]
fn a_server_whose_log_nobody_reads_goes_on() {
    let home = Home::new("[log]\nfilter = \"debug\"\n");
    let mut command = home.command(&["serve"]);
    let (reader, writer) = pipe().unwrap();
    let mut server = Killed(command.stdout(Stdio::null()).stderr(writer).spawn().unwrap());
    drop((command, reader));
    let patience = Duration::from_secs(60);
    until("the server's start", patience, || {
        home.data().join("server.json").exists().then_some(())
    });
    for number in 1..=2 {
        let event = EVENT.replace(r#""org":"o""#, &format!(r#""org":"o{number}""#));
        home.write("off.ndjson", event.replace(r#":"1""#, &format!(r#":"{number}""#)));
        home.run(&["import", "off.ndjson"]).expect(0);
        until("the finding", patience, || {
            assert_eq!(server.0.try_wait().unwrap(), None, "the server ended");
            let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
            (found.len() == number).then_some(())
        });
    }
}
