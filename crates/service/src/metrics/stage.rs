use super::{Counter, Gauge, Histogram, Timer, catalogue};

/// The metrics that every stage has, with one call for each thing that happens in a cycle.
///
/// Topics may be given by their full names: labels say `raw` for `hubwarden.raw.v1`.
#[derive(Debug)]
pub struct Stage {
    input: Option<Input>,
    output: Option<Output>,
    duration: Histogram<1>,
    retries: Counter<1>,
    rebalances: Counter<0>,
}

#[derive(Debug)]
struct Input {
    records: Counter<1>,
    bytes: Counter<0>,
    batch: Histogram<0>,
    age: Gauge<0>,
    inflight: Gauge<0>,
    lag: Gauge<2>,
    time_lag: Gauge<1>,
}

#[derive(Debug)]
struct Output {
    records: Counter<1>,
    bytes: Counter<0>,
    transactions: Counter<1>,
}

/// A part of a stage's cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for a batch and taking it.
    Read,
    /// Computing.
    Work,
    /// Making outputs and positions durable.
    Commit,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// Everything is durable.
    Committed,
    /// Nothing is on the bus; the batch comes again.
    Aborted,
    /// Another process has taken over; this one ends.
    Fenced,
}

macro_rules! input {
    ($module:ident) => {
        Some(Input {
            records: Counter::new(&catalogue::$module::RECORDS_IN),
            bytes: Counter::new(&catalogue::$module::BYTES_IN),
            batch: Histogram::new(&catalogue::$module::BATCH_SIZE),
            age: Gauge::new(&catalogue::$module::QUEUE_AGE),
            inflight: Gauge::new(&catalogue::$module::INFLIGHT),
            lag: Gauge::new(&catalogue::$module::LAG),
            time_lag: Gauge::new(&catalogue::$module::TIME_LAG),
        })
    };
}

macro_rules! output {
    ($module:ident) => {
        Some(Output {
            records: Counter::new(&catalogue::$module::RECORDS_OUT),
            bytes: Counter::new(&catalogue::$module::BYTES_OUT),
            transactions: Counter::new(&catalogue::$module::TRANSACTIONS),
        })
    };
}

macro_rules! stage {
    ($common:ident, $input:expr, $output:expr) => {
        Stage {
            input: $input,
            output: $output,
            duration: Histogram::new(&catalogue::$common::DURATION),
            retries: Counter::new(&catalogue::$common::RETRIES),
            rebalances: Counter::new(&catalogue::$common::REBALANCES),
        }
    };
}

/// The collector's metrics; it takes nothing from the bus.
pub static COLLECTOR: Stage = stage!(collector_common, None, output!(collector_output));
/// The normalizer's metrics.
pub static NORMALIZER: Stage =
    stage!(normalizer_common, input!(normalizer_input), output!(normalizer_output));
/// The metrics of the detector's match stage.
pub static MATCH: Stage = stage!(match_common, input!(match_input), output!(match_output));
/// The metrics of the detector's correlate stage.
pub static CORRELATE: Stage =
    stage!(correlate_common, input!(correlate_input), output!(correlate_output));
/// The console's metrics; it commits nothing but its position.
pub static CONSOLE: Stage = stage!(console_common, input!(console_input), None);

impl Stage {
    /// Times a part of the cycle, from now until the guard is dropped.
    pub fn time(&'static self, step: Step) -> Timer<1> {
        let step = match step {
            Step::Read => "read",
            Step::Work => "work",
            Step::Commit => "commit",
        };
        self.duration.time([step])
    }

    /// A batch was taken: its records, its bytes, and how long its oldest record had waited.
    pub fn took(&'static self, records: usize, bytes: usize, oldest_seconds: f64) {
        let Some(input) = &self.input else { return };
        input.batch.record(records as f64, []);
        input.inflight.set(bytes as f64, []);
        input.age.set(oldest_seconds.max(0.0), []);
    }

    /// Records of a topic are consumed: call it after the commit, or what is repeated counts twice.
    pub fn consumed(&'static self, topic: &str, records: usize, bytes: usize) {
        let Some(input) = &self.input else { return };
        input.records.add(records as u64, [short(topic)]);
        input.bytes.add(bytes as u64, []);
        input.inflight.set(0.0, []);
    }

    /// Records were committed to a topic.
    pub fn produced(&'static self, topic: &str, records: usize, bytes: usize) {
        let Some(output) = &self.output else { return };
        output.records.add(records as u64, [short(topic)]);
        output.bytes.add(bytes as u64, []);
    }

    /// A commit ended.
    pub fn transaction(&'static self, result: Transaction) {
        let Some(output) = &self.output else { return };
        let result = match result {
            Transaction::Committed => "committed",
            Transaction::Aborted => "aborted",
            Transaction::Fenced => "fenced",
        };
        output.transactions.add(1, [result]);
    }

    /// Something is tried again because of this; the words are those of the catalogue.
    pub fn retried(&'static self, reason: &str) {
        self.retries.add(1, [reason]);
    }

    /// How many records of an owned partition wait.
    pub fn lag(&'static self, topic: &str, partition: u32, records: u64) {
        let Some(input) = &self.input else { return };
        input.lag.set(records as f64, [short(topic), &partition.to_string()]);
    }

    /// The age of the latest consumed event of a partition, by its own time.
    pub fn event_time_lag(&'static self, partition: u32, seconds: f64) {
        let Some(input) = &self.input else { return };
        input.time_lag.set(seconds, [&partition.to_string()]);
    }

    /// The owned partitions changed: the gauges of all others are forgotten.
    pub fn assigned(&'static self, owned: &[(&str, u32)]) {
        self.rebalances.add(1, []);
        let Some(input) = &self.input else { return };
        let owned: Vec<(&str, String)> =
            owned.iter().map(|(topic, partition)| (short(topic), partition.to_string())).collect();
        input.lag.retain(|[topic, partition]| {
            owned.iter().any(|(name, number)| topic == name && partition == number)
        });
        input.time_lag.retain(|[partition]| owned.iter().any(|(_, number)| partition == number));
    }
}

/// `raw.dead` of `hubwarden.raw.dead.v1`, whatever prefix stands before it.
fn short(topic: &str) -> &str {
    let name = topic.rsplit_once("hubwarden.").map_or(topic, |(_, name)| name);
    name.strip_suffix(".v1").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{enable, text};

    #[test]
    fn a_cycle_is_counted_and_lost_partitions_are_forgotten() {
        enable();
        {
            let _time = NORMALIZER.time(Step::Work);
            NORMALIZER.took(3, 300, 0.5);
        }
        NORMALIZER.consumed("blue.hubwarden.raw.v1", 3, 300);
        NORMALIZER.produced("hubwarden.events.v1", 2, 250);
        NORMALIZER.transaction(Transaction::Committed);
        NORMALIZER.lag("raw", 0, 10);
        NORMALIZER.lag("raw", 1, 20);
        NORMALIZER.assigned(&[("raw", 1)]);
        let text = text();
        for line in [
            "hubwarden_normalizer_records_in_total{topic=\"raw\"} 3",
            "hubwarden_normalizer_records_out_total{topic=\"events\"} 2",
            "hubwarden_normalizer_transactions_total{result=\"committed\"} 1",
            "hubwarden_normalizer_stage_duration_seconds_count{step=\"work\"} 1",
            "hubwarden_normalizer_consumer_lag_records{partition=\"1\",topic=\"raw\"} 20",
            "hubwarden_normalizer_inflight_bytes 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("partition=\"0\",topic=\"raw\""), "{text}");
    }
}
