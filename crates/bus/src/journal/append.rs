//! Writes groups at the end of a segment.

use std::io;

use super::body::Encoded;
use super::files::File;
use super::frame::{self, Kind, Meta};

/// Bodies up to this size are copied behind their meta, larger ones are written from where they are.
const COPY_UP_TO: usize = 64 << 10;

/// Writes groups at the end of a file with few calls and little copying.
pub(super) struct Appender<'a> {
    file: &'a dyn File,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Appender<'a> {
    pub(super) fn new(file: &'a dyn File, at: u64) -> Appender<'a> {
        let buffer = Vec::new();
        Appender { file, at, buffer }
    }

    pub(super) fn end(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    pub(super) fn put(&mut self, meta: &Meta, outputs: &Encoded, seed: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(256);
        meta.encode(&mut bytes);
        frame::put_start(
            &mut self.buffer,
            Kind::Group,
            &bytes,
            outputs.body.len(),
            outputs.crc,
            seed,
        );
        if outputs.body.len() <= COPY_UP_TO {
            self.buffer.extend_from_slice(&outputs.body);
            return if self.buffer.len() > 16 * COPY_UP_TO { self.flush() } else { Ok(()) };
        }
        self.flush()?;
        self.file.write_at(self.at, &outputs.body)?;
        self.at += outputs.body.len() as u64;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
