use std::num::NonZero;
use std::sync::Arc;

use hubwarden_event::{DeadLetter, Event, EventBody, RawBody, RawPosition};

use crate::repeats::{REMEMBERED, Repeats};
use crate::{Counts, Networks, Normalizer, Rejected, dead_letter};

/// Below so many records a thread, starting threads costs more than it gives.
const WORTH_A_THREAD: usize = 256;

/// Turns batches of raw records into events and dead letters, in order, and drops repeats.
///
/// What it remembers between batches is bounded: which (run, event id) it has passed on lately.
/// What it forgot is recognised downstream by the event id. A batch is followed by
/// [`keep`](Self::keep) or [`undo`](Self::undo), as its commit ended.
#[derive(Debug)]
pub struct NormalizerStage {
    workers: Vec<Normalizer>,
    repeats: Repeats,
    counts: Counts,
}

/// What a batch became.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For the topic `events`, in the order of the records, each with the partition it belongs to.
    pub events: Vec<(u32, EventBody)>,
    /// For the topic `raw.dead`.
    pub dead: Vec<DeadLetter>,
}

impl NormalizerStage {
    /// A stage that uses at most so many threads and remembers 200,000 events.
    pub fn new(networks: Networks, threads: NonZero<usize>) -> Self {
        Self::remembering(networks, threads, REMEMBERED)
    }

    /// A stage that remembers another number of events.
    pub fn remembering(networks: Networks, threads: NonZero<usize>, events: usize) -> Self {
        let networks = Arc::new(networks);
        let workers = (0..threads.get()).map(|_| Normalizer::new(Arc::clone(&networks))).collect();
        Self { workers, repeats: Repeats::new(events), counts: Counts::default() }
    }

    /// Normalizes a batch; progress and ends of runs are passed on between the events they stood
    /// between.
    ///
    /// A record that cannot be read becomes a dead letter and is not remembered, so that a good
    /// copy of it still passes.
    pub fn apply(&mut self, batch: &[(RawBody, RawPosition)]) -> Outputs {
        let results = self.normalize_all(batch);
        let mut outputs = Outputs { events: Vec::with_capacity(batch.len()), dead: Vec::new() };
        for ((body, position), result) in batch.iter().zip(results) {
            match (body, result) {
                (RawBody::Record(_), Some(Ok(event))) => {
                    if self.repeats.is_repeat(position.partition, &event.run, event.id) {
                        self.counts.repeats += 1;
                    } else {
                        outputs.events.push((position.partition, EventBody::Event(event)));
                    }
                }
                (RawBody::Record(raw), Some(Err(rejected))) => {
                    outputs.dead.push(dead_letter(raw, *position, &rejected));
                }
                (RawBody::Progress(progress), _) => {
                    outputs.events.push((position.partition, EventBody::Progress(progress.clone())))
                }
                (RawBody::RunEnd(end), _) => {
                    outputs.events.push((position.partition, EventBody::RunEnd(end.clone())));
                }
                (RawBody::Record(_), None) => unreachable!("every record has a result"),
            }
        }
        for worker in &mut self.workers {
            self.counts.merge(worker.take_counts());
        }
        outputs
    }

    /// Remembers the events of all batches so far: they are on the bus.
    pub fn keep(&mut self) {
        self.repeats.keep();
    }

    /// Forgets what it remembers and has counted since the last [`keep`](Self::keep): the batch is
    /// not on the bus and will come again.
    pub fn undo(&mut self) {
        self.repeats.undo();
        self.counts = Counts::default();
    }

    /// Forgets what it remembers of partitions other than these: they belong to somebody else.
    pub fn own(&mut self, partitions: &[u32]) {
        self.repeats.retain(partitions);
    }

    /// What has been counted since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn normalize_all(
        &mut self,
        batch: &[(RawBody, RawPosition)],
    ) -> Vec<Option<Result<Event, Rejected>>> {
        let threads = self.workers.len().min(batch.len() / WORTH_A_THREAD).max(1);
        let chunk = batch.len().div_ceil(threads).max(1);
        let (first, others) = self.workers.split_at_mut(1);
        let mut chunks = batch.chunks(chunk);
        let mine = chunks.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let running: Vec<_> = chunks
                .zip(others)
                .map(|(chunk, worker)| scope.spawn(move || normalize_chunk(worker, chunk)))
                .collect();
            let mut results = Vec::with_capacity(batch.len());
            results.extend(normalize_chunk(&mut first[0], mine));
            for thread in running {
                match thread.join() {
                    Ok(part) => results.extend(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            results
        })
    }
}

