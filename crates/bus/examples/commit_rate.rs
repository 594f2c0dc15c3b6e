//! How fast the journal commits, beside plain writes with fdatasync of the same bytes.
//!
//! `cargo run --release -p hubwarden-bus --example commit_rate [FOLDER]`

use std::io::Write;
use std::time::{Duration, Instant};

use hubwarden_bus::topic::RAW;
use hubwarden_bus::{Bus, Error, Journal, Limit, Options, Positions, Record, Sink, Source};

const COMMITS: usize = 400;
const RECORDS: usize = 500;
const BYTES: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for round in 1..=3 {
        let folder = tempfile::tempdir_in(&parent)?;
        let plain = plain(folder.path())?;
        let commits = commits(folder.path(), COMMITS).await?;
        let reads = reads(folder.path()).await?;
        let records = (COMMITS * RECORDS) as f64;
        println!(
            "round {round}: plain {:.0} records/s, journal {:.0} records/s ({:.0} %), reading {:.0} records/s",
            records / plain.as_secs_f64(),
            records / commits.as_secs_f64(),
            100.0 * plain.as_secs_f64() / commits.as_secs_f64(),
            records / reads.as_secs_f64(),
        );
    }
    let folder = tempfile::tempdir_in(&parent)?;
    let first = commits(folder.path(), COMMITS).await?;
    commits(folder.path(), 9 * COMMITS).await?;
    let tenth = commits(folder.path(), COMMITS).await?;
    println!(
        "a journal 10 times as large: {:.2} times the time",
        tenth.as_secs_f64() / first.as_secs_f64()
    );
    Ok(())
}

fn plain(folder: &std::path::Path) -> std::io::Result<Duration> {
    let bytes = vec![b'x'; RECORDS * BYTES];
    let mut file = std::fs::File::create(folder.join("plain"))?;
    let start = Instant::now();
    for _ in 0..COMMITS {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

async fn commits(folder: &std::path::Path, count: usize) -> Result<Duration, Error> {
    let journal = Journal::open(folder.join("journal"), Options::default())?;
    let mut writer = journal.writer("writer");
    let record = Record::new(RAW, vec![b'k'; 32], vec![b'x'; BYTES - 32]);
    let start = Instant::now();
    for _ in 0..count {
        writer.commit(vec![record.clone(); RECORDS], &Positions::none()).await?;
    }
    Ok(start.elapsed())
}

async fn reads(folder: &std::path::Path) -> Result<Duration, Error> {
    let journal = Journal::open_read_only(folder.join("journal"))?;
    let mut reader = journal.reader("reader", &[RAW])?;
    let start = Instant::now();
    while reader.positions() != reader.ends().await? {
        reader.next_batch(Limit::default()).await?;
    }
    Ok(start.elapsed())
}
