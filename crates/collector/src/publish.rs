use bytes::Bytes;
use hubwarden_bus::{Positions, Record, Sink, commit_when_room, topic};
use hubwarden_event::RawBody;
use hubwarden_proto::encode_raw;
use hubwarden_service::trace::{self, Channel};
use tracing::Instrument;

use crate::{Error, metrics};

/// A commit ends at this many bytes or one record.
pub(crate) const MAX_COMMIT: usize = 2 << 20;

/// A commit ends at this many records.
pub(crate) const MAX_RECORDS: usize = 2_000;

/// How often a commit that was given up for a reason that passes is made again.
const TRIES: u32 = 10;

/// The records of topic `raw` that carry this body.
///
/// The key of a record is its event id. Progress and the end of a run go to every partition: each
/// of them may hold records of the run, and only what comes before the mark there is told by it.
pub(crate) fn raw(body: RawBody, partitions: u32) -> Vec<Record> {
    let connection = match &body {
        RawBody::Record(record) => {
            metrics::received(record);
            let key = record.event_id().as_bytes().to_vec();
            return vec![Record::new(topic::RAW, key, encode_raw(body))];
        }
        RawBody::Progress(progress) => &progress.connection,
        RawBody::RunEnd(end) => &end.connection,
    };
    let key = Bytes::copy_from_slice(connection.as_str().as_bytes());
    let record = Record::new(topic::RAW, key, encode_raw(body));
    (0..partitions.max(1)).map(|partition| record.clone().at(partition)).collect()
}

/// Commits, waits as long as the bus has no room, and counts what came of it.
///
/// Raw records carry the trace in which they are committed, such as that of the request that
/// brought them.
pub(crate) async fn commit(
    sink: &mut impl Sink,
    mut outputs: Vec<Record>,
    consumed: &Positions,
) -> Result<(), hubwarden_bus::Error> {
    let sums = metrics::sums(&outputs);
    let channel = Channel { topic: topic::RAW.name(), partition: None, group: None };
    let span = trace::send(&channel, outputs.len());
    let raw = outputs.iter_mut().filter(|record| record.topic == topic::RAW);
    trace::inject_all(&span, raw.map(|record| &mut record.headers));
    let committing = metrics::committing();
    let committed = commit_when_room(sink, outputs, consumed).instrument(span.clone()).await;
    drop(committing);
    metrics::ended(&sums, &committed);
    if committed.is_err() {
        trace::failed(&span, "commit");
    }
    committed
}

/// Commits what nobody owns; waits as long as the bus has no room, for a full bus slows its sender,
/// and commits again what the bus gave up for a reason that passes.
///
/// # Errors
/// What will not pass by waiting.
pub(crate) async fn append(sink: &mut impl Sink, outputs: Vec<Record>) -> Result<(), Error> {
    let nothing = Positions::none();
    for _ in 1..TRIES {
        match commit(sink, outputs.clone(), &nothing).await {
            Err(hubwarden_bus::Error::Reassigned { .. }) => {}
            ended => return Ok(ended?),
        }
    }
    Ok(commit(sink, outputs, &nothing).await?)
}

#[cfg(test)]
mod tests {
    use hubwarden_event::{RunEnd, RunId};

    use super::*;

    #[test]
    fn a_mark_goes_to_every_partition() {
        let end = RunEnd { connection: "c".into(), run: RunId::live() };
        let records = raw(RawBody::RunEnd(end), 3);
        let partitions: Vec<_> = records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions, [Some(0), Some(1), Some(2)]);
        assert!(records.iter().all(|record| record.key == records[0].key));
    }
}
