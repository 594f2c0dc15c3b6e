//! Bad files, lines, configurations and folders: a clear word each, nothing lost, no panic.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::time::Duration;

use hubwarden_bus::{Bus, Journal, Limit, Source, topic};
use hubwarden_event::{DeadLetter, MAX_DEAD_BYTES};
use hubwarden_proto::decode_dead_letter;
use hubwarden_testkit::{Home, Server, until};
use serde_json::{Value, json};

/// An event that is a finding by itself.
fn sso_off(number: i64) -> String {
    json!({
        "action": "org.disable_saml", "actor": "mallory", "org": "octo",
        "@timestamp": 1_790_000_000_000 + number * 1000, "_document_id": format!("d{number}"),
    })
    .to_string()
}

fn lines(count: i64) -> String {
    (0..count).map(|number| sso_off(number) + "\n").collect()
}

fn counts(findings: &[Value]) -> Vec<u64> {
    findings.iter().map(|finding| finding["count"].as_u64().unwrap()).collect()
}

/// The dead letters of a stopped home.
async fn dead_letters(home: &Home) -> Vec<DeadLetter> {
    let journal = Journal::open_read_only(home.data().join("journal")).unwrap();
    let mut reader = journal.reader("check", &[topic::RAW_DEAD]).unwrap();
    let mut letters = Vec::new();
    while reader.positions() != reader.ends().await.unwrap() {
        let batch = reader.next_batch(Limit::default()).await.unwrap();
        letters.extend(batch.records.into_iter().map(|one| decode_dead_letter(one.body).unwrap()));
    }
    letters
}

#[tokio::test]
async fn a_truncated_gzip_gives_what_stands_before_the_cut() {
    let home = Home::default();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines(3000).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    home.write("cut.json.gz", &whole[..whole.len() / 2]);
    let ran = home.run(&["scan", "cut.json.gz", "-o", "ndjson"]).expect(0);
    let [finding] = ran.ndjson().try_into().unwrap();
    let count = finding["count"].as_u64().unwrap();
    assert!((100..3000).contains(&count), "{count}");
    assert!(ran.err.contains(&format!("{} read, 1 rejected", count + 1)), "{}", ran.err);
    let place = format!("cut.json.gz:{}: the gzip data ends too early", count + 1);
    assert!(ran.err.contains(&place) && ran.err.contains("copy it again"), "{}", ran.err);

    home.run(&["import", "cut.json.gz"]).expect(0);
    let [letter] = dead_letters(&home).await.try_into().unwrap();
    let origin = letter.origin.unwrap();
    assert_eq!((&*origin.file, origin.line), ("cut.json.gz", count + 1));
    assert!(letter.reason.contains("truncated"), "{}", letter.reason);
    let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
    assert_eq!(counts(&found), [count], "what stands before the cut is kept");
}

#[test]
fn a_binary_file_is_named_and_the_next_file_is_read() {
    let home = Home::default();
    let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at * 37 + at / 256 * 11) as u8).collect();
    home.write("program", bytes);
    home.write("good.ndjson", lines(2));
    let ran = home.run(&["scan", "program", "good.ndjson", "-o", "ndjson"]).expect(0);
    assert!(ran.err.contains("program:1: the file is binary"), "{}", ran.err);
    assert!(ran.err.contains("3 read, 1 rejected"), "{}", ran.err);
    assert_eq!(counts(&ran.ndjson()), [2]);
}

#[test]
fn a_missing_file_is_an_error_and_an_empty_one_is_not() {
    let home = Home::default();
    let ran = home.run(&["scan", "nowhere.json"]).expect(1);
    assert!(ran.err.contains("cannot read nowhere.json; check the name"), "{}", ran.err);
    home.write("empty", "");
    let ran = home.run(&["scan", "empty"]).expect(0);
    assert!(ran.err.contains("0 read, 0 rejected"), "{}", ran.err);
}

/// Writes one line of this many MiB between two good ones.
fn long_line(out: &mut dyn Write, mib: usize) -> std::io::Result<()> {
    out.write_all(lines(1).as_bytes())?;
    out.write_all(b"{\"action\":\"org.disable_saml\",\"x\":\"")?;
    let part = vec![b'a'; 1 << 20];
    for _ in 0..mib {
        out.write_all(&part)?;
    }
    out.write_all(b"\"}\n")?;
    out.write_all(sso_off(1).as_bytes())
}

