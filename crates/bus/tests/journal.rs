//! What only the journal promises: damage, retention, budget, full disks, locks.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hubwarden_bus::topic::{CURSORS, EVENTS, FINDINGS, RAW};
use hubwarden_bus::{Bus, Error, Journal, Limit, Options, Positions, Record, Repair, Sink, Source};
use support::disk::Disk;
use support::{bodies, next, read_all, record};

fn options() -> Options {
    Options { segment_bytes: 4 << 10, free_floor_bytes: 0, ..Options::default() }
}

fn open(folder: &Path) -> Result<Journal, Error> {
    Journal::open(folder, options())
}

async fn commit(journal: &Journal, outputs: Vec<Record>) -> Result<(), Error> {
    journal.writer("w").commit(outputs, &Positions::none()).await
}

async fn consume(journal: &Journal, stage: &str, to: u64) {
    let consumed = Positions::of(RAW, 0, to);
    journal.writer(stage).commit(Vec::new(), &consumed).await.unwrap();
}

/// `count` commits of one record of 300 bytes, numbered by position.
async fn fill(journal: &Journal, count: u64) {
    for _ in 0..count {
        let number = journal.ends().await.unwrap().get(RAW, 0).unwrap();
        let body = format!("{number:0300}");
        commit(journal, vec![record(RAW, body)]).await.unwrap();
    }
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect();
    files.sort();
    files
}

fn flip(file: &Path, offset: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[offset as usize] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

async fn positions(journal: &Journal) -> Vec<u64> {
    let records = read_all(journal, RAW).await.unwrap();
    for record in &records {
        assert_eq!(record.body, format!("{:0300}", record.position));
    }
    records.iter().map(|record| record.position).collect()
}

#[tokio::test]
async fn cuts_a_torn_end_wherever_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    commit(&journal, vec![record(RAW, "kept"), record(CURSORS, "kept")]).await.unwrap();
    let sound = journal.status().bytes;
    let outputs = vec![record(RAW, "torn"), record(EVENTS, "torn"), record(CURSORS, "torn")];
    journal.writer("stage").commit(outputs, &Positions::of(RAW, 0, 1)).await.unwrap();
    drop(journal);
    let file = files(folder.path(), ".seg").pop().unwrap();
    let whole = fs::read(&file).unwrap();
    for len in sound as usize..whole.len() {
        fs::write(&file, &whole[..len]).unwrap();
        let journal = open(folder.path()).unwrap();
        assert_eq!(journal.status().bytes, sound, "torn at {len}");
        assert_eq!(journal.stage_positions().await.unwrap(), [], "torn at {len}");
        assert_eq!(journal.ends().await.unwrap().get(EVENTS, 0), Some(0), "torn at {len}");
        assert_eq!(bodies_of(&journal).await, ["kept"], "torn at {len}");
        commit(&journal, vec![record(RAW, "later")]).await.unwrap();
        assert_eq!(bodies_of(&journal).await, ["kept", "later"], "torn at {len}");
    }
    fs::write(&file, &whole).unwrap();
    let journal = open(folder.path()).unwrap();
    assert_eq!(bodies_of(&journal).await, ["kept", "torn"]);
}

async fn bodies_of(journal: &Journal) -> Vec<String> {
    let records = read_all(journal, RAW).await.unwrap();
    bodies(&hubwarden_bus::Batch { records })
}

#[tokio::test]
async fn tells_damage_in_the_last_segment_from_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    commit(&journal, vec![record(RAW, "a")]).await.unwrap();
    let at = journal.status().bytes;
    commit(&journal, vec![record(RAW, "b")]).await.unwrap();
    commit(&journal, vec![record(RAW, "c")]).await.unwrap();
    drop(journal);
    let file = files(folder.path(), ".seg").pop().unwrap();
    flip(&file, at + 40);
    let refused = open(folder.path()).map(|_| ());
    assert!(
        matches!(&refused, Err(Error::Corrupt { file: named, offset, .. }) if *named == file && *offset == at),
        "{refused:?}"
    );
    let read_only = Journal::open_read_only(folder.path()).map(|_| ());
    assert!(matches!(read_only, Err(Error::Corrupt { .. })), "{read_only:?}");
}

