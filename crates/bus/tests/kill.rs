//! kill -9 at random points: nothing acknowledged is lost, torn or there twice.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hubwarden_bus::{Journal, Options};
use support::disk::Random;
use support::load::{self, Acked};

const FOLDER: &str = "HUBWARDEN_BUS_KILL_TEST_FOLDER";
const KILLS: u64 = 60;

fn open(folder: &Path) -> Journal {
    let options = Options {
        segment_bytes: 64 << 10,
        budget_bytes: 1 << 20,
        free_floor_bytes: 0,
        ..Options::default()
    };
    Journal::open(folder, options).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let random = &mut Random::new(9);
    let mut next = Acked::default();
    for kill in 0..KILLS {
        let acked = run_and_kill(folder.path(), next, random.below(200));
        let journal = open(folder.path());
        next = load::check(&journal, &acked)
            .await
            .unwrap_or_else(|what| panic!("after kill {kill}: {what}"));
        assert!(
            next.iter().zip(acked).all(|(next, acked)| *next <= acked + 1),
            "{next:?} after {acked:?}"
        );
    }
    assert!(next.iter().sum::<u64>() > KILLS, "the children got nothing done: {next:?}");
}

/// Starts a child that commits, kills it after so many acknowledgements, and gives what it told.
fn run_and_kill(folder: &Path, next: Acked, acknowledgements: u64) -> Acked {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "child"])
        .env(FOLDER, folder)
        .env("NEXT", next.map(|next| next.to_string()).join(" "))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acked = next;
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The test harness tells things of its own, also on the same line.
        let Some((_, numbers)) = line.split_once("acked ") else {
            continue;
        };
        let (writer, commit) = numbers.split_once(' ').unwrap();
        let (Ok(writer), Some(Ok(commit))) =
            (writer.parse::<usize>(), commit.strip_suffix(" .").map(str::parse::<u64>))
        else {
            continue; // cut off by the kill
        };
        acked[writer] = commit + 1;
        told += 1;
        if told == acknowledgements + 1 {
            // What was told before it dies is still read and counted.
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(told > acknowledgements, "the child ended by itself");
    acked
}

/// The child of the test above: commits until it is killed.
#[test]
#[ignore = "started by nothing_acknowledged_is_lost"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let next = std::env::var("NEXT").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let error = runtime.block_on(async {
        let journal = open(folder.as_ref());
        let copier = tokio::spawn(load::copy(journal.clone()));
        let mut writers = tokio::task::JoinSet::new();
        for (writer, next) in (0..).zip(next.split(' ')) {
            let acked = |writer, commit| {
                let mut out = std::io::stdout().lock();
                writeln!(out, "acked {writer} {commit} .").unwrap();
                out.flush().unwrap();
            };
            writers.spawn(load::write(journal.clone(), writer, next.parse().unwrap(), acked));
        }
        tokio::select! {
            error = writers.join_next() => error.unwrap().unwrap(),
            error = copier => error.unwrap(),
        }
    });
    panic!("{error}");
}
