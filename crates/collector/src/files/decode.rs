use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::Input;
use crate::Error;

/// The bytes of an input, decompressed as its first bytes demand.
pub(super) struct Decoded {
    source: Box<dyn Read + Send>,
    compression: Compression,
    /// Bytes taken from the file or pipe so far.
    pub(super) consumed: Arc<AtomicU64>,
    /// Bytes of the file, where that is known.
    pub(super) size: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Decoded {
    pub(super) fn open(input: &Input) -> Result<Self, Error> {
        let name = input.name();
        let failed = |source| Error::File { file: name.to_string(), source };
        let consumed = Arc::new(AtomicU64::new(0));
        let (raw, size): (Box<dyn Read + Send>, _) = match input {
            Input::Stdin => (Box::new(io::stdin()), None),
            Input::Path(path) => {
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                if metadata.is_dir() {
                    return Err(failed(io::ErrorKind::IsADirectory.into()));
                }
                (Box::new(file), metadata.is_file().then_some(metadata.len()))
            }
        };
        let mut counted = Counted { inner: raw, count: consumed.clone() };
        let mut magic = Vec::with_capacity(4);
        counted.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
        let compression = Compression::of(&magic);
        let whole = Cursor::new(magic).chain(counted);
        let source: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(whole),
            Compression::Gzip => {
                let buffered = io::BufReader::with_capacity(256 << 10, whole);
                Box::new(MultiGzDecoder::new(buffered))
            }
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole).map_err(failed)?),
        };
        Ok(Self { source, compression, consumed, size })
    }

    /// Appends up to `count` bytes; fewer only at the end.
    ///
    /// An error says in words why there is nothing more; what could be read before it is appended.
    pub(super) fn read(&mut self, count: usize, into: &mut Vec<u8>) -> Result<usize, String> {
        let before = into.len();
        let result = self.source.by_ref().take(count as u64).read_to_end(into);
        result.map(|_| into.len() - before).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> String {
        let form = match self.compression {
            Compression::None => return format!("reading the file failed: {error}"),
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the {form} data ends too early, the file is truncated; copy it again")
            }
            _ => format!("the {form} data is damaged ({error}); copy the file again"),
        }
    }
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd, // a skippable frame before the data
            _ => Self::None,
        }
    }
}

struct Counted {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
