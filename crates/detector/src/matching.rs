use std::num::NonZero;
use std::sync::Arc;

use bytes::Bytes;
use hubwarden_bus::{Bus, Delivered, Limit, Record, Source, commit_when_room, topic};
use hubwarden_event::{
    ConnectionId, DeadLetter, EventBody, Hash, MAX_DEAD_BYTES, Match, MatchBody, RawPosition,
    Watermark,
};
use hubwarden_proto as proto;
use hubwarden_rules::{Engine, RuleSet, Scratch};
use hubwarden_service::metrics::{MATCH, Pace, Step, Transaction};
use hubwarden_service::trace;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::readiness::chain;
use crate::rule_sets::{ActiveSet, LOOK, RuleSets};
use crate::{Error, Readiness, metrics};

/// The name under which the bus knows this stage.
pub const MATCH_STAGE: &str = "match";

/// Below so many events a thread, starting threads costs more than it gives.
const WORTH_A_THREAD: usize = 256;

/// Judges batches of events by one rule set, without memory of those before.
#[derive(Debug)]
pub struct MatchStage {
    engine: Engine,
    threads: NonZero<usize>,
    /// Of the topic `matches`.
    partitions: u32,
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
    /// A stage that judges by this engine on at most so many threads, for a bus whose topic
    /// `matches` has so many partitions.
    pub fn new(engine: Engine, threads: NonZero<usize>, partitions: u32) -> Self {
        Self { engine, threads, partitions: partitions.max(1) }
    }

