use bytes::Bytes;
use hubwarden_event::{CellKind, Feed, RunId};
use proptest::prelude::*;

use super::*;

/// When the tests' records were received: 2026-01-01.
const RECEIVED: i64 = 1_767_225_600_000;

/// A record of JSON with this payload.
pub(crate) fn raw(payload: &[u8]) -> RawRecord {
    RawRecord {
        connection: "c".into(),
        feed: Feed::Import,
        run: RunId::live(),
        source_id: "s".into(),
        received_at: Timestamp::from_millis(RECEIVED),
        content_type: ContentType::Json,
        payload: Bytes::copy_from_slice(payload),
        scrubs: vec![],
        origin: None,
        damage: None,
    }
}

fn normalizer() -> Normalizer {
    Normalizer::new(Arc::default())
}

fn event_of(raw: &RawRecord) -> (Event, Counts) {
    let mut normalizer = normalizer();
    let event = normalizer.normalize(raw, RawPosition::default()).unwrap();
    (event, normalizer.take_counts())
}

/// The event of a payload that is completed by an action and a time.
fn event(members: &str) -> (Event, Counts) {
    let comma = if members.is_empty() { "" } else { "," };
    let text = format!(r#"{{"@timestamp":1700000000000,"action":"repo.create"{comma}{members}}}"#);
    event_of(&raw(text.as_bytes()))
}

/// The cells of a field, `kind:text` each.
fn cells(event: &Event, name: &str) -> Vec<String> {
    let cells = event.record.cells().filter(|cell| cell.name == name);
    cells.map(|cell| format!("{:?}:{}", cell.kind, cell.text)).collect()
}

fn reason(raw: &RawRecord) -> String {
    normalizer().normalize(raw, RawPosition::default()).unwrap_err().to_string()
}

#[test]
fn says_why_a_record_is_rejected() {
    let deep = format!(
        r#"{{"action":"a.b","@timestamp":1,"x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let objects = format!(
        r#"{{"action":"a.b","@timestamp":1,"x":{}1{}}}"#,
        r#"{"x":"#.repeat(10_000),
        "}".repeat(10_000)
    );
    for (name, payload, wanted) in [
        ("empty", &b"{}"[..], "field `action` is missing"),
        ("no time", br#"{"action":"repo.create"}"#, "neither `@timestamp` nor `created_at`"),
        (
            "empty time",
            br#"{"action":"repo.create","created_at":""}"#,
            "neither `@timestamp` nor `created_at`",
        ),
        (
            "no such time",
            br#"{"action":"repo.create","created_at":"soon"}"#,
            "field `created_at` is not a time",
        ),
        ("number", br#"{"_document_id":"1","action":7}"#, "field `action` is not text"),
        ("object", br#"{"action":{"x":1}}"#, "field `action` is not text"),
        ("no name", br#"{"action":""}"#, "field `action` is empty"),
        ("array", b"[]", "not a JSON object but an array"),
        ("invalid UTF-8", b"{\"action\":\"a\xff\"}", "not UTF-8 at byte 12"),
        ("binary", b"\x7fELF\x02\x01\x01", "not a JSON object but something else"),
        ("two values", b"{}{}", "not a JSON object: trailing characters at line 1 column 3"),
        ("10,000 arrays deep", deep.as_bytes(), "nested deeper than 64 levels"),
        ("10,000 objects deep", objects.as_bytes(), "nested deeper than 64 levels"),
    ] {
        assert_eq!(reason(&raw(payload)), wanted, "{name}");
    }
}

#[test]
fn depth_64_passes_and_65_does_not() {
    for (arrays, passes) in [(63, true), (64, false)] {
        let text = format!(
            r#"{{"action":"a.b","@timestamp":1,"x":{}7{}}}"#,
            "[".repeat(arrays),
            "]".repeat(arrays)
        );
        let result = normalizer().normalize(&raw(text.as_bytes()), RawPosition::default());
        assert_eq!(result.is_ok(), passes, "{arrays} arrays in the object");
    }
}

#[test]
fn damage_that_the_collector_saw_is_the_reason() {
    let mut line = raw(&vec![b'x'; 64 * 1024]);
    line.content_type = ContentType::Unknown;
    line.damage = Some("line is longer than 26 MiB: 209715200 bytes".into());
    assert_eq!(reason(&line), "line is longer than 26 MiB: 209715200 bytes");
    line.damage = None;
    assert_eq!(reason(&line), "neither JSON, CSV nor a syslog line");
}

#[test]
fn a_dead_letter_keeps_64_kib_and_the_hash_of_all() {
    let mut long = raw(&vec![b'['; 100_000]);
    long.origin = Some(hubwarden_event::Origin { file: "f".into(), line: 7 });
    let rejected = normalizer().normalize(&long, RawPosition::default()).unwrap_err();
    let letter = crate::dead_letter(&long, RawPosition { partition: 1, offset: 9 }, &rejected);
    assert_eq!((letter.record.len(), letter.length), (64 * 1024, 100_000));
    assert_eq!(letter.hash, hubwarden_event::Hash::of(&long.payload));
    assert_eq!(letter.reason, "not a JSON object but an array");
    assert_eq!((letter.position.offset, letter.origin.unwrap().line), (9, 7));
    let around = *letter.envelope.unwrap();
    assert!(around.payload.is_empty());
    assert_eq!(hubwarden_event::RawRecord { payload: long.payload.clone(), ..around }, long);
}

#[test]
fn values_stay_as_sent() {
    let (event, counts) = event(
        r#""user":"","user_id":0,"issuer":null,"big":18446744073709551617,"half":1.50,"exp":1E5,
        "yes":true,"org":["a","b"],"nested":[[1,[2]],[]],"none":[],"holes":[null,1],
        "text":"a\u00e9\"\n\ud83d""#,
    );
    for (name, wanted) in [
        ("user", &["Text:"][..]),
        ("user_id", &["Number:0"]),
        ("issuer", &["Null:"]),
        ("big", &["Number:18446744073709551617"]),
        ("half", &["Number:1.50"]),
        ("exp", &["Number:1E5"]),
        ("yes", &["Bool:true"]),
        ("org", &["Text:a", "Text:b"]),
        ("nested", &["Number:1", "Number:2", "EmptyArray:"]),
        ("none", &["EmptyArray:"]),
        ("holes", &["Null:", "Number:1"]),
    ] {
        assert_eq!(cells(&event, name), wanted, "{name}");
    }
    assert!(cells(&event, "text")[0].starts_with("Text:aé\"\n\u{fffd}"));
    assert_eq!(cells(&event, "hw.target"), ["Text:org/a"]);
    assert!(counts.unknown_fields.names.contains_key("big"));
}

#[test]
fn objects_are_cells_under_dotted_names() {
    let (event, _) = event(
        r#""actor_location":{"country_code":"US"},"empty":{},"teams":[{"name":"a"},{"name":"b","x":{"y":1}}]"#,
    );
    for (name, wanted) in [
        ("actor_location", &["Object:"][..]),
        ("actor_location.country_code", &["Text:US"]),
        ("empty", &["Object:"]),
        ("teams", &["Object:", "Object:"]),
        ("teams.name", &["Text:a", "Text:b"]),
        ("teams.x.y", &["Number:1"]),
    ] {
        assert_eq!(cells(&event, name), wanted, "{name}");
    }
}

#[test]
fn a_flat_dotted_key_wins_over_a_nested_one() {
    let city = "actor_location.city";
    for (members, name, wanted, shadowed) in [
        (r#""a.b":"y","a":{"b":"x"}"#, "a.b", &["Text:y"][..], 1),
        (r#""a":{"b":"x"},"a.b":"y""#, "a.b", &["Text:y"], 1),
        (r#""a":{"b":{"c":1},"b.c":2}"#, "a.b.c", &["Number:2"], 1),
        (r#""a.b":5,"a":{"b":{"c":1}}"#, "a.b.c", &["Number:1"], 1),
        (r#""a.b":5,"a":{"b":{"c":1}}"#, "a.b", &["Number:5"], 1),
        (r#""actor_location":{"city":"x"},"actor_location.city":"y""#, city, &["Text:y"], 1),
        (r#""a.b":1,"a":{"c":2}"#, "a.c", &["Number:2"], 0),
    ] {
        let (event, counts) = event(members);
        assert_eq!(cells(&event, name), wanted, "{members}");
        assert_eq!(counts.shadowed_values, shadowed, "{members}");
    }
}

#[test]
fn of_duplicate_keys_the_last_counts() {
    for (members, name, wanted, repeats) in [
        (r#""org":"a","org":"b""#, "org", &["Text:b"][..], 1),
        (r#""org":{"x":1},"x":1,"org":"b""#, "org", &["Text:b"], 1),
        (r#""new":1,"newer":1,"new":2,"new":[3]"#, "new", &["Number:3"], 2),
        (r#""a":{"b":1,"c":1,"b":2}"#, "a.b", &["Number:2"], 1),
        (r#""action":"org.create""#, "action", &["Text:org.create"], 1),
    ] {
        let (event, counts) = event(members);
        assert_eq!(cells(&event, name), wanted, "{members}");
        assert_eq!(counts.duplicate_keys, repeats, "{members}");
    }
    let mut many = String::new();
    for number in 0..50_000 {
        many.push_str(&format!(r#""k{}":{number},"#, number % 25_000));
    }
    let (event, counts) = event(&format!("{many}\"end\":1"));
    assert_eq!(counts.duplicate_keys, 25_000);
    assert_eq!(cells(&event, "k0"), ["Number:25000"]);
}

#[test]
fn duplicate_keys_at_every_level_cost_no_more_than_the_levels() {
    let text = format!("{}1{}", r#"{"x":"#.repeat(60), r#","y":1,"y":2}"#.repeat(60));
    let (_, counts) = event(&format!("\"x\":{text}"));
    assert_eq!(counts.duplicate_keys, 60);
}

#[test]
fn names_under_hw_are_ours_alone() {
    let (event, counts) =
        event(r#""actor":"octocat","hw.actor.class":"app","hw":{"actor":{"class":"bot"}},"hwx":1"#);
    assert_eq!(cells(&event, "hw.actor.class"), ["Text:person"]);
    assert_eq!(cells(&event, "hwx"), ["Number:1"]);
    assert_eq!(counts.reserved_fields, 2);
}

#[test]
fn time_comes_from_the_first_field_that_has_one() {
    let year_2100 = 4_102_444_800_000;
    for (members, millis, seconds, suspect) in [
        (r#""@timestamp":1700000000001,"created_at":5"#, 1_700_000_000_001, 0, false),
        (r#""@timestamp":"1700000000001""#, 1_700_000_000_001, 0, false),
        (r#""@timestamp":null,"created_at":1700000000002"#, 1_700_000_000_002, 0, false),
        (r#""@timestamp":"","created_at":1700000000"#, 1_700_000_000_000, 1, false),
        (r#""@timestamp":"no","created_at":"2023-11-14T22:13:20Z""#, 1_700_000_000_000, 0, false),
        (r#""at_sign_timestamp":"2023-11-14 22:13:20.001""#, 1_700_000_000_001, 0, false),
        (r#""@timestamp":0"#, 0, 0, false),
        (r#""@timestamp":"1970-06-01T00:00:00Z""#, 13_046_400_000, 0, false),
        (r#""@timestamp":4102444800000"#, year_2100, 0, true),
        (r#""@timestamp":1767225900000"#, RECEIVED + 300_000, 0, false),
        (r#""@timestamp":1767225900001"#, RECEIVED + 300_001, 0, true),
    ] {
        let (event, counts) = event_of(&raw(format!(r#"{{"action":"a.b",{members}}}"#).as_bytes()));
        assert_eq!(event.occurred_at.as_millis(), millis, "{members}");
        assert_eq!(counts.seconds_converted, seconds, "{members}");
        assert_eq!(
            (event.suspect, counts.suspect_times),
            (suspect, u64::from(suspect)),
            "{members}"
        );
    }
}

#[test]
fn finds_the_event_in_its_wrapping() {
    let inner = r#"{"action":"git.push","@timestamp":1700000000000}"#;
    let text = serde_json::to_string(inner).unwrap();
    for (name, payload) in [
        ("bare", inner.to_owned()),
        ("with a byte order mark", format!("\u{feff}{inner}")),
        ("envelope", format!(r#"{{"time":1,"event":{inner},"host":"h"}}"#)),
        ("envelope of text", format!(r#"{{"event":{text}}}"#)),
    ] {
        let (event, _) = event_of(&raw(payload.as_bytes()));
        assert_eq!(event.record.first("action"), Some("git.push"), "{name}");
        assert_eq!(event.record.cells().filter(|cell| !cell.name.starts_with("hw.")).count(), 2);
        assert_eq!(event.kind, Kind::Git, "{name}");
    }
    let bare =
        br#"{"action":"workflows.completed_workflow_run","@timestamp":1,"event":"schedule"}"#;
    let (event, _) = event_of(&raw(bare));
    assert_eq!(cells(&event, "event"), ["Text:schedule"]);
    assert_eq!(event.kind, Kind::Audit);
    assert_eq!(reason(&raw(br#"{"event":"schedule"}"#)), "field `action` is missing");
}

#[test]
fn reads_syslog_lines_behind_their_prefix() {
    let json =
        r#"{"action":"repo.create","created_at":1700000000000,"actor_is_bot":"False","actor":"a"}"#;
    for line in [
        format!("<13>Nov 14 22:13:20 ghe.example github_audit[1234]: {json}"),
        format!("<13>Nov 14 22:13:20 {{odd}} github_audit: {json}\n"),
        format!("prefix {json}"),
        json.to_owned(),
    ] {
        let mut record = raw(line.as_bytes());
        record.content_type = ContentType::SyslogLine;
        let (event, _) = event_of(&record);
        assert_eq!(cells(&event, "hw.actor.class"), ["Text:person"], "{line}");
    }
    let mut record = raw(b"<13>Nov 14 22:13:20 ghe sshd[1]: hello");
    record.content_type = ContentType::SyslogLine;
    assert_eq!(reason(&record), "the syslog line has no JSON object");
}

#[test]
fn reads_rows_of_the_csv_export() {
    let csv = |text: &str| {
        let mut record = raw(text.as_bytes());
        record.content_type = ContentType::CsvRow;
        record
    };
    let (event, _) =
        event_of(&csv("action,actor,created_at,actor_location.country_code,user,note\n\
         org.add_member,octocat,2023-11-14 22:13:20 UTC,US,,\"two\nlines, \"\"quoted\"\"\""));
    assert_eq!(event.occurred_at.as_millis(), 1_700_000_000_000);
    assert_eq!(cells(&event, "actor_location.country_code"), ["Text:US"]);
    assert_eq!(cells(&event, "user"), ["Text:"]);
    assert_eq!(cells(&event, "note"), ["Text:two\nlines, \"quoted\""]);
    for (text, wanted) in [
        ("action,actor\nrepo.create", "the row has 1 cells, its header 2"),
        ("action,actor", "the CSV has no row below its header"),
        ("action\na\nb", "the CSV has more than one row below its header"),
    ] {
        assert_eq!(reason(&csv(text)), wanted, "{text}");
    }
}

#[test]
fn what_an_export_puts_under_data_is_found_under_both_names() {
    let (event, _) = event(
        r#""data":{"team":"acme/sec","action":"x","config":{"url":"u"},"actor":"inner","hw":{"target":1}},"actor":"outer""#,
    );
    for (name, wanted) in [
        ("data", &["Object:"][..]),
        ("data.team", &["Text:acme/sec"]),
        ("team", &["Text:acme/sec"]),
        ("config.url", &["Text:u"]),
        ("data.config.url", &["Text:u"]),
        ("actor", &["Text:outer"]),
        ("action", &["Text:repo.create"]),
        ("hw.target", &["Text:team/acme/sec"]),
    ] {
        assert_eq!(cells(&event, name), wanted, "{name}");
    }
}

#[test]
fn what_stands_by_itself_wins_over_what_stands_under_data() {
    let (event, _) = event(r#""config":{"url":"direct"},"data":{"config.url":"folded"}"#);
    assert_eq!(cells(&event, "config.url"), ["Text:direct"]);
}

#[test]
fn enriches_what_the_fields_say() {
    let own = ["203.0.113.0/24".to_owned()];
    let networks = Networks::parse([("office", own.as_slice())]).unwrap();
    let mut normalizer = Normalizer::new(Arc::new(networks));
    let payload = br#"{"@timestamp":1700000000000,"action":"api.request","actor":"octocat",
        "actor_ip":"::ffff:203.0.113.9","programmatic_access_type":"Fine-grained personal access token",
        "repo":"acme/web-shop","url_path":"/repositories/12/hooks/7"}"#;
    let event = normalizer.normalize(&raw(payload), RawPosition::default()).unwrap();
    for (name, wanted) in [
        ("hw.actor.class", "Text:person"),
        ("hw.token.kind", "Text:fine_grained_pat"),
        ("hw.net.label", "Text:office"),
        ("hw.repo.name", "Text:web-shop"),
        ("hw.repo.name_length", "Number:8"),
        ("hw.repo.name_entropy", "Number:3.00"),
        ("hw.target", "Text:repo/acme/web-shop"),
        ("hw.route", "Text:/repos/{owner}/{repo}/hooks/{hook_id}"),
        ("hw.action.category", "Text:api"),
        ("hw.action.known", "Bool:true"),
    ] {
        assert_eq!(cells(&event, name), [wanted], "{name}");
    }
    assert_eq!(cells(&event, "hw.truncated"), [""; 0]);
}

#[test]
fn unknown_actions_and_fields_pass_and_are_counted() {
    let text = br#"{"@timestamp":1,"action":"brand_new.thing","novel":{"x":1},"org":"a"}"#;
    let (event, counts) = event_of(&raw(text));
    assert_eq!(cells(&event, "hw.action.known"), ["Bool:false"]);
    assert_eq!(cells(&event, "hw.action.category"), ["Text:brand_new"]);
    assert_eq!(cells(&event, "novel.x"), ["Number:1"]);
    assert_eq!(counts.unknown_actions.names["brand_new.thing"], 1);
    assert_eq!(counts.unknown_fields.names.keys().collect::<Vec<_>>(), ["novel"]);
    let (event, _) = event_of(&raw(br#"{"@timestamp":1,"action":"org.saml_disabled"}"#));
    assert_eq!(cells(&event, "hw.action.known"), ["Bool:true"], "an older spelling");
}

#[test]
fn the_dictionary_has_every_field_of_the_catalogue() {
    for name in hubwarden_catalog::field_names() {
        assert!(hubwarden_event::dictionary::id(name).is_some(), "{name}");
    }
}

#[test]
fn a_huge_event_keeps_what_decides_and_is_marked() {
    let junk: String =
        (0..40_000).map(|number| format!(r#""junk_{number}":"{number}","#)).collect();
    let text = format!(
        r#"{{{junk}"user_agent":"{}","action":"repo.destroy","repo":"a/b","@timestamp":1}}"#,
        "x".repeat(1_000_000)
    );
    let (event, counts) = event_of(&raw(text.as_bytes()));
    assert_eq!(cells(&event, "action"), ["Text:repo.destroy"]);
    assert_eq!(cells(&event, "hw.target"), ["Text:repo/a/b"]);
    assert_eq!(cells(&event, "hw.truncated"), ["Bool:true"]);
    assert!(event.record.encoded_len() <= hubwarden_event::MAX_RECORD_BYTES);
    assert_eq!(counts.truncated, 1);
}

#[test]
fn long_values_are_cut_and_the_event_says_so() {
    let (event, _) = event(&format!(r#""user_agent":"{}""#, "é".repeat(100_000)));
    let cut: Vec<_> = event.record.cells().filter(|cell| cell.cut).map(|cell| cell.name).collect();
    assert_eq!(cut, ["user_agent"]);
    assert_eq!(cells(&event, "hw.truncated"), ["Bool:true"]);
}

#[test]
fn one_event_does_not_change_the_next() {
    let mut normalizer = normalizer();
    let good = raw(br#"{"@timestamp":1,"action":"a.b","x":{"y.z":[1,2]}}"#);
    let first = normalizer.normalize(&good, RawPosition::default()).unwrap();
    let bad = raw(br#"{"@timestamp":1,"actor":"z","x":{"a":1,"a":[2]}}"#);
    assert!(normalizer.normalize(&bad, RawPosition::default()).is_err());
    assert_eq!(normalizer.normalize(&good, RawPosition::default()).unwrap(), first);
}

/// JSON of small shapes with the names that clash.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        "[ -~é\"\\\\]{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let name = prop_oneof![
            "[a-c]",
            Just("data".to_owned()),
            Just("event".to_owned()),
            Just("org".to_owned())
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::vec((name, inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every scalar with its dotted name, in the form of a cell.
fn scalars(name: &str, value: &serde_json::Value, out: &mut Vec<(String, String)>) {
    use serde_json::Value::{Array, Object, String};
    match value {
        Array(values) => values.iter().for_each(|value| scalars(name, value, out)),
        Object(members) => {
            for (key, value) in members {
                scalars(&format!("{name}.{key}"), value, out);
            }
        }
        String(text) => out.push((name.into(), text.clone())),
        serde_json::Value::Null => out.push((name.into(), std::string::String::new())),
        other => out.push((name.into(), other.to_string())),
    }
}

proptest! {
    #[test]
    fn never_panics_on_any_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in proptest::sample::select(ContentType::ALL),
    ) {
        let mut record = raw(&bytes);
        record.content_type = kind;
        let _ = normalizer().normalize(&record, RawPosition::default());
        let _ = normalizer().normalize_steps(&record);
    }

    #[test]
    fn never_panics_on_damaged_json(
        value in json(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = serde_json::json!({"action": "a.b", "@timestamp": 1, "x": value}).to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let _ = normalizer().normalize(&raw(&text), RawPosition::default());
        let _ = normalizer().normalize(&raw(&text[..at]), RawPosition::default());
    }

    #[test]
    fn every_scalar_is_a_cell(value in json()) {
        let payload = serde_json::json!({"action": "a.b", "@timestamp": 1, "x": value});
        let (event, _) = event_of(&raw(payload.to_string().as_bytes()));
        let mut wanted = Vec::new();
        scalars("x", &payload["x"], &mut wanted);
        let mut found: Vec<_> = event
            .record
            .cells()
            .filter(|cell| cell.kind.is_scalar() || cell.kind == CellKind::Null)
            .filter(|cell| cell.name == "x" || cell.name.starts_with("x."))
            .map(|cell| (cell.name.to_owned(), cell.text.to_owned()))
            .collect();
        wanted.sort();
        found.sort();
        prop_assert_eq!(found, wanted);
    }
}
