use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{Error, Snapshot};
use crate::state::{FORMAT, application_id};

/// Compression: state is written often and read seldom, so speed counts.
const LEVEL: i32 = 3;

/// The first bytes of every SQLite database, and where two of its numbers stand.
const MAGIC: &[u8] = b"SQLite format 3\0";
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
const HEADER: usize = 100;

/// Copies a state file, which may be in use, and compresses the copy; gives its position.
pub(super) fn pack(state: &Path, packed: &Path) -> Result<u64, Error> {
    let copy = packed.with_extension("copy");
    let position = copy_state(state, &copy)?;
    let compressed = compress(&copy, packed);
    let _ = std::fs::remove_file(&copy); // a scratch file, overwritten next time
    compressed.map_err(|source| Error::Io { doing: "compressing", file: copy, source })?;
    Ok(position)
}

/// Copies a state file as of one moment and gives the position of that moment.
fn copy_state(state: &Path, copy: &Path) -> Result<u64, Error> {
    let failed = |source| Error::Copy { file: state.into(), source };
    if let Err(source) = std::fs::remove_file(copy)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(Error::Io { doing: "replacing", file: copy.into(), source });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(state, flags).map_err(failed)?;
    db.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(failed)?;
    let copied = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let copied = copied.map_err(failed)?;
    let position = copied.query_row("SELECT next FROM position", [], |row| row.get::<_, i64>(0));
    Ok(position.map_err(failed)?.cast_unsigned())
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut encoder = zstd::Encoder::new(BufWriter::new(File::create(to)?), LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.flush()
}

/// Checks what was fetched and puts it in the place of the state file.
pub(super) fn unpack(
    packed: &Path,
    state: &Path,
    snapshot: &Snapshot,
    name: &str,
) -> Result<(), Error> {
    let unpacked = state.with_extension("unpacked");
    let broken = |source| Error::Io { doing: "unpacking into", file: unpacked.clone(), source };
    let torn = |source| Error::Torn { name: name.into(), source };
    let file = File::open(packed).map_err(broken)?;
    let mut decoder = zstd::Decoder::new(file).map_err(torn)?;
    let mut header = [0; HEADER];
    decoder.read_exact(&mut header).map_err(torn)?;
    check_header(&header, snapshot, name)?;
    let mut out = BufWriter::new(File::create(&unpacked).map_err(broken)?);
    out.write_all(&header).map_err(broken)?;
    copy_apart(&mut decoder, &mut out, torn, broken)?;
    let out = out.into_inner().map_err(|error| broken(error.into_error()))?;
    out.sync_all().map_err(broken)?;
    check_position(&unpacked, snapshot, name)?;
    replace(&unpacked, state)
}

/// Copies, and tells what cannot be read from what cannot be written.
fn copy_apart(
    from: &mut impl Read,
    to: &mut impl Write,
    unread: impl Fn(io::Error) -> Error,
    unwritten: impl Fn(io::Error) -> Error,
) -> Result<(), Error> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    loop {
        let part = io::BufRead::fill_buf(&mut from).map_err(&unread)?;
        if part.is_empty() {
            return Ok(());
        }
        to.write_all(part).map_err(&unwritten)?;
        let length = part.len();
        io::BufRead::consume(&mut from, length);
    }
}

fn check_header(header: &[u8; HEADER], snapshot: &Snapshot, name: &str) -> Result<(), Error> {
    let foreign = |reason: String| Error::Foreign { name: name.into(), reason };
    if !header.starts_with(MAGIC) {
        return Err(foreign("it is no SQLite file".into()));
    }
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&header[at..at + 4]);
        i64::from(i32::from_be_bytes(bytes))
    };
    let (wanted, found) = (application_id(snapshot.partition), number(APPLICATION_ID_AT));
    if found >> 16 != i64::from(wanted) >> 16 {
        return Err(foreign("it is a database of another program".into()));
    }
    if found != i64::from(wanted) {
        return Err(foreign(format!("it is of partition {}", found & 0xffff)));
    }
    match number(USER_VERSION_AT) {
        FORMAT => Ok(()),
        found => Err(Error::Format { name: name.into(), found, reads: FORMAT }),
    }
}

fn check_position(file: &Path, snapshot: &Snapshot, name: &str) -> Result<(), Error> {
    let failed = |source| Error::Copy { file: file.into(), source };
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let position = db.query_row("SELECT next FROM position", [], |row| row.get::<_, i64>(0));
    match position {
        Ok(position) if position.cast_unsigned() == snapshot.position => Ok(()),
        Ok(position) => {
            let reason = format!("it holds position {position}");
            Err(Error::Foreign { name: name.into(), reason })
        }
        Err(error) => Err(Error::Foreign { name: name.into(), reason: error.to_string() }),
    }
}

/// The old file goes first with what SQLite keeps beside it: its journal is not the new file's.
fn replace(new: &Path, state: &Path) -> Result<(), Error> {
    for old in [state.into(), beside(state, "-wal"), beside(state, "-shm")] {
        if let Err(source) = std::fs::remove_file(&old)
            && source.kind() != io::ErrorKind::NotFound
        {
            return Err(Error::Io { doing: "removing", file: old, source });
        }
    }
    let failed = |source| Error::Io { doing: "replacing", file: state.into(), source };
    std::fs::rename(new, state).map_err(failed)?;
    let folder = state.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn beside(state: &Path, ending: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