#[tokio::test]
async fn names_a_flipped_byte_and_repairs_it_when_loss_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    fill(&journal, 40).await;
    consume(&journal, "stage", 30).await;
    drop(journal);
    let segments = files(folder.path(), ".seg");
    assert!(segments.len() >= 3);
    let damaged = &segments[1];
    flip(damaged, 1500);

    let journal = open(folder.path()).unwrap();
    let error = read_all(&journal, RAW).await.unwrap_err();
    let Error::Corrupt { file, offset, .. } = &error else { panic!("{error}") };
    assert_eq!(file, damaged);
    assert!((1..=1500).contains(offset), "{error}");
    drop(journal);
    // Without its index the segment is read as a whole when it is opened.
    fs::remove_file(damaged.with_extension("idx")).unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Corrupt { .. })));

    let named = Journal::repair(folder.path(), options(), Repair::default()).await.unwrap();
    assert!(!named.sound);
    assert_eq!((&named.damage[0].file, named.damage[0].offset), (damaged, *offset));
    assert!(open(folder.path()).is_err());

    let repair = Repair { accept_loss: true, pass: Vec::new() };
    let repaired = Journal::repair(folder.path(), options(), repair).await.unwrap();
    assert!(repaired.sound);
    let [(topic, first, 1)] = repaired.damage[0].lost[..] else { panic!("{repaired:?}") };
    assert_eq!(topic, RAW);
    let journal = open(folder.path()).unwrap();
    assert_eq!(
        positions(&journal).await,
        (0..40).filter(|position| *position != first).collect::<Vec<u64>>()
    );
    assert_eq!(journal.lag("stage")[0].records(), 10);
    assert_eq!(journal.read_at(RAW, 0, first).await.unwrap(), None);
}

#[tokio::test]
async fn makes_lost_and_damaged_indexes_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    fill(&journal, 40).await;
    commit(&journal, vec![record(CURSORS, "a")]).await.unwrap();
    fill(&journal, 20).await;
    drop(journal);
    let indexes = files(folder.path(), ".idx");
    let before: Vec<Vec<u8>> = indexes.iter().map(|index| fs::read(index).unwrap()).collect();
    fs::remove_file(&indexes[0]).unwrap();
    flip(&indexes[1], 90);
    fs::write(&indexes[2], b"").unwrap();
    let journal = open(folder.path()).unwrap();
    let after: Vec<Vec<u8>> = indexes.iter().map(|index| fs::read(index).unwrap()).collect();
    assert_eq!(after, before);
    assert_eq!(positions(&journal).await.len(), 60);
    assert_eq!(journal.newest(CURSORS).await.unwrap().len(), 1);
}

#[tokio::test]
async fn removes_by_age_only_what_is_consumed() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock = now.clone();
    let options = Options {
        keep: Duration::from_secs(60),
        clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        ..options()
    };
    let journal = Journal::open(folder.path(), options.clone()).unwrap();
    commit(&journal, vec![record(CURSORS, "newest")]).await.unwrap();
    fill(&journal, 40).await;
    consume(&journal, "fast", 40).await;
    consume(&journal, "slow", 15).await;
    now.fetch_add(59_000, Ordering::SeqCst);
    assert_eq!(journal.retain().await.unwrap(), 0); // young
    now.fetch_add(2_000, Ordering::SeqCst);
    assert!(journal.retain().await.unwrap() >= 1);
    let kept = positions(&journal).await;
    assert!(kept[0] > 0 && kept[0] <= 15 && *kept.last().unwrap() == 39, "{kept:?}");
    let gone = journal.reader("slow", &[RAW]).unwrap().read_from(&Positions::of(RAW, 0, 0)).await;
    assert!(matches!(gone, Err(Error::Gone { .. })), "{gone:?}");
    consume(&journal, "slow", 40).await;
    now.fetch_add(61_000, Ordering::SeqCst);
    assert!(journal.retain().await.unwrap() >= 2);
    assert_eq!(positions(&journal).await, [0_u64; 0]);
    drop(journal);

    // Everything that has to stay is in the snapshot.
    let journal = Journal::open(folder.path(), options).unwrap();
    assert_eq!(files(folder.path(), ".snap").len(), 1);
    assert_eq!(journal.newest(CURSORS).await.unwrap()[0].body, "newest");
    assert_eq!(journal.ends().await.unwrap().get(RAW, 0), Some(40));
    assert_eq!(journal.stage_positions().await.unwrap().len(), 2);
    fill(&journal, 1).await;
    assert_eq!(positions(&journal).await, [40]);
}

