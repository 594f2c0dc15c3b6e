//! Findings on their way from the outboxes to the bus.

use std::collections::BTreeMap;

use hubwarden_bus::{Bus, Error as BusError, Limit, Positions, Record, commit_when_room, topic};
use hubwarden_service::metrics::{CORRELATE, Step, Transaction};
use tracing::Instrument;

use super::Stage;
use crate::partition::Partition;
use crate::{Error, metrics};

/// What is published at once.
#[derive(Default)]
struct Piece {
    records: Vec<Record>,
    /// Where the partitions stand.
    at: Positions,
    /// The last finding of each partition that is part of it, by id.
    through: BTreeMap<u32, String>,
}

impl<B: Bus> Stage<B> {
    /// Publishes what stands in the outboxes, also after a crash between two transactions.
    ///
    /// Gives how many findings the bus took; nothing when partitions have gone to another member,
    /// which publishes them, or when the same commit may pass later.
    pub(super) async fn publish(&mut self, reader: &mut B::Reader) -> Result<Option<u64>, Error> {
        let mut waiting = self.waiting()?;
        let mut sent = 0;
        loop {
            let Piece { records, at, through } = self.piece()?;
            if records.is_empty() && at == self.told_at {
                return Ok(Some(sent));
            }
            let (count, out) = (records.len() as u64, metrics::Published::of(&records));
            let committing = CORRELATE.time(Step::Commit);
            let span = metrics::publishing(&records);
            let committed = commit_when_room(reader, records, &at).instrument(span).await;
            drop(committing);
            match committed {
                Ok(()) => self.told_at = at,
                Err(error @ BusError::Reassigned { .. }) => {
                    CORRELATE.transaction(Transaction::Aborted);
                    tracing::info!(%error, "findings wait");
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
            out.counted();
            sent += count;
            for (number, id) in through {
                if let (Some(owned), Some(left)) =
                    (self.open.get_mut(&number), waiting.get_mut(&number))
                {
                    *left = left.saturating_sub(owned.partition.published(&id)?);
                    metrics::outbox(number, *left);
                }
            }
        }
    }

    /// How many findings stand in the outbox of each partition.
    fn waiting(&self) -> Result<BTreeMap<u32, usize>, Error> {
        let mut waiting = BTreeMap::new();
        for (number, owned) in &self.open {
            let count = owned.partition.state.waiting()?;
            metrics::outbox(*number, count);
            waiting.insert(*number, count);
        }
        Ok(waiting)
    }

    /// What one commit takes of the outboxes, in the traces in which it belongs.
    fn piece(&self) -> Result<Piece, Error> {
        let mut piece = Piece::default();
        let share = Limit::default().bytes / self.open.len().max(1);
        for (number, owned) in &self.open {
            let findings = owned.partition.state.outbox(share)?;
            piece.through.extend(findings.last().map(|(id, _)| (*number, id.clone())));
            piece.records.extend(findings.into_iter().map(|(id, body)| {
                let headers = owned.partition.traced.get(&id).cloned().unwrap_or_default();
                Record { headers, ..Record::new(topic::FINDINGS, id, body) }
            }));
            piece.at.set(topic::MATCHES, *number, self.told_position(&owned.partition)?);
        }
        Ok(piece)
    }

    /// What the bus hears of where a partition stands: nothing before there is a snapshot.
    ///
    /// A position on the bus says that there was a state. Were it told sooner, a node that loses its
    /// disk before its first snapshot would leave a partition that nobody may judge.
    fn told_position(&self, partition: &Partition) -> Result<u64, Error> {
        match self.settings.snapshots.is_some() && partition.is_never_saved() {
            true => Ok(0),
            false => partition.position(),
        }
    }
}
