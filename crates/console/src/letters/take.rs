//! The stage that keeps dead letters in the store.

use bytes::Bytes;
use hubwarden_bus::{Batch, Delivered, Limit, Positions, Sink, Source, commit_when_room};
use hubwarden_event::Timestamp;
use hubwarden_proto as proto;
use tokio_util::sync::CancellationToken;

use crate::patience::patiently;
use crate::store::letters::{Keep, KeptLetter, LetterAt, MAX_LETTERS};
use crate::{Error, FindingStore, web};

/// The name under which the bus knows this stage.
pub const STAGE: &str = "console-dead-letters";

/// Letters stay as long as their topics keep them.
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// What is kept of a record that is not a dead letter.
const FOREIGN_BYTES: usize = 64 << 10;
/// A reason is cut here.
const REASON_BYTES: usize = 512;

/// Keeps dead letters in the store until stopped.
///
/// As with findings, the store keeps the position and decides where to go on, and what the bus is
/// told only lets it forget.
///
/// # Errors
/// When the bus or the store fails so that waiting does not help.
pub async fn run<B: Source + Sink>(
    mut bus: B,
    store: &dyn FindingStore,
    stop: CancellationToken,
) -> Result<(), Error> {
    if !stand(&mut bus, store, &stop).await? {
        return Ok(());
    }
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = bus.next_batch(Limit::default()) => batch?,
        };
        if batch.records.is_empty() {
            if !stand(&mut bus, store, &stop).await? {
                return Ok(());
            }
            continue;
        }
        let (letters, consumed) = (read(&batch), batch.consumed());
        let keep = Keep { since: web::now().plus_millis(-KEPT_MS), most: MAX_LETTERS };
        let write = || store.take_letters(letters.clone(), consumed.clone(), keep);
        let Some(new) = patiently("writing dead letters", &stop, write).await? else {
            return Ok(());
        };
        tracing::debug!(new, "took dead letters in");
        let told = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            told = commit_when_room(&mut bus, Vec::new(), &consumed) => told,
        };
        match told {
            Err(hubwarden_bus::Error::Reassigned { .. }) => {
                if !stand(&mut bus, store, &stop).await? {
                    return Ok(());
                }
            }
            told => told?,
        }
    }
}

/// Goes to where the store stands in every partition that the reader owns; false when stopped.
async fn stand<B: Source>(
    bus: &mut B,
    store: &dyn FindingStore,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let kept = patiently("reading positions", stop, || store.positions()).await?;
    let Some(kept) = kept else { return Ok(false) };
    for (topic, partition) in bus.assignment() {
        let known = kept.get(topic, partition).unwrap_or(0);
        match bus.read_from(&Positions::of(topic, partition, known)).await {
            // Letters that went unread are as old as those that a store drops.
            Err(hubwarden_bus::Error::Gone { oldest, .. }) => {
                bus.read_from(&Positions::of(topic, partition, oldest)).await?;
            }
            went => went?,
        }
    }
    Ok(true)
}

fn read(batch: &Batch) -> Vec<KeptLetter> {
    batch.records.iter().map(kept).collect()
}

fn kept(record: &Delivered) -> KeptLetter {
    let (mut reason, body) = match proto::decode_dead_letter(record.body.clone()) {
        Ok(letter) => (letter.reason, record.body.clone()),
        Err(error) => {
            let part = &record.body[..record.body.len().min(FOREIGN_BYTES)];
            (format!("not a dead letter of this release: {error}"), Bytes::copy_from_slice(part))
        }
    };
    reason.truncate(reason.floor_char_boundary(REASON_BYTES));
    KeptLetter {
        at: LetterAt {
            topic: record.topic,
            partition: record.partition,
            position: record.position,
        },
        appended_at: Timestamp::from_millis(record.appended_at_ms),
        // PostgreSQL takes no NUL, and both stores answer alike.
        reason: reason.replace('\0', " "),
        body,
        retry: None,
    }
}
