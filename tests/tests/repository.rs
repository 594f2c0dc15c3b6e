//! What must hold for the repository as a whole: arrows between crates, comments, names, generated pages.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use hubwarden_testkit::{Home, workspace};

/// Which of our crates each crate may use. A new arrow is a decision: it is made here first.
const ARROWS: [(&str, &[&str]); 13] = [
    ("event", &[]),
    ("catalog", &[]),
    ("rules", &["event"]),
    ("proto", &["event"]),
    ("bus", &[]),
    ("service", &[]),
    ("collector", &["event", "catalog", "proto", "bus", "service"]),
    ("normalizer", &["event", "catalog", "proto", "bus", "service"]),
    ("detector", &["event", "catalog", "rules", "proto", "bus", "service"]),
    ("console", &["event", "catalog", "proto", "bus", "service"]),
    ("simulator", &["event", "catalog", "service"]),
    ("testkit", &["event", "proto", "bus", "simulator"]),
    (
        "hubwarden",
        &[
            "event",
            "catalog",
            "rules",
            "proto",
            "bus",
            "service",
            "collector",
            "normalizer",
            "detector",
            "console",
            "simulator",
        ],
    ),
];

/// Crates without async, IO and clocks.
const PURE: [&str; 3] = ["event", "catalog", "rules"];

/// Libraries that only some crates may name outside their tests.
const FENCES: [(&str, &[&str]); 13] = [
    ("rdkafka", &["bus"]),
    ("figment", &["service"]),
    ("opentelemetry", &["service"]),
    ("opentelemetry_sdk", &["service"]),
    ("opentelemetry-otlp", &["service"]),
    ("opentelemetry-prometheus", &["service"]),
    ("opentelemetry-semantic-conventions", &["service"]),
    ("tracing-opentelemetry", &["service"]),
    ("prometheus", &["service"]),
    // in detector it only brings TLS to `object_store`
    ("reqwest", &["collector", "detector"]),
    ("rusqlite", &["console", "detector"]),
    ("sqlx", &["console"]),
    ("hubwarden-testkit", &[]),
];

/// Libraries that a pure crate does not name.
const IMPURE: [&str; 11] = [
    "tokio",
    "tokio-util",
    "axum",
    "tonic",
    "reqwest",
    "rusqlite",
    "sqlx",
    "rdkafka",
    "rustix",
    "tempfile",
    "tracing",
];

struct Manifest {
    name: String,
    normal: BTreeSet<String>,
    dev: BTreeSet<String>,
}

fn manifests() -> Vec<Manifest> {
    let folders = std::fs::read_dir(workspace().join("crates")).unwrap();
    let mut manifests: Vec<_> = folders.map(|folder| manifest(folder.unwrap().path())).collect();
    manifests.sort_by(|a, b| a.name.cmp(&b.name));
    manifests
}

fn manifest(folder: std::path::PathBuf) -> Manifest {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let names = |sections: &[&str]| {
        let sections = sections.iter().filter_map(|section| table.get(*section)?.as_table());
        sections.flat_map(|section| section.keys().cloned()).collect()
    };
    let package = table["package"]["name"].as_str().unwrap();
    let name = package.strip_prefix("hubwarden-").unwrap_or(package).to_owned();
    assert_eq!(Some(name.as_str()), folder.file_name().and_then(|name| name.to_str()), "{package}");
    Manifest {
        name,
        normal: names(&["dependencies", "build-dependencies"]),
        dev: names(&["dev-dependencies"]),
    }
}

/// Our crates among these, without the prefix.
fn ours(names: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    names.iter().filter_map(|name| match name.as_str() {
        "hubwarden" => Some("hubwarden"),
        name => name.strip_prefix("hubwarden-"),
    })
}

#[test]
fn every_crate_uses_only_what_the_table_allows() {
    let arrows = BTreeMap::from(ARROWS);
    let manifests = manifests();
    let names: Vec<&str> = manifests.iter().map(|manifest| manifest.name.as_str()).collect();
    let mut expected: Vec<&str> = arrows.keys().copied().collect();
    expected.sort_unstable();
    assert_eq!(names, expected, "the table and the folder crates/ list the same crates");
    for Manifest { name, normal, dev } in &manifests {
        let allowed = arrows[name.as_str()];
        for used in ours(normal) {
            assert!(allowed.contains(&used), "{name} may not use {used}");
        }
        // a crate that the test kit itself is made of would be compiled twice for its tests
        let of_testkit = arrows["testkit"].contains(&name.as_str());
        for used in ours(dev) {
            let helper = ["testkit", "simulator"].contains(&used) && !of_testkit;
            assert!(allowed.contains(&used) || helper, "{name}'s tests may not use {used}");
        }
    }
}

