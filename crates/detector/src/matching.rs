use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;
use hubwarden_bus::{Batch, Bus, Delivered, Limit, Record, Source, commit_when_room, topic};
use hubwarden_event::{
    DeadLetter, EventBody, Hash, MAX_DEAD_BYTES, Match, MatchBody, RawPosition, Watermark,
};
use hubwarden_proto as proto;
use hubwarden_rules::{Engine, Scratch};
use tokio_util::sync::CancellationToken;

use crate::{Error, Rulebook};

/// The name under which the bus knows this stage.
pub const MATCH_STAGE: &str = "match";

/// Below so many events a thread, starting threads costs more than it gives.
const WORTH_A_THREAD: usize = 256;

/// Judges batches of events by one rule set, without memory of those before.
#[derive(Debug)]
pub struct MatchStage {
    engine: Engine,
    threads: NonZero<usize>,
}

/// What has been judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatchCounts {
    /// Events judged.
    pub events: u64,
    /// Matches found.
    pub matches: u64,
    /// Records that are not events of this release.
    pub dead: u64,
}

impl MatchStage {
    /// A stage that judges by this engine on at most so many threads.
    pub fn new(engine: Engine, threads: NonZero<usize>) -> Self {
        Self { engine, threads }
    }

    /// The records for `matches` and `events.dead`, in the order of the events.
    pub fn apply(&self, records: &[Delivered]) -> (Vec<Record>, MatchCounts) {
        let threads = self.threads.get().min(records.len() / WORTH_A_THREAD).max(1);
        let chunks = records.chunks(records.len().div_ceil(threads).max(1));
        let parts: Vec<_> = if threads == 1 {
            chunks.map(|chunk| judge(&self.engine, chunk)).collect()
        } else {
            std::thread::scope(|scope| {
                let running: Vec<_> =
                    chunks.map(|chunk| scope.spawn(move || judge(&self.engine, chunk))).collect();
                let done = running.into_iter().map(std::thread::ScopedJoinHandle::join);
                done.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        };
        let mut outputs = Vec::new();
        let mut counts = MatchCounts::default();
        for (records, part) in parts {
            outputs.extend(records);
            counts.events += part.events;
            counts.matches += part.matches;
            counts.dead += part.dead;
        }
        (outputs, counts)
    }
}

fn judge(engine: &Engine, records: &[Delivered]) -> (Vec<Record>, MatchCounts) {
    let mut scratch = Scratch::default();
    let mut matches: Vec<Match> = Vec::new();
    let mut outputs = Vec::new();
    let mut counts = MatchCounts::default();
    for delivered in records {
        let source_partition = delivered.partition;
        match proto::decode_event(delivered.body.clone()) {
            Ok(EventBody::Event(event)) => {
                counts.events += 1;
                engine.evaluate(&event, &mut scratch, &mut matches);
                counts.matches += matches.len() as u64;
                for matched in matches.drain(..) {
                    let key = Bytes::copy_from_slice(&matched.group.bus_key(&matched.connection).0);
                    outputs.push(record(key, MatchBody::Match(matched)));
                }
            }
            Ok(EventBody::Progress(progress)) => {
                let key = Bytes::copy_from_slice(progress.connection.as_str().as_bytes());
                let mark = Watermark {
                    connection: progress.connection,
                    run: progress.run,
                    kind: progress.kind,
                    through: progress.through,
                    source_partition,
                };
                outputs.push(record(key, MatchBody::Watermark(mark)));
            }
            Ok(EventBody::RunEnd(end)) => {
                let key = Bytes::copy_from_slice(end.connection.as_str().as_bytes());
                outputs.push(record(key, MatchBody::RunEnd { end, source_partition }));
            }
            Err(error) => {
                counts.dead += 1;
                outputs.push(dead(delivered, &error));
            }
        }
    }
    (outputs, counts)
}

fn record(key: Bytes, body: MatchBody) -> Record {
    Record::new(topic::MATCHES, key, proto::encode_match(body))
}

fn dead(delivered: &Delivered, error: &proto::Error) -> Record {
    let letter = DeadLetter {
        position: RawPosition { partition: delivered.partition, offset: delivered.position },
        connection: None,
        origin: None,
        reason: format!("not an event of this release: {error}"),
        hash: Hash::of(&delivered.body),
        length: delivered.body.len() as u64,
        record: delivered.body.slice(..delivered.body.len().min(MAX_DEAD_BYTES)),
    };
    Record::new(topic::EVENTS_DEAD, letter.hash.0.to_vec(), proto::encode_dead_letter(letter))
}

/// Judges events until stopped, by the rule set that was active on the bus where each event stands.
///
/// `told` hears of every durable batch.
///
/// # Errors
/// When the bus fails, or holds no rule set.
pub async fn run_match<B: Bus>(
    bus: B,
    threads: NonZero<usize>,
    stop: CancellationToken,
    mut told: impl FnMut(MatchCounts),
) -> Result<(), Error> {
    let mut reader = bus.reader(MATCH_STAGE, &[topic::EVENTS, topic::RULES])?;
    let mut stage = active(&bus, threads).await?;
    loop {
        let batch: Batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = reader.next_batch(Limit::default()) => batch?,
        };
        let mut outputs = Vec::new();
        let mut counts = MatchCounts::default();
        for part in batch.records.chunk_by(|a, b| a.topic == b.topic) {
            if part[0].topic == topic::RULES {
                stage = active(&bus, threads).await?;
                continue;
            }
            let (records, part) = tokio::task::block_in_place(|| stage.apply(part));
            outputs.extend(records);
            counts.events += part.events;
            counts.matches += part.matches;
            counts.dead += part.dead;
        }
        let consumed = batch.consumed();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            committed = commit_when_room(&mut reader, outputs, &consumed) => committed?,
        }
        told(counts);
    }
}

async fn active<B: Bus>(bus: &B, threads: NonZero<usize>) -> Result<MatchStage, Error> {
    let book = Rulebook::active(bus).await?.ok_or(Error::NoRuleSet)?;
    Ok(MatchStage::new(Engine::new(Arc::new(book.compile().set)), threads))
}
