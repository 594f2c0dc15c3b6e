//! Records as they stand in the body of a frame.
//!
//! ```text
//! topic u8 | headers u16 | key length u32 | body length u32 | key
//! | (name length u16, name, value length u32, value)* | body
//! ```
//!
//! In a snapshot each is preceded by position u64 and append time i64; in a group they follow from
//! the meta.

use bytes::{Buf, BufMut, Bytes};

use super::frame::{Ends, Meta, Unreadable, bad, get_topic};
use crate::topic::COUNT;
use crate::{Delivered, Record, Topic};

/// The outputs of a commit, ready to be written: built by who commits, so that stages share the
/// work instead of the writer's thread doing all of it.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) crc: u32,
    /// How many records of each topic.
    pub(super) counts: [u32; COUNT],
    /// Topic, key and place among the topic's records, for the records of compacted topics.
    pub(super) keys: Vec<(Topic, Bytes, u32)>,
}

impl Encoded {
    pub(super) fn of(outputs: &[Record]) -> Encoded {
        let size: usize = outputs.iter().map(|record| record.size() + 16).sum();
        let mut body = Vec::with_capacity(size);
        let mut counts = [0; COUNT];
        let mut keys = Vec::new();
        for record in outputs {
            let count = &mut counts[record.topic.index()];
            if record.topic.is_compacted() {
                keys.push((record.topic, record.key.clone(), *count));
            }
            *count += 1;
            put_record(&mut body, record.topic, &record.key, &record.headers, &record.body);
        }
        Encoded { crc: crc32fast::hash(&body), body: body.into(), counts, keys }
    }
}

/// Adds a record of a compacted topic to the body of a snapshot's frame.
pub(super) fn put_value(out: &mut Vec<u8>, record: &Delivered) {
    out.put_u64_le(record.position);
    out.put_i64_le(record.appended_at_ms);
    put_record(out, record.topic, &record.key, &record.headers, &record.body);
}

/// Lengths fit: a record's size is checked before it comes here.
fn put_record(
    out: &mut Vec<u8>,
    topic: Topic,
    key: &[u8],
    headers: &[(String, Bytes)],
    body: &[u8],
) {
    out.put_u8(topic.number());
    out.put_u16_le(headers.len() as u16);
    out.put_u32_le(key.len() as u32);
    out.put_u32_le(body.len() as u32);
    out.put_slice(key);
    for (name, value) in headers {
        out.put_u16_le(name.len() as u16);
        out.put_slice(name.as_bytes());
        out.put_u32_le(value.len() as u32);
        out.put_slice(value);
    }
    out.put_slice(body);
}

/// Walks over the records of a frame's body, which it shares and does not copy.
pub(super) struct Records {
    body: Bytes,
    /// The next position of each topic, and the append time of all; `None` where records carry both.
    group: Option<(Ends, i64)>,
}

impl Records {
    /// The records of a group.
    pub(super) fn of_group(meta: &Meta, body: Bytes) -> Records {
        let mut firsts = [0; COUNT];
        for &(topic, first, _) in &meta.topics {
            firsts[topic.index()] = first;
        }
        Records { body, group: Some((firsts, meta.appended_at_ms)) }
    }

    /// The records of a frame of values.
    pub(super) fn of_values(body: Bytes) -> Records {
        Records { body, group: None }
    }

    /// The next record that is wanted by topic and position.
    pub(super) fn next(
        &mut self,
        wanted: impl Fn(Topic, u64) -> bool,
    ) -> Result<Option<Delivered>, Unreadable> {
        let bytes = &mut self.body;
        while bytes.has_remaining() {
            let own = match self.group {
                Some(_) => None,
                None => Some((bytes.try_get_u64_le()?, bytes.try_get_i64_le()?)),
            };
            let topic = get_topic(bytes)?;
            let header_count = usize::from(bytes.try_get_u16_le()?);
            let key_len = bytes.try_get_u32_le()? as usize;
            let body_len = bytes.try_get_u32_le()? as usize;
            let (position, appended_at_ms) = match (&mut self.group, own) {
                (Some((next, at_ms)), _) => {
                    let next = &mut next[topic.index()];
                    let position = *next;
                    *next = position.saturating_add(1);
                    (position, *at_ms)
                }
                (None, own) => own.ok_or_else(|| bad("a value has no position"))?,
            };
            let key = take(bytes, key_len)?;
            let wanted = wanted(topic, position);
            let mut headers = Vec::new();
            for _ in 0..header_count {
                let name_len = usize::from(bytes.try_get_u16_le()?);
                let name = take(bytes, name_len)?;
                let value_len = bytes.try_get_u32_le()? as usize;
                let value = take(bytes, value_len)?;
                if wanted {
                    let name = std::str::from_utf8(&name)
                        .map_err(|_| bad("a header name is not UTF-8"))?;
                    headers.push((name.to_owned(), value));
                }
            }
            let body = take(bytes, body_len)?;
            if wanted {
                return Ok(Some(Delivered {
                    topic,
                    partition: 0,
                    position,
                    appended_at_ms,
                    key,
                    headers,
                    body,
                }));
            }
        }
        Ok(None)
    }
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, Unreadable> {
    if len > bytes.len() {
        return Err(bad("it ends early inside"));
    }
    Ok(bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::frame::Head;
    use crate::topic::ALL;

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        let headers = proptest::collection::vec((".{0,5}", bytes()), 0..3);
        let record = (0..COUNT, bytes(), headers, bytes());
        record.prop_map(|(topic, key, headers, body)| Record {
            topic: ALL[topic],
            partition: None,
            key,
            headers,
            body,
        })
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(outputs in proptest::collection::vec(record(), 0..20)) {
            let encoded = Encoded::of(&outputs);
            let topics = ALL.map(|topic| (topic, 7, encoded.counts[topic.index()]));
            let meta = Meta {
                durable: 0,
                appended_at_ms: 3,
                stage: "stage".into(),
                consumed: crate::Positions::none(),
                topics: topics.to_vec(),
            };
            let mut bytes = Vec::new();
            meta.encode(&mut bytes);
            let decoded = Meta::decode(&bytes).unwrap();
            prop_assert_eq!(&decoded, &meta);
            let mut records = Records::of_group(&decoded, encoded.body);
            let mut next = [7; COUNT];
            for output in outputs {
                let record = records.next(|_, _| true).unwrap().unwrap();
                prop_assert_eq!(record.position, next[output.topic.index()]);
                next[output.topic.index()] += 1;
                let Delivered { topic, key, headers, body, .. } = record;
                let partition = None;
                prop_assert_eq!(Record { topic, partition, key, headers, body }, output);
            }
            prop_assert!(records.next(|_, _| true).unwrap().is_none());
        }

        /// Whoever can write the checksum right can still write anything.
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Meta::decode(&bytes);
            let _ = Head::decode(&bytes);
            let mut records = Records::of_values(bytes.into());
            while let Ok(Some(_)) = records.next(|_, _| true) {}
        }
    }
}
