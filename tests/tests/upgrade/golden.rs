//! What every release wrote is read by this one, and what this one writes is what stands in the newest
//! folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use hubwarden_bus::{
    Bus, Delivered, Journal, Limit, Options, Positions, Record, Sink, Source, topic,
};
use hubwarden_console::{FindingStore, Intake, SqliteStore};
use hubwarden_detector::Rulebook;
use hubwarden_event::{FlatRecord, dictionary};
use hubwarden_testkit::workspace;
use hubwarden_tests::all_findings;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{flat, meaning, samples, state as correlate};

/// The folder that this release writes; one up when a format changes.
const NEWEST: u32 = 1;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn root() -> PathBuf {
    workspace().join("tests/golden")
}

/// The folders of all versions, oldest first; the newest is made if it is to be.
pub(crate) fn folders() -> Vec<PathBuf> {
    static BLESSED: std::sync::Once = std::sync::Once::new();
    let newest = root().join(NEWEST.to_string());
    BLESSED.call_once(|| {
        if !newest.exists() && std::env::var_os("HUBWARDEN_BLESS").is_some() {
            bless(&newest);
        }
    });
    let found = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut found: Vec<u32> =
        found.map(|name| name.to_str().unwrap().parse().expect("a version")).collect();
    found.sort_unstable();
    let all: Vec<u32> = (1..=NEWEST).collect();
    assert_eq!(found, all, "HUBWARDEN_BLESS=1 writes the folder of NEWEST when it is missing");
    found.iter().map(|version| root().join(version.to_string())).collect()
}

pub(crate) fn newest() -> PathBuf {
    folders().pop().unwrap()
}

/// Fails with what to do when this release no longer writes what stands in the newest folder.
pub(crate) fn assert_unchanged(what: &str, written: &Value, golden: &Value) {
    assert!(
        written == golden,
        "this release writes {what} otherwise than tests/golden/{NEWEST} has it: other releases may \
         not read it. If that is meant, read docs/upgrade.md, raise NEWEST and bless.\n\
         written: {written:#}\ngolden: {golden:#}"
    );
}

fn read_json(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// What stands in the state file of a folder's snapshot.
pub(crate) fn state(folder: &Path) -> Value {
    read_json(&folder.join("state.json"))
}

fn write_json(file: &Path, value: &Value) {
    fs::write(file, format!("{value:#}\n")).unwrap();
}

fn bless(folder: &Path) {
    let made = folder.with_extension("new");
    let _ = fs::remove_dir_all(&made);
    fs::create_dir_all(made.join("journal")).unwrap();
    write_json(&made.join("records.json"), &written_records());
    fs::copy(dictionary_file(), made.join("dictionary.txt")).unwrap();
    for (name, text) in migrations() {
        fs::write(made.join(name), text).unwrap();
    }
    let wait = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(work)).join().unwrap();
    };
    let target = made.clone();
    wait(Box::pin(async move {
        let journal = write_journal(&target.join("journal")).await;
        write_json(&target.join("journal.json"), &journal_content(&journal).await);
        drop(journal);
        let _ = fs::remove_file(target.join("journal/lock"));
        write_store(&target.join("findings.store")).await;
        correlate::write(&target.join("snapshots")).await;
        let dump = correlate::dump(&correlate::unpacked(&target.join("snapshots")).await.1);
        write_json(&target.join("state.json"), &dump);
    }));
    fs::rename(&made, folder).unwrap();
}

// Records of topics.

fn written_records() -> Value {
    let samples = samples::all().into_iter();
    let written = samples.map(|one| {
        let means = meaning::of(one.topic, one.body.clone()).unwrap();
        json!({ "topic": one.topic.name(), "what": one.what, "bytes": hex(&one.body), "means": means })
    });
    written.collect()
}

/// Topic, name, bytes and meaning of the records in a folder.
fn golden_records(folder: &Path) -> Vec<(hubwarden_bus::Topic, String, Bytes, Value)> {
    let records = read_json(&folder.join("records.json"));
    let records = records.as_array().unwrap().iter().map(|one| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        let topic = hubwarden_bus::Topic::by_name(&text("topic")).unwrap();
        (topic, text("what"), unhex(&text("bytes")), one["means"].clone())
    });
    records.collect()
}

