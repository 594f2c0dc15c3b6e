//! A load that leaves traces: three writers number their commits, a copier copies what they wrote.

use std::collections::BTreeMap;

use hubwarden_bus::topic::{CURSORS, EVENTS, MATCHES, RAW};
use hubwarden_bus::{
    Bus, Delivered, Error, Journal, Limit, Positions, Record, Sink, Source, Topic,
};

use super::read_all;

pub const WRITERS: u64 = 3;
/// How many commits of each writer were acknowledged.
pub type Acked = [u64; WRITERS as usize];

/// Records of one commit in `RAW`.
fn records_of(commit: u64) -> u64 {
    1 + commit % 4
}

/// Commits on and on from number `next`; tells every acknowledged one, ends with the first error.
pub async fn write(
    journal: Journal,
    writer: u64,
    mut next: u64,
    acked: impl Fn(u64, u64),
) -> Error {
    let mut sink = journal.writer("writer");
    loop {
        let body =
            |part: u64| format!("{writer} {next} {part} {}", "x".repeat((next % 50) as usize));
        let mut outputs: Vec<Record> =
            (0..records_of(next)).map(|part| Record::new(RAW, "raw", body(part))).collect();
        outputs.push(Record::new(EVENTS, "event", body(0)));
        outputs.push(Record::new(CURSORS, format!("writer {writer}"), next.to_string()));
        match sink.commit(outputs, &Positions::none()).await {
            Ok(()) => acked(writer, next),
            // The copier makes room.
            Err(Error::Full { .. }) => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => return error,
        }
        next += 1;
    }
}

/// Copies the position of every record of `RAW` to `MATCHES`; ends with the first error.
pub async fn copy(journal: Journal) -> Error {
    let mut reader = match journal.reader("copier", &[RAW]) {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    loop {
        let step = async {
            let batch = reader.next_batch(Limit::records(7)).await?;
            let outputs = batch
                .records
                .iter()
                .map(|raw| Record::new(MATCHES, "copy", raw.position.to_string()));
            let (outputs, consumed) = (outputs.collect(), batch.consumed());
            reader.commit(outputs, &consumed).await
        };
        if let Err(error) = step.await {
            return error;
        }
    }
}

/// Checks that everything acknowledged is there, whole, once and in order.
///
/// Gives the number of the next commit of each writer.
pub async fn check(journal: &Journal, acked: &Acked) -> Result<Acked, String> {
    let raw = all(journal, RAW).await?;
    let mut seen: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut next = Acked::default();
    let first = raw.first().map_or(0, |record| record.position);
    for (expected, record) in (first..).zip(&raw) {
        if record.position != expected {
            return Err(format!("position {} where {expected} is next", record.position));
        }
        let text = std::str::from_utf8(&record.body).map_err(|_| "a torn body")?;
        let mut numbers = text.split(' ').map(str::parse::<u64>);
        let (Some(Ok(writer)), Some(Ok(commit)), Some(Ok(part))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(format!("a torn body: {text}"));
        };
        let parts = seen.entry((writer, commit)).or_default();
        if *parts != part {
            return Err(format!("part {part} of {writer}/{commit} where {parts} is next"));
        }
        *parts += 1;
        let next = &mut next[writer as usize];
        let fits = part > 0 || commit == *next || *next == 0;
        if !fits {
            return Err(format!("commit {commit} of {writer} where {next} is next"));
        }
        *next = commit + 1;
    }
    for (&(writer, commit), &parts) in &seen {
        if parts != records_of(commit) {
            return Err(format!("{parts} parts of {writer}/{commit}"));
        }
    }
    let events = all(journal, EVENTS).await?.len();
    if events != seen.len() {
        return Err(format!("{events} events of {} commits", seen.len()));
    }
    check_cursors(journal, acked, &mut next).await?;
    check_copies(journal).await?;
    Ok(next)
}

async fn all(journal: &Journal, topic: Topic) -> Result<Vec<Delivered>, String> {
    read_all(journal, topic).await.map_err(|error| error.to_string())
}

async fn check_cursors(journal: &Journal, acked: &Acked, next: &mut Acked) -> Result<(), String> {
    let cursors = journal.newest(CURSORS).await.map_err(|error| error.to_string())?;
    for (writer, &acked) in acked.iter().enumerate() {
        let key = format!("writer {writer}");
        let cursor = cursors.iter().find(|cursor| cursor.key == key.as_bytes());
        let cursor =
            cursor.map(|cursor| std::str::from_utf8(&cursor.body).unwrap().parse::<u64>().unwrap());
        let known = cursor.map_or(0, |cursor| cursor + 1);
        let next = &mut next[writer];
        if *next != 0 && known != *next {
            return Err(format!("cursor of {writer} says {known}, its records say {next}"));
        }
        if known < acked {
            return Err(format!(
                "{acked} commits of {writer} were acknowledged, {known} are there"
            ));
        }
        *next = known;
    }
    Ok(())
}

async fn check_copies(journal: &Journal) -> Result<(), String> {
    let copies = all(journal, MATCHES).await?;
    let copies: Vec<u64> = copies
        .iter()
        .map(|copy| std::str::from_utf8(&copy.body).unwrap().parse().unwrap())
        .collect();
    if copies.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(format!("copies are not in a row: {copies:?}"));
    }
    let stages = journal.stage_positions().await.map_err(|error| error.to_string())?;
    let stored = stages.iter().find(|(stage, _)| stage == "copier");
    let stored = stored.and_then(|(_, positions)| positions.get(RAW, 0)).unwrap_or(0);
    match copies.last() {
        Some(last) if last + 1 != stored => {
            Err(format!("copied up to {last}, but {stored} is stored"))
        }
        _ => Ok(()),
    }
}

/// The oldest position of `RAW` that is still there.
pub fn oldest(journal: &Journal) -> u64 {
    journal.reader("oldest", &[RAW]).unwrap().positions().get(RAW, 0).unwrap()
}
