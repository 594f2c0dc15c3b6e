//! The correlator's state in one SQLite file: windows, findings, outbox and position.
//!
//! One transaction a batch writes what the batch changed, the findings to publish and the input
//! position, so that a crash anywhere leaves a state that fits its position.

use std::path::{Path, PathBuf};

use hubwarden_event::Finding;
use hubwarden_proto as proto;
use hubwarden_rules::{Changes, Put, StateKey, Stored};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

/// The layout of the file; another number is refused.
pub(crate) const FORMAT: i64 = 1;

/// Marks a database as a state file of this program (SQLite's `application_id`): `HW`, then the
/// partition. Files of before the mark have none and take it up when they are opened.
pub(crate) const fn application_id(partition: u32) -> i32 {
    (0x4857 << 16) | (partition & 0xffff) as i32
}

/// What stands as `freed` before anything was: then even what expires at the beginning of time is kept.
const NEVER_FREED: i64 = i64::MIN;

/// A dropped scope keeps its rows, nameless, until they are swept; so does what a scope has freed.
/// The parts of a state are the rows from `id << 20` on: one range of the table, appended to.
const SCHEMA: &str = "
CREATE TABLE scope (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, freed INTEGER NOT NULL, sweep INTEGER NOT NULL
);
CREATE TABLE state (
    id INTEGER PRIMARY KEY, scope INTEGER NOT NULL, item BLOB NOT NULL,
    expires_at INTEGER NOT NULL, UNIQUE (scope, item)
);
CREATE INDEX state_expiry ON state (scope, expires_at);
CREATE TABLE part (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE outbox (finding TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE position (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL);
";

/// Bits of a part's row id that number it within its state.
const PART_BITS: u32 = 20;
/// A commit deletes at most so many freed pieces of state: no batch waits for the end of a large run.
const SWEPT_AT_ONCE: usize = 2000;
/// SQLite's page cache, in KiB (negative by its convention).
const CACHE_KIB: i64 = -8 * 1024;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// SQLite refused.
    #[error("the correlator's state file {file} failed while {doing}")]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The refusal.
        #[source]
        source: rusqlite::Error,
    },
    /// The file has another layout.
    #[error(
        "the state file {file} has format {found}, this release reads {FORMAT}; start the release that wrote it, or move the file away to go on from a snapshot of before"
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
    },
    /// A database of another program, or the state of another partition.
    #[error(
        "{file} is not the state of partition {partition} of `matches`; move it away, or put the right file back"
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The partition that it should hold.
        partition: u32,
    },
    /// A piece of state that this release cannot read.
    #[error(
        "the state file {file} holds a piece that cannot be read; move it away to go on from a snapshot, or to build the state anew from the bus"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with the piece.
        #[source]
        source: hubwarden_rules::StateError,
    },
    /// A finding in the outbox that this release cannot read.
    #[error("the outbox of the correlator's state holds a finding that cannot be read")]
    Outbox(#[source] proto::Error),
}

impl Error {
    /// Whether this release will never be able to use the file, rather than not now.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::CannotOpen
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::OutOfMemory
                        | ErrorCode::PermissionDenied
                        | ErrorCode::ReadOnly
                        | ErrorCode::SystemIoFailure
                )
            ),
            _ => true,
        }
    }
}

/// The state file of one input partition.
#[derive(Debug)]
pub struct State {
    db: Connection,
    file: PathBuf,
}

impl State {
    /// Opens the file of a partition or makes it.
    ///
    /// # Errors
    /// It cannot be opened, has another format, or is something else.
    pub fn open(file: &Path, partition: u32) -> Result<Self, Error> {
        let failed = |source| Error::Sqlite { file: file.into(), doing: "opening it", source };
        let db = Connection::open(file).map_err(failed)?;
        let number = |name: &str| -> Result<i64, Error> {
            db.pragma_query_value(None, name, |row| row.get(0)).map_err(failed)
        };
        // Whatever is refused stays as it is.
        let (found, mark) = (number("user_version")?, number("application_id")?);
        let ours = i64::from(application_id(partition));
        match found {
            FORMAT if mark == ours || mark == 0 => {}
            0 if mark == 0 && number("schema_version")? == 0 => {}
            FORMAT | 0 => return Err(Error::Foreign { file: file.into(), partition }),
            found => return Err(Error::Format { file: file.into(), found }),
        }
        db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        db.pragma_update(None, "cache_size", CACHE_KIB).map_err(failed)?;
        db.set_prepared_statement_cache_capacity(32);
        if found == 0 {
            db.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"))
                .map_err(failed)?;
        }
        if mark == 0 {
            db.pragma_update(None, "application_id", ours).map_err(failed)?;
        }
        Ok(Self { db, file: file.into() })
    }