#[test]
fn records_of_every_release_mean_what_they_meant() {
    for folder in folders() {
        let records = golden_records(&folder);
        assert!(records.len() >= 16, "{}", folder.display());
        for (topic, what, bytes, means) in records {
            let found = meaning::of(topic, bytes).unwrap();
            assert!(meaning::contains(&found, &means), "{topic} {what}: {found:#}");
        }
    }
}

#[test]
fn this_release_writes_the_records_of_the_newest_folder() {
    assert_unchanged("records", &written_records(), &read_json(&newest().join("records.json")));
}

/// A field that no release knows.
const NEW_FIELD: &[u8] = &[0xc2, 0x0c, 0x03, b'n', b'e', b'w']; // number 200, three bytes

/// The same message with a field more inside the message that its first field is, and after it.
fn with_new_fields(body: &[u8]) -> Vec<u8> {
    assert_eq!(body[0] & 7, 2, "a message or a text stands first");
    let (mut length, mut at) = (0usize, 1);
    loop {
        length |= usize::from(body[at] & 0x7f) << (7 * (at - 1));
        at += 1;
        if body[at - 1] & 0x80 == 0 {
            break;
        }
    }
    let (inner, rest) = body[at..].split_at(length);
    let mut out = vec![body[0]];
    let mut longer = inner.len() + NEW_FIELD.len();
    while longer > 0x7f {
        out.put_u8((longer & 0x7f) as u8 | 0x80);
        longer >>= 7;
    }
    out.put_u8(longer as u8);
    [&out, inner, NEW_FIELD, rest, NEW_FIELD].concat()
}

#[test]
fn a_field_that_a_later_release_adds_to_a_record_changes_nothing_of_the_others() {
    let mut nested = 0;
    for (topic, what, bytes, means) in golden_records(&newest()) {
        let added = Bytes::from([&bytes[..], NEW_FIELD].concat());
        assert_eq!(meaning::of(topic, added).unwrap(), means, "{topic} {what}");
        let body = [topic::RAW, topic::EVENTS, topic::MATCHES, topic::RULES].contains(&topic);
        if body {
            nested += 1;
            let added = with_new_fields(&bytes).into();
            assert_eq!(meaning::of(topic, added).unwrap(), means, "{topic} {what}");
        }
    }
    assert_eq!(nested, 12);
}

#[test]
fn a_sort_of_record_or_a_value_that_only_a_later_release_knows_is_told_and_nothing_is_guessed() {
    let later_sort = Bytes::from_static(&[0x7a, 0x02, 0x08, 0x01]); // field 15 of the body
    for topic in [topic::RAW, topic::EVENTS, topic::MATCHES] {
        let error = meaning::of(topic, later_sort.clone()).unwrap_err();
        assert!(error.contains("written by a later release"), "{topic}: {error}");
    }
    let renamed = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|some| some == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    for (topic, what, bytes, _) in golden_records(&newest()) {
        let (from, to) = match (topic, what.as_str()) {
            (topic::RAW, "record") => ("import", "plugin"),
            (topic::EVENTS | topic::MATCHES, "event" | "match") => ("audit", "login"),
            _ => continue,
        };
        let error = meaning::of(topic, renamed(&bytes, from.as_bytes(), to.as_bytes()).into());
        let error = error.unwrap_err();
        assert!(error.contains(to) && error.contains("does not know"), "{topic}: {error}");
    }
}

// The dictionary of field names.

fn dictionary_file() -> PathBuf {
    workspace().join("crates/event/dictionary.txt")
}

#[test]
fn field_ids_are_only_ever_added_and_written_once_the_release_before_reads_them() {
    let now = fs::read_to_string(dictionary_file()).unwrap();
    let now: Vec<&str> = now.lines().collect();
    let folders = folders();
    for folder in &folders {
        let then = fs::read_to_string(folder.join("dictionary.txt")).unwrap();
        let then: Vec<&str> = then.lines().collect();
        for (id, name) in then.iter().enumerate() {
            assert_eq!(now.get(id), Some(name), "field id {id} of {}", folder.display());
        }
    }
    let newest = fs::read_to_string(newest().join("dictionary.txt")).unwrap();
    let read = newest.lines().count();
    assert!(
        usize::from(dictionary::WRITTEN) <= read,
        "the ids from {read} on are read by no release that has gone out, so none may be written"
    );
}

// The journal.

