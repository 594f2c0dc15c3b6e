use hubwarden_bus::topic::{EVENTS, RAW, RAW_DEAD};
use hubwarden_bus::{Batch, Bus, Delivered, Limit, Record, Source, commit_when_room};
use hubwarden_event::{DeadLetter, EventBody, Hash, MAX_DEAD_BYTES, RawPosition};
use hubwarden_proto as proto;
use tokio_util::sync::CancellationToken;

use crate::{NormalizerStage, Outputs};

/// The name under which the bus knows this stage.
pub const STAGE: &str = "normalizer";

/// Why the normalizer stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bus gave or took no more; the stage resumes at its last commit.
    #[error("the normalizer stopped")]
    Bus(#[from] hubwarden_bus::Error),
}

/// Moves batches from `raw` to `events` and `raw.dead` until told to stop.
///
/// A commit holds a batch's outputs and its positions, so a crash before it repeats work and never
/// loses it. `counted` is told after each commit.
///
/// # Errors
/// When the bus fails.
pub async fn run<B: Bus>(
    bus: B,
    mut stage: NormalizerStage,
    stop: CancellationToken,
    mut counted: impl FnMut(crate::Counts),
) -> Result<(), Error> {
    let mut reader = bus.reader(STAGE, &[RAW])?;
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = reader.next_batch(Limit::default()) => batch?,
        };
        let consumed = batch.consumed();
        let records = tokio::task::block_in_place(|| work(&mut stage, batch));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            committed = commit_when_room(&mut reader, records, &consumed) => committed?,
        }
        counted(stage.take_counts());
    }
}

/// The records that a batch becomes.
fn work(stage: &mut NormalizerStage, batch: Batch) -> Vec<Record> {
    let mut bodies = Vec::with_capacity(batch.records.len());
    let mut unread = Vec::new();
    for delivered in batch.records {
        let position = position(&delivered);
        match proto::decode_raw(delivered.body.clone()) {
            Ok(body) => bodies.push((body, position)),
            Err(error) => unread.push(unreadable(&delivered, &error)),
        }
    }
    let Outputs { events, dead } = stage.apply(&bodies);
    let events = events.into_iter().map(|(_, body)| event_record(body));
    let dead = dead.into_iter().chain(unread).map(dead_record);
    events.chain(dead).collect()
}

fn position(delivered: &Delivered) -> RawPosition {
    RawPosition { partition: delivered.partition, offset: delivered.position }
}

/// A record that is not one of this release's: kept whole as far as a dead letter goes.
fn unreadable(delivered: &Delivered, error: &proto::Error) -> DeadLetter {
    let kept = delivered.body.len().min(MAX_DEAD_BYTES);
    DeadLetter {
        position: position(delivered),
        connection: None,
        origin: None,
        reason: format!("not a raw record of this release: {error}"),
        hash: Hash::of(&delivered.body),
        length: delivered.body.len() as u64,
        record: delivered.body.slice(..kept),
    }
}

fn event_record(body: EventBody) -> Record {
    let key = match &body {
        EventBody::Event(event) => event.id.as_bytes().to_vec(),
        EventBody::Progress(progress) => progress.connection.as_str().into(),
        EventBody::RunEnd(end) => end.connection.as_str().into(),
    };
    Record::new(EVENTS, key, proto::encode_event(body))
}

fn dead_record(letter: DeadLetter) -> Record {
    let key = letter.hash.0.to_vec();
    Record::new(RAW_DEAD, key, proto::encode_dead_letter(letter))
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use hubwarden_bus::{Memory, Sink};
    use hubwarden_event::RawBody;

    use super::*;
    use crate::normalize::tests::raw;
    use crate::{Counts, Networks};

    fn records(bodies: Vec<RawBody>) -> Vec<Record> {
        bodies.into_iter().map(|body| Record::new(RAW, "k", proto::encode_raw(body))).collect()
    }

    /// Runs the stage until everything that is on `raw` has been consumed.
    async fn drain(bus: &Memory) -> Counts {
        let stop = CancellationToken::new();
        let stage = NormalizerStage::new(Networks::default(), NonZero::<usize>::MIN);
        let end = bus.ends().await.unwrap().get(RAW, 0);
        let mut total = Counts::default();
        let running = run(bus.clone(), stage, stop.clone(), |counts| total.merge(counts));
        let watching = async {
            loop {
                let stages = bus.stage_positions().await.unwrap();
                let mine = stages.iter().find(|(name, _)| name == STAGE);
                if mine.is_some_and(|(_, at)| at.get(RAW, 0) == end) {
                    return stop.cancel();
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(running, watching).0.unwrap();
        total
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn moves_records_with_their_positions_and_resumes_behind_them() {
        let bus = Memory::default();
        let mut events = bus.reader("test", &[EVENTS, RAW_DEAD]).unwrap();
        let hold = bus.reader(STAGE, &[RAW]).unwrap();
        let mut writer = bus.writer("collector");
        let mut second = raw(br#"{"@timestamp":1700000000001,"action":"repo.create"}"#);
        second.source_id = "2".into();
        let mut raws = records(vec![
            RawBody::Record(raw(br#"{"@timestamp":1700000000000,"action":"git.push"}"#)),
            RawBody::Record(raw(b"{}")),
        ]);
        raws.push(Record::new(RAW, "k", &b"\xff\xff"[..]));
        writer.commit(raws, &hubwarden_bus::Positions::none()).await.unwrap();
        let counts = drain(&bus).await;
        assert_eq!((counts.events, counts.rejected), (1, 1));
        writer
            .commit(records(vec![RawBody::Record(second)]), &hubwarden_bus::Positions::none())
            .await
            .unwrap();
        let counts = drain(&bus).await;
        assert_eq!(counts.events, 1, "what was consumed is not read again");
        drop(hold);

        let mut offsets = Vec::new();
        let mut reasons = Vec::new();
        while offsets.len() + reasons.len() < 4 {
            for delivered in events.next_batch(Limit::default()).await.unwrap().records {
                if delivered.topic == EVENTS {
                    let EventBody::Event(event) = proto::decode_event(delivered.body).unwrap()
                    else {
                        panic!("no marks were written");
                    };
                    offsets.push(event.position.offset);
                } else {
                    reasons.push(proto::decode_dead_letter(delivered.body).unwrap().reason);
                }
            }
        }
        assert_eq!(offsets, [0, 3]);
        assert_eq!(reasons[0], "field `action` is missing");
        assert!(reasons[1].starts_with("not a raw record of this release: "), "{reasons:?}");
    }
}
