use std::path::Path;

use rusqlite::Connection;

use crate::Error;

/// The steps from an empty database to the newest format, each run once and in order.
///
/// A step that has been released is never edited; a change is a new step.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE finding (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        severity INTEGER NOT NULL,
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL,
        rule TEXT NOT NULL,
        concept TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX finding_worst ON finding (severity, last_seen, id);
    CREATE INDEX finding_newest ON finding (last_seen, id);
    CREATE INDEX finding_of_rule ON finding (concept, severity, last_seen, id);

    -- Who and what a finding is about; names folded to lower case.
    CREATE TABLE entity (
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        role TEXT NOT NULL,
        finding INTEGER NOT NULL REFERENCES finding (row),
        PRIMARY KEY (name, kind, role, finding)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entity_of_finding ON entity (finding);

    -- What a text search looks at, by the row of the finding.
    CREATE VIRTUAL TABLE finding_text USING fts5 (text, tokenize = 'trigram');

    -- Counts for the overview, so that it does not count findings.
    CREATE TABLE rule_day (
        day INTEGER NOT NULL,
        concept TEXT NOT NULL,
        severity INTEGER NOT NULL,
        title TEXT NOT NULL,
        findings INTEGER NOT NULL,
        PRIMARY KEY (day, concept, severity)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE entity_day (
        day INTEGER NOT NULL,
        kind TEXT NOT NULL,
        folded TEXT NOT NULL,
        severity INTEGER NOT NULL,
        name TEXT NOT NULL,
        findings INTEGER NOT NULL,
        PRIMARY KEY (day, kind, folded, severity)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE consumed (
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        next INTEGER NOT NULL,
        PRIMARY KEY (topic, part)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unreadable (
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        position INTEGER NOT NULL,
        reason TEXT NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (topic, part, position)
    ) STRICT;
",
    "
    -- Dead letters as they stand on the bus, and which of them were put back.
    CREATE TABLE dead_letter (
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        position INTEGER NOT NULL,
        appended_at INTEGER NOT NULL,
        reason TEXT NOT NULL,
        body BLOB NOT NULL,
        -- How often putting its record back was begun; when and by whom the last time, and whether it arrived.
        tried INTEGER NOT NULL DEFAULT 0,
        tried_at INTEGER NOT NULL DEFAULT 0,
        tried_by TEXT NOT NULL DEFAULT '',
        arrived INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic, part, position)
    ) STRICT;
    CREATE INDEX dead_letter_newest ON dead_letter (appended_at, topic, part, position);
    CREATE INDEX dead_letter_of_reason ON dead_letter (topic, reason);
",
];

/// Brings a database to the newest format.
pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<(), Error> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let known = MIGRATIONS.len();
    if found > known {
        return Err(Error::LaterFormat { file: file.into(), found, known });
    }
    for (version, step) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
