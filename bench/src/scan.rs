//! `scan` beside parsing alone: the same file, the same cores, in turns.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::Path;
use std::time::Instant;

use hubwarden::scan::{ScanReport, ScanSettings, scan};
use hubwarden_collector::files::Input;
use hubwarden_detector::Rulebook;
use hubwarden_event::{ConnectionId, Timestamp};
use hubwarden_normalizer::Networks;
use hubwarden_simulator::{Format, Life, Plan, export};

use crate::figure::{Bound, Figure, Outcome};
use crate::process;

const ROUNDS: usize = 3;
const THREADS: NonZero<usize> = NonZero::new(2).expect("two is not zero");
const FLOOR: f64 = 0.15;

/// Events a second from page cache to findings under all shipped rules, beside `sonic-rs` parsing
/// the same lines, already in memory, into DOMs.
pub(crate) fn measure(events: u64) -> Outcome<Figure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("events.ndjson");
    let life = Life::new(Plan { events, ..Plan::default() });
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    export::write(&life, Format::Ndjson, &mut out)?;
    out.flush()?;
    drop(out);
    let mut rulebook = Rulebook::shipped();
    for (name, values) in life.lists() {
        rulebook.lists.insert(name, values);
    }
    let settings = ScanSettings {
        rulebook,
        networks: Networks::default(),
        connection: ConnectionId::from("bench"),
        threads: THREADS,
        started_at: Timestamp::from_millis(life.plan().end_ms()),
    };
    let lines = std::fs::read(&path)?; // also puts the file into the page cache
    let (mut parsing, mut scanning) = (f64::INFINITY, f64::INFINITY);
    let mut findings = 0;
    for round in 1..=ROUNDS {
        let start = Watch::start()?;
        let parsed = parse(&lines)?;
        let parse_seconds = start.stop("parsing", round)?;
        let start = Watch::start()?;
        let report = scanned(&path, &settings)?;
        let scan_seconds = start.stop("scan", round)?;
        check(events, parsed, &report)?;
        findings = report.findings.len();
        parsing = parsing.min(parse_seconds);
        scanning = scanning.min(scan_seconds);
    }
    let rate = |seconds: f64| {
        let mib = lines.len() as f64 / f64::from(1 << 20);
        format!("{:.0} events/s, {:.0} MiB/s", events as f64 / seconds, mib / seconds)
    };
    Ok(Figure {
        name: "scan, 2 cores",
        measured: format!(
            "{} of {} bytes to {findings} findings",
            rate(scanning),
            lines.len() as u64 / events.max(1)
        ),
        beside: format!("sonic-rs DOMs: {}", rate(parsing)),
        value: parsing / scanning,
        bound: Bound::AtLeast(FLOOR),
    })
}

/// Measures time, and beside it what this process took of the processors: the difference is others'.
struct Watch {
    start: Instant,
    ticks: u64,
}

impl Watch {
    fn start() -> Outcome<Self> {
        Ok(Self { ticks: process::ticks()?, start: Instant::now() })
    }

    /// Tells both, gives the time in seconds.
    fn stop(self, what: &str, round: usize) -> Outcome<f64> {
        let seconds = self.start.elapsed().as_secs_f64();
        let on_processors = (process::ticks()? - self.ticks) as f64 / 100.0;
        eprintln!("  round {round}: {what} {seconds:.2} s, on processors {on_processors:.2} s");
        Ok(seconds)
    }
}

fn scanned(path: &Path, settings: &ScanSettings) -> Outcome<ScanReport> {
    Ok(scan(&[Input::Path(path.into())], settings, |_| {}, |_| {})?)
}

/// A rate counts only when all of the work was done.
fn check(events: u64, parsed: u64, report: &ScanReport) -> Outcome<()> {
    if parsed != events || report.read != events || report.rejected > 0 {
        return Err(format!(
            "of {events} events {parsed} were parsed and {} scanned, {} rejected",
            report.read, report.rejected
        )
        .into());
    }
    if let Some(unseen) = report.unseen() {
        return Err(unseen.into());
    }
    if report.findings.is_empty() {
        return Err("the scan found nothing".into());
    }
    Ok(())
}

/// Parses every line into a DOM on two threads; gives their number.
fn parse(lines: &[u8]) -> Outcome<u64> {
    let middle = memchr::memrchr(b'\n', &lines[..lines.len() / 2]).map_or(0, |end| end + 1);
    let halves = lines.split_at(middle);
    std::thread::scope(|scope| {
        let running = [halves.0, halves.1].map(|half| scope.spawn(move || parse_half(half)));
        let mut parsed = 0;
        for half in running {
            parsed += half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(parsed)
    })
}

fn parse_half(lines: &[u8]) -> Outcome<u64> {
    let (mut start, mut parsed) = (0, 0);
    for end in memchr::memchr_iter(b'\n', lines) {
        let value: sonic_rs::Value = sonic_rs::from_slice(&lines[start..end])?;
        std::hint::black_box(&value);
        parsed += 1;
        start = end + 1;
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parsing_takes_every_line() {
        assert_eq!(parse(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n").unwrap(), 3);
        assert!(parse(b"{\"a\":1}\n{\"a\"\n").is_err());
    }

    #[test]
    fn a_scan_that_left_something_out_does_not_count() {
        let report = |read, rejected| ScanReport { read, rejected, ..ScanReport::default() };
        assert!(check(3, 3, &report(2, 0)).is_err());
        assert!(check(3, 3, &report(3, 1)).is_err());
        assert!(check(3, 3, &report(3, 0)).is_err(), "no findings");
    }
}
