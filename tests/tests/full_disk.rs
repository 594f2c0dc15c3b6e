//! A disk that is really full: a small tmpfs. Refused, nothing lost, and on it goes with room again.
//!
//! Mounting needs root, as CI has; elsewhere these tests fail and say so.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hubwarden_bus::{Bus, Error, Journal, Limit, Options, Positions, Record, Sink, Source, topic};
use hubwarden_testkit::{Home, until};

/// A tmpfs of its own; unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(mib: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("hubwarden-disk-").tempdir().unwrap();
        let size = format!("size={mib}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "hubwarden-test"])
            .arg(folder.path())
            .output()
            .expect("this test needs the program `mount`");
        assert!(
            mount.status.success(),
            "this test mounts a small tmpfs as a disk that can be filled, and that failed: {}; run it as root, in a \
             container with CAP_SYS_ADMIN",
            String::from_utf8_lossy(&mount.stderr)
        );
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room but this; removing the file gives it back.
    fn leave(&self, kib: u64) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        let mut size = 0;
        let full = loop {
            match file.write(&[1; 4096]) {
                Ok(written) => size += written as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        file.set_len(size - (kib << 10)).unwrap();
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // lazily: after a failed test something may still be open there
        drop(Command::new("umount").arg("--lazy").arg(self.path()).status());
    }
}

fn record(number: usize) -> Record {
    let body = format!("{number:01000}");
    Record::new(topic::RAW, number.to_string().into_bytes(), body.into_bytes())
}

async fn numbers(journal: &Journal) -> Vec<usize> {
    let mut reader = journal.reader("check", &[topic::RAW]).unwrap();
    let mut numbers = Vec::new();
    while reader.positions() != reader.ends().await.unwrap() {
        let batch = reader.next_batch(Limit::default()).await.unwrap();
        let number = |body: &[u8]| std::str::from_utf8(body).unwrap().parse::<usize>().unwrap();
        numbers.extend(batch.records.iter().map(|record| number(&record.body)));
    }
    numbers
}

/// Commits until the disk refuses; gives how many were taken in all.
async fn commit_until_full(journal: &Journal, mut taken: usize) -> usize {
    let mut writer = journal.writer("w");
    for _ in 0..20_000 {
        match writer.commit(vec![record(taken)], &Positions::none()).await {
            Ok(()) => taken += 1,
            Err(Error::DiskFull { .. }) => return taken,
            Err(error) => panic!("a full disk was told as {error:?}"),
        }
    }
    panic!("the disk was never full");
}

#[tokio::test]
async fn a_journal_on_a_full_disk_refuses_loses_nothing_and_goes_on() {
    for (name, floor) in [("the disk itself is full", 0), ("the floor is reached", 256 << 10)] {
        let disk = SmallDisk::mount(8);
        let folder = disk.path().join("journal");
        let options =
            || Options { segment_bytes: 64 << 10, free_floor_bytes: floor, ..Options::default() };
        let journal = Journal::open(&folder, options()).unwrap();
        let mut taken = 0;
        for round in 0..3 {
            let ballast = disk.leave(600);
            let before = taken;
            taken = commit_until_full(&journal, taken).await;
            assert!(
                taken > before + 20,
                "{name}, round {round}: only {} were taken",
                taken - before
            );
            let all: Vec<usize> = (0..taken).collect();
            assert_eq!(numbers(&journal).await, all, "{name}: what was taken is read");
            // full it stays, and a refusal leaves nothing behind
            assert_eq!(commit_until_full(&journal, taken).await, taken, "{name}");
            fs::remove_file(ballast).unwrap();
            let mut writer = journal.writer("w");
            writer.commit(vec![record(taken)], &Positions::none()).await.unwrap();
            taken += 1;
            assert_eq!(numbers(&journal).await.len(), taken, "{name}: with room again it goes on");
        }
        // killed while full: what was taken is there after the restart
        disk.leave(100);
        taken = commit_until_full(&journal, taken).await;
        drop(journal);
        fs::remove_file(disk.path().join("ballast")).unwrap();
        let journal = Journal::open(&folder, options()).unwrap();
        assert_eq!(
            numbers(&journal).await,
            (0..taken).collect::<Vec<_>>(),
            "{name}: after a restart"
        );
        let mut writer = journal.writer("w");
        writer.commit(vec![record(taken)], &Positions::none()).await.unwrap();
    }
}

#[test]
fn an_import_on_a_full_disk_waits_and_ends_with_room_again() {
    let disk = SmallDisk::mount(64);
    let home = Home::new("[storage]\nfree_floor_mib = 8\n");
    let event = |number: i64| {
        let at = 1_790_000_000_000 + number * 1000;
        format!(
            "{{\"action\":\"org.disable_saml\",\"actor\":\"a\",\"org\":\"o\",\"@timestamp\":{at},\"_document_id\":\"{number}\"}}\n"
        )
    };
    home.write("first.ndjson", event(0));
    home.write("rest.ndjson", (1..50).map(event).collect::<String>());
    let data = disk.path().join("data").to_str().unwrap().to_owned();
    home.run(&["import", "first.ndjson", "--data-dir", &data]).expect(0);
    let ballast = disk.leave(6 << 10);
    let said = home.path("said");
    let mut command = home.command(&["import", "rest.ndjson", "--data-dir", &data]);
    let mut waiting = command.stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    let patience = Duration::from_secs(60);
    until("the complaint", patience, || {
        fs::read_to_string(&said).unwrap().contains("no room on the disk").then_some(())
    });
    assert_eq!(waiting.try_wait().unwrap(), None, "it waits for room");
    fs::remove_file(ballast).unwrap();
    let ended = until("the import's end", patience, || waiting.try_wait().unwrap());
    assert!(ended.success(), "{}", fs::read_to_string(&said).unwrap());
    let list = ["finding", "list", "-o", "ndjson", "--data-dir", &data];
    let found = home.run(&list).expect(0).ndjson();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["count"], 50);
}