    /// The records for `matches` and `events.dead`, in the order of the events.
    pub fn apply(&self, records: &[Delivered]) -> (Vec<Record>, MatchCounts) {
        let threads = self.threads.get().min(records.len() / WORTH_A_THREAD).max(1);
        let chunks = records.chunks(records.len().div_ceil(threads).max(1));
        let parts: Vec<_> = if threads == 1 {
            chunks.map(|chunk| self.judge(chunk)).collect()
        } else {
            std::thread::scope(|scope| {
                let running: Vec<_> =
                    chunks.map(|chunk| scope.spawn(move || self.judge(chunk))).collect();
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

    fn judge(&self, records: &[Delivered]) -> (Vec<Record>, MatchCounts) {
        let mut scratch = Scratch::default();
        let mut matches: Vec<Match> = Vec::new();
        let mut outputs = Vec::new();
        let mut counts = MatchCounts::default();
        for delivered in records {
            let source_partition = delivered.partition;
            match proto::decode_event(delivered.body.clone()) {
                Ok(EventBody::Event(event)) => {
                    counts.events += 1;
                    self.engine.evaluate(&event, &mut scratch, &mut matches);
                    counts.matches += matches.len() as u64;
                    outputs.extend(matches.drain(..).map(|matched| {
                        let mut record = match_record(matched);
                        trace::pass_on(&delivered.headers, &mut record.headers);
                        record
                    }));
                }
                Ok(EventBody::Progress(progress)) => {
                    let key = progress.connection.clone();
                    let mark = Watermark {
                        connection: progress.connection,
                        run: progress.run,
                        kind: progress.kind,
                        through: progress.through,
                        source_partition,
                    };
                    outputs.extend(self.to_all(&key, MatchBody::Watermark(mark)));
                }
                Ok(EventBody::RunEnd(end)) => {
                    let key = end.connection.clone();
                    outputs.extend(self.to_all(&key, MatchBody::RunEnd { end, source_partition }));
                }
                Err(error) => {
                    counts.dead += 1;
                    outputs.push(dead(delivered, &error));
                }
            }
        }
        (outputs, counts)
    }

    /// A mark of this source partition, for every partition of `matches`: each holds some of the
    /// matches that it speaks for.
    fn to_all(
        &self,
        connection: &ConnectionId,
        mark: MatchBody,
    ) -> impl Iterator<Item = Record> + use<> {
        let key = Bytes::copy_from_slice(connection.as_str().as_bytes());
        let record = Record::new(topic::MATCHES, key, proto::encode_match(mark));
        (0..self.partitions).map(move |partition| record.clone().at(partition))
    }
}

fn match_record(matched: Match) -> Record {
    let key = Bytes::copy_from_slice(&matched.group.bus_key(&matched.connection).0);
    Record::new(topic::MATCHES, key, proto::encode_match(MatchBody::Match(matched)))
}

fn dead(delivered: &Delivered, error: &proto::Error) -> Record {
    let letter = DeadLetter {
        position: RawPosition { partition: delivered.partition, offset: delivered.position },
        connection: None,
        origin: None,
        reason: format!("not an event of this release: {}", chain(error)),
        hash: Hash::of(&delivered.body),
        length: delivered.body.len() as u64,
        record: delivered.body.slice(..delivered.body.len().min(MAX_DEAD_BYTES)),
        envelope: None,
    };
    Record::new(topic::EVENTS_DEAD, letter.hash.0.to_vec(), proto::encode_dead_letter(letter))
}

/// Judges events until stopped, each by the rule set that is active when it is read.
///
/// Events that were written after a set became active are judged by that set or a later one. While
/// there is no set that this release can judge by, no batch is taken and `ready` says why. When
/// partitions go to another member in the middle of a batch, the batch comes again, here or there.
/// `told` hears of every durable batch.
///
/// # Errors
/// When the bus fails.
pub async fn run_match<B: Bus>(
    bus: B,
    threads: NonZero<usize>,
    ready: Readiness,
    stop: CancellationToken,
    mut told: impl FnMut(MatchCounts),
) -> Result<(), Error> {
    let partitions = bus.partitions(topic::MATCHES);
    let mut rules = ActiveSet::new(RuleSets::new(bus.clone()), ready.clone());
    let Some(set) = rules.wait(&stop).await? else { return Ok(()) };
    let stage = |set: Arc<RuleSet>| {
        metrics::rules(set.rules().len());
        MatchStage::new(Engine::new(set), threads, partitions)
    };
    let mut lag = Pace::default();
    let mut judging = stage(set);
    let mut reader = bus.reader(MATCH_STAGE, &[topic::EVENTS])?;
    ready.set("stage", None);
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = reader.next_batch(Limit::default()) => Some(batch?),
            () = tokio::time::sleep(LOOK) => None,
        };
        if rules.has_changed().await? {
            let Some(set) = rules.wait(&stop).await? else { return Ok(()) };
            judging = stage(set);
        }
        let Some(mut batch) = batch else { continue };
        if batch.records.is_empty() {
            metrics::assigned(&MATCH, &reader);
            continue; // other partitions: nothing is remembered of those that went
        }
        let mut cycle = metrics::cycle(&MATCH, MATCH_STAGE, &batch);
        metrics::carry(&cycle, &mut batch);
        let working = (cycle.time(Step::Work), metrics::evaluating());
        let work = || judging.apply(&batch.records);
        let (outputs, counts) = tokio::task::block_in_place(work);
        drop(working);
        metrics::event_time(&MATCH, &batch);
        cycle.makes(metrics::made(&outputs));
        let consumed = batch.consumed();
        let committing = cycle.time(Step::Commit);
        let committed = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            committed = commit_when_room(&mut reader, outputs, &consumed)
                .instrument(cycle.span().clone()) => committed,
        };
        drop(committing);
        match committed {
            Ok(()) => {
                cycle.ended(Transaction::Committed);
                metrics::dead(counts.dead);
                told(counts);
                if lag.is_due() {
                    metrics::lag(&MATCH, &reader).await;
                }
            }
            Err(hubwarden_bus::Error::Reassigned { reason }) => {
                tracing::info!(reason, "a batch comes again");
                cycle.ended(Transaction::Aborted);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
