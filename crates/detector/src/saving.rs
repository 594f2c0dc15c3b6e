use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::partition::{Correlating, Partition, Snapshots};
use crate::readiness::chain;
use crate::{Error, metrics};

/// Copies the state files of a node to the place of its snapshots, while judging goes on.
pub(crate) struct Saving {
    snapshots: Option<Snapshots>,
    /// Where copies are made.
    dir: PathBuf,
    /// By partition, until somebody waits for it.
    running: BTreeMap<u32, JoinHandle<()>>,
}

impl Saving {
    pub(crate) fn new(settings: &Correlating) -> Self {
        let (snapshots, dir) = (settings.snapshots.clone(), settings.dir.clone());
        Self { snapshots, dir, running: BTreeMap::new() }
    }

    /// When a partition is to be saved that was opened or saved now; never without a place for it.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.snapshots.as_ref().map(|snapshots| Instant::now() + snapshots.every)
    }

    /// Whether a snapshot is being made: one after the other, for the sake of the disk.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.values().any(|saving| !saving.is_finished())
    }

    /// Begins a snapshot of a partition that stays open; gives whether there was something to save.
    ///
    /// # Errors
    /// The state file fails.
    pub(crate) fn begin(&mut self, partition: &Partition) -> Result<bool, Error> {
        if partition.is_unsaved()?
            && let Some(saving) = self.save(partition)
        {
            self.running.insert(partition.number, tokio::spawn(saving));
            return Ok(true);
        }
        Ok(false)
    }

    fn save(&self, partition: &Partition) -> Option<impl Future<Output = ()> + Send + use<>> {
        let target = self.snapshots.as_ref()?.target.clone();
        let (file, number, dir) = (partition.file.clone(), partition.number, self.dir.clone());
        let saved_at = partition.saved_at.clone();
        Some(async move {
            match target.save(&file, number, &dir).await {
                Ok(snapshot) => {
                    saved_at.store(snapshot.position, Ordering::Relaxed);
                    metrics::snapshot(number);
                    tracing::info!(partition = number, snapshot.position, "stored a snapshot");
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(partition = number, error, "stored no snapshot");
                }
            }
        })
    }

    /// Gives a partition up: its last snapshot is made on the side, then its file is closed.
    pub(crate) fn leave(&mut self, partition: Partition) {
        let number = partition.number;
        let before = self.running.remove(&number);
        let unsaved = partition.is_unsaved().unwrap_or(true);
        let Some(last) = self.save(&partition) else { return };
        let leaving = async move {
            if let Some(before) = before {
                let _ = before.await; // it has told what went wrong
            }
            if unsaved {
                last.await;
            }
            drop(partition); // and with it the lock of its file
        };
        self.running.insert(number, tokio::spawn(leaving));
    }

    /// Waits until a partition that was given up is closed.
    pub(crate) async fn closed(&mut self, number: u32) {
        if let Some(saving) = self.running.remove(&number) {
            let _ = saving.await; // it has told what went wrong
        }
    }

    /// Waits until everything is closed.
    pub(crate) async fn all_closed(&mut self) {
        for (_, saving) in std::mem::take(&mut self.running) {
            let _ = saving.await; // it has told what went wrong
        }
    }
}
