//! The first thing that a newcomer runs, and the largest: the demo, and a big import.
#![allow(clippy::unwrap_used)]

use std::io::Write;

use hubwarden_simulator::{Life, Plan};
use hubwarden_testkit::Home;
use hubwarden_tests::lists_section;
use serde_json::Value;

#[test]
fn every_campaign_is_found_and_every_look_alike_quiet() {
    let args = ["demo", "--no-serve", "-o", "json", "--events", "40000", "--days", "30"];
    let home = Home::default();
    let report = home.run(&args).expect(0).json();
    assert_eq!(report["events"], 40_000);
    let seconds = report["seconds"].as_f64().unwrap();
    let first = report["first_finding_seconds"].as_f64().unwrap();
    assert!(0.0 < first && first <= seconds, "{report}");
    let flags = |name: &str| {
        let flags = report[name].as_object().unwrap().clone();
        assert!(flags.values().all(|flag| flag == true), "{name}: {flags:#?}");
        flags.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let campaigns = flags("campaigns");
    for name in [
        "token-stolen-repositories-cloned",
        "protection-off-and-pushed",
        "repository-made-public",
        "rogue-owner-added",
        "audit-stream-cut",
        "rogue-runner-registered",
        "mass-deletion",
    ] {
        assert!(campaigns.iter().any(|campaign| campaign == name), "{name}: {campaigns:?}");
    }
    let lookalikes = flags("lookalikes");
    for name in ["team-joins-and-clones", "planned-migration", "bot-clean-up"] {
        assert!(lookalikes.iter().any(|lookalike| lookalike == name), "{name}: {lookalikes:?}");
    }
    let severities = report["findings"].as_object().unwrap();
    assert!(severities["critical"].as_u64() > Some(0) && severities["high"].as_u64() > Some(0));
    assert!(report["other_high_findings"].as_u64() <= Some(3), "{report}");
    assert_eq!(report["rule_cases_failed"], 0);
    assert!(!home.data().exists(), "the demo leaves nothing behind");
}

#[test]
fn the_same_seed_is_found_alike_and_the_table_says_it_in_words() {
    let run = |seed: &str| {
        let args = ["demo", "--no-serve", "--events", "3000", "--days", "5", "--seed", seed];
        Home::default().run(&args).expect(0)
    };
    let findings =
        |text: &str| text.lines().find(|line| line.starts_with("findings: ")).map(str::to_owned);
    let (once, again) = (run("7"), run("7"));
    assert!(findings(&once.out).is_some(), "{}", once.out);
    assert_eq!(findings(&once.out), findings(&again.out));
    assert!(once.out.contains("campaigns: ") && !once.out.contains("MISSED"), "{}", once.out);
    assert!(once.out.contains("look-alikes: ") && !once.out.contains("LOUD"), "{}", once.out);
}

/// Writes a life until so many bytes have been written, and gives the number of its events.
fn write_life(out: &mut dyn Write, life: &Life, bytes: usize) -> std::io::Result<u64> {
    let (mut written, mut count) = (0, 0);
    for event in life.events() {
        out.write_all(&event.json)?;
        out.write_all(b"\n")?;
        written += event.json.len() + 1;
        count += 1;
        if written >= bytes {
            break;
        }
    }
    assert!(written >= bytes, "the life is long enough");
    Ok(count)
}

#[test]
fn a_large_import_and_a_large_scan_stay_within_200_mb() {
    let life = Life::new(Plan { events: 200_000, ..Plan::default() });
    let home = Home::new(&lists_section(&life));
    let mut findings = Vec::new();
    for (command, mib) in [("scan", 100), ("import", 100)] {
        let (sender, counted) = std::sync::mpsc::channel();
        let (ran, memory) = home.run_fed(&[command, "-", "-o", "ndjson"], |input| {
            sender.send(write_life(input, &life, mib << 20)?).unwrap();
            Ok(())
        });
        let (ran, count) = (ran.expect(0), counted.recv().unwrap());
        assert!(memory.peak_kib < 200_000_000 / 1024, "{command}: {memory:?}");
        assert!(ran.err.contains(&format!("{count} read, 0 rejected")), "{}", ran.err);
        let ran = match command {
            "scan" => ran,
            _ => home.run(&["finding", "list", "--limit", "500", "-o", "ndjson"]).expect(0),
        };
        let mut found: Vec<(String, String)> = ran
            .ndjson()
            .iter()
            .map(|one: &Value| (one["rule"]["name"].to_string(), one["count"].to_string()))
            .collect();
        found.sort();
        findings.push(found);
    }
    assert!(findings[0].len() > 5);
    assert_eq!(findings[0], findings[1], "scanned and imported");
}
