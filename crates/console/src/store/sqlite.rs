mod letters;
mod schema;
mod select;
mod tally;
mod workers;

use std::path::{Path, PathBuf};

use hubwarden_bus::{Positions, Topic};
use hubwarden_event::{Finding, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use self::workers::Workers;
use super::letters::{
    Keep, KeptLetter, LetterAt, LetterCount, LetterPage, LetterQuery, LetterStore, TopicLetters,
};
use super::{
    DayCount, EntityCount, FindingQuery, FindingStore, Intake, Page, RuleCount, SeverityCounts,
    concept_of, joined, search_text, stored,
};
use crate::Error;

/// Questions that are answered at the same time.
const READERS: usize = 2;

/// Statements that a connection keeps ready.
const STATEMENTS: usize = 64;

/// A findings store in one SQLite file, for one process.
///
/// One thread writes; readers see the last committed state meanwhile.
pub struct SqliteStore {
    writer: Workers,
    readers: Workers,
}

impl SqliteStore {
    /// Opens the file, or makes it, and brings it to the newest format. Blocks.
    ///
    /// # Errors
    /// [`Error::LaterFormat`] for a file of a later release, [`Error::Sqlite`] for one that cannot
    /// be opened.
    pub fn open(file: &Path) -> Result<Self, Error> {
        let mut writer = connect(file)?;
        schema::migrate(&mut writer, file)?;
        let readers = (0..READERS).map(|_| connect(file)).collect::<Result<_, _>>()?;
        let start =
            |name: &str, connections| Workers::start(name, connections).map_err(|_| Error::Closed);
        Ok(Self {
            writer: start("findings-write", vec![writer])?,
            readers: start("findings-read", readers)?,
        })
    }

    /// [`SqliteStore::open`] off the async threads.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn connect(file: PathBuf) -> Result<Self, Error> {
        let opened = tokio::task::spawn_blocking(move || Self::open(&file)).await;
        opened.map_err(|_| Error::Closed)?
    }
}

fn connect(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(file)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A committed intake survives power loss: the bus forgets what has been consumed.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

#[tonic::async_trait]
impl FindingStore for SqliteStore {
    async fn take_in(&self, intake: Intake) -> Result<usize, Error> {
        self.writer.run(move |connection| take_in(connection, &intake)).await
    }

    async fn positions(&self) -> Result<Positions, Error> {
        self.readers.run(|connection| positions(connection)).await
    }

    async fn list(&self, query: FindingQuery) -> Result<Page, Error> {
        self.read(move |connection| select::list(connection, &query)).await
    }

    async fn count(&self, query: FindingQuery) -> Result<u64, Error> {
        self.read(move |connection| select::count(connection, &query)).await
    }

    async fn get(&self, id: String) -> Result<Finding, Error> {
        self.read(move |connection| select::by_prefix(connection, &id)).await
    }

    async fn severity_counts(&self) -> Result<SeverityCounts, Error> {
        self.read(tally::severity_counts).await
    }

    async fn per_day(&self, since: Timestamp) -> Result<Vec<DayCount>, Error> {
        self.read(move |connection| tally::per_day(connection, since)).await
    }

    async fn top_rules(&self, since: Timestamp, limit: usize) -> Result<Vec<RuleCount>, Error> {
        self.read(move |connection| tally::top_rules(connection, since, limit)).await
    }

    async fn top_entities(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<EntityCount>, Error> {
        self.read(move |connection| tally::top_entities(connection, since, limit)).await
    }

    async fn unreadable(&self) -> Result<u64, Error> {
        let sql = "SELECT count(*) FROM unreadable";
        self.read(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?)).await
    }
}

#[tonic::async_trait]
impl LetterStore for SqliteStore {
    async fn take_letters(
        &self,
        letters: Vec<KeptLetter>,
        consumed: Positions,
        keep: Keep,
    ) -> Result<usize, Error> {
        let take = move |connection: &mut _| letters::take(connection, &letters, &consumed, keep);
        self.writer.run(take).await
    }

    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, Error> {
        self.read(move |connection| letters::list(connection, &query)).await
    }

    async fn letter(&self, at: LetterAt) -> Result<Option<KeptLetter>, Error> {
        self.read(move |connection| letters::get(connection, at)).await
    }

    async fn letter_counts(&self, limit: usize) -> Result<Vec<LetterCount>, Error> {
        self.read(move |connection| letters::counts(connection, limit)).await
    }

    async fn letter_topics(&self) -> Result<Vec<TopicLetters>, Error> {
        self.read(letters::topics).await
    }

    async fn begin_retry(
        &self,
        at: LetterAt,
        seen: u32,
        by: String,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let begin = move |connection: &mut _| letters::begin_retry(connection, at, seen, &by, now);
        self.writer.run(begin).await
    }

    async fn end_retry(&self, at: LetterAt, begun: u32, arrived: bool) -> Result<(), Error> {
        self.writer.run(move |connection| letters::end_retry(connection, at, begun, arrived)).await
    }
}

impl SqliteStore {
    /// Answers from one committed state, though it may take several statements.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers
            .run(move |connection| {
                let transaction = connection.transaction()?;
                question(&transaction)
            })
            .await
    }
}

