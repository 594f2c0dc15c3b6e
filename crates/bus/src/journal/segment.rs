//! One segment file: what is known about it in memory, and the index file beside it.

use std::collections::HashMap;
use std::io;

use bytes::{Buf, BufMut, Bytes};

use super::body::Records;
use super::files::{File, Files};
use super::frame::{self, Ends, Frame, Head, Kind, Meta, NO_SALT, Stages, Unreadable, bad};
use crate::topic::{self, COUNT};
use crate::{Error, Topic};

/// How far apart a topic's marks are, in bytes: reading any position looks at no more than this,
/// and 20 GB of journal need about 10 MB of marks.
const MARK_EVERY: u64 = 256 << 10;

/// Where the newest values of compacted topics stand in a segment: by topic and key, the position
/// and the offset of the group.
pub(super) type Newest = HashMap<(Topic, Bytes), (u64, u64)>;

/// What the journal knows about one of its segments.
pub(super) struct Segment {
    /// The address of its first byte; its place among all bytes ever written to the journal.
    pub(super) base: u64,
    /// Durable bytes.
    pub(super) len: u64,
    /// Length of its index file, once there is one.
    pub(super) index_len: u64,
    /// The next position of each topic when it began.
    pub(super) firsts: Ends,
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
    /// For each topic some of its groups: first position and offset.
    marks: [Vec<(u64, u64)>; COUNT],
    /// `None` once it stands in the index file.
    pub(super) newest: Option<Newest>,
}

/// The name of a segment's file.
pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// The name of the index file beside it.
pub(super) fn index_name(base: u64) -> String {
    format!("{base:020}.idx")
}

