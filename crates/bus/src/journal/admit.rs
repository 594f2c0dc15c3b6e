//! Which commits may be written now.

use super::writer::{Commit, Writer};
use crate::Error;
use crate::topic::ALL;

impl Writer {
    /// Whether a commit may be written, with `size` bytes in all since the last sync.
    pub(super) fn admit(&mut self, commit: &Commit, size: u64) -> Result<(), Error> {
        if let Some(reason) = &self.closed {
            let reason = reason.clone();
            return Err(Error::Closed { reason });
        }
        for (topic, partition, position) in commit.consumed.iter() {
            let end = self.ends[topic.index()];
            if partition != 0 {
                return Err(Error::NoPartition { topic, partition, partitions: 1 });
            }
            if position > end {
                return Err(Error::Ahead { topic, position, end });
            }
        }
        // What only moves positions always passes: it is how room is made.
        if commit.outputs.body.is_empty() {
            return Ok(());
        }
        self.check_budget(commit, size)?;
        self.check_disk(size)
    }

    /// Holds the entrance at the budget, and the stages behind it at twice the budget.
    ///
    /// Were a stage refused at the budget that the entrance has filled, it could not consume, and
    /// nothing would ever be freed.
    fn check_budget(&mut self, commit: &Commit, size: u64) -> Result<(), Error> {
        let entrance = commit.consumed.is_empty();
        let budget = self.shared.options.budget_bytes;
        let budget = if entrance { budget } else { budget.saturating_mul(2) };
        if self.shared.read().bytes() + size <= budget {
            return Ok(());
        }
        self.retain(size)?;
        let state = self.shared.read();
        let used = state.bytes();
        if used + size <= budget {
            return Ok(());
        }
        let waiting = ALL.into_iter().zip(state.floors());
        let waiting = waiting.filter(|(topic, (floor, _))| *floor < state.ends[topic.index()]);
        let waiting = waiting.filter_map(|(topic, (floor, stage))| {
            Some((state.address_of(topic, floor), stage?, topic))
        });
        let waiting = waiting.min_by_key(|(address, _, _)| *address);
        let waiting_for = waiting.map(|(_, stage, topic)| format!("stage {stage} on {topic}"));
        Err(Error::Full {
            used,
            budget,
            waiting_for: waiting_for.unwrap_or_else(|| "a larger budget".to_owned()),
        })
    }

    fn check_disk(&self, size: u64) -> Result<(), Error> {
        let files = &self.shared.files;
        let free = files.free_bytes().map_err(|source| Error::Io {
            doing: "asking for the free space of",
            file: files.folder().to_path_buf(),
            source,
        })?;
        if free < self.shared.options.free_floor_bytes.saturating_add(size) {
            let folder = files.folder().to_path_buf();
            return Err(Error::DiskFull { folder, free });
        }
        Ok(())
    }
}
