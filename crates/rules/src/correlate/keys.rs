use hubwarden_event::{
    ConnectionId, FindingId, GroupKey, Match, MatchBody, RunId, Timestamp, hash_parts,
};

use super::correlator::MAX_TIME_MS;
use super::known::{Known, short};
use super::run::GroupHash;

/// Connection and run of a record.
pub(super) fn whose(body: &MatchBody) -> (&ConnectionId, &RunId) {
    match body {
        MatchBody::Match(matched) => (&matched.connection, &matched.run),
        MatchBody::Watermark(mark) => (&mark.connection, &mark.run),
        MatchBody::RunEnd { end, .. } => (&end.connection, &end.run),
    }
}

/// The event's time, far within what sums can hold.
pub(super) fn event_time(matched: &Match) -> i64 {
    matched.occurred_at.as_millis().clamp(-MAX_TIME_MS, MAX_TIME_MS)
}

/// Hash of names and values of a group.
pub(super) fn group_base(group: &GroupKey) -> [u8; 16] {
    let count = (group.names.len() as u64).to_be_bytes();
    let names = group.names.iter().map(|name| name.as_bytes());
    let values = group.values.iter().map(String::as_bytes);
    short(hash_parts([count.as_slice()].into_iter().chain(names).chain(values)))
}

/// What a group's windows under a rule are found by within a run.
pub(super) fn group_hash(base: [u8; 16], known: &Known) -> GroupHash {
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(&base);
    hash[16..].copy_from_slice(&known.scope);
    hash
}

/// The finding of a bucket.
pub(super) fn finding_id(matched: &Match, known: &Known, bucket: i64) -> FindingId {
    let values = matched.group.values.iter().map(String::as_str);
    let bucket = Timestamp::from_millis(bucket);
    FindingId::of(&matched.connection, &matched.run, known.info.identity(), values, bucket)
}
