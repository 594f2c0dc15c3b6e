//! The stage that moves findings from the bus into the store.

use bytes::Bytes;
use hubwarden_bus::{Batch, Limit, Positions, Sink, Source, commit_when_room};
use hubwarden_event::Finding;
use hubwarden_service::metrics::{Pace, Step, Transaction};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::patience::patiently;
use crate::{Error, FindingStore, Intake, Unreadable, metrics};

/// The name under which the bus knows this stage.
pub const STAGE: &str = "console";

/// What is kept of a record that is not a finding.
const UNREADABLE_BYTES: usize = 64 << 10;

/// Moves findings into the store until stopped.
///
/// The store keeps the position in the transaction of the findings and decides where to go on, for
/// each partition whenever it may have come from another console; the reader is best one that keeps
/// no position itself. What the bus is told, always after the store has the findings, only lets it
/// forget and shows the lag. So a finding may come again and is never passed over, and the store
/// joins what comes again. While the store is away or read-only the stage waits.
///
/// # Errors
/// When the bus or the store fails so that waiting does not help, or when the bus has forgotten
/// findings that the store has not seen ([`Error::Missed`]).
pub async fn run<B: Source + Sink>(
    mut bus: B,
    store: &dyn FindingStore,
    stop: CancellationToken,
) -> Result<(), Error> {
    if !stand(&mut bus, store, &stop).await? {
        return Ok(());
    }
    let mut lag = Pace::default();
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = bus.next_batch(Limit::default()) => batch?,
        };
        if batch.records.is_empty() {
            metrics::assigned(&bus);
            // Partitions may have come; another console has written what it read of them.
            if !stand(&mut bus, store, &stop).await? {
                return Ok(());
            }
            continue;
        }
        let cycle = metrics::cycle(&batch);
        metrics::event_time(&batch);
        let intake = read(&batch);
        let consumed = intake.consumed.clone();
        let severities = metrics::severities(&intake);
        for record in &intake.unreadable {
            let (topic, position) = (record.topic, record.position);
            tracing::error!(%topic, position, reason = record.reason, "kept a record that is not a finding aside");
        }
        let storing = metrics::storing();
        let write = || store.take_in(intake.clone());
        let writing = patiently("writing findings", &stop, write).instrument(cycle.span().clone());
        let Some(changed) = writing.await? else { return Ok(()) };
        drop(storing);
        metrics::stored(&severities);
        tracing::debug!(records = batch.records.len(), changed, "took findings in");
        let committing = cycle.time(Step::Commit);
        let told = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            told = commit_when_room(&mut bus, Vec::new(), &consumed) => told,
        };
        drop(committing);
        match told {
            Err(hubwarden_bus::Error::Reassigned { reason }) => {
                cycle.ended(Transaction::Aborted);
                tracing::info!(reason, "partitions went to another console");
                if !stand(&mut bus, store, &stop).await? {
                    return Ok(());
                }
            }
            told => {
                told?;
                cycle.ended(Transaction::Committed);
            }
        }
        if lag.is_due() {
            metrics::lag(&bus).await;
        }
    }
}

/// Goes to where the store stands in every partition that the reader owns; false when stopped.
///
/// A store that knows nothing of a partition begins with the oldest finding that is kept.
async fn stand<B: Source>(
    bus: &mut B,
    store: &dyn FindingStore,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let kept = patiently("reading positions", stop, || store.positions()).await?;
    let Some(kept) = kept else { return Ok(false) };
    for (topic, partition) in bus.assignment() {
        let known = kept.get(topic, partition);
        match bus.read_from(&Positions::of(topic, partition, known.unwrap_or(0))).await {
            Ok(()) => {}
            Err(hubwarden_bus::Error::Gone { topic, position, oldest }) => {
                if known.is_some() {
                    return Err(Error::Missed { topic, position, oldest });
                }
                bus.read_from(&Positions::of(topic, partition, oldest)).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Ids of findings are 28 characters long; what is much longer is none.
const LONGEST_ID: usize = 64;

/// What a batch brings.
pub fn read(batch: &Batch) -> Intake {
    let mut intake = Intake { consumed: batch.consumed(), ..Intake::default() };
    for record in &batch.records {
        match finding(record.body.clone()) {
            Ok(finding) => intake.findings.push(finding),
            Err(reason) => intake.unreadable.push(Unreadable {
                topic: record.topic,
                partition: record.partition,
                position: record.position,
                reason,
                // A copy, so that a small part does not hold the whole.
                body: Bytes::copy_from_slice(
                    &record.body[..record.body.len().min(UNREADABLE_BYTES)],
                ),
            }),
        }
    }
    intake
}

/// The finding in a record, or why it is none.
fn finding(body: Bytes) -> Result<Finding, String> {
    let finding = hubwarden_proto::decode_finding(body).map_err(|error| error.to_string())?;
    let id = finding.id.as_str();
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let shown: String = id.chars().take(LONGEST_ID).collect();
        return Err(format!("`{}` is not the id of a finding", shown.escape_default()));
    }
    Ok(finding)
}