#[test]
fn libraries_stay_behind_their_fences() {
    for Manifest { name, normal, .. } in manifests() {
        for (library, inside) in FENCES {
            let fine = !normal.contains(library) || inside.contains(&name.as_str());
            assert!(fine, "{name} names {library}, which belongs to {inside:?}");
        }
        for library in IMPURE.iter().filter(|_| PURE.contains(&name.as_str())) {
            assert!(!normal.contains(*library), "{name} is pure and names {library}");
        }
    }
}

/// All files under version control that are text, with their content.
fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()).output();
    let listed = String::from_utf8(listed.expect("git runs").stdout).unwrap();
    let names = listed.split('\0').filter(|name| !name.is_empty());
    let files: Vec<_> = names
        .filter_map(|name| {
            let text = std::fs::read_to_string(workspace().join(name)).ok()?;
            Some((name.to_owned(), text))
        })
        .collect();
    assert!(files.len() > 100, "git lists the files: {}", files.len());
    files
}

#[test]
fn nothing_is_left_to_do_and_no_path_of_a_machine_is_named() {
    // split, so that this file does not name them either
    let words: [String; 7] = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["/ro", "ot/"].concat(),
    ];
    let mut found = Vec::new();
    for (file, text) in tracked() {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{file}:{number}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_message_and_call_of_the_wire_has_a_comment() {
    let folder = workspace().join("proto/hubwarden/v1");
    let (mut seen, mut bare) = (0, Vec::new());
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut before = "";
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let mut words = line.split_whitespace();
            if matches!(words.next(), Some("message" | "enum" | "service" | "rpc")) {
                seen += 1;
                if !before.starts_with("//") {
                    bare.push(format!("{}:{number}: {line}", path.display()));
                }
            }
            before = line;
        }
    }
    assert!(seen > 20, "{seen} declarations");
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

#[test]
fn the_example_configuration_is_valid_as_it_is_and_with_every_default_written_out() {
    let example = std::fs::read_to_string(workspace().join("config/hubwarden.toml")).unwrap();
    let home = Home::default();
    home.write("example.toml", &example);
    home.run(&["config", "validate", "--config", "example.toml"]).expect(0);
    let shown = |file| {
        let shown = home.run(&["config", "show", "--config", file, "-o", "json"]).expect(0).json();
        let rows = shown.as_array().unwrap().iter();
        let pair = |row: &serde_json::Value| (row["key"].to_string(), row["value"].to_string());
        rows.map(pair).collect::<BTreeMap<_, _>>()
    };
    let commented = |line: &str| {
        let key = line.strip_prefix("# ")?.split_once(" = ")?.0;
        let is_key = key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        (is_key).then(|| line[2..].to_owned())
    };
    // the connection and what stands for somebody's own values have no default
    let defaults = example.lines().fold((String::new(), true), |(mut text, keep), line| {
        let keep = match line.strip_prefix('[') {
            Some(section) => !["networks]", "lists]", "rules]"].contains(&section),
            None => keep && !line.starts_with("# One [[github]]"),
        };
        if keep {
            text += &commented(line).unwrap_or_else(|| line.to_owned());
            text += "\n";
        }
        (text, keep)
    });
    home.write("defaults.toml", &defaults.0);
    assert!(defaults.0.contains("\nkeep_days = 7\n"), "{}", defaults.0);
    assert_eq!(shown("defaults.toml"), shown("example.toml"), "the comments tell the defaults");
}

#[test]
fn the_schema_of_findings_is_published() {
    let text = std::fs::read_to_string(workspace().join("docs/finding.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    for name in ["id", "revision", "severity", "rule", "sentence", "reason", "evidence", "response"]
    {
        assert!(schema["properties"][name].is_object(), "{name}");
    }
}
