//! Resident memory of an idle server and of a large import.

use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hubwarden_simulator::{Life, Plan};

use crate::figure::{Bound, Figure, Outcome};
use crate::process::{Resident, Running, program};

const MIB: f64 = (1 << 20) as f64;
const START: Duration = Duration::from_secs(30);
/// How long the idle server is watched.
const WATCHED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// Different events of an import; then they come again under new ids.
const EVENTS: u64 = 50_000;

/// The most that a server without sources holds within five seconds after it is ready.
pub(crate) fn serve() -> Outcome<Figure> {
    let folder = tempfile::tempdir()?;
    let server = Command::new(program()?)
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .current_dir(folder.path())
        .env("HUBWARDEN__SERVER__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut server = Running(server);
    let ready = folder.path().join("data/server.json");
    let started = Instant::now();
    while !ready.is_file() {
        if server.0.try_wait()?.is_some() || started.elapsed() > START {
            return Err("the server did not start".into());
        }
        std::thread::sleep(LOOK);
    }
    let (watched, mut most) = (Instant::now(), 0);
    while watched.elapsed() < WATCHED {
        most = most.max(Resident::of(&server.0).ok_or("the server has ended")?.now);
        std::thread::sleep(LOOK);
    }
    Ok(Figure {
        name: "serve, idle, MiB resident",
        measured: format!("{:.1} MiB after {:.2} s", most as f64 / MIB, WATCHED.as_secs_f64()),
        beside: String::new(),
        value: most as f64 / MIB,
        bound: Bound::AtMost(100.0),
    })
}

/// The most that an import of so many MiB ever holds, all stages in the same process.
pub(crate) fn import(mib: u64) -> Outcome<Figure> {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(program()?)
        .args(["import", "-", "--data-dir"])
        .arg(folder.path().join("data"))
        .current_dir(folder.path())
        .env("HUBWARDEN__STORAGE__BUDGET_GIB", "40")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let input = child.stdin.take().ok_or("the import has no standard input")?;
    let mut child = Running(child);
    let started = Instant::now();
    let (peak, written) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || write_events(input, mib << 20));
        let mut peak = 0;
        while let Some(resident) = Resident::of(&child.0) {
            peak = peak.max(resident.peak);
            std::thread::sleep(LOOK);
        }
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (peak, written)
    });
    let seconds = started.elapsed().as_secs_f64();
    let status = child.0.wait()?;
    if !status.success() {
        return Err(format!("the import ended with {status}").into());
    }
    let events = written?;
    Ok(Figure {
        name: "import, MiB resident at most",
        measured: format!(
            "{:.1} MiB for {mib} MiB, {events} events in {seconds:.0} s",
            peak as f64 / MIB
        ),
        beside: String::new(),
        value: peak as f64 / MIB,
        bound: Bound::AtMost(200.0),
    })
}

/// Writes generated events over and over, each under an id of its own; gives their number.
fn write_events(out: impl Write, bytes: u64) -> std::io::Result<u64> {
    let life = Life::new(Plan { events: EVENTS, ..Plan::default() });
    let mut events: Vec<Vec<u8>> = life.events().map(|event| event.json).collect();
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let (mut written, mut count) = (0, 0u64);
    while written < bytes {
        for event in &mut events {
            rename(event, count);
            out.write_all(event)?;
            out.write_all(b"\n")?;
            written += event.len() as u64 + 1;
            count += 1;
            if written >= bytes {
                break;
            }
        }
    }
    out.flush()?;
    Ok(count)
}

/// Overwrites the first twelve bytes of the event's id with a number.
pub(crate) fn rename(event: &mut [u8], number: u64) {
    const ID: &[u8] = b"\"_document_id\":\"";
    if let Some(at) = memchr::memmem::find(event, ID)
        && let Some(id) = event.get_mut(at + ID.len()..at + ID.len() + 12)
    {
        id.copy_from_slice(format!("{number:012}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_event_of_an_import_has_an_id_of_its_own() {
        let mut out = Vec::new();
        let count = write_events(&mut out, 60 << 20).unwrap();
        assert!(count > EVENTS, "the events come again");
        let text = String::from_utf8(out).unwrap();
        let id = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["_document_id"].as_str().unwrap().to_owned()
        };
        let ids: std::collections::HashSet<String> = text.lines().map(id).collect();
        assert_eq!(ids.len() as u64, count);
    }
}
