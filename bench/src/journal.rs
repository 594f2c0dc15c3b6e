//! The journal beside plain writes, and beside itself when it is larger.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use hubwarden_bus::topic::{EVENTS, RAW};
use hubwarden_bus::{Bus, Journal, JournalReader, Limit, Options, Positions, Record, Sink, Source};

use crate::figure::{Bound, Figure, Outcome};

const ROUNDS: usize = 5;
const COMMITS: usize = 100;
const RECORDS: usize = 500;
const BYTES: usize = 1024;
const KEY: usize = 32;

/// Cycles of a stage that are timed for each size of the journal.
const CYCLES: usize = 120;
/// What the smaller journal holds, in commits of 500 KiB: about 64 MiB.
const SMALL: usize = 128;

/// Durable commits of 500 records of 1 KiB, beside plain writes and `fdatasync` of as many bytes.
pub(crate) fn commits() -> Outcome<Figure> {
    let runtime = runtime()?;
    let (mut plain, mut journal) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        plain = plain.min(write_plainly(&folder.path().join("plain"))?);
        journal = journal.min(runtime.block_on(commit_all(&folder.path().join("journal")))?);
    }
    let rate = |seconds: f64| format!("{:.0} records/s", (COMMITS * RECORDS) as f64 / seconds);
    Ok(Figure {
        name: "journal, commits of 500 × 1 KiB",
        measured: rate(journal),
        beside: format!("write and fdatasync: {}", rate(plain)),
        value: plain / journal,
        bound: Bound::AtLeast(0.5),
    })
}

/// What an event costs a stage (written, read, and its output committed with the position) in a
/// journal of 640 MiB, beside one of 64 MiB.
pub(crate) fn size() -> Outcome<Figure> {
    runtime()?.block_on(async {
        let folder = tempfile::tempdir()?;
        let mut small = Cycle::open(&folder.path().join("small"), SMALL).await?;
        let mut large = Cycle::open(&folder.path().join("large"), 10 * SMALL).await?;
        let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
        for _ in 0..CYCLES {
            of_small.push(small.run().await?);
            of_large.push(large.run().await?);
        }
        let (small, large) = (median(&mut of_small), median(&mut of_large));
        let cost = |seconds: f64| format!("{:.2} µs an event", seconds * 1e6 / RECORDS as f64);
        Ok(Figure {
            name: "journal 10 times as large",
            measured: cost(large),
            beside: cost(small),
            value: large / small,
            bound: Bound::AtMost(1.2),
        })
    })
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn write_plainly(file: &Path) -> std::io::Result<f64> {
    let bytes = vec![b'x'; RECORDS * BYTES];
    let mut file = std::fs::File::create(file)?;
    let start = Instant::now();
    for _ in 0..COMMITS {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok(start.elapsed().as_secs_f64())
}

async fn commit_all(folder: &Path) -> Outcome<f64> {
    let journal = Journal::open(folder, Options::default())?;
    let mut writer = journal.writer("writer");
    let start = Instant::now();
    for _ in 0..COMMITS {
        writer.commit(records(RAW), &Positions::none()).await?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn records(topic: hubwarden_bus::Topic) -> Vec<Record> {
    vec![Record::new(topic, vec![b'k'; KEY], vec![b'x'; BYTES - KEY]); RECORDS]
}

/// A source and a stage over one journal.
struct Cycle {
    journal: Journal,
    stage: JournalReader,
}

impl Cycle {
    /// A journal that already holds so many commits, all consumed.
    async fn open(folder: &Path, commits: usize) -> Outcome<Self> {
        let journal = Journal::open(folder, Options::default())?;
        let mut writer = journal.writer("source");
        for _ in 0..commits {
            writer.commit(records(RAW), &Positions::none()).await?;
        }
        let mut stage = journal.reader("stage", &[RAW])?;
        while stage.positions() != stage.ends().await? {
            let batch = stage.next_batch(Limit::default()).await?;
            stage.commit(Vec::new(), &batch.consumed()).await?;
        }
        Ok(Self { journal, stage })
    }

    /// Brings one batch in and through; gives the seconds.
    async fn run(&mut self) -> Outcome<f64> {
        let incoming = records(RAW);
        let start = Instant::now();
        self.journal.writer("source").commit(incoming, &Positions::none()).await?;
        let batch = self.stage.next_batch(Limit::records(RECORDS)).await?;
        if batch.records.len() != RECORDS {
            return Err("the stage did not get the whole batch".into());
        }
        let outputs: Vec<Record> = batch
            .records
            .iter()
            .map(|record| Record::new(EVENTS, record.key.clone(), record.body.clone()))
            .collect();
        self.stage.commit(outputs, &batch.consumed()).await?;
        Ok(start.elapsed().as_secs_f64())
    }
}
