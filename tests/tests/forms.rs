//! Every form in which an audit log travels as a file gives the same findings.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;

use hubwarden_simulator::{Format, Life, Plan, export};
use hubwarden_testkit::{Home, Ran};
use hubwarden_tests::lists_section;

fn exported(life: &Life, format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    export::write(life, format, &mut bytes).unwrap();
    bytes
}

/// Rule, first moment and number of events of each finding.
fn found(ran: &Ran) -> BTreeSet<(String, String, u64)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    ran.ndjson()
        .iter()
        .map(|one| {
            (text(&one["rule"]["name"]), text(&one["first_seen"]), one["count"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn arrays_lines_and_syslog_plain_and_packed_from_files_and_standard_input_are_alike() {
    let life = Life::new(Plan { events: 4_000, days: 5, ..Plan::default() });
    let home = Home::new(&lists_section(&life));
    let lines = exported(&life, Format::Ndjson);
    home.write("lines", &lines);
    let expected = home.run(&["scan", "lines", "-o", "ndjson"]).expect(0);
    assert!(expected.err.contains("4000 read, 0 rejected"), "{}", expected.err);
    assert!(found(&expected).len() > 20);
    home.write("array", exported(&life, Format::Array));
    home.write("syslog", exported(&life, Format::Syslog));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&lines).unwrap();
    home.write("packed", gzip.finish().unwrap());
    for name in ["array", "syslog", "packed"] {
        let ran = home.run(&["scan", name, "-o", "ndjson"]).expect(0);
        assert!(ran.err.contains("4000 read, 0 rejected"), "{name}: {}", ran.err);
        assert_eq!(found(&ran), found(&expected), "{name}");
    }
    let (ran, _) = home.run_fed(&["scan", "-", "-o", "ndjson"], |input| input.write_all(&lines));
    assert_eq!(found(&ran.expect(0)), found(&expected), "standard input");
}

#[test]
fn the_exports_of_the_web_pages_find_the_same_settings_changes() {
    let life = Life::new(Plan { events: 4_000, days: 5, ..Plan::default() });
    let home = Home::new(&lists_section(&life));
    home.write("lines", exported(&life, Format::Ndjson));
    let whole = home.run(&["scan", "lines", "-o", "ndjson"]).expect(0);
    let rules = |ran: &Ran| found(ran).into_iter().map(|(rule, ..)| rule).collect::<BTreeSet<_>>();
    let all = rules(&whole);
    for (name, format) in [("export.csv", Format::Csv), ("export.json", Format::UiJson)] {
        home.write(name, exported(&life, format));
        let ran = home.run(&["scan", name, "-o", "ndjson"]).expect(0);
        assert!(ran.err.contains(", 0 rejected"), "{name}: {}", ran.err);
        let here = rules(&ran);
        // without Git events and with fewer fields some rules are blind, but none is wrong
        assert!(here.is_subset(&all), "{name}: {:?}", here.difference(&all));
        for rule in ["sso-disabled", "audit-log-stream-destroyed", "repo-made-public"] {
            if all.contains(rule) {
                assert!(here.contains(rule), "{name}: {rule} is missing among {here:?}");
            }
        }
        assert!(here.len() * 2 > all.len(), "{name}: {here:?} of {all:?}");
    }
}
