use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hubwarden_event::{ContentType, Hash};
use memchr::memchr;
use sha2::{Digest, Sha256};

use super::cut::Cut;
use super::decode::Decoded;
use super::form::Form;
use super::scanner::{Found, Scanner};
use super::{Chunk, Input, Item, KEPT, MAX_ITEM, Whole, csv, lines, values};
use crate::Error;

/// About how many bytes of text a chunk holds.
const CHUNK: usize = 256 << 10;

/// Reads one file chunk by chunk; memory does not grow with the file.
pub struct Reader {
    file: Arc<str>,
    source: Decoded,
    /// Text that is read and not yet cut.
    buffer: Vec<u8>,
    line: u64,
    form: Option<Form>,
    /// Nothing follows what is in the buffer.
    ended: bool,
    /// Why nothing follows, when that is not the end of the file.
    failure: Option<String>,
    /// Why the file was not read whole; stays once it is known.
    unread: Option<String>,
}

/// Bytes taken from a file so far, readable from other threads while it is read.
#[derive(Debug, Clone)]
pub struct Consumed(Arc<AtomicU64>);

impl Consumed {
    /// Bytes of the file itself, so compressed ones where it is compressed.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Opens a file or standard input and finds out how it is compressed.
///
/// # Errors
/// It does not exist or cannot be read; what is wrong further inside is data, not an error.
pub fn open(input: &Input) -> Result<Reader, Error> {
    Ok(Reader {
        file: input.name(),
        source: Decoded::open(input)?,
        buffer: Vec::new(),
        line: 1,
        form: None,
        ended: false,
        failure: None,
        unread: None,
    })
}

impl Reader {
    /// The name of the file as given, or `-`.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// How much has been taken from the file.
    pub fn consumed(&self) -> Consumed {
        Consumed(self.source.consumed.clone())
    }

    /// Bytes of the file, where that is known.
    pub fn size(&self) -> Option<u64> {
        self.source.size
    }

    /// Why the file was not read whole, if so: it breaks off, its compression is damaged, or it is binary.
    ///
    /// Known for certain once [`next_chunk`](Self::next_chunk) has given `None`. Each reason is also the damage of
    /// an item.
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    /// The next records, or `None` at the end of the file.
    pub fn next_chunk(&mut self) -> Option<Chunk> {
        let mut target = CHUNK;
        loop {
            self.fill(target);
            let mut form = match self.form.take() {
                Some(form) => form,
                None => self.look(),
            };
            let mut cut = Cut::at_line(self.line);
            let chunk = self.cut(&mut form, &mut cut);
            let over = self.ended && self.buffer.is_empty() && self.failure.is_none();
            let too_long = chunk.is_none() && self.buffer.len() >= MAX_ITEM;
            let binary = matches!(form, Form::Binary { .. });
            let chunk = match chunk {
                None if (too_long || binary) && !self.buffer.is_empty() => Some(self.skim(&form)),
                chunk => chunk,
            };
            self.form = Some(form);
            match chunk {
                Some(chunk) if chunk.items.is_empty() && chunk.foreign == 0 => target = CHUNK,
                Some(chunk) => return Some(chunk),
                None if over => return None,
                None if self.ended => return self.failure.take().map(|why| self.end_with(why)),
                None => target = self.buffer.len() * 2,
            }
        }
    }

    /// Reads until the buffer holds `target` bytes or nothing follows.
    fn fill(&mut self, target: usize) {
        if self.ended || self.buffer.len() >= target {
            return;
        }
        let wanted = target - self.buffer.len();
        self.buffer.reserve(wanted);
        match self.source.read(wanted, &mut self.buffer) {
            Ok(read) => self.ended = read < wanted,
            Err(why) => {
                self.ended = true;
                self.unread = Some(why.clone());
                self.failure = Some(why);
            }
        }
    }

    fn look(&mut self) -> Form {
        if self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.buffer.drain(..3);
        }
        let form = Form::of(&self.buffer);
        if let Form::Csv { header } = &form {
            let skipped = self.buffer.len() - self.buffer.trim_ascii_start().len();
            let end = self.buffer.len().min(skipped + header.len());
            let head = self.buffer.drain(..end);
            self.line += memchr::memchr_iter(b'\n', head.as_slice()).count() as u64;
        }
        form
    }