/// A folder of several sealed segments with their indexes, the last one open, and a snapshot in place
/// of those that retention has removed.
async fn write_journal(folder: &Path) -> Journal {
    let now = Arc::new(AtomicI64::new(1_790_000_000_000));
    let clock = now.clone();
    let options = Options {
        segment_bytes: 4 << 10,
        keep: Duration::from_secs(3600),
        free_floor_bytes: 0,
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..Options::default()
    };
    let journal = Journal::open(folder, options).unwrap();
    let samples = samples::all();
    for round in 0..8u64 {
        let mut outputs: Vec<Record> = Vec::new();
        for one in &samples {
            let mut record = Record::new(one.topic, one.what, one.body.clone());
            record.headers = vec![("traceparent".into(), Bytes::from_static(b"00-1-2-01"))];
            outputs.push(record);
        }
        let consumed = Positions::of(topic::RAW, 0, 3 * round);
        journal.writer("normalizer").commit(outputs, &consumed).await.unwrap();
        for (stage, topic) in [("match", topic::EVENTS), ("correlate", topic::MATCHES)] {
            let consumed = Positions::of(topic, 0, 3 * (round + 1));
            journal.writer(stage).commit(Vec::new(), &consumed).await.unwrap();
        }
        for (topic, count) in [(topic::FINDINGS, 1), (topic::RAW_DEAD, 1), (topic::EVENTS_DEAD, 1)]
        {
            let consumed = Positions::of(topic, 0, count * (round + 1));
            journal.writer("console").commit(Vec::new(), &consumed).await.unwrap();
        }
        now.fetch_add(1_800_000, Ordering::Relaxed);
    }
    assert!(journal.retain().await.unwrap() > 0, "something was removed");
    journal
}

/// Everything that a journal says.
async fn journal_content(journal: &Journal) -> Value {
    let record = |one: &Delivered| {
        let headers = one.headers.iter().map(|(name, value)| json!([name, hex(value)]));
        json!({
            "topic": one.topic.name(), "position": one.position, "appended_at": one.appended_at_ms,
            "key": hex(&one.key), "headers": headers.collect::<Vec<_>>(),
            "body": hubwarden_event::Hash::of(&one.body).to_string(),
        })
    };
    let (mut records, mut newest) = (Vec::new(), Vec::new());
    let ends = journal.ends().await.unwrap();
    for topic in topic::ALL {
        newest.extend(journal.newest(topic).await.unwrap().iter().map(record));
        for position in 0..ends.get(topic, 0).unwrap() {
            records.extend(journal.read_at(topic, 0, position).await.unwrap().iter().map(record));
        }
    }
    let stages = journal.stage_positions().await.unwrap();
    let positions = |at: &Positions| -> BTreeMap<&str, u64> {
        at.iter().map(|(topic, _, next)| (topic.name(), next)).collect()
    };
    let stages: BTreeMap<_, _> =
        stages.iter().map(|(stage, at)| (stage.clone(), positions(at))).collect();
    json!({ "records": records, "newest": newest, "ends": positions(&ends), "stages": stages })
}

