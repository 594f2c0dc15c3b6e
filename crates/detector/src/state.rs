//! The correlator's state in one SQLite file: windows, findings, outbox and position.
//!
//! One transaction a batch writes what the batch changed, the findings to publish and the input
//! position, so that a crash anywhere leaves a state that fits its position.

use std::path::{Path, PathBuf};

use hubwarden_event::Finding;
use hubwarden_proto as proto;
use hubwarden_rules::{Changes, Put, StateKey, Stored};
use rusqlite::{Connection, OptionalExtension, params};

/// The layout of the file; another number is refused.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE state (
    scope TEXT NOT NULL, item BLOB NOT NULL, part INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (scope, item, part)
) WITHOUT ROWID;
CREATE INDEX state_expiry ON state (scope, expires_at);
CREATE TABLE outbox (finding TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE position (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL);
";

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
        "the state file {file} has format {found}, this release reads {FORMAT}; start the release that wrote it"
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: i64,
    },
    /// A piece of state that this release cannot read.
    #[error(
        "the state file holds a piece that cannot be read; move it away to build the state anew from the bus"
    )]
    Damaged(#[from] hubwarden_rules::StateError),
}

/// The state file of one input partition.
#[derive(Debug)]
pub struct State {
    db: Connection,
    file: PathBuf,
}

impl State {
    /// Opens the file or makes it.
    ///
    /// # Errors
    /// It cannot be opened, or has another format.
    pub fn open(file: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Sqlite { file: file.into(), doing: "opening it", source };
        let db = Connection::open(file).map_err(failed)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        db.set_prepared_statement_cache_capacity(32);
        let found: i64 =
            db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match found {
            FORMAT => {}
            0 => db
                .execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"))
                .map_err(failed)?,
            found => return Err(Error::Format { file: file.into(), found }),
        }
        Ok(Self { db, file: file.into() })
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

    /// What is stored under a key.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn load(&self, key: &StateKey) -> Result<Option<Stored>, Error> {
        let failed = self.failed("reading state");
        let sql =
            "SELECT expires_at, bytes FROM state WHERE scope = ?1 AND item = ?2 ORDER BY part";
        let mut query = self.db.prepare_cached(sql).map_err(&failed)?;
        let rows = query
            .query_map(params![key.scope.to_string(), key.item_bytes()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(&failed)?;
        let mut stored: Option<Stored> = None;
        for row in rows {
            let (expires_at, bytes) = row.map_err(&failed)?;
            let stored = stored.get_or_insert_with(Stored::default);
            stored.expires_at = expires_at;
            stored.parts.push(bytes);
        }
        Ok(stored)
    }

    /// Writes what a batch changed, the findings to publish, and the position behind the batch.
    ///
    /// # Errors
    /// SQLite refused; nothing of it is stored then.
    pub fn commit(&mut self, changes: &Changes, next: u64) -> Result<(), Error> {
        let failed = self.failed("storing a batch");
        let transaction = self.db.transaction().map_err(&failed)?;
        store(&transaction, changes, next).map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// The findings that have not been published yet, as bodies of topic `findings` by id.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn outbox(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let failed = self.failed("reading the outbox");
        let mut query =
            self.db.prepare_cached("SELECT finding, body FROM outbox").map_err(&failed)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }

    /// Forgets the outbox: the bus has everything that [`outbox`](Self::outbox) gave.
    ///
    /// # Errors
    /// SQLite refused.
    pub fn clear_outbox(&self) -> Result<(), Error> {
        let cleared =
            self.db.prepare_cached("DELETE FROM outbox").and_then(|mut query| query.execute([]));
        cleared.map(|_| ()).map_err(self.failed("clearing the outbox"))
    }
}

fn store(db: &Connection, changes: &Changes, next: u64) -> rusqlite::Result<()> {
    for scope in &changes.dropped {
        db.prepare_cached("DELETE FROM state WHERE scope = ?1")?.execute([scope.to_string()])?;
    }
    for put in &changes.put {
        store_put(db, put)?;
    }
    for (scope, until) in &changes.freed {
        db.prepare_cached("DELETE FROM state WHERE scope = ?1 AND expires_at <= ?2")?
            .execute(params![scope.to_string(), until])?;
    }
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
    if put.replace {
        db.prepare_cached("DELETE FROM state WHERE scope = ?1 AND item = ?2")?
            .execute(params![scope, item])?;
    } else {
        db.prepare_cached(
            "UPDATE state SET expires_at = ?3 WHERE scope = ?1 AND item = ?2 AND expires_at <> ?3",
        )?
        .execute(params![scope, item, put.expires_at])?;
    }
    let sql = "INSERT OR REPLACE INTO state (scope, item, part, expires_at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = db.prepare_cached(sql)?;
    for (part, bytes) in &put.parts {
        insert.execute(params![scope, item, part, put.expires_at, bytes])?;
    }
    Ok(())
}
