use std::collections::{BTreeMap, HashMap};

use hubwarden_bus::topic::{EVENTS, RAW, RAW_DEAD};
use hubwarden_bus::{Batch, Bus, Delivered, Limit, Record, Sink, Source, commit_when_room};
use hubwarden_event::{DeadLetter, EventBody, Hash, MAX_DEAD_BYTES, RawPosition};
use hubwarden_proto as proto;
use hubwarden_service::metrics::{Cycle, NORMALIZER, Pace, Step, Transaction};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{NormalizerStage, Outputs, metrics};

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
/// loses it. When partitions go to another member in the middle of a batch, the batch is forgotten
/// and comes again, here or there. `counted` is told after each commit.
///
/// # Errors
/// When the bus fails.
pub async fn run<B: Bus>(
    bus: B,
    stage: NormalizerStage,
    stop: CancellationToken,
    counted: impl FnMut(crate::Counts),
) -> Result<(), Error> {
    read(bus.reader(STAGE, &[RAW])?, stage, stop, counted).await
}

async fn read(
    mut reader: impl Source + Sink,
    mut stage: NormalizerStage,
    stop: CancellationToken,
    mut counted: impl FnMut(crate::Counts),
) -> Result<(), Error> {
    let mut lag = Pace::default();
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = reader.next_batch(Limit::default()) => batch?,
        };
        if batch.records.is_empty() {
            stage.own(&owned(&reader));
            metrics::assigned(&NORMALIZER, &reader);
            continue;
        }
        let consumed = batch.consumed();
        let mut cycle = metrics::cycle(&batch);
        let working = cycle.time(Step::Work);
        let records = tokio::task::block_in_place(|| work(&mut stage, batch, &cycle));
        drop(working);
        cycle.makes(metrics::made(&records));
        let committing = cycle.time(Step::Commit);
        let committed = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            committed = commit_when_room(&mut reader, records, &consumed)
                .instrument(cycle.span().clone()) => committed,
        };
        drop(committing);
        match committed {
            Ok(()) => {
                cycle.ended(Transaction::Committed);
                stage.keep();
                let counts = stage.take_counts();
                metrics::counted(&counts);
                counted(counts);
                if lag.is_due() {
                    metrics::lag(&NORMALIZER, &reader).await;
                }
            }
            Err(hubwarden_bus::Error::Reassigned { reason }) => {
                tracing::info!(reason, "a batch comes again");
                cycle.ended(Transaction::Aborted);
                stage.undo();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The partitions of `raw` that this reader owns now.
fn owned(reader: &impl Source) -> Vec<u32> {
    let assigned = reader.assignment().into_iter().filter(|(topic, _)| *topic == RAW);
    assigned.map(|(_, partition)| partition).collect()
}

/// The records that a batch becomes.
fn work(stage: &mut NormalizerStage, batch: Batch, cycle: &Cycle) -> Vec<Record> {
    let mut bodies = Vec::with_capacity(batch.records.len());
    let mut unread = Vec::new();
    let mut traced = HashMap::new();
    for (place, delivered) in batch.records.into_iter().enumerate() {
        let position = position(&delivered);
        let mut headers = Vec::new();
        cycle.carry(place, &delivered.headers, &mut headers);
        if !headers.is_empty() {
            traced.insert((position.partition, position.offset), headers);
        }
        match proto::decode_raw(delivered.body.clone()) {
            Ok(body) => bodies.push((body, position)),
            Err(error) => unread.push(unreadable(&delivered, &error)),
        }
    }
    let Outputs { events, dead } = stage.apply(&bodies);
    let mut latest = BTreeMap::new();
    let events = events.into_iter().map(|(partition, body)| {
        let headers = match &body {
            EventBody::Event(event) => {
                latest.insert(partition, event.occurred_at);
                traced.remove(&(event.position.partition, event.position.offset))
            }
            EventBody::Progress(_) | EventBody::RunEnd(_) => None,
        };
        Record { headers: headers.unwrap_or_default(), ..event_record(partition, body) }
    });
    let dead = dead.into_iter().chain(unread).map(dead_record);
    let records = events.chain(dead).collect();
    metrics::event_time(&latest);
    records
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
        envelope: None,
    }
}

/// An event stays on the partition of its raw record, and so do the marks around it: their order is
/// what makes time true.
fn event_record(partition: u32, body: EventBody) -> Record {
    let key = match &body {
        EventBody::Event(event) => event.id.as_bytes().to_vec(),
        EventBody::Progress(progress) => progress.connection.as_str().into(),
        EventBody::RunEnd(end) => end.connection.as_str().into(),
    };
    Record::new(EVENTS, key, proto::encode_event(body)).at(partition)
}

fn dead_record(letter: DeadLetter) -> Record {
    let key = letter.hash.0.to_vec();
    Record::new(RAW_DEAD, key, proto::encode_dead_letter(letter))
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use hubwarden_bus::{Memory, MemoryReader, Positions, Topic};
    use hubwarden_event::{Kind, Progress, RawBody, RunId, Timestamp};

    use super::*;
    use crate::normalize::tests::raw;
    use crate::{Counts, Networks};

    fn records(bodies: Vec<RawBody>) -> Vec<Record> {
        bodies.into_iter().map(|body| Record::new(RAW, "k", proto::encode_raw(body))).collect()
    }

    /// Runs the stage until everything that is on `raw` has been consumed.
    async fn drain(bus: &Memory) -> Counts {
        let reader = bus.reader(STAGE, &[RAW]).unwrap();
        drain_by(GivesUp { bus: bus.clone(), reader, commits: 0 }).await
    }

    async fn drain_by(reader: GivesUp) -> Counts {
        let stop = CancellationToken::new();
        let stage = NormalizerStage::new(Networks::default(), NonZero::<usize>::MIN);
        let (bus, done) = (reader.bus.clone(), stop.clone());
        let watching = async move {
            while !is_drained(&bus).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            done.cancel();
        };
        let mut total = Counts::default();
        let reading = read(reader, stage, stop, |counts| total.merge(counts));
        let both = async { tokio::join!(reading, watching) };
        tokio::time::timeout(Duration::from_secs(60), both).await.unwrap().0.unwrap();
        total
    }

    async fn is_drained(bus: &Memory) -> bool {
        let ends = bus.ends().await.unwrap();
        let stages = bus.stage_positions().await.unwrap();
        let mine = stages.iter().find(|(name, _)| name == STAGE).map(|(_, at)| at);
        let at = |partition| mine.and_then(|at| at.get(RAW, partition)).unwrap_or(0);
        ends.iter().filter(|(topic, ..)| *topic == RAW).all(|(_, one, end)| at(one) == end)
    }

    /// A reader whose first commits come to nothing, as when partitions have gone to another member.
    struct GivesUp {
        bus: Memory,
        reader: MemoryReader,
        commits: u32,
    }

    impl Source for GivesUp {
        async fn next_batch(&mut self, limit: Limit) -> Result<Batch, hubwarden_bus::Error> {
            self.reader.next_batch(limit).await
        }

        async fn read_from(&mut self, positions: &Positions) -> Result<(), hubwarden_bus::Error> {
            self.reader.read_from(positions).await
        }

        fn assignment(&self) -> Vec<(Topic, u32)> {
            self.reader.assignment()
        }

        fn positions(&self) -> Positions {
            self.reader.positions()
        }

        async fn ends(&self) -> Result<Positions, hubwarden_bus::Error> {
            self.reader.ends().await
        }
    }

    impl Sink for GivesUp {
        async fn commit(
            &mut self,
            outputs: Vec<Record>,
            consumed: &Positions,
        ) -> Result<(), hubwarden_bus::Error> {
            if self.commits == 0 {
                return self.reader.commit(outputs, consumed).await;
            }
            self.commits -= 1;
            let mut stored = Positions::none();
            for (topic, partition, _) in self.reader.positions().iter() {
                stored.set(topic, partition, 0);
            }
            for (stage, at) in self.bus.stage_positions().await? {
                if stage == STAGE {
                    stored.merge(&at);
                }
            }
            self.reader.read_from(&stored).await?;
            Err(hubwarden_bus::Error::Reassigned { reason: "a test".into() })
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_batch_that_was_given_up_comes_again_and_none_of_it_is_taken_for_a_repeat() {
        let bus = Memory::with_partitions(3);
        let mut events = bus.reader("test", &[EVENTS]).unwrap();
        let reader = bus.reader(STAGE, &[RAW]).unwrap();
        let mut writer = bus.writer("collector");
        for some in 0..4 {
            let mut bodies = Vec::new();
            for number in 0..50 {
                let mut record = raw(br#"{"@timestamp":1700000000000,"action":"git.push"}"#);
                record.source_id = format!("{some}-{number}").as_str().into();
                bodies.push(Record::new(
                    RAW,
                    record.event_id().as_bytes().to_vec(),
                    proto::encode_raw(RawBody::Record(record)),
                ));
            }
            writer.commit(bodies.clone(), &Positions::none()).await.unwrap();
            writer.commit(bodies[..5].to_vec(), &Positions::none()).await.unwrap();
        }
        let progress = |through| {
            RawBody::Progress(Progress {
                connection: "c".into(),
                run: RunId::live(),
                kind: Kind::Git,
                through: Timestamp::from_millis(through),
            })
        };
        let marks = (0..3).map(|partition| {
            let body = proto::encode_raw(progress(i64::from(partition)));
            Record::new(RAW, "c", body).at(partition)
        });
        writer.commit(marks.collect(), &Positions::none()).await.unwrap();

        let counts = drain_by(GivesUp { bus: bus.clone(), reader, commits: 3 }).await;
        assert_eq!((counts.events, counts.repeats), (220, 20));
        let mut ids = std::collections::BTreeMap::new();
        let mut last = [None; 3];
        while events.positions() != events.ends().await.unwrap() {
            for delivered in events.next_batch(Limit::default()).await.unwrap().records {
                let partition = delivered.partition;
                match proto::decode_event(delivered.body).unwrap() {
                    EventBody::Event(event) => {
                        assert_eq!(event.position.partition, partition);
                        *ids.entry(event.id).or_insert(0) += 1;
                        last[partition as usize] = None;
                    }
                    EventBody::Progress(progress) => {
                        assert_eq!(progress.through.as_millis(), i64::from(partition));
                        last[partition as usize] = Some(progress.through);
                    }
                    EventBody::RunEnd(_) => panic!("no end was written"),
                }
            }
        }
        assert_eq!(ids.len(), 200);
        assert!(ids.values().all(|times| *times == 1), "{ids:?}");
        assert!(
            last.iter().all(Option::is_some),
            "each mark is behind the events of its partition"
        );
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
        writer.commit(raws, &Positions::none()).await.unwrap();
        let counts = drain(&bus).await;
        assert_eq!((counts.events, counts.rejected), (1, 1));
        writer.commit(records(vec![RawBody::Record(second)]), &Positions::none()).await.unwrap();
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