    /// Cuts what is whole in the buffer; at the end of the file, everything.
    fn cut(&mut self, form: &mut Form, cut: &mut Cut) -> Option<Chunk> {
        let failure = self.failure.clone();
        let failure = failure.as_deref();
        match form {
            Form::Lines => lines::cut(&self.buffer, self.ended.then_some(failure), cut),
            Form::Values { in_array } => {
                let last = self.ended.then(|| failure.unwrap_or(values::UNCLOSED));
                values::cut(in_array, 0, &self.buffer, last, cut);
                let said = cut.items.last().and_then(|item| item.damage.as_deref());
                let unclosed = self.ended && std::mem::take(in_array);
                if failure.is_none() && (unclosed || said == Some(values::UNCLOSED)) {
                    let why =
                        said.unwrap_or("the array is never closed; the file was probably cut off");
                    self.unread = Some(why.into());
                    if said.is_none() {
                        self.failure = Some(why.into());
                    }
                }
            }
            Form::Csv { header } => {
                csv::cut(header, &self.buffer, self.ended, cut);
                if let (Some(why), Some(item)) = (failure, cut.items.last_mut())
                    && !self.buffer.ends_with(b"\n")
                {
                    item.damage = Some(why.into());
                }
            }
            Form::Binary { .. } => return None,
        }
        if cut.used == 0 {
            return None;
        }
        // what broke off has its reason now; otherwise an item of its own will carry it
        if self.failure.is_some()
            && cut.items.last().is_some_and(|item| item.damage == self.failure)
        {
            self.failure = None;
        }
        self.line = cut.line;
        let mut rest = Vec::with_capacity(CHUNK + self.buffer.len() - cut.used);
        rest.extend_from_slice(&self.buffer[cut.used..]);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        Some(Chunk {
            file: self.file.clone(),
            bytes: cut.rewritten.take().unwrap_or(bytes).into(),
            items: std::mem::take(&mut cut.items),
            foreign: cut.foreign,
        })
    }

    /// Passes over a record that is too long, or a file that is not text, keeping its beginning.
    fn skim(&mut self, form: &Form) -> Chunk {
        let line = self.line;
        let mut scanner = matches!(form, Form::Values { .. }).then(Scanner::default);
        let binary = matches!(form, Form::Binary { .. });
        let (mut hasher, mut length, mut kept) = (Sha256::new(), 0u64, Vec::new());
        loop {
            let end = match &mut scanner {
                _ if binary => None,
                None => memchr(b'\n', &self.buffer),
                Some(scanner) => match scanner.scan(&self.buffer) {
                    Found::End(end) | Found::Broken(end) => Some(end),
                    Found::More => None,
                },
            };
            let part = &self.buffer[..end.unwrap_or(self.buffer.len())];
            hasher.update(part);
            length += part.len() as u64;
            kept.extend_from_slice(&part[..part.len().min(KEPT - kept.len())]);
            self.line += memchr::memchr_iter(b'\n', part).count() as u64;
            let taken = part.len();
            self.buffer.drain(..taken);
            if end.is_some() || self.ended {
                break;
            }
            self.fill(CHUNK);
        }
        let whole = Whole { length, hash: Hash(hasher.finalize().into()) };
        let failure = self.failure.take().map(|why| format!("; {why}")).unwrap_or_default();
        let what = match form {
            Form::Binary { reason } => {
                self.unread.get_or_insert_with(|| reason.to_string());
                format!("{reason} ({length} bytes, SHA-256 {}", whole.hash)
            }
            _ => format!(
                "a record of {length} bytes is longer than the {MAX_ITEM} that are read (SHA-256 {}",
                whole.hash
            ),
        };
        let damage = format!("{what}, the first {} are kept){failure}", kept.len());
        self.single(kept, line, damage, Some(whole))
    }

    /// An item without bytes that says why the file ends here.
    fn end_with(&self, why: String) -> Chunk {
        self.single(Vec::new(), self.line, why, None)
    }

    fn single(&self, bytes: Vec<u8>, line: u64, damage: String, whole: Option<Whole>) -> Chunk {
        let item = Item {
            range: 0..bytes.len(),
            line,
            content_type: ContentType::Unknown,
            damage: Some(damage),
            whole,
        };
        let bytes = Bytes::from(bytes);
        Chunk { file: self.file.clone(), bytes, items: vec![item], foreign: 0 }
    }
}
