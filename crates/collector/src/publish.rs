use hubwarden_bus::{Positions, Record, Sink, commit_when_room, topic};
use hubwarden_event::RawBody;
use hubwarden_proto::encode_raw;

use crate::Error;

/// A commit ends at this many bytes or one record.
pub(crate) const MAX_COMMIT: usize = 2 << 20;

/// A commit ends at this many records.
pub(crate) const MAX_RECORDS: usize = 2_000;

/// The record of topic `raw` that carries this body: the key of a record is its event id.
pub(crate) fn raw(body: RawBody) -> Record {
    let key = match &body {
        RawBody::Record(record) => record.event_id().as_bytes().to_vec(),
        RawBody::Progress(progress) => progress.connection.as_str().as_bytes().to_vec(),
        RawBody::RunEnd(end) => end.connection.as_str().as_bytes().to_vec(),
    };
    Record::new(topic::RAW, key, encode_raw(body))
}

/// Commits, and waits as long as the bus has no room: a full bus slows its sender.
///
/// # Errors
/// What will not pass by waiting.
pub(crate) async fn commit(sink: &mut impl Sink, outputs: Vec<Record>) -> Result<(), Error> {
    Ok(commit_when_room(sink, outputs, &Positions::none()).await?)
}
