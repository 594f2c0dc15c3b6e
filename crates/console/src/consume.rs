//! The stage that moves findings from the bus into the store.

use bytes::Bytes;
use hubwarden_bus::{Batch, Limit, Positions, Sink, Source};
use hubwarden_service::metrics::{Pace, Step, Transaction};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{Error, FindingStore, Intake, Unreadable, metrics};

/// The name under which the bus knows this stage.
pub const STAGE: &str = "console";

/// What is kept of a record that is not a finding.
const UNREADABLE_BYTES: usize = 64 << 10;

/// Moves findings into the store until stopped.
///
/// The store keeps the position in the transaction of the findings and decides where to go on;
/// what the bus is told afterwards only lets it forget.
///
/// # Errors
/// When the bus or the store fails, or when the bus has forgotten findings that the store has not
/// seen ([`Error::Missed`]).
pub async fn run<B: Source + Sink>(
    mut bus: B,
    store: &dyn FindingStore,
    stop: CancellationToken,
) -> Result<(), Error> {
    resume(&mut bus, &store.positions().await?).await?;
    let mut lag = Pace::default();
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = bus.next_batch(Limit::default()) => batch?,
        };
        if batch.records.is_empty() {
            metrics::assigned(&bus);
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
        let changed = store.take_in(intake).instrument(cycle.span().clone()).await?;
        drop(storing);
        metrics::stored(&severities);
        tracing::debug!(records = batch.records.len(), changed, "took findings in");
        let committing = cycle.time(Step::Commit);
        bus.commit(Vec::new(), &consumed).await?;
        drop(committing);
        cycle.ended(Transaction::Committed);
        if lag.is_due() {
            metrics::lag(&bus).await;
        }
    }
}

/// What a batch brings.
pub fn read(batch: &Batch) -> Intake {
    let mut intake = Intake { consumed: batch.consumed(), ..Intake::default() };
    for record in &batch.records {
        match hubwarden_proto::decode_finding(record.body.clone()) {
            Ok(finding) => intake.findings.push(finding),
            Err(error) => intake.unreadable.push(Unreadable {
                topic: record.topic,
                partition: record.partition,
                position: record.position,
                reason: error.to_string(),
                // A copy, so that a small part does not hold the whole.
                body: Bytes::copy_from_slice(
                    &record.body[..record.body.len().min(UNREADABLE_BYTES)],
                ),
            }),
        }
    }
    intake
}

/// Goes to where the store stands; a fresh store begins with the oldest finding that is kept.
async fn resume<B: Source>(bus: &mut B, kept: &Positions) -> Result<(), Error> {
    for (topic, partition, _) in bus.positions().iter() {
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
    Ok(())
}