fn normalize_chunk(
    worker: &mut Normalizer,
    chunk: &[(RawBody, RawPosition)],
) -> Vec<Option<Result<Event, Rejected>>> {
    chunk
        .iter()
        .map(|(body, position)| match body {
            RawBody::Record(raw) => Some(worker.normalize(raw, *position)),
            RawBody::Progress(_) | RawBody::RunEnd(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hubwarden_event::{Kind, Progress, RunEnd, RunId, Timestamp};

    use super::*;
    use crate::normalize::tests::raw;

    fn stage(threads: usize) -> NormalizerStage {
        NormalizerStage::new(Networks::default(), NonZero::new(threads).unwrap())
    }

    /// Records, a dead one among them, with a mark after every tenth.
    fn batch(count: u64) -> Vec<(RawBody, RawPosition)> {
        let mut batch = Vec::new();
        for number in 0..count {
            let payload = match number % 7 {
                3 => "{}".to_owned(),
                _ => format!(
                    r#"{{"@timestamp":{},"action":"git.push"}}"#,
                    1_700_000_000_000 + number
                ),
            };
            let mut record = raw(payload.as_bytes());
            record.source_id = format!("id-{number}").as_str().into();
            batch.push(RawBody::Record(record));
            if number % 10 == 9 {
                batch.push(RawBody::Progress(Progress {
                    connection: "c".into(),
                    run: RunId::live(),
                    kind: Kind::Git,
                    through: Timestamp::from_millis(number as i64),
                }));
            }
        }
        batch.push(RawBody::RunEnd(RunEnd { connection: "c".into(), run: RunId::live() }));
        let positions = (0..).map(|offset| RawPosition { partition: 0, offset });
        batch.into_iter().zip(positions).collect()
    }

    #[test]
    fn threads_change_nothing_but_the_speed() {
        let batch = batch(4_000);
        let one = stage(1).apply(&batch);
        let four = stage(4).apply(&batch);
        assert_eq!(one.events, four.events);
        assert_eq!(one.dead, four.dead);
        assert_eq!(one.dead.len(), 571);
        assert_eq!(one.events.len(), 4_000 - 571 + 400 + 1);
        assert_eq!(one.dead[0].position.offset, 3);
    }

    #[test]
    fn marks_keep_their_place_between_events() {
        let outputs = stage(2).apply(&batch(20));
        let marks: Vec<_> = outputs
            .events
            .iter()
            .enumerate()
            .filter(|(_, (_, body))| !matches!(body, EventBody::Event(_)))
            .map(|(place, _)| place)
            .collect();
        // 10 records less one dead, a mark, 10 records less two dead, a mark and the end.
        assert_eq!(marks, [9, 18, 19]);
    }

    #[test]
    fn drops_repeats_of_a_run_and_lets_a_good_copy_pass() {
        let mut stage = stage(1);
        let good = raw(br#"{"@timestamp":1700000000000,"action":"git.push"}"#);
        let mut bad = good.clone();
        bad.payload = bytes::Bytes::from_static(b"{");
        let mut imported = good.clone();
        imported.run = RunId::from("import-1");
        let all = [&bad, &good, &good, &imported];
        let batch: Vec<_> = all
            .into_iter()
            .map(|record| (RawBody::Record(record.clone()), RawPosition::default()))
            .collect();
        let first = stage.apply(&batch);
        assert_eq!((first.events.len(), first.dead.len()), (2, 1));
        let again = stage.apply(&batch);
        assert_eq!((again.events.len(), again.dead.len()), (0, 1));
        let counts = stage.take_counts();
        assert_eq!((counts.events, counts.repeats, counts.rejected), (6, 4, 2));
        assert_eq!(stage.take_counts(), Counts::default());
    }

    #[test]
    fn an_empty_batch_gives_nothing() {
        let outputs = stage(2).apply(&[]);
        assert!(outputs.events.is_empty() && outputs.dead.is_empty());
    }
}