#[tokio::test]
async fn keeps_for_an_open_reader_what_its_stage_has_not_stored_yet() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { budget_bytes: 16 << 10, ..options() };
    let journal = Journal::open(folder.path(), options).unwrap();
    let mut reader = journal.reader("new", &[RAW]).unwrap();
    let refused = loop {
        if let Err(error) = commit(&journal, vec![record(RAW, "x".repeat(300))]).await {
            break error;
        }
    };
    assert!(
        refused.is_retryable() && refused.to_string().contains("stage new on hubwarden.raw.v1"),
        "{refused}"
    );
    assert_eq!(next(&mut reader, Limit::records(1)).await.unwrap().records[0].position, 0);
    drop(reader);
    commit(&journal, vec![record(RAW, "room")]).await.unwrap();
}

#[tokio::test]
async fn refuses_at_the_budget_until_stages_have_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { budget_bytes: 32 << 10, ..options() };
    let journal = Journal::open(folder.path(), options).unwrap();
    consume(&journal, "stage", 0).await;
    let body = "x".repeat(1000);
    let mut taken = 0;
    let refused = loop {
        match commit(&journal, vec![record(RAW, &body)]).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    let Error::Full { used, budget, waiting_for } = &refused else { panic!("{refused}") };
    assert!(used <= budget && waiting_for == "stage stage on hubwarden.raw.v1", "{refused}");
    assert!((10..=40).contains(&taken), "{taken}");
    assert!(refused.is_retryable());

    // The stage itself may still write, up to twice the budget.
    let mut stage = journal.writer("stage");
    stage.commit(vec![record(EVENTS, &body)], &Positions::of(RAW, 0, 0)).await.unwrap();
    let beyond =
        stage.commit(vec![record(EVENTS, "y".repeat(64 << 10))], &Positions::of(RAW, 0, 1)).await;
    assert!(matches!(beyond, Err(Error::Full { .. })), "{beyond:?}");
    assert_eq!(journal.ends().await.unwrap().get(EVENTS, 0), Some(1));
    assert_eq!(journal.lag("stage")[0].position, 0);

    // Positions always pass, and make room.
    consume(&journal, "stage", taken).await;
    fill_once(&journal).await;
    assert!(journal.status().bytes <= 32 << 10);
}

async fn fill_once(journal: &Journal) {
    let outputs = (0..10).map(|_| record(RAW, "z".repeat(1000))).collect();
    commit(journal, outputs).await.unwrap();
}

#[tokio::test]
async fn passes_a_stage_only_by_repair() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    fill(&journal, 10).await;
    consume(&journal, "dead", 3).await;
    let repair = Repair { accept_loss: true, pass: vec!["dead".to_owned()] };
    let busy = Journal::repair(folder.path(), options(), repair.clone()).await;
    assert!(matches!(busy, Err(Error::InUse { .. })), "{busy:?}");
    drop(journal);
    let refused = Repair { accept_loss: false, ..repair.clone() };
    assert_eq!(Journal::repair(folder.path(), options(), refused).await.unwrap().passed, []);
    let passed = Journal::repair(folder.path(), options(), repair).await.unwrap();
    assert_eq!(passed.passed, [("dead".to_owned(), RAW, 7)]);
    assert_eq!(open(folder.path()).unwrap().lag("dead")[0].records(), 0);
}

