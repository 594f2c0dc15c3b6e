//! Every fixture gives the steps that stand beside it; `UPDATE_EXPECT=1` rewrites them for review.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hubwarden_event::{ContentType, Feed, RawRecord, RunId, SourceId, Timestamp};
use hubwarden_normalizer::{Networks, Normalizer};

fn record(name: &str, payload: Vec<u8>) -> RawRecord {
    let content_type = match name {
        "ghes-syslog" => ContentType::SyslogLine,
        "ui-export-csv" => ContentType::CsvRow,
        _ => ContentType::Json,
    };
    RawRecord {
        connection: "fixtures".into(),
        feed: Feed::Import,
        run: RunId::from("import-1"),
        source_id: SourceId::from(name),
        received_at: Timestamp::from_millis(1_767_225_600_000),
        content_type,
        payload: Bytes::from(payload),
        scrubs: vec![],
        origin: None,
        damage: None,
    }
}

#[test]
fn fixtures_give_their_reviewed_steps() {
    let office = ["203.0.113.0/24".to_owned()];
    let networks = Networks::parse([("office", office.as_slice())]).unwrap();
    let normalizer = Normalizer::new(Arc::new(networks));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the fixtures are where this test looks");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let steps = normalizer.normalize_steps(&record(name, std::fs::read(&file).unwrap()));
        let mut shown = serde_json::to_string_pretty(&steps).unwrap();
        shown.push('\n');
        let expected = file.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expected, &shown).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(shown, wanted, "{name}: review, then run again with UPDATE_EXPECT=1");
    }
}