impl Segment {
    pub(super) fn new(head: &Head, len: u64) -> Segment {
        Segment {
            base: head.base,
            len,
            index_len: 0,
            firsts: head.ends,
            oldest_ms: head.at_ms,
            newest_ms: head.at_ms,
            marks: Default::default(),
            newest: Some(Newest::new()),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.len
    }

    /// Takes note of a group that was appended at the end of the segment.
    pub(super) fn add(
        &mut self,
        meta: &Meta,
        len: u64,
        keys: impl IntoIterator<Item = (Topic, Bytes, u64)>,
    ) {
        let offset = self.len;
        for &(topic, first, _) in &meta.topics {
            let marks = &mut self.marks[topic.index()];
            let last = marks.last().map(|&(_, offset)| offset);
            if last.is_none_or(|last| offset - last >= MARK_EVERY) {
                marks.push((first, offset));
            }
        }
        if let Some(newest) = &mut self.newest {
            for (topic, key, position) in keys {
                newest.insert((topic, key), (position, offset));
            }
        }
        self.len += len;
        self.newest_ms = self.newest_ms.max(meta.appended_at_ms);
    }

    /// The offset of a group at or before the one that holds this position.
    pub(super) fn offset_before(&self, topic: Topic, position: u64) -> u64 {
        let marks = &self.marks[topic.index()];
        let behind = marks.partition_point(|&(first, _)| first <= position);
        behind.checked_sub(1).map_or(0, |place| marks[place].1)
    }

    /// The contents of the index file.
    pub(super) fn encode_index(&self) -> Vec<u8> {
        let mut meta = Vec::new();
        meta.put_u64_le(self.base);
        meta.put_u64_le(self.len);
        frame::put_ends(&mut meta, &self.firsts);
        meta.put_i64_le(self.oldest_ms);
        meta.put_i64_le(self.newest_ms);
        let mut body = Vec::new();
        for marks in &self.marks {
            body.put_u32_le(marks.len() as u32);
            for &(first, offset) in marks {
                body.put_u64_le(first);
                body.put_u64_le(offset);
            }
        }
        for ((topic, key), &(position, offset)) in self.newest.iter().flatten() {
            body.put_u8(topic.number());
            body.put_u64_le(position);
            body.put_u64_le(offset);
            body.put_u32_le(key.len() as u32);
            body.put_slice(key);
        }
        let mut out = Vec::new();
        frame::put(&mut out, Kind::Index, &meta, &body, self.base);
        out
    }

    /// Reads an index file; what it says of the newest values stays in the answer's `newest`.
    fn decode_index(frame: &Frame, mut body: Bytes) -> Result<Segment, Unreadable> {
        let mut meta = &frame.meta[..];
        let mut segment = Segment {
            base: meta.try_get_u64_le()?,
            len: meta.try_get_u64_le()?,
            index_len: frame.len(),
            firsts: frame::get_ends(&mut meta)?,
            oldest_ms: meta.try_get_i64_le()?,
            newest_ms: meta.try_get_i64_le()?,
            marks: Default::default(),
            newest: None,
        };
        for marks in &mut segment.marks {
            for _ in 0..body.try_get_u32_le()? {
                marks.push((body.try_get_u64_le()?, body.try_get_u64_le()?));
            }
        }
        let mut newest = Newest::new();
        while body.has_remaining() {
            let topic = frame::get_topic(&mut body)?;
            let position = body.try_get_u64_le()?;
            let offset = body.try_get_u64_le()?;
            let key_len = body.try_get_u32_le()? as usize;
            if key_len > body.len() {
                return Err(bad("it ends early inside"));
            }
            // Copied, so that one key does not keep the whole file in memory.
            let key = Bytes::copy_from_slice(&body.split_to(key_len));
            newest.insert((topic, key), (position, offset));
        }
        segment.newest = Some(newest);
        Ok(segment)
    }
}

/// Reads the index file of a segment of this length; `None` when there is no such index.
///
/// An index can always be made again from its segment, so anything odd about it is only a reason to
/// do so.
pub(super) fn load_index(files: &dyn Files, base: u64, len: u64) -> Option<Segment> {
    let file = files.open(&index_name(base)).ok()?;
    let frame = Frame::read(&*file, 0, base).ok()??;
    let body = frame.read_body(&*file, 0).ok()?;
    let segment = Segment::decode_index(&frame, body).ok()?;
    (segment.base == base && segment.len == len && frame.kind == Kind::Index).then_some(segment)
}

/// What a walk through a whole segment file found.
pub(super) struct Scan {
    /// As far as the file is sound.
    pub(super) segment: Segment,
    pub(super) head: Head,
    pub(super) ends: Ends,
    pub(super) stages: Stages,
    /// Whether a repair gave something up before the place that was reached.
    pub(super) gap: bool,
    /// Where the file stops being sound, and why.
    pub(super) bad: Option<(u64, String)>,
}

/// Walks through a segment file and checks every byte of it, up to the first bad frame.
///
/// # Errors
/// When its head is bad: a segment is created whole, so that is damage and no torn tail. When a
/// later release wrote something of it.
pub(super) fn scan(files: &dyn Files, base: u64) -> Result<Scan, Error> {
    let name = file_name(base);
    let file = files.open(&name).map_err(|source| io_error(files, "opening", &name, source))?;
    let head = read_head(&*file, base).map_err(|why| unreadable(files, &name, 0, why))?;
    let (head, len) = head;
    let mut scan = Scan {
        segment: Segment::new(&head, len),
        ends: head.ends,
        stages: head.stages.clone(),
        head,
        gap: false,
        bad: None,
    };
    loop {
        let offset = scan.segment.len;
        match scan.step(&*file) {
            Ok(true) => {}
            Ok(false) => return Ok(scan),
            Err(Unreadable::Bad(reason)) => {
                scan.bad = Some((offset, reason));
                return Ok(scan);
            }
            Err(why) => return Err(unreadable(files, &name, offset, why)),
        }
    }
}

/// Reads the head at the start of a segment file, and its length.
pub(super) fn read_head(file: &dyn File, base: u64) -> Result<(Head, u64), Unreadable> {
    let frame = Frame::read(file, 0, NO_SALT.wrapping_add(base))?;
    let frame = frame.ok_or_else(|| bad("the file is empty"))?;
    if frame.kind != Kind::Head {
        return Err(bad("the file does not begin with a head"));
    }
    let head = Head::decode(&frame.meta)?;
    if head.base != base {
        return Err(bad(format!("it is segment {} under another name", head.base)));
    }
    Ok((head, frame.len()))
}

impl Scan {
    /// An error that names the first bad frame, if there is one.
    pub(super) fn sound(&self, files: &dyn Files) -> Result<(), Error> {
        let Some((offset, reason)) = &self.bad else {
            return Ok(());
        };
        Err(unreadable(files, &file_name(self.segment.base), *offset, bad(reason.clone())))
    }

