//! Frames: how everything stands in the journal's files.
//!
//! A frame is a header of 24 bytes, `meta`, `body`, all little endian:
//!
//! ```text
//! magic u32 | kind u8, 3 zeros | meta length u32 | body length u32 | CRC of body u32 | CRC u32
//! ```
//!
//! The last CRC covers a seed, the 20 bytes before it and the meta. The seed is the journal's random
//! salt plus the frame's address, so a frame that lies elsewhere (a stale block, or one that
//! somebody put into a payload) is never taken for ours. Whoever needs only meta skips the body.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::files::{File, read_full};
use crate::topic::COUNT;
use crate::{Positions, Topic};

/// The length of a frame's header.
pub(super) const HEADER: usize = 24;
/// The largest body of a frame: what one commit may hold.
pub(super) const MAX_FRAME_BODY: usize = 256 << 20;
const MAX_META: usize = 16 << 20;
pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"HWF1");
/// What the magic of every version begins with; its last byte is the version.
const FAMILY: &[u8] = b"HWF";
/// Stands in for the salt in head frames, which carry the salt.
pub(super) const NO_SALT: u64 = 0;

/// One next position for each topic.
pub(super) type Ends = [u64; COUNT];
/// The stored positions of all stages.
pub(super) type Stages = std::collections::BTreeMap<Arc<str>, Positions>;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// First of a segment, last of a snapshot: everything known before it.
    Head = 1,
    /// One commit.
    Group = 2,
    /// Where a repair gave up what was there.
    Gap = 3,
    /// Values of compacted topics in a snapshot.
    Values = 4,
    /// The index beside a sealed segment.
    Index = 5,
}

/// The header and meta of a frame, checked; its body is not read yet.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) meta: Bytes,
    pub(super) body_len: usize,
    body_crc: u32,
}

/// Why there is no frame at an offset.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The bytes are not a frame.
    Bad(String),
    /// A later release wrote them: nothing is wrong, so nothing of it is cut or given up.
    Later(String),
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        Unreadable::Io(error)
    }
}

impl From<bytes::TryGetError> for Unreadable {
    fn from(_: bytes::TryGetError) -> Unreadable {
        bad("it ends early inside")
    }
}

pub(super) fn bad(reason: impl Into<String>) -> Unreadable {
    Unreadable::Bad(reason.into())
}

pub(super) fn later(reason: impl Into<String>) -> Unreadable {
    Unreadable::Later(reason.into())
}

impl Frame {
    /// The whole length: header, meta and body.
    pub(super) fn len(&self) -> u64 {
        (HEADER + self.meta.len() + self.body_len) as u64
    }

    /// Reads header and meta at an offset; `None` where the file ends.
    pub(super) fn read(
        file: &dyn File,
        offset: u64,
        seed: u64,
    ) -> Result<Option<Frame>, Unreadable> {
        // Most metas fit in what is read at once.
        let mut start = [0; 512];
        let read = read_full(file, offset, &mut start)?;
        if read == 0 {
            return Ok(None);
        }
        let Some((header, rest)) = start[..read].split_first_chunk::<HEADER>() else {
            return Err(bad("it ends inside a frame header"));
        };
        let lengths = Lengths::parse(header)?;
        let mut meta = vec![0; lengths.meta];
        let at_hand = lengths.meta.min(rest.len());
        meta[..at_hand].copy_from_slice(&rest[..at_hand]);
        let behind = offset + (HEADER + at_hand) as u64;
        if read_full(file, behind, &mut meta[at_hand..])? < lengths.meta - at_hand {
            return Err(bad("it ends inside a frame"));
        }
        lengths.into_frame(header, meta.into(), seed).map(Some)
    }

    /// Reads the body of the frame at this offset.
    pub(super) fn read_body(&self, file: &dyn File, offset: u64) -> Result<Bytes, Unreadable> {
        let mut body = vec![0; self.body_len];
        let start = offset + (HEADER + self.meta.len()) as u64;
        if read_full(file, start, &mut body)? < body.len() {
            return Err(bad("it ends inside a frame"));
        }
        self.check_body(&body)?;
        Ok(body.into())
    }