    /// A state in a file without a name, which goes when it is dropped.
    ///
    /// # Errors
    /// There is no place for temporary files.
    pub fn temporary() -> Result<Self, Error> {
        let file = PathBuf::from("(temporary)");
        let failed = |source| Error::Sqlite { file: file.clone(), doing: "opening it", source };
        let db = Connection::open("").map_err(failed)?; // SQLite's own way to ask for one
        db.pragma_update(None, "journal_mode", "OFF").map_err(failed)?;
        db.pragma_update(None, "cache_size", CACHE_KIB).map_err(failed)?;
        db.set_prepared_statement_cache_capacity(32);
        db.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Self { db, file })
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let file = self.file.clone();
        move |source| Error::Sqlite { file: file.clone(), doing, source }
    }

    /// The next position of `matches` to read; none in a new file.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn position(&self) -> Result<Option<u64>, Error> {
        let row = self.db.query_row("SELECT next FROM position", [], |row| row.get::<_, i64>(0));
        Ok(row.optional().map_err(self.failed("reading the position"))?.map(i64::cast_unsigned))
    }

    /// What is stored under a key; nothing when its time has passed.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn load(&self, key: &StateKey) -> Result<Option<Stored>, Error> {
        load(&self.db, key).map_err(self.failed("reading state"))
    }

    /// Writes what a batch changed, the findings to publish, and the position behind the batch.
    ///
    /// A batch that ends before the stored position is a replay and changes nothing.
    ///
    /// # Errors
    /// SQLite refused; nothing of it is stored then.
    pub fn commit(&mut self, changes: &Changes, next: u64) -> Result<(), Error> {
        let failed = self.failed("storing a batch");
        let transaction = self.db.transaction().map_err(&failed)?;
        store(&transaction, changes, next).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Some findings that have not been published yet, as bodies of topic `findings` by id.
    ///
    /// As many as fit into `bytes`, at least one while there are any; in order of their ids.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn outbox(&self, bytes: usize) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let failed = self.failed("reading the outbox");
        let sql = "SELECT finding, body FROM outbox ORDER BY finding";
        let mut query = self.db.prepare_cached(sql).map_err(&failed)?;
        let mut rows = query.query([]).map_err(&failed)?;
        let (mut findings, mut size) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(&failed)? {
            let finding: (String, Vec<u8>) =
                (row.get(0).map_err(&failed)?, row.get(1).map_err(&failed)?);
            size += finding.1.len();
            if size > bytes && !findings.is_empty() {
                break;
            }
            findings.push(finding);
        }
        Ok(findings)
    }

    /// The findings in the outbox, by id.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn findings(&self) -> Result<Vec<Finding>, Error> {
        let bodies = self.outbox(usize::MAX)?.into_iter();
        let decoded = bodies.map(|(_, body)| proto::decode_finding(body.into()));
        decoded.collect::<Result<_, _>>().map_err(Error::Outbox)
    }

    /// How many findings stand in the outbox.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn waiting(&self) -> Result<usize, Error> {
        let query = self.db.prepare_cached("SELECT count(*) FROM outbox");
        let count = query.and_then(|mut query| query.query_row([], |row| row.get::<_, i64>(0)));
        let count = count.map_err(self.failed("counting the outbox"))?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Takes findings out of the outbox up to this id: the bus has them. Gives how many they were.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn published(&self, through: &str) -> Result<usize, Error> {
        let sql = "DELETE FROM outbox WHERE finding <= ?1";
        let deleted = self.db.prepare_cached(sql).and_then(|mut query| query.execute([through]));
        deleted.map_err(self.failed("clearing the outbox"))
    }
}