#[tokio::test]
async fn one_process_at_a_time_and_readers_beside_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    fill(&journal, 40).await;
    let second = open(folder.path()).map(|_| ()).unwrap_err();
    assert!(
        matches!(&second, Error::InUse { folder: named } if named == folder.path()),
        "{second}"
    );
    let reader = journal.reader("stage", &[RAW]).unwrap();
    drop(journal);
    assert!(open(folder.path()).is_err(), "a reader still has it");
    drop(reader);

    let file = files(folder.path(), ".seg").pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend(b"torn");
    fs::write(&file, &bytes).unwrap();
    let journal = Journal::open_read_only(folder.path()).unwrap();
    assert_eq!(positions(&journal).await.len(), 40);
    let refused = commit(&journal, vec![record(RAW, "x")]).await;
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
    drop(journal);
    assert_eq!(fs::read(&file).unwrap(), bytes, "nothing was changed");
    drop(open(folder.path()).unwrap());
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = Disk::new();
    let journal = Journal::open_over(disk.files(), options()).unwrap();
    fill(&journal, 3).await;
    disk.set_full(true);
    for _ in 0..3 {
        let refused =
            commit(&journal, vec![record(RAW, "lost"), record(EVENTS, "x".repeat(200_000))]).await;
        assert!(
            matches!(&refused, Err(error @ Error::DiskFull { .. }) if error.is_retryable()),
            "{refused:?}"
        );
    }
    disk.set_full(false);
    fill(&journal, 40).await;
    // Also while the next segment begins.
    disk.set_full(true);
    assert!(commit(&journal, vec![record(RAW, "lost")]).await.is_err());
    disk.set_full(false);
    fill(&journal, 20).await;
    assert_eq!(positions(&journal).await, (0..63).collect::<Vec<u64>>());
    drop(journal);
    let journal = Journal::open_over(disk.files(), options()).unwrap();
    assert_eq!(positions(&journal).await, (0..63).collect::<Vec<u64>>());
    assert_eq!(journal.ends().await.unwrap().get(EVENTS, 0), Some(0));
}

#[tokio::test]
async fn leaves_the_floor_of_the_disk_to_others() {
    let disk = Disk::new();
    let options = Options { free_floor_bytes: 1 << 20, ..options() };
    let journal = Journal::open_over(disk.files(), options).unwrap();
    fill(&journal, 1).await;
    disk.set_free(1 << 20);
    let refused = commit(&journal, vec![record(RAW, "x")]).await;
    assert!(matches!(refused, Err(Error::DiskFull { free: 0x10_0000, .. })), "{refused:?}");
    consume(&journal, "stage", 1).await; // positions pass
    disk.set_free(2 << 20);
    fill(&journal, 1).await;
    assert_eq!(positions(&journal).await, [0, 1]);
}

#[tokio::test]
async fn takes_nothing_after_a_failed_sync_until_it_is_opened_again() {
    let disk = Disk::new();
    let journal = Journal::open_over(disk.files(), options()).unwrap();
    fill(&journal, 2).await;
    disk.set_sync_fails(true);
    let refused = commit(&journal, vec![record(RAW, "unsure")]).await;
    assert!(matches!(refused, Err(Error::Closed { .. })), "{refused:?}");
    disk.set_sync_fails(false);
    let refused = commit(&journal, vec![record(RAW, "later")]).await;
    assert!(matches!(refused, Err(Error::Closed { .. })), "{refused:?}");
    assert!(journal.status().closed.is_some());
    assert_eq!(positions(&journal).await, [0, 1]); // readers go on
    drop(journal);
    let journal = Journal::open_over(disk.files(), options()).unwrap();
    fill(&journal, 1).await;
    assert_eq!(positions(&journal).await, [0, 1, 2]);
}

