use std::borrow::Cow;

use bytes::Bytes;
use hubwarden_event::{DeadLetter, Hash, MAX_DEAD_BYTES, RawPosition, RawRecord};

/// A reason is cut here, for parts of it may be the sender's words.
const MAX_REASON_BYTES: usize = 512;

/// Why a record is not an event: bad input, which is data and not an error of the stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejected {
    /// The cause in one sentence: lower case, without a full stop.
    pub reason: Cow<'static, str>,
}

impl Rejected {
    /// Rejects for this reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > MAX_REASON_BYTES {
            let end = reason.floor_char_boundary(MAX_REASON_BYTES);
            reason.to_mut().truncate(end);
        }
        Self { reason }
    }
}

/// What is kept of a rejected record: the reason, where it stands, its hash, and its first 64 KiB.
pub fn dead_letter(raw: &RawRecord, position: RawPosition, rejected: &Rejected) -> DeadLetter {
    let kept = raw.payload.len().min(MAX_DEAD_BYTES);
    DeadLetter {
        position,
        connection: Some(raw.connection.clone()),
        origin: raw.origin.clone(),
        reason: rejected.reason.clone().into_owned(),
        hash: Hash::of(&raw.payload),
        length: raw.payload.len() as u64,
        record: raw.payload.slice(..kept),
        envelope: Some(Box::new(RawRecord { payload: Bytes::new(), ..raw.clone() })),
    }
}