#[tokio::test]
async fn a_line_of_200_mib_is_kept_in_part_within_bounded_memory() {
    let home = Home::default();
    let (ran, memory) = home.run_fed(&["scan", "-", "-o", "ndjson"], |input| long_line(input, 200));
    let ran = ran.expect(0);
    assert!(memory.peak_kib < 150 << 10, "{memory:?}");
    assert!(ran.err.contains("3 read, 1 rejected") && ran.err.contains("-:2: "), "{}", ran.err);
    assert_eq!(counts(&ran.ndjson()), [2], "the lines around it are judged");

    let (ran, memory) = home.run_fed(&["import", "-"], |input| long_line(input, 200));
    let ran = ran.expect(0);
    assert!(memory.peak_kib < 200 << 10, "{memory:?}");
    assert!(ran.err.contains("3 read, 1 rejected"), "{}", ran.err);
    let [letter] = dead_letters(&home).await.try_into().unwrap();
    assert_eq!(letter.record.len(), MAX_DEAD_BYTES, "the first 64 KiB are kept");
    assert!(letter.record.starts_with(b"{\"action\":\"org.disable_saml\""));
    assert_eq!(letter.origin.unwrap().line, 2);
    let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
    assert_eq!(counts(&found), [2]);
}

#[tokio::test]
async fn every_odd_line_is_named_or_read_and_the_rest_goes_on() {
    let event = |time: &str, actor: &str| {
        format!(
            r#"{{"action":"org.disable_saml","org":"o","@timestamp":{time},"actor":"{actor}"}}"#
        )
    };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let mut invalid = event("1790000000001", "a-b").into_bytes();
    let dash = invalid.iter().position(|byte| *byte == b'-').unwrap();
    invalid[dash] = 0xff;
    // each line with the reason of its refusal, or none when it is an event
    let table: Vec<(Vec<u8>, Option<&str>)> = vec![
        (event("1790000000000", &deep).into(), None), // only text that looks deep
        (
            format!(r#"{{"action":"org.disable_saml","org":"o","data":{deep}}}"#).into(),
            Some("nested deeper"),
        ),
        (objects.into(), Some("nested deeper")),
        (invalid, Some("not UTF-8 at byte")),
        (event("1790000000002", "first\",\"actor\":\"last").into(), None),
        (
            event("1790000000003", "big\",\"actor_id\":92233720368547758080123,\"x\":\"").into(),
            None,
        ),
        (event("1790000000", "seconds").into(), None),
        (event("86400000", "of-1970").into(), None),
        (event("4102444800000", "of-2100").into(), None),
        (event("92233720368547758080123", "never").into(), Some("`@timestamp` is not a time")),
        (br#"{"action":7,"@timestamp":1790000000004}"#.into(), Some("`action` is not text")),
        (b"neither this nor that".into(), Some("neither a JSON object")),
        (br#"{"action":"x.y""#.into(), Some("not a JSON object")),
        (br#"{"actor":"a","@timestamp":1790000000005}"#.into(), Some("`action` is missing")),
    ];
    let home = Home::default();
    let all: Vec<&[u8]> = table.iter().map(|(line, _)| line.as_slice()).collect();
    home.write("odd.ndjson", all.join(&b'\n'));
    let ran = home.run(&["scan", "odd.ndjson", "-o", "ndjson"]).expect(0);
    let refused = table.iter().filter(|(_, reason)| reason.is_some()).count();
    let summary = format!("{} read, {refused} rejected", table.len());
    assert!(ran.err.contains(&summary), "{}", ran.err);
    for (number, (_, reason)) in (1..).zip(&table) {
        let place = format!("odd.ndjson:{number}: ");
        let said = ran.err.lines().find(|line| line.contains(&place));
        match reason {
            None => assert_eq!(said, None),
            Some(reason) => {
                assert!(said.is_some_and(|said| said.contains(reason)), "{said:?} {reason}")
            }
        }
    }
    let found = ran.ndjson();
    let seen: Vec<&str> =
        found.iter().map(|finding| finding["first_seen"].as_str().unwrap()).collect();
    assert!(seen.contains(&"1970-01-02T00:00:00.000Z"), "{seen:?}");
    assert!(seen.contains(&"2100-01-01T00:00:00.000Z"), "{seen:?}");
    let kept = counts(&found).iter().sum::<u64>();
    assert_eq!(kept, (table.len() - refused) as u64, "every line that is an event is judged");

    // import keeps what scan only names
    home.run(&["import", "odd.ndjson"]).expect(0);
    let letters = dead_letters(&home).await;
    assert_eq!(letters.len(), refused);
    assert!(letters.iter().all(|letter| letter.length > 0 && !letter.record.is_empty()));
}

#[test]
fn every_step_of_an_odd_event_can_be_seen() {
    let home = Home::default();
    home.write(
        "odd.ndjson",
        r#"{"action":"a.b","@timestamp":1790000000,"_document_id":"1"}
{"action":"a.b","@timestamp":4102444800000,"_document_id":"2"}
{"action":"first.one","action":"org.disable_saml","@timestamp":1790000000000,"actor_id":92233720368547758080123,"_document_id":"3"}
"#,
    );
    let ran = home.run(&["event", "normalize", "odd.ndjson", "-o", "ndjson"]).expect(0);
    let [seconds, future, twice] = ran.ndjson().try_into().unwrap();
    assert_eq!(seconds["time"]["written_as"], "seconds");
    assert_eq!(seconds["time"]["occurred_at"], "2026-09-21T14:13:20.000Z");
    assert_eq!(
        (&future["time"]["suspect"], &seconds["time"]["suspect"]),
        (&json!(true), &json!(false))
    );
    assert!(
        seconds["warnings"].to_string().contains("1 × time in seconds"),
        "it is counted: {seconds}"
    );
    assert!(twice.to_string().contains("92233720368547758080123"), "the number stays as sent");
}

#[test]
fn names_with_escapes_markup_and_formulas_are_only_shown() {
    let home = Home::default();
    let name = "o/\u{1b}[2J\u{202e}<script>alert(1)</script>";
    let event = json!({
        "action": "repo.access", "actor": "=HYPERLINK(\"http://evil.example\")", "org": "octo",
        "repo": name, "visibility": "public", "previous_visibility": "private",
        "@timestamp": 1_790_000_000_000_i64, "_document_id": "1",
    });
    home.write("names.ndjson", event.to_string());
    let bad = |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let table = home.run(&["scan", "names.ndjson"]).expect(0);
    assert!(table.out.contains("<script>") && !bad(&table.out), "{}", table.out);
    let csv = home.run(&["scan", "names.ndjson", "-o", "csv"]).expect(0);
    assert!(csv.out.contains("'=HYPERLINK"), "a quote precedes the formula: {}", csv.out);
    assert!(!bad(&csv.out), "{}", csv.out);
    for before in ["\n", ",", "\""] {
        for sign in ['=', '+', '-', '@'] {
            assert!(!csv.out.contains(&format!("{before}{sign}")), "{}", csv.out);
        }
    }
    let json = home.run(&["scan", "names.ndjson", "-o", "ndjson"]).expect(0);
    assert!(!json.out.contains('\u{1b}'), "{}", json.out);
    assert_eq!(json.ndjson()[0]["evidence"][0]["record"]["repo"], name, "programs get it as sent");
    home.run(&["import", "names.ndjson"]).expect(0);
    let id = json.ndjson()[0]["id"].as_str().unwrap().to_owned();
    let listed = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
    assert_ne!(listed[0]["id"], id, "another connection");
    let id = listed[0]["id"].as_str().unwrap();
    for command in ["get", "explain", "timeline"] {
        let shown = home.run(&["finding", command, id]).expect(0);
        assert!(!bad(&shown.out) && !shown.out.is_empty(), "{command}: {}", shown.out);
    }
    // a command line is terminal too
    let named = home.run(&["scan", "no\u{1b}[2Jfile"]).expect(1);
    assert!(!named.err.contains('\u{1b}'), "{}", named.err);
}

#[test]
fn a_finding_above_the_gate_sets_the_exit_code() {
    let home = Home::default();
    home.write("off.ndjson", lines(1));
    let fails = |severity| home.run(&["scan", "off.ndjson", "--fail-on", severity]).code;
    assert_eq!((fails("critical"), fails("low")), (3, 3));
    home.write("quiet.ndjson", r#"{"action":"repo.create","@timestamp":1790000000000}"#);
    assert_eq!(home.run(&["scan", "quiet.ndjson", "--fail-on", "informational"]).code, 0);
    let ran = home.run(&["scan", "off.ndjson", "--fail-on", "worst"]).expect(2);
    assert!(ran.err.contains("worst"), "{}", ran.err);
}

#[test]
fn an_unknown_configuration_key_is_named_with_the_one_that_was_meant() {
    let home = Home::new("[storage]\nkeep_dayss = 3\n");
    for command in [&["config", "validate"][..], &["serve"], &["scan", "x"], &["doctor"]] {
        let ran = home.run(command).expect(2);
        assert!(ran.err.contains("`storage.keep_dayss`"), "{}", ran.err);
        assert!(ran.err.contains("did you mean `keep_days`"), "{}", ran.err);
    }
    let home = Home::default();
    let mut command = home.command(&["config", "validate"]);
    let ran = command.env("HUBWARDEN__STORAGE__KEEP_DAYSS", "3").output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "the environment is checked too: {ran:?}");
    let home = Home::new("[storage]\nkeep_days = 0\n");
    let ran = home.run(&["config", "validate"]).expect(2);
    assert!(ran.err.contains("storage.keep_days"), "{}", ran.err);
}

#[test]
fn a_rule_file_with_a_mistake_is_named_by_line_and_the_others_load() {
    let home = Home::new("[rules]\ndirs = [\"mine\"]\n");
    let rule = |name: &str, id: &str, field: &str| {
        format!(
            "title: {name}\nname: {name}\nid: {id}\nlogsource: {{ product: github, service: audit }}\n\
             detection:\n  selection:\n    {field}: org.disable_saml\n  condition: selection\nlevel: low\n"
        )
    };
    home.write("mine/fine.yml", rule("fine", "6f0c3a52-8c0e-4f0e-9d55-2f3f8a1b7c12", "action"));
    home.write(
        "mine/wrong.yml",
        rule("wrong", "6f0c3a52-8c0e-4f0e-9d55-2f3f8a1b7c13", "action|startwith"),
    );
    home.write("mine/yaml.yml", "title: [\n");
    home.write("off.ndjson", lines(1));
    let rules = |ran: &[Value]| {
        let names = ran.iter().map(|finding| finding["rule"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let ran = home.run(&["scan", "off.ndjson", "-o", "ndjson"]).expect(0);
    assert_eq!(rules(&ran.ndjson()), ["sso-disabled", "fine"]);
    assert!(ran.err.contains("mine/wrong.yml:7: unknown modifier `startwith`"), "{}", ran.err);
    assert!(ran.err.contains("mine/yaml.yml:"), "{}", ran.err);
    let doctor = home.run(&["doctor", "-o", "json"]).expect(3);
    assert!(doctor.out.contains("mine/wrong.yml:7"), "{}", doctor.out);
    let lint = home.run(&["rule", "lint", "mine"]).expect(3);
    assert!(lint.out.contains("mine/wrong.yml:7"), "{}", lint.out);
    let server = Server::start(&home);
    assert!(server.said().contains("mine/wrong.yml:7"), "{}", server.said());
    home.run(&["import", "off.ndjson"]).expect(0);
    until("both findings", Duration::from_secs(60), || {
        let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
        (rules(&found) == ["sso-disabled", "fine"]).then_some(())
    });
    assert!(server.stop().success());
}

#[test]
fn a_port_that_is_taken_and_a_folder_in_use_are_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::default();
    let ran = home.command(&["serve"]).env("HUBWARDEN__SERVER__LISTEN", &address).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    assert!(said.contains("server.listen"), "the next step is named: {said}");

    let server = Server::start(&home);
    let second = home.run(&["serve"]).expect(1);
    assert!(second.err.contains("in use by another process"), "{}", second.err);
    // commands that can, work through the running server instead
    home.write("off.ndjson", lines(3));
    home.run(&["import", "off.ndjson"]).expect(0);
    until("the finding", Duration::from_secs(60), || {
        let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
        (counts(&found) == [3]).then_some(())
    });
    let doctor = home.run(&["doctor"]).expect(0);
    assert!(doctor.out.contains("a server runs on it"), "{}", doctor.out);
    assert!(server.stop().success());
    let found = home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson();
    assert_eq!(counts(&found), [3], "the findings outlive the server");
    let status = home.run(&["status"]).expect(0);
    assert!(status.err.contains("no server runs"), "{}", status.err);
}

#[test]
fn a_full_disk_refuses_and_what_was_taken_before_stays() {
    let home = Home::default();
    home.write("first.ndjson", lines(2));
    home.write("second.ndjson", sso_off(5));
    home.run(&["import", "first.ndjson"]).expect(0);
    // more than any disk has: to the journal the disk is full
    let said = home.path("said");
    let mut command = home.command(&["import", "second.ndjson"]);
    command.env("HUBWARDEN__STORAGE__FREE_FLOOR_MIB", "1000000000000");
    command.stderr(std::fs::File::create(&said).unwrap());
    let mut waiting = command.spawn().unwrap();
    until("the complaint", Duration::from_secs(60), || {
        let said = std::fs::read_to_string(&said).unwrap();
        (said.contains("no room on the disk") && said.contains("make room")).then_some(())
    });
    assert!(waiting.try_wait().unwrap().is_none(), "it waits for room instead of losing anything");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let list = || counts(&home.run(&["finding", "list", "-o", "ndjson"]).expect(0).ndjson());
    assert_eq!(list(), [2]);
    home.run(&["import", "second.ndjson"]).expect(0);
    assert_eq!(list(), [3], "with room again it goes on");
}