    /// Takes the frame at the start of `bytes`, with its body.
    pub(super) fn split(bytes: &Bytes, seed: u64) -> Result<(Frame, Bytes), Unreadable> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(bad("it ends inside a frame header"));
        };
        let lengths = Lengths::parse(header)?;
        let whole = lengths.meta + lengths.body;
        if rest.len() < whole {
            return Err(bad("it ends inside a frame"));
        }
        let meta = bytes.slice(HEADER..HEADER + lengths.meta);
        let body = bytes.slice(HEADER + lengths.meta..HEADER + whole);
        let frame = lengths.into_frame(header, meta, seed)?;
        frame.check_body(&body)?;
        Ok((frame, body))
    }

    fn check_body(&self, body: &[u8]) -> Result<(), Unreadable> {
        if crc32fast::hash(body) != self.body_crc {
            return Err(bad("the checksum of a frame body does not match"));
        }
        Ok(())
    }
}

/// A header before its checksum is known to be right.
struct Lengths {
    kind: u32,
    meta: usize,
    body: usize,
    body_crc: u32,
    crc: u32,
}

impl Lengths {
    fn parse(header: &[u8; HEADER]) -> Result<Lengths, Unreadable> {
        let mut fields = &header[..];
        if fields.try_get_u32_le()? != MAGIC {
            return Err(match header.strip_prefix(FAMILY) {
                Some([version @ b'2'..=b'9', ..]) => {
                    later(format!("format {}, this release reads 1", char::from(*version)))
                }
                _ => bad("no frame begins there"),
            });
        }
        let lengths = Lengths {
            kind: fields.try_get_u32_le()?,
            meta: fields.try_get_u32_le()? as usize,
            body: fields.try_get_u32_le()? as usize,
            body_crc: fields.try_get_u32_le()?,
            crc: fields.try_get_u32_le()?,
        };
        if lengths.meta > MAX_META || lengths.body > MAX_FRAME_BODY {
            return Err(bad("a frame length is beyond every limit"));
        }
        Ok(lengths)
    }

    fn into_frame(
        self,
        header: &[u8; HEADER],
        meta: Bytes,
        seed: u64,
    ) -> Result<Frame, Unreadable> {
        if seeded_crc(seed, &header[..HEADER - 4], &meta) != self.crc {
            return Err(bad("the checksum of a frame header does not match"));
        }
        let kind = match self.kind {
            1 => Kind::Head,
            2 => Kind::Group,
            3 => Kind::Gap,
            4 => Kind::Values,
            5 => Kind::Index,
            kind => return Err(later(format!("frames of kind {kind}"))),
        };
        Ok(Frame { kind, meta, body_len: self.body, body_crc: self.body_crc })
    }
}

fn seeded_crc(seed: u64, header: &[u8], meta: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(header);
    hasher.update(meta);
    hasher.finalize()
}

/// Writes header and meta of a frame whose body follows; bodies are within [`MAX_FRAME_BODY`].
pub(super) fn put_start(
    out: &mut Vec<u8>,
    kind: Kind,
    meta: &[u8],
    body_len: usize,
    body_crc: u32,
    seed: u64,
) {
    let start = out.len();
    out.put_u32_le(MAGIC);
    out.put_u32_le(kind as u32);
    out.put_u32_le(meta.len() as u32);
    out.put_u32_le(body_len as u32);
    out.put_u32_le(body_crc);
    let crc = seeded_crc(seed, &out[start..], meta);
    out.put_u32_le(crc);
    out.put_slice(meta);
}

/// Writes a whole frame.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, meta: &[u8], body: &[u8], seed: u64) {
    put_start(out, kind, meta, body.len(), crc32fast::hash(body), seed);
    out.put_slice(body);
}

/// Finds the next whole frame of the journal behind `from`, and its offset.
///
/// `address` is that of the first byte. Used only where a frame is damaged.
///
/// # Errors
/// Behind the damage stands a frame of a later release.
pub(super) fn next_whole(
    bytes: &Bytes,
    from: usize,
    salt: u64,
    address: u64,
) -> Result<Option<(usize, Frame, Bytes)>, Unreadable> {
    let magic = MAGIC.to_le_bytes();
    let mut at = from;
    while let Some(next) =
        bytes.get(at..).and_then(|rest| rest.windows(4).position(|window| window == magic))
    {
        at += next;
        let seed = salt.wrapping_add(address + at as u64);
        match Frame::split(&bytes.slice(at..), seed) {
            Ok((frame, body)) => return Ok(Some((at, frame, body))),
            Err(later @ Unreadable::Later(_)) => return Err(later),
            Err(_) => at += 1,
        }
    }
    Ok(None)
}