#[tokio::test]
async fn reads_on_from_disk_over_many_segments_with_several_topics() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..options() };
    let journal = Journal::open(folder.path(), options).unwrap();
    let mut live = journal.reader("live", &[EVENTS, FINDINGS]).unwrap();
    for number in 0..300 {
        let mut outputs = vec![record(RAW, "x".repeat(100)), record(EVENTS, number)];
        if number % 100 == 0 {
            outputs.push(record(FINDINGS, number));
        }
        commit(&journal, outputs).await.unwrap();
    }
    assert!(journal.status().segments > 10);
    let mut expected = Vec::new();
    for number in 0..300 {
        expected.push(("hubwarden.events.v1", number));
        if number % 100 == 0 {
            expected.push(("hubwarden.findings.v1", number));
        }
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let batch = next(&mut live, Limit::records(7)).await.unwrap();
        let bodies = bodies(&batch).into_iter().map(|body| body.parse::<i32>().unwrap());
        seen.extend(batch.records.iter().map(|record| record.topic.name()).zip(bodies));
    }
    assert_eq!(seen, expected);
    assert_eq!(read_all(&journal, FINDINGS).await.unwrap().len(), 3);
}

/// A payload cannot pass itself off as frames of the journal.
#[tokio::test]
async fn a_frame_inside_a_payload_is_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    fill(&journal, 2).await;
    let file = files(folder.path(), ".seg").pop().unwrap();
    let sound = journal.status().bytes;
    let copy = fs::read(&file).unwrap();
    commit(&journal, vec![Record::new(RAW, "", copy)]).await.unwrap();
    drop(journal);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.status().bytes, sound);
    assert_eq!(positions(&journal).await, [0, 1]);
}

/// A frame that a later release may write, at an address of a journal of this one.
fn frame(magic: &[u8; 4], kind: u32, meta: &[u8], salt: u64, address: u64) -> Vec<u8> {
    let mut frame = magic.to_vec();
    for number in [kind, meta.len() as u32, 0, 0] {
        frame.extend(number.to_le_bytes());
    }
    let seeded = [&salt.wrapping_add(address).to_le_bytes(), &frame[..], meta].concat();
    frame.extend(crc32fast::hash(&seeded).to_le_bytes());
    frame.extend(meta);
    frame
}

#[tokio::test]
async fn what_a_later_release_wrote_is_named_and_neither_cut_nor_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    commit(&journal, vec![record(RAW, "kept")]).await.unwrap();
    let at = journal.status().bytes;
    drop(journal);
    let file = files(folder.path(), ".seg").pop().unwrap();
    let sound = fs::read(&file).unwrap();
    let salt = u64::from_le_bytes(sound[24..32].try_into().unwrap());
    // nobody's commit of one record of topic 10, which is none yet
    let mut group = vec![0; 8 + 8 + 1 + 2];
    group.extend([1, 10]);
    group.extend([0; 8 + 4]);
    let behind = |frames: &[Vec<u8>]| [&sound[..], &frames.concat()].concat();
    let torn = vec![b'x'; 30];
    let mut other_head = sound.clone();
    other_head[3] = b'2';
    for (what, bytes, offset) in [
        ("frames of kind 6", behind(&[frame(b"HWF1", 6, b"new", salt, at)]), at),
        ("a topic with number 10", behind(&[frame(b"HWF1", 2, &group, salt, at)]), at),
        ("format 2", behind(&[frame(b"HWF2", 2, &group, salt, at)]), at),
        ("format 2", other_head, 0),
        ("frames of kind 6", behind(&[torn.clone(), frame(b"HWF1", 6, b"new", salt, at + 30)]), at),
        (
            "a topic with number 10",
            behind(&[torn.clone(), frame(b"HWF1", 2, &group, salt, at + 30)]),
            at,
        ),
    ] {
        fs::write(&file, &bytes).unwrap();
        let repair = Repair { accept_loss: true, pass: Vec::new() };
        for refused in [
            open(folder.path()).map(|_| ()),
            Journal::open_read_only(folder.path()).map(|_| ()),
            Journal::repair(folder.path(), options(), repair).await.map(|_| ()),
        ] {
            let error = refused.unwrap_err();
            let Error::Later { file: named, offset: found, .. } = &error else { panic!("{error}") };
            assert!(*named == file && (offset..=offset + 30).contains(found), "{error}");
            assert!(error.to_string().contains(what), "{what}: {error}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "{what}");
        }
    }
    fs::write(&file, &sound).unwrap();
    assert_eq!(bodies_of(&open(folder.path()).unwrap()).await, ["kept"]);
}