fn load(db: &Connection, key: &StateKey) -> rusqlite::Result<Option<Stored>> {
    let sql = "SELECT state.id, expires_at FROM state JOIN scope ON scope.id = state.scope
               WHERE scope.name = ?1 AND item = ?2 AND (expires_at > freed OR freed = ?3)";
    let mut find = db.prepare_cached(sql)?;
    let keys = params![key.scope.to_string(), key.item_bytes(), NEVER_FREED];
    let found = find.query_row(keys, |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
    let Some((id, expires_at)) = found else { return Ok(None) };
    let mut parts =
        db.prepare_cached("SELECT bytes FROM part WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let parts = parts.query_map(part_ids(id), |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Some(Stored { expires_at, parts }))
}

/// First and last row id that parts of a state can have.
fn part_ids(state: i64) -> [i64; 2] {
    [state << PART_BITS, ((state + 1) << PART_BITS) - 1]
}

fn store(db: &Connection, changes: &Changes, next: u64) -> rusqlite::Result<()> {
    let stored = db.query_row("SELECT next FROM position", [], |row| row.get::<_, i64>(0));
    if stored.optional()?.is_some_and(|stored| next < stored.cast_unsigned()) {
        return Ok(());
    }
    for scope in &changes.dropped {
        let sql = "UPDATE scope SET name = NULL, freed = ?2, sweep = 1 WHERE name = ?1";
        db.prepare_cached(sql)?.execute(params![scope.to_string(), i64::MAX])?;
    }
    for put in &changes.put {
        store_put(db, put)?;
    }
    for (scope, freed) in &changes.freed {
        let sql = "UPDATE scope SET freed = ?2, sweep = 1 WHERE name = ?1 AND freed < ?2";
        db.prepare_cached(sql)?.execute(params![scope.to_string(), freed])?;
    }
    sweep(db)?;
    for finding in &changes.findings {
        let id = finding.id.to_string();
        let body = proto::encode_finding(Finding::clone(finding));
        db.prepare_cached("INSERT OR REPLACE INTO outbox (finding, body) VALUES (?1, ?2)")?
            .execute(params![id, &body[..]])?;
    }
    db.prepare_cached("INSERT OR REPLACE INTO position (one, next) VALUES (1, ?1)")?
        .execute([next.cast_signed()])?;
    Ok(())
}

fn store_put(db: &Connection, put: &Put) -> rusqlite::Result<()> {
    let (scope, item) = (put.key.scope.to_string(), put.key.item_bytes());
    let mut scope_id = db.prepare_cached("SELECT id FROM scope WHERE name = ?1")?;
    let scope_id = match scope_id.query_row([&scope], |row| row.get::<_, i64>(0)).optional()? {
        Some(id) => id,
        None => {
            let sql = "INSERT INTO scope (name, freed, sweep) VALUES (?1, ?2, 0)";
            db.prepare_cached(sql)?.insert(params![scope, NEVER_FREED])?
        }
    };
    let sql = "INSERT INTO state (scope, item, expires_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (scope, item) DO UPDATE SET expires_at = excluded.expires_at RETURNING id";
    let mut upsert = db.prepare_cached(sql)?;
    let state: i64 = upsert.query_row(params![scope_id, item, put.expires_at], |row| row.get(0))?;
    let [first, last] = part_ids(state);
    if put.replace {
        db.prepare_cached("DELETE FROM part WHERE id BETWEEN ?1 AND ?2")?.execute([first, last])?;
    }
    let mut insert =
        db.prepare_cached("INSERT OR REPLACE INTO part (id, bytes) VALUES (?1, ?2)")?;
    for (part, bytes) in &put.parts {
        insert.execute(params![first + i64::from(*part), bytes])?;
    }
    Ok(())
}

/// Deletes some of what is free. What is left has no effect meanwhile: nobody can load it.
fn sweep(db: &Connection) -> rusqlite::Result<()> {
    let mut left = SWEPT_AT_ONCE;
    let mut scopes = db.prepare_cached("SELECT id, freed FROM scope WHERE sweep = 1")?;
    let scopes = scopes.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    for (scope, freed) in scopes.collect::<Result<Vec<_>, _>>()? {
        let sql = "SELECT id FROM state WHERE scope = ?1 AND expires_at <= ?2 LIMIT ?3";
        let mut states = db.prepare_cached(sql)?;
        let states = states.query_map(params![scope, freed, left as i64], |row| row.get(0))?;
        let states = states.collect::<Result<Vec<i64>, _>>()?;
        for state in &states {
            db.prepare_cached("DELETE FROM part WHERE id BETWEEN ?1 AND ?2")?
                .execute(part_ids(*state))?;
            db.prepare_cached("DELETE FROM state WHERE id = ?1")?.execute([state])?;
        }
        left -= states.len();
        if left == 0 {
            return Ok(());
        }
        db.prepare_cached("UPDATE scope SET sweep = 0 WHERE id = ?1")?.execute([scope])?;
        db.prepare_cached("DELETE FROM scope WHERE id = ?1 AND name IS NULL")?.execute([scope])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
