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
    let ran = home.run(&["scan", "cut.json.gz", "-o", "ndjson"]).expect(1);
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
    let ran = home.run(&["scan", "program", "good.ndjson", "-o", "ndjson"]).expect(1);
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
fn a_gate_that_could_not_see_everything_is_not_met() {
    let home = Home::default();
    let quiet = "{\"action\":\"repo.create\",\"@timestamp\":1790000000000}\n";
    home.write("quiet.ndjson", quiet);
    home.write("odd.ndjson", format!("{quiet}neither this nor that\n"));
    home.write("cut.json", format!("[{quiet},"));
    home.write("cut-inside.json", "[{\"action\":\"repo.create\",\"@times");
    home.write("binary", [0_u8, 1, 2, 3].repeat(200));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(quiet.repeat(3000).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    home.write("cut.gz", &whole[..whole.len() - 20]);
    home.write("damaged.gz", [&whole[..20], &[0xff; 20], &whole[40..]].concat());
    for (file, code, reason) in [
        ("odd.ndjson", 0, "not everything was judged: 1 record rejected"),
        ("cut.json", 1, "1 file not read whole (cut.json)"),
        ("cut-inside.json", 1, "1 file not read whole (cut-inside.json)"),
        ("binary", 1, "1 file not read whole (binary)"),
        ("cut.gz", 1, "1 file not read whole (cut.gz)"),
        ("damaged.gz", 1, "1 file not read whole (damaged.gz)"),
        ("missing", 1, "1 file not read whole (missing)"),
        (".", 1, "1 file not read whole (.)"),
    ] {
        let files = ["scan", "quiet.ndjson", file];
        assert_eq!(home.run(&files).code, code, "{file}");
        let ran = home.run(&[&files[..], &["--fail-on", "critical"]].concat());
        assert_eq!(ran.code, 3, "{file}: {ran:?}");
        assert!(ran.err.contains("the gate is not met") && ran.err.contains(reason), "{}", ran.err);
    }
    // lines of other programs are no records
    home.write("syslog", "<13>Nov  1 10:00:00 host cron[1]: done\n");
    home.run(&["scan", "quiet.ndjson", "syslog", "--fail-on", "low"]).expect(0);
}

#[test]
fn a_missing_file_hides_nothing_of_the_others() {
    let home = Home::default();
    home.write("off.ndjson", lines(2));
    let ran = home.run(&["scan", "missing", "off.ndjson", "-o", "ndjson"]).expect(1);
    assert_eq!(counts(&ran.ndjson()), [2]);
    assert!(ran.err.contains("cannot read missing; check the name"), "{}", ran.err);
    let ran = home.run(&["scan", "off.ndjson", "missing", "--fail-on", "low"]).expect(3);
    let both = "1 finding of at least low; not everything was judged: 1 file not read whole";
    assert!(ran.err.contains(both), "{}", ran.err);
    let help = home.run(&["scan", "--help"]).expect(0);
    assert!(help.out.contains("missing, cut short, damaged or binary"), "{}", help.out);
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
fn a_value_of_the_wrong_form_names_its_key_and_the_right_forms() {
    let connection = "[[github]]\nname = 'a'\nid = 'a'\norg = 'o'\n";
    let token = "expected `{ file = \"PATH\" }` or `{ env = \"NAME\" }`";
    let list =
        "expected values such as [\"a\", \"b\"], or { file = \"PATH\" } with one value a line";
    let wait = "expected a text with numbers and units, such as \"60s\", \"15m\" or \"1h 30m\"";
    for (text, key, part) in [
        (format!("{connection}token = 'ghp_real'\n"), "github[0].token", token),
        (format!("{connection}token = {{ fil = 'x' }}\n"), "github[0].token", token),
        (
            format!("{connection}token = {{ file = 'x', env = 'Y' }}\n"),
            "github[0].token",
            "only one",
        ),
        (format!("{connection}token = []\n"), "github[0].token", token),
        ("[log]\nformat = 'xml'\n".into(), "log.format", "`xml` is none of text, json"),
        ("[lists]\nown_hooks = 'x'\n".into(), "lists.own_hooks", list),
        ("[lists]\nown_hooks = { fil = 'x' }\n".into(), "lists.own_hooks", list),
        ("[lists]\nown_hooks = {}\n".into(), "lists.own_hooks", list),
        ("[lists]\nown_hooks = ['1', 2]\n".into(), "lists.own_hooks[1]", "expected a string"),
        (
            format!("{connection}token = {{ env = 'T' }}\npoll = {{ interval = 60 }}\n"),
            "github[0].poll.interval",
            wait,
        ),
        (
            format!("{connection}token = {{ env = 'T' }}\npoll = {{ overlap = 'soon' }}\n"),
            "github[0].poll.overlap",
            wait,
        ),
    ] {
        let home = Home::new(&text);
        let ran = home.run(&["config", "validate"]).expect(2);
        let said = &ran.err;
        assert!(said.contains(&format!("key `{key}")) && said.contains(part), "{text}{said}");
        assert!(!said.contains("ghp_real") && !said.contains("variant"), "{said}");
    }
}

#[test]
fn only_what_is_near_is_suggested() {
    let connection = "name = 'octo'\nid = 'a'\norg = 'o'\ntoken = { env = 'T' }\n";
    let home = Home::new(&format!("[[github]]\n{connection}"));
    home.write("off.ndjson", lines(1));
    for (args, part, suggests) in [
        (&["rule", "explain", "NOPE", "off.ndjson"][..], "`hubwarden rule list` shows all", false),
        (&["rule", "get", "sso-disable"], "did you mean `sso-disabled`?", true),
        (&["import", "off.ndjson", "--connection", "otco"], "did you mean `octo`?", true),
        (&["import", "off.ndjson", "--connection", "else"], "there are octo", false),
    ] {
        let ran = home.run(args).expect(2);
        assert!(ran.err.contains(part), "{}", ran.err);
        assert_eq!(ran.err.contains("did you mean"), suggests, "{}", ran.err);
    }
    let ran = Home::new("[storage]\nfolder = 'x'\n").run(&["config", "validate"]).expect(2);
    assert!(ran.err.contains("the keys here are data_dir"), "{}", ran.err);
}

#[test]
fn validating_a_configuration_reads_its_rules_and_lists() {
    for (config, code, part) in [
        ("[rules]\ndirs = ['nowhere']\n", 2, "nowhere"),
        ("[lists]\nmachine_users = { file = 'nowhere.txt' }\n", 2, "nowhere.txt"),
        ("[lists]\nrunner_egress = ['nonsense']\n", 2, "lists.runner_egress"),
        ("[rules]\ndirs = ['mine']\n", 2, "mine/wrong.yml:1"),
        ("[lists]\nmachine_user = ['a']\n", 0, "lists.machine_user: no rule uses"),
        ("[lists]\nmachine_users = ['a']\n", 0, "fine"),
    ] {
        let home = Home::new(config);
        home.write("mine/wrong.yml", "title: [\n");
        let ran = home.run(&["config", "validate"]).expect(code);
        assert!(ran.err.contains(part), "{}", ran.err);
        let doctor = home.run(&["doctor"]).expect(if code == 2 { 3 } else { 0 });
        let what = part.split(':').next().unwrap();
        assert!(part == "fine" || doctor.out.contains(what), "{}", doctor.out);
    }
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
