//! The snapshot: what is left of the segments that retention removed.
//!
//! Frames of values of compacted topics in the order of their positions, then a head that says
//! where the first kept segment begins, the ends of all topics and the positions of all stages.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::body::{self, Records};
use super::files::{File, Files};
use super::frame::{self, Frame, Head, Kind, NO_SALT, Unreadable, bad};
use super::segment::{self, Newest, unreadable};
use crate::{Delivered, Error, Topic};

/// How large a frame of values grows before the next begins.
const VALUES_FRAME: usize = 1 << 20;

/// An open snapshot, read from its start whenever somebody needs it.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// The address of the first segment that it does not cover.
    pub(super) base: u64,
    pub(super) len: u64,
    file: Arc<dyn File>,
}

/// What stands next in a snapshot.
pub(super) enum Part {
    Values(Records),
    /// The end.
    Head(Head),
}

pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.snap")
}

impl Snapshot {
    pub(super) fn open(files: &dyn Files, base: u64) -> io::Result<Snapshot> {
        let file = files.open(&file_name(base))?;
        let len = file.size()?;
        Ok(Snapshot { base, len, file })
    }

    /// Reads the part at an offset, and gives the offset of the next.
    pub(super) fn part(&self, files: &dyn Files, offset: u64) -> Result<(Part, u64), Error> {
        self.try_part(offset).map_err(|why| unreadable(files, &file_name(self.base), offset, why))
    }

    fn try_part(&self, offset: u64) -> Result<(Part, u64), Unreadable> {
        let frame = Frame::read(&*self.file, offset, seed(self.base, offset))?;
        let frame = frame.ok_or_else(|| bad("its end is missing"))?;
        let body = frame.read_body(&*self.file, offset)?;
        let part = match frame.kind {
            Kind::Values => Part::Values(Records::of_values(body)),
            Kind::Head => Part::Head(Head::decode(&frame.meta)?),
            kind => {
                return Err(bad(format!(
                    "a frame of kind {kind:?} does not belong into a snapshot"
                )));
            }
        };
        Ok((part, offset + frame.len()))
    }

    /// Hands every wanted value to `each`, in the order of positions, and gives the head.
    pub(super) fn values(
        &self,
        files: &dyn Files,
        wanted: impl Fn(Topic, u64) -> bool,
        mut each: impl FnMut(Delivered) -> Result<(), Error>,
    ) -> Result<Head, Error> {
        let mut offset = 0;
        loop {
            let (part, next) = self.part(files, offset)?;
            match part {
                Part::Head(head) => return Ok(head),
                Part::Values(mut records) => {
                    let file = file_name(self.base);
                    let bad = |why| unreadable(files, &file, offset, why);
                    while let Some(record) = records.next(&wanted).map_err(bad)? {
                        each(record)?;
                    }
                }
            }
            offset = next;
        }
    }
}

fn seed(base: u64, offset: u64) -> u64 {
    NO_SALT.wrapping_add(base).wrapping_add(offset)
}

/// Writes the snapshot that takes the place of an older one and of some segments behind it.
pub(super) struct Writer<'a> {
    files: &'a dyn Files,
    file: Arc<dyn File>,
    base: u64,
    len: u64,
    values: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn create(files: &'a dyn Files, base: u64) -> io::Result<Writer<'a>> {
        let file = files.create(&format!("{}.tmp", file_name(base)))?;
        Ok(Writer { files, file, base, len: 0, values: Vec::new() })
    }

    pub(super) fn put(&mut self, record: &Delivered) -> io::Result<()> {
        body::put_value(&mut self.values, record);
        if self.values.len() >= VALUES_FRAME {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let values = std::mem::take(&mut self.values);
        if values.is_empty() {
            return Ok(());
        }
        self.write(Kind::Values, &[], &values)
    }

    fn write(&mut self, kind: Kind, meta: &[u8], body: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(frame::HEADER + meta.len() + body.len());
        frame::put(&mut out, kind, meta, body, seed(self.base, self.len));
        self.file.write_at(self.len, &out)?;
        self.len += out.len() as u64;
        Ok(())
    }

    /// Makes it durable under its name; the segments that it covers may go now.
    pub(super) fn finish(mut self, head: &Head) -> io::Result<Snapshot> {
        self.flush()?;
        self.write(Kind::Head, &head.encode(), &[])?;
        self.file.sync()?;
        let name = file_name(self.base);
        self.files.rename(&format!("{name}.tmp"), &name)?;
        self.files.sync_folder()?;
        Snapshot::open(self.files, self.base)
    }
}

/// Reads the newest values of one segment, in the order of their groups.
///
/// `wanted` sees topic and key; only keys that pass are read.
pub(super) fn newest_of_segment(
    files: &dyn Files,
    salt: u64,
    base: u64,
    newest: &Newest,
    wanted: impl Fn(Topic, &Bytes) -> bool,
    mut each: impl FnMut(Delivered) -> Result<(), Error>,
) -> Result<(), Error> {
    let newest = newest.iter().filter(|((topic, key), _)| wanted(*topic, key));
    let places: HashSet<(Topic, u64)> =
        newest.clone().map(|((topic, _), &(position, _))| (*topic, position)).collect();
    let mut offsets: Vec<u64> = newest.map(|(_, &(_, offset))| offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    if offsets.is_empty() {
        return Ok(());
    }
    let name = segment::file_name(base);
    let file =
        files.open(&name).map_err(|source| segment::io_error(files, "opening", &name, source))?;
    for offset in offsets {
        let bad_group = |why| unreadable(files, &name, offset, why);
        let mut records = read_group(&*file, base, offset, salt).map_err(bad_group)?;
        while let Some(record) = records
            .next(|topic, position| places.contains(&(topic, position)))
            .map_err(bad_group)?
        {
            each(record)?;
        }
    }
    Ok(())
}

fn read_group(file: &dyn File, base: u64, offset: u64, salt: u64) -> Result<Records, Unreadable> {
    let frame = Frame::read(file, offset, salt.wrapping_add(base + offset))?;
    let frame = frame.filter(|frame| frame.kind == Kind::Group);
    let frame = frame.ok_or_else(|| bad("a group that the index names is missing"))?;
    let meta = frame::Meta::decode(&frame.meta)?;
    Ok(Records::of_group(&meta, frame.read_body(file, offset)?))
}
