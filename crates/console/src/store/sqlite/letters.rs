//! Dead letters in SQLite.

use hubwarden_bus::{Positions, Topic};
use hubwarden_event::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params, params_from_iter};

use crate::Error;
use crate::store::letters::{
    Keep, KeptLetter, LetterAt, LetterCount, LetterPage, LetterQuery, Retry, TopicLetters, page,
};
use crate::store::stored;

const COLUMNS: &str =
    "topic, part, position, appended_at, reason, body, tried, tried_at, tried_by, arrived";

pub(super) fn take(
    connection: &mut Connection,
    letters: &[KeptLetter],
    consumed: &Positions,
    keep: Keep,
) -> Result<usize, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut new = 0;
    for letter in letters {
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO dead_letter (topic, part, position, appended_at, reason, body)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        new += insert.execute(params![
            letter.at.topic.name(),
            letter.at.partition,
            stored(letter.at.position),
            letter.appended_at.as_millis(),
            letter.reason,
            &letter.body[..],
        ])?;
    }
    transaction
        .prepare_cached("DELETE FROM dead_letter WHERE appended_at < ?")?
        .execute([keep.since.as_millis()])?;
    let beyond: u64 = transaction
        .query_row("SELECT count(*) FROM dead_letter", [], |row| row.get::<_, u64>(0))?
        .saturating_sub(keep.most);
    if beyond > 0 {
        transaction.execute(
            "DELETE FROM dead_letter WHERE rowid IN (SELECT rowid FROM dead_letter
             ORDER BY appended_at, topic, part, position LIMIT ?)",
            [beyond],
        )?;
    }
    super::keep_positions(&transaction, consumed)?;
    transaction.commit()?;
    Ok(new)
}

pub(super) fn list(connection: &Connection, query: &LetterQuery) -> Result<LetterPage, Error> {
    let (mut narrow, mut values) = (String::from(" WHERE true"), Vec::new());
    if let Some(topic) = query.topic {
        narrow.push_str(" AND topic = ?");
        values.push(Value::from(topic.name().to_owned()));
    }
    if let Some(reason) = &query.reason {
        narrow.push_str(" AND reason = ?");
        values.push(Value::from(reason.clone()));
    }
    if query.waiting {
        narrow.push_str(" AND tried = 0");
    }
    let sql = format!("SELECT count(*) FROM dead_letter{narrow}");
    let total = connection.query_row(&sql, params_from_iter(&values), |row| row.get(0))?;
    if let Some((appended_at, at)) = query.page {
        narrow.push_str(" AND (appended_at, topic, part, position) < (?, ?, ?, ?)");
        values.extend([
            Value::from(appended_at.as_millis()),
            Value::from(at.topic.name().to_owned()),
            Value::from(at.partition),
            Value::from(stored(at.position)),
        ]);
    }
    values.push(Value::from(i64::try_from(query.limit + 1).unwrap_or(i64::MAX)));
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter{narrow}
         ORDER BY appended_at DESC, topic DESC, part DESC, position DESC LIMIT ?"
    );
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(&values), letter)?;
    let letters = rows.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    Ok(page(letters, query.limit, total))
}

pub(super) fn get(connection: &Connection, at: LetterAt) -> Result<Option<KeptLetter>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM dead_letter WHERE topic = ? AND part = ? AND position = ?");
    let found = connection
        .prepare_cached(&sql)?
        .query_row(params![at.topic.name(), at.partition, stored(at.position)], letter)
        .optional()?;
    Ok(found.flatten())
}

/// A row as a letter; nothing for a topic that this release does not know.
fn letter(row: &Row<'_>) -> rusqlite::Result<Option<KeptLetter>> {
    let Some(topic) = Topic::by_name(&row.get::<_, String>(0)?) else { return Ok(None) };
    let times: u32 = row.get(6)?;
    let retry = match times {
        0 => None,
        times => Some(Retry {
            times,
            at: Timestamp::from_millis(row.get(7)?),
            by: row.get(8)?,
            arrived: row.get(9)?,
        }),
    };
    Ok(Some(KeptLetter {
        at: LetterAt { topic, partition: row.get(1)?, position: row.get(2)? },
        appended_at: Timestamp::from_millis(row.get(3)?),
        reason: row.get(4)?,
        body: row.get::<_, Vec<u8>>(5)?.into(),
        retry,
    }))
}

pub(super) fn counts(connection: &Connection, limit: usize) -> Result<Vec<LetterCount>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT topic, reason, count(*) AS letters, sum(tried = 0), max(appended_at) FROM dead_letter
         GROUP BY topic, reason ORDER BY letters DESC, topic, reason LIMIT ?",
    )?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        let Some(topic) = Topic::by_name(&row.get::<_, String>(0)?) else { return Ok(None) };
        Ok(Some(LetterCount {
            topic,
            reason: row.get(1)?,
            letters: row.get(2)?,
            waiting: row.get(3)?,
            newest: Timestamp::from_millis(row.get(4)?),
        }))
    })?;
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

pub(super) fn topics(connection: &Connection) -> Result<Vec<TopicLetters>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT topic, count(*), sum(tried = 0), min(appended_at), max(appended_at) FROM dead_letter
         GROUP BY topic ORDER BY topic",
    )?;
    let rows = statement.query_map([], |row| {
        let Some(topic) = Topic::by_name(&row.get::<_, String>(0)?) else { return Ok(None) };
        Ok(Some(TopicLetters {
            topic,
            letters: row.get(1)?,
            waiting: row.get(2)?,
            oldest: Timestamp::from_millis(row.get(3)?),
            newest: Timestamp::from_millis(row.get(4)?),
        }))
    })?;
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

pub(super) fn begin_retry(
    connection: &mut Connection,
    at: LetterAt,
    seen: u32,
    by: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed = connection
        .prepare_cached(
            "UPDATE dead_letter SET tried = tried + 1, tried_at = ?, tried_by = ?
             WHERE topic = ? AND part = ? AND position = ? AND tried = ?",
        )?
        .execute(params![
            now.as_millis(),
            by,
            at.topic.name(),
            at.partition,
            stored(at.position),
            seen
        ])?;
    Ok(changed > 0)
}

pub(super) fn end_retry(
    connection: &mut Connection,
    at: LetterAt,
    begun: u32,
    arrived: bool,
) -> Result<(), Error> {
    let sql = match arrived {
        true => {
            "UPDATE dead_letter SET arrived = 1 WHERE topic = ? AND part = ? AND position = ? AND tried >= ?"
        }
        false => {
            "UPDATE dead_letter SET tried = tried - 1
             WHERE topic = ? AND part = ? AND position = ? AND tried = ?"
        }
    };
    connection.prepare_cached(sql)?.execute(params![
        at.topic.name(),
        at.partition,
        stored(at.position),
        begun
    ])?;
    Ok(())
}
