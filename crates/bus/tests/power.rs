//! Power cuts: whatever was acknowledged survives, on a disk that forgets what was not synced.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::{Arc, Mutex};

use hubwarden_bus::{Journal, Options};
use support::disk::{Disk, Random};
use support::load::{self, Acked};

fn options(budget_bytes: u64) -> Options {
    Options {
        segment_bytes: 4 << 10,
        budget_bytes,
        free_floor_bytes: 0,
        // So small that readers go to the disk, too.
        cache_bytes: 2 << 10,
        ..Options::default()
    }
}

/// Runs the load on a disk until the power goes, several times, and checks after each.
///
/// Gives the oldest position of `RAW` that is still there.
async fn survives(seed: u64, disk: Disk, budget_bytes: u64) -> Result<u64, String> {
    let random = &mut Random::new(seed);
    let mut disk = disk;
    let mut next = Acked::default();
    let mut acked = Acked::default();
    let mut oldest = 0;
    for round in 0..4 {
        disk.cut_power_after(random.below(150));
        // The power may go while it is being opened.
        if let Ok(journal) = Journal::open_over(disk.files(), options(budget_bytes)) {
            let told = Arc::new(Mutex::new(acked));
            let copier = tokio::spawn(load::copy(journal.clone()));
            let writers: Vec<_> = (0..load::WRITERS)
                .map(|writer| {
                    let told = told.clone();
                    let acked =
                        move |writer, commit| told.lock().unwrap()[writer as usize] = commit + 1;
                    tokio::spawn(load::write(journal.clone(), writer, next[writer as usize], acked))
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            copier.abort();
            let _ = copier.await;
            acked = *told.lock().unwrap();
        }
        disk = disk.after_power_cut(random);
        let journal = Journal::open_over(disk.files(), options(budget_bytes));
        let journal = journal.map_err(|error| format!("round {round}: {error}"))?;
        next =
            load::check(&journal, &acked).await.map_err(|what| format!("round {round}: {what}"))?;
        acked = next;
        oldest = load::oldest(&journal);
    }
    Ok(oldest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    for seed in 0..150 {
        let survived = survives(seed, Disk::new(), u64::MAX / 4).await;
        assert!(survived.is_ok(), "seed {seed}: {survived:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_retention_works() {
    let mut removed = 0;
    for seed in 1000..1150 {
        let survived = survives(seed, Disk::new(), 24 << 10).await;
        assert!(survived.is_ok(), "seed {seed}: {survived:?}");
        removed += survived.unwrap();
    }
    assert!(removed > 1000, "retention had next to nothing to do: {removed}");
}

/// The same test must fail where syncs do nothing, or it would prove nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_without_sync_is_caught() {
    let mut caught = 0;
    for seed in 0..20 {
        let survived = survives(seed, Disk::without_sync(), u64::MAX / 4).await;
        caught += u32::from(survived.is_err());
    }
    assert!(caught >= 15, "caught {caught} of 20");
}