/// The meta of a head: everything that is known before a segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) salt: u64,
    /// The address of the segment.
    pub(super) base: u64,
    pub(super) at_ms: i64,
    pub(super) ends: Ends,
    pub(super) stages: Stages,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64_le(self.salt);
        out.put_u64_le(self.base);
        out.put_i64_le(self.at_ms);
        put_ends(&mut out, &self.ends);
        out.put_u32_le(self.stages.len() as u32);
        for (stage, positions) in &self.stages {
            put_text(&mut out, stage);
            put_positions(&mut out, positions);
        }
        out
    }

    pub(super) fn decode(mut meta: &[u8]) -> Result<Head, Unreadable> {
        let mut head = Head {
            salt: meta.try_get_u64_le()?,
            base: meta.try_get_u64_le()?,
            at_ms: meta.try_get_i64_le()?,
            ends: get_ends(&mut meta)?,
            stages: Stages::new(),
        };
        for _ in 0..meta.try_get_u32_le()? {
            let stage = get_text(&mut meta)?.into();
            head.stages.insert(stage, get_positions(&mut meta)?);
        }
        Ok(head)
    }
}

/// The meta of a group: who committed what, and what its body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Everything before this address was synced before this group was written.
    pub(super) durable: u64,
    pub(super) appended_at_ms: i64,
    pub(super) stage: Arc<str>,
    pub(super) consumed: Positions,
    /// The first position and the number of its records, for each topic that it has.
    pub(super) topics: Vec<(Topic, u64, u32)>,
}

impl Meta {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.durable);
        out.put_i64_le(self.appended_at_ms);
        put_text(out, &self.stage);
        put_positions(out, &self.consumed);
        out.put_u8(self.topics.len() as u8);
        for &(topic, first, count) in &self.topics {
            out.put_u8(topic.number());
            out.put_u64_le(first);
            out.put_u32_le(count);
        }
    }

    pub(super) fn decode(mut meta: &[u8]) -> Result<Meta, Unreadable> {
        let mut group = Meta {
            durable: meta.try_get_u64_le()?,
            appended_at_ms: meta.try_get_i64_le()?,
            stage: get_text(&mut meta)?.into(),
            consumed: get_positions(&mut meta)?,
            topics: Vec::new(),
        };
        for _ in 0..meta.try_get_u8()? {
            let topic = get_topic(&mut meta)?;
            let first = meta.try_get_u64_le()?;
            group.topics.push((topic, first, meta.try_get_u32_le()?));
        }
        Ok(group)
    }
}

pub(super) fn put_ends(out: &mut Vec<u8>, ends: &Ends) {
    out.put_u8(COUNT as u8);
    ends.iter().for_each(|&end| out.put_u64_le(end));
}

pub(super) fn get_ends(bytes: &mut &[u8]) -> Result<Ends, Unreadable> {
    let mut ends = [0; COUNT];
    let count = usize::from(bytes.try_get_u8()?);
    let known =
        ends.get_mut(..count).ok_or_else(|| later(format!("{count} topics instead of {COUNT}")))?;
    for end in known {
        *end = bytes.try_get_u64_le()?;
    }
    Ok(ends)
}

fn put_positions(out: &mut Vec<u8>, positions: &Positions) {
    out.put_u16_le(positions.iter().count() as u16);
    for (topic, partition, next) in positions.iter() {
        out.put_u8(topic.number());
        out.put_u32_le(partition);
        out.put_u64_le(next);
    }
}

fn get_positions(bytes: &mut &[u8]) -> Result<Positions, Unreadable> {
    let mut positions = Positions::none();
    for _ in 0..bytes.try_get_u16_le()? {
        let topic = get_topic(bytes)?;
        let partition = bytes.try_get_u32_le()?;
        positions.set(topic, partition, bytes.try_get_u64_le()?);
    }
    Ok(positions)
}

pub(super) fn get_topic(bytes: &mut impl Buf) -> Result<Topic, Unreadable> {
    let number = bytes.try_get_u8()?;
    Topic::by_number(number).ok_or_else(|| later(format!("a topic with number {number}")))
}

/// Stage names, at most 255 bytes: commits see to that.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

fn get_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Unreadable> {
    let len = usize::from(bytes.try_get_u8()?);
    let (text, rest) = bytes.split_at_checked(len).ok_or_else(|| bad("it ends early inside"))?;
    *bytes = rest;
    std::str::from_utf8(text).map_err(|_| bad("a stage name is not UTF-8"))
}