/// Name and size of each file, which the salt of a journal does not change.
fn sizes(folder: &Path) -> Value {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let sized: BTreeMap<String, u64> = files
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()))
        .filter(|(name, _)| name != "lock")
        .collect();
    json!(sized)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_of_every_release_opens_and_goes_on() {
    for golden in folders() {
        let expected = read_json(&golden.join("journal.json"));
        let here = tempfile::tempdir().unwrap();
        copy(&golden.join("journal"), here.path());
        let journal = Journal::open_read_only(here.path()).unwrap();
        assert_eq!(journal_content(&journal).await, expected, "{}", golden.display());
        drop(journal);
        assert_eq!(sizes(here.path()), sizes(&golden.join("journal")), "reading changes nothing");
        // without an index, as after a change of the index alone
        for file in fs::read_dir(here.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|ending| ending == "idx") {
                fs::remove_file(file).unwrap();
            }
        }
        let options = Options { segment_bytes: 4 << 10, free_floor_bytes: 0, ..Options::default() };
        let journal = Journal::open(here.path(), options.clone()).unwrap();
        assert_eq!(journal_content(&journal).await, expected, "{}", golden.display());
        let at = journal.ends().await.unwrap().get(topic::RAW, 0).unwrap();
        let record = Record::new(topic::RAW, "k", "a later commit");
        journal.writer("collector").commit(vec![record], &Positions::none()).await.unwrap();
        drop(journal);
        let journal = Journal::open(here.path(), options).unwrap();
        let mut reader = journal.reader("normalizer", &[topic::RAW]).unwrap();
        let batch = reader.next_batch(Limit::default()).await.unwrap();
        let (first, last) = (&batch.records[0], batch.records.last().unwrap());
        assert_eq!((first.position, last.position), (21, at), "{}", golden.display());
        assert_eq!(&last.body[..], b"a later commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn this_release_writes_the_journal_of_the_newest_folder() {
    let here = tempfile::tempdir().unwrap();
    let journal = write_journal(here.path()).await;
    let content = journal_content(&journal).await;
    drop(journal);
    let golden = newest();
    assert_unchanged("a journal", &content, &read_json(&golden.join("journal.json")));
    assert_unchanged("files of a journal", &sizes(here.path()), &sizes(&golden.join("journal")));
}

// The findings stores.

/// The steps of PostgreSQL's schema, by the names that a golden folder has for them.
fn migrations() -> BTreeMap<String, String> {
    let files = fs::read_dir(workspace().join("crates/console/migrations")).unwrap();
    let files = files.map(|file| file.unwrap());
    let named = files.map(|file| {
        let name = format!("postgres-{}", file.file_name().into_string().unwrap());
        (name, fs::read_to_string(file.path()).unwrap())
    });
    named.collect()
}

async fn write_store(file: &Path) {
    let here = tempfile::tempdir().unwrap();
    let open = here.path().join("findings");
    let store = SqliteStore::connect(open.clone()).await.unwrap();
    store.take_in(intake()).await.unwrap();
    drop(store);
    let db = Connection::open(&open).unwrap();
    db.execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
}

fn intake() -> Intake {
    let consumed = Positions::of(topic::FINDINGS, 0, 9);
    Intake { findings: vec![samples::finding()], consumed, ..Intake::default() }
}

/// Every table, index and trigger of a store as SQL, and its format.
fn schema(file: &Path) -> Value {
    let db = Connection::open(file).unwrap();
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let schema: BTreeMap<String, String> = rows.collect::<Result<_, _>>().unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    json!({ "version": version, "schema": schema })
}

#[tokio::test]
async fn the_findings_of_every_release_are_there_after_an_upgrade() {
    let here = tempfile::tempdir().unwrap();
    let fresh = here.path().join("fresh");
    drop(SqliteStore::connect(fresh.clone()).await.unwrap());
    for (number, golden) in folders().into_iter().enumerate() {
        let file = here.path().join(number.to_string());
        fs::copy(golden.join("findings.store"), &file).unwrap();
        let store = SqliteStore::connect(file.clone()).await.unwrap();
        assert_eq!(all_findings(&store).await, [samples::finding()], "{}", golden.display());
        assert_eq!(store.positions().await.unwrap(), Positions::of(topic::FINDINGS, 0, 9));
        assert_eq!(store.take_in(intake()).await.unwrap(), 0, "the same again changes nothing");
        drop(store);
        assert_eq!(schema(&file), schema(&fresh), "{}", golden.display());
    }
}

#[tokio::test]
async fn this_release_writes_the_stores_of_the_newest_folder() {
    let here = tempfile::tempdir().unwrap();
    let file = here.path().join("findings");
    write_store(&file).await;
    let golden = newest();
    assert_unchanged("a store", &schema(&file), &schema(&golden.join("findings.store")));
    for (name, text) in migrations() {
        let written = fs::read_to_string(golden.join(&name)).unwrap_or_default();
        assert_unchanged(&name, &Value::from(text), &Value::from(written));
    }
}

// Rule sets: replicas of two releases judge by one only if both make the same of it.

#[test]
fn rules_hash_to_what_they_hashed_to() {
    for golden in folders() {
        let dump = state(&golden);
        let Rulebook { files, lists } = correlate::book();
        let set = Rulebook { files, lists }.compile().set;
        assert_eq!(dump["rules"], json!(set.hash().to_string()), "{}", golden.display());
    }
}

/// What `flat` makes is what the code under test makes.
#[test]
fn flat_records_of_tests_are_those_of_this_release() {
    let record = samples::flat_record();
    let (cells, flags) = flat::read(&record.to_bytes());
    assert_eq!(flat::write(&cells, flags), record.to_bytes());
    assert_eq!(FlatRecord::decode(&flat::write(&cells, flags)).unwrap(), *record);
}
