use std::sync::Arc;

use hubwarden_bus::Sink;
use hubwarden_event::{
    ConnectionId, Feed, Hash, Origin, RawBody, RawRecord, RunEnd, RunId, Timestamp, hash_parts,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::files::{self, Chunk, Input, Item};
use crate::publish::{self, MAX_COMMIT, MAX_RECORDS};
use crate::source_id::{named, source_id};

/// Bytes that a record takes on the bus beside its payload, roughly.
const LABELS: usize = 512;

/// One import: what is written into each of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    connection: ConnectionId,
    run: RunId,
    received_at: Timestamp,
}

impl Import {
    /// An import of these files; its run is named after them and the moment it started.
    pub fn new(connection: ConnectionId, files: &[Input], started_at: Timestamp) -> Self {
        let names: Vec<Arc<str>> = files.iter().map(Input::name).collect();
        let start = started_at.to_string();
        let parts = names.iter().map(|name| name.as_bytes()).chain([start.as_bytes()]);
        let hash = Hash(hash_parts(parts)).to_string();
        let run = RunId::new(format!("import-{}", &hash[..16]));
        Self { connection, run, received_at: started_at }
    }

    /// The run that its records belong to.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The raw record that an item of a file stands for.
    pub fn record(&self, chunk: &Chunk, item: &Item) -> RawRecord {
        let payload = chunk.payload(item);
        let source_id = match &item.whole {
            Some(whole) => named(whole.hash),
            None => source_id(item.content_type, &payload),
        };
        RawRecord {
            connection: self.connection.clone(),
            feed: Feed::Import,
            run: self.run.clone(),
            source_id,
            received_at: self.received_at,
            content_type: item.content_type,
            payload,
            scrubs: Vec::new(),
            origin: Some(Origin { file: chunk.file.clone(), line: item.line }),
            damage: item.damage.clone(),
        }
    }

    /// What follows the last record of the last file.
    pub fn end(&self) -> RunEnd {
        RunEnd { connection: self.connection.clone(), run: self.run.clone() }
    }
}

/// Where an import puts its records: a bus in this process, or a running server.
pub trait Append: Send {
    /// Appends durably; `Ok` means that they are never lost.
    fn append(&mut self, bodies: Vec<RawBody>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Appends to the topic `raw` of a bus.
#[derive(Debug)]
pub struct ToBus<S> {
    sink: S,
    partitions: u32,
}

impl<S: Sink> ToBus<S> {
    /// Appends through this sink of a bus whose topic `raw` has so many partitions.
    pub fn new(sink: S, partitions: u32) -> Self {
        Self { sink, partitions }
    }
}

impl<S: Sink> Append for ToBus<S> {
    async fn append(&mut self, bodies: Vec<RawBody>) -> Result<(), Error> {
        let records = bodies.into_iter().flat_map(|body| publish::raw(body, self.partitions));
        publish::append(&mut self.sink, records.collect()).await
    }
}

/// How far an import has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advance {
    /// Bytes taken from all files so far, compressed ones where they are compressed.
    pub bytes: u64,
    /// Bytes of all files, when all sizes are known.
    pub size: Option<u64>,
    /// Records that are durable.
    pub records: u64,
    /// Records among them that could not be cut whole.
    pub damaged: u64,
    /// Syslog lines of other programs that were passed over.
    pub foreign: u64,
}

/// Reads the files and appends their records in order, then the end of the run.
///
/// `told` hears of every durable batch. A file that cannot be opened ends the import before
/// anything is appended.
///
/// # Errors
/// A file cannot be opened, the records cannot be appended, or `stop` was called.
pub async fn import(
    files: Vec<Input>,
    import: &Import,
    to: &mut impl Append,
    mut told: impl FnMut(&Advance),
    stop: &CancellationToken,
) -> Result<Advance, Error> {
    let size = check(&files)?;
    let (sender, mut batches) = mpsc::channel(2);
    let maker = import.clone();
    let reading = tokio::task::spawn_blocking(move || read(&files, &maker, &sender));
    let mut advance = Advance { size, ..Advance::default() };
    loop {
        let batch: Batch = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Error::Stopped),
            batch = batches.recv() => match batch {
                Some(batch) => batch,
                None => break,
            },
        };
        let records = batch.bodies.len() as u64;
        if records > 0 {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Error::Stopped),
                appended = to.append(batch.bodies) => appended?,
            }
        }
        advance.records += records;
        advance.damaged += batch.damaged;
        advance.foreign += batch.foreign;
        advance.bytes = batch.bytes;
        told(&advance);
    }
    reading.await.map_err(|_| Error::Stopped)??;
    to.append(vec![RawBody::RunEnd(import.end())]).await?;
    Ok(advance)
}

/// Opens every file once, so that a wrong name is known before anything is appended.
fn check(files: &[Input]) -> Result<Option<u64>, Error> {
    let mut size = Some(0u64);
    for file in files {
        let known = match file {
            Input::Stdin => None,
            Input::Path(_) => files::open(file)?.size(),
        };
        size = size.zip(known).map(|(size, known)| size + known);
    }
    Ok(size)
}

#[derive(Default)]
struct Batch {
    bodies: Vec<RawBody>,
    weight: usize,
    damaged: u64,
    foreign: u64,
    bytes: u64,
}

fn read(files: &[Input], import: &Import, batches: &mpsc::Sender<Batch>) -> Result<(), Error> {
    let mut before = 0;
    let mut batch = Batch::default();
    for file in files {
        let mut reader = files::open(file)?;
        let consumed = reader.consumed();
        while let Some(chunk) = reader.next_chunk() {
            batch.foreign += chunk.foreign;
            for item in &chunk.items {
                let weight = item.range.len() + LABELS;
                if batch.weight + weight > MAX_COMMIT || batch.bodies.len() == MAX_RECORDS {
                    batch.bytes = before + consumed.bytes();
                    if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                        return Ok(()); // stopped: nobody takes the rest
                    }
                }
                batch.weight += weight;
                batch.damaged += u64::from(item.damage.is_some());
                batch.bodies.push(RawBody::Record(import.record(&chunk, item)));
            }
        }
        before += consumed.bytes();
    }
    batch.bytes = before;
    let _ = batches.blocking_send(batch); // refused only when stopped
    Ok(())
}

#[cfg(test)]
mod tests;
