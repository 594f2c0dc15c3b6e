use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use tracing::Span;

use super::{Stage, Step, Timer, Transaction};
use crate::trace::{self, Channel, Headers};

/// A record that a stage has taken from the bus, as far as telemetry wants to know it.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    /// Its topic's name.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// Its place there.
    pub position: u64,
    /// Bytes of key, headers and body.
    pub bytes: usize,
    /// When the bus took it, in milliseconds of Unix time.
    pub appended_at_ms: i64,
    /// Its headers, with the trace of its sender if there is one.
    pub headers: &'a Headers,
}

/// A record that a stage is about to commit.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// Its topic's name.
    pub topic: &'a str,
    /// Bytes of key, headers and body.
    pub bytes: usize,
}

/// Records and their bytes, by topic.
type Sums = BTreeMap<String, (usize, usize)>;

fn add(sums: &mut Sums, topic: &str, bytes: usize) {
    if let Some(sum) = sums.get_mut(topic) {
        *sum = (sum.0 + 1, sum.1 + bytes);
    } else {
        sums.insert(topic.to_owned(), (1, bytes));
    }
}

/// One cycle of a stage: a batch, what is made of it, and how its commit ended.
///
/// Its span links to the traces of the batch's records; a record whose sender asked for a trace has
/// a span in that trace as well, as long as the cycle lasts. What is counted as consumed and produced
/// is counted when the cycle has [`ended`](Self::ended) with a commit: what is repeated counts once.
#[derive(Debug)]
#[must_use = "nothing is counted before the cycle has ended"]
pub struct Cycle {
    stage: &'static Stage,
    span: Span,
    /// Spans of single records, by their place in the batch.
    traced: BTreeMap<usize, Span>,
    consumed: Sums,
    produced: Sums,
}

impl Stage {
    /// Begins a cycle with a batch that `group`, the stage's name on the bus, has taken.
    pub fn cycle<'a>(
        &'static self,
        group: &str,
        batch: impl IntoIterator<Item = Taken<'a>, IntoIter: Clone>,
    ) -> Cycle {
        let batch = batch.into_iter();
        let (mut consumed, mut bytes, mut oldest) = (Sums::new(), 0, i64::MAX);
        for taken in batch.clone() {
            add(&mut consumed, taken.topic, taken.bytes);
            bytes += taken.bytes;
            oldest = oldest.min(taken.appended_at_ms);
        }
        let count = consumed.values().map(|(records, _)| records).sum();
        let waited = Timestamp::now().as_millisecond().saturating_sub(oldest).max(0);
        self.took(count, bytes, if count == 0 { 0.0 } else { waited as f64 / 1000.0 });
        let first = batch.clone().next();
        let one = |partition| batch.clone().all(|taken| taken.partition == partition);
        let channel = Channel {
            topic: first.map_or("", |taken| taken.topic),
            partition: first.map(|taken| taken.partition).filter(|partition| one(*partition)),
            group: Some(group),
        };
        let span = trace::process(&channel, count, batch.clone().map(|taken| taken.headers));
        let traced = batch.enumerate().filter_map(|(place, taken)| {
            let partition = Some(taken.partition);
            let channel = Channel { topic: taken.topic, partition, group: Some(group) };
            Some((place, trace::record(&channel, Some(taken.position), taken.headers)?))
        });
        let traced = traced.collect();
        Cycle { stage: self, span, traced, consumed, produced: Sums::new() }
    }
}

impl Cycle {
    /// The batch's span: work and commit belong inside it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Lets what was made of a record stay in its trace: `place` is the record's in the batch,
    /// `from` are its headers, `to` those of what was made of it.
    pub fn carry(&self, place: usize, from: &Headers, to: &mut Vec<(String, Bytes)>) {
        match self.traced.get(&place) {
            Some(span) => trace::inject_from(span, to),
            None => trace::pass_on(from, to),
        }
    }

    /// Times a part of the cycle, from now until the guard is dropped.
    pub fn time(&self, step: Step) -> Timer<1> {
        self.stage.time(step)
    }

    /// Notes what is about to be committed.
    pub fn makes<'a>(&mut self, made: impl IntoIterator<Item = Made<'a>>) {
        for made in made {
            add(&mut self.produced, made.topic, made.bytes);
        }
    }

    /// The commit has ended so: only one that took effect counts records.
    pub fn ended(self, how: Transaction) {
        self.stage.transaction(how);
        if how != Transaction::Committed {
            let error = if how == Transaction::Fenced { "fenced" } else { "aborted" };
            self.traced.values().chain([&self.span]).for_each(|span| trace::failed(span, error));
            return;
        }
        for (topic, (records, bytes)) in &self.consumed {
            self.stage.consumed(topic, *records, *bytes);
        }
        for (topic, (records, bytes)) in &self.produced {
            self.stage.produced(topic, *records, *bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CORRELATE, enable, text};
    use crate::telemetry::sampling::tests::exported;

    fn taken(partition: u32, headers: &Headers) -> Taken<'_> {
        let appended_at_ms = Timestamp::now().as_millisecond() - 2_000;
        Taken {
            topic: "hubwarden.matches.v1",
            partition,
            position: 7,
            bytes: 10,
            appended_at_ms,
            headers,
        }
    }

    fn counted(name: &str) -> String {
        let text = text();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(' ').next_back()).unwrap_or("0").to_owned()
    }

    #[test]
    fn only_a_commit_that_took_effect_counts_records() {
        enable();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let traced = vec![(trace::TRACEPARENT.to_owned(), parent.into())];
        let consumed = "hubwarden_correlate_records_in_total{topic=\"matches\"}";
        let produced = "hubwarden_correlate_records_out_total{topic=\"findings\"}";
        let made = [Made { topic: "hubwarden.findings.v1", bytes: 5 }; 2];
        let (mut carried, mut without) = (Vec::new(), Vec::new());
        let spans = exported(0.0, || {
            let mut cycle = CORRELATE.cycle("correlate", [taken(3, &traced), taken(3, &[])]);
            cycle.carry(0, &traced, &mut carried);
            cycle.carry(1, &[], &mut without);
            cycle.makes(made);
            cycle.ended(Transaction::Aborted);
            assert_eq!((counted(consumed), counted(produced)), ("0".into(), "0".into()));
            let mut cycle = CORRELATE.cycle("correlate", [taken(3, &traced), taken(4, &[])]);
            cycle.makes(made);
            cycle.ended(Transaction::Committed);
            CORRELATE.cycle("correlate", []).ended(Transaction::Committed);
        });
        assert_eq!((counted(consumed), counted(produced)), ("2".into(), "2".into()));
        assert_eq!(counted("hubwarden_correlate_bytes_in_total"), "20");
        let aborted = "hubwarden_correlate_transactions_total{result=\"aborted\"}";
        assert_eq!(counted(aborted), "1");
        let [aborted, of_record, again] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(aborted.name, "process hubwarden.matches.v1");
        assert_eq!(aborted.links.len(), 1, "a batch that is aborted is exported");
        for span in [of_record, again] {
            assert_eq!(span.span_context.trace_id().to_string(), &parent[3..35]);
        }
        let carried = trace::extract(&carried).unwrap();
        assert_eq!(carried.trace_id(), &parent[3..35]);
        assert!(carried.is_sampled() && without.is_empty());
    }
}