fn take_in(connection: &mut Connection, intake: &Intake) -> Result<usize, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut changed = 0;
    for finding in joined(&intake.findings).values() {
        changed += usize::from(join(&transaction, finding)?);
    }
    for record in &intake.unreadable {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO unreadable VALUES (?, ?, ?, ?, ?)")?
            .execute(params![
                record.topic.name(),
                record.partition,
                stored(record.position),
                record.reason,
                &record.body[..],
            ])?;
    }
    keep_positions(&transaction, &intake.consumed)?;
    transaction.commit()?;
    Ok(changed)
}

/// A position never goes back.
fn keep_positions(transaction: &Transaction<'_>, consumed: &Positions) -> Result<(), Error> {
    for (topic, part, next) in consumed.iter() {
        transaction
            .prepare_cached(
                "INSERT INTO consumed VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET next = max(next, excluded.next)",
            )?
            .execute(params![topic.name(), part, stored(next)])?;
    }
    Ok(())
}

/// Joins a finding with what is kept of it; false if that changes nothing.
fn join(transaction: &Transaction<'_>, finding: &Finding) -> Result<bool, Error> {
    let Some((row, mut kept)) = select::by_id(transaction, &finding.id)? else {
        transaction
            .prepare_cached(
                "INSERT INTO finding (severity, first_seen, last_seen, rule, concept, body, id)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                finding.severity as i64,
                finding.first_seen.as_millis(),
                finding.last_seen.as_millis(),
                finding.rule.name,
                concept_of(&finding.rule.name),
                &hubwarden_proto::encode_finding(finding.clone())[..],
                finding.id.as_str(),
            ])?;
        index(transaction, transaction.last_insert_rowid(), finding)?;
        return Ok(true);
    };
    let before = kept.clone();
    if !kept.join(finding) {
        return Ok(false);
    }
    tally::count(transaction, &before, -1)?;
    transaction.prepare_cached("DELETE FROM entity WHERE finding = ?")?.execute([row])?;
    transaction
        .prepare_cached(
            "UPDATE finding SET severity = ?, first_seen = ?, last_seen = ?, rule = ?, concept = ?,
             body = ? WHERE row = ?",
        )?
        .execute(params![
            kept.severity as i64,
            kept.first_seen.as_millis(),
            kept.last_seen.as_millis(),
            kept.rule.name,
            concept_of(&kept.rule.name),
            &hubwarden_proto::encode_finding(kept.clone())[..],
            row,
        ])?;
    index(transaction, row, &kept)?;
    Ok(true)
}

/// Writes everything by which a finding is found and counted.
fn index(transaction: &Transaction<'_>, row: i64, finding: &Finding) -> Result<(), Error> {
    let mut entities = transaction.prepare_cached(
        "INSERT OR IGNORE INTO entity (name, kind, role, finding) VALUES (?, ?, ?, ?)",
    )?;
    for entity in &finding.entities {
        entities.execute(params![entity.name.to_lowercase(), entity.kind, entity.role, row])?;
    }
    transaction
        .prepare_cached("INSERT OR REPLACE INTO finding_text (rowid, text) VALUES (?, ?)")?
        .execute(params![row, search_text(finding)])?;
    tally::count(transaction, finding, 1)
}

fn positions(connection: &Connection) -> Result<Positions, Error> {
    let mut statement = connection.prepare_cached("SELECT topic, part, next FROM consumed")?;
    let mut rows = statement.query([])?;
    let mut positions = Positions::none();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Some(topic) = Topic::by_name(&name) {
            positions.set(topic, row.get(1)?, row.get(2)?);
        }
    }
    Ok(positions)
}