    fn step(&mut self, file: &dyn File) -> Result<bool, Unreadable> {
        let offset = self.segment.len;
        let seed = self.head.salt.wrapping_add(self.segment.base + offset);
        let Some(frame) = Frame::read(file, offset, seed)? else {
            return Ok(false);
        };
        let body = frame.read_body(file, offset)?;
        self.take(&frame, body)?;
        Ok(true)
    }

    /// Goes on by one sound frame.
    pub(super) fn take(&mut self, frame: &Frame, body: Bytes) -> Result<(), Unreadable> {
        match frame.kind {
            Kind::Gap => {
                self.segment.len += frame.len();
                self.gap = true;
            }
            Kind::Group => {
                let meta = Meta::decode(&frame.meta)?;
                let keys = compacted_keys(&meta, body)?;
                for &(topic, first, count) in &meta.topics {
                    let end = &mut self.ends[topic.index()];
                    if first < *end {
                        return Err(bad(format!(
                            "position {first} of {topic} comes a second time"
                        )));
                    }
                    *end = first + u64::from(count);
                }
                if self.gap {
                    // What was consumed had been written, even if it is gone.
                    for (topic, _, position) in meta.consumed.iter() {
                        let end = &mut self.ends[topic.index()];
                        *end = position.max(*end);
                    }
                }
                if !meta.consumed.is_empty() {
                    let stage = self.stages.entry(meta.stage.clone()).or_default();
                    stage.overwrite(&meta.consumed);
                }
                self.segment.add(&meta, frame.len(), keys);
            }
            kind => {
                return Err(bad(format!(
                    "a frame of kind {kind:?} does not belong into a segment"
                )));
            }
        }
        Ok(())
    }
}

/// Topic, key and position of the records of compacted topics.
fn compacted_keys(meta: &Meta, body: Bytes) -> Result<Vec<(Topic, Bytes, u64)>, Unreadable> {
    let mut keys = Vec::new();
    if meta.topics.iter().any(|(topic, _, _)| topic.is_compacted()) {
        let mut records = Records::of_group(meta, body);
        while let Some(record) = records.next(|topic, _| topic.is_compacted())? {
            keys.push((record.topic, Bytes::copy_from_slice(&record.key), record.position));
        }
    }
    Ok(keys)
}

/// Writes a whole file so that its name appears only once its content is durable.
pub(super) fn write_new(files: &dyn Files, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    let written = files.create(&temporary).and_then(|file| {
        file.write_at(0, content)?;
        file.sync()
    });
    if let Err(error) = written {
        // Best effort: whatever stays is removed when the journal is opened.
        let _ = files.remove(&temporary);
        return Err(error);
    }
    files.rename(&temporary, name)
}

pub(super) fn io_error(
    files: &dyn Files,
    doing: &'static str,
    name: &str,
    source: io::Error,
) -> Error {
    let file = files.folder().join(name);
    Error::Io { doing, file, source }
}

pub(super) fn unreadable(files: &dyn Files, name: &str, offset: u64, why: Unreadable) -> Error {
    match why {
        Unreadable::Io(source) => io_error(files, "reading", name, source),
        Unreadable::Bad(reason) => {
            Error::Corrupt { file: files.folder().join(name), offset, reason }
        }
        Unreadable::Later(found) => Error::Later { file: files.folder().join(name), offset, found },
    }
}

/// All topics whose records retention must not drop before they are consumed.
pub(super) fn consumable() -> impl Iterator<Item = Topic> {
    topic::ALL.into_iter().filter(|topic| !topic.is_compacted())
}
