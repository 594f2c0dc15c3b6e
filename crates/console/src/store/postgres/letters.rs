//! Dead letters in PostgreSQL.

use hubwarden_bus::{Positions, Topic};
use hubwarden_event::Timestamp;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{PgConnection, QueryBuilder, Row};

use super::Problem;
use super::label::clean;
use super::tally::{number, rows_of};
use super::write::keep_positions;
use crate::store::letters::{
    Keep, KeptLetter, LetterAt, LetterCount, LetterPage, LetterQuery, Retry, TopicLetters, page,
};
use crate::store::stored;

pub(super) async fn take(
    connection: &mut PgConnection,
    letters: &[KeptLetter],
    consumed: &Positions,
    keep: Keep,
) -> Result<usize, Problem> {
    // In the order of the key, as every writer.
    let mut letters: Vec<&KeptLetter> = letters.iter().collect();
    letters.sort_by_key(|letter| (letter.at.topic.name(), letter.at.partition, letter.at.position));
    let mut new = 0;
    for letter in letters {
        let sql = "INSERT INTO dead_letter (topic, part, position, appended_at, reason, body)
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let done = sqlx::query(sql)
            .bind(letter.at.topic.name())
            .bind(i64::from(letter.at.partition))
            .bind(stored(letter.at.position))
            .bind(letter.appended_at.as_millis())
            .bind(clean(&letter.reason).into_owned())
            .bind(letter.body.to_vec())
            .execute(&mut *connection)
            .await?;
        new += usize::try_from(done.rows_affected()).unwrap_or(0);
    }
    let sql = "DELETE FROM dead_letter WHERE appended_at < $1";
    sqlx::query(sql).bind(keep.since.as_millis()).execute(&mut *connection).await?;
    let sql = "DELETE FROM dead_letter WHERE (topic, part, position) IN (
        SELECT topic, part, position FROM dead_letter
        ORDER BY appended_at DESC, topic DESC, part DESC, position DESC OFFSET $1)";
    sqlx::query(sql).bind(stored(keep.most)).execute(&mut *connection).await?;
    keep_positions(connection, consumed).await?;
    Ok(new)
}

fn narrow(sql: &mut QueryBuilder<Postgres>, query: &LetterQuery) {
    sql.push(" WHERE true");
    if let Some(topic) = query.topic {
        sql.push(" AND topic = ").push_bind(topic.name());
    }
    if let Some(reason) = &query.reason {
        sql.push(" AND reason = ").push_bind(clean(reason).into_owned());
    }
    if query.waiting {
        sql.push(" AND tried = 0");
    }
}

pub(super) async fn list(
    connection: &mut PgConnection,
    query: &LetterQuery,
) -> Result<LetterPage, Problem> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM dead_letter");
    narrow(&mut sql, query);
    let total = number(sql.build_query_scalar().fetch_one(&mut *connection).await?);
    let mut sql = QueryBuilder::new("SELECT * FROM dead_letter");
    narrow(&mut sql, query);
    if let Some((appended_at, at)) = query.page {
        sql.push(" AND (appended_at, topic, part, position) < (");
        sql.push_bind(appended_at.as_millis()).push(", ").push_bind(at.topic.name()).push(", ");
        sql.push_bind(i64::from(at.partition)).push(", ").push_bind(stored(at.position)).push(")");
    }
    sql.push(" ORDER BY appended_at DESC, topic DESC, part DESC, position DESC LIMIT ");
    sql.push_bind(rows_of(query.limit + 1));
    let rows = sql.build().fetch_all(connection).await?;
    let letters = rows.iter().map(letter).filter_map(Result::transpose);
    Ok(page(letters.collect::<Result<_, _>>()?, query.limit, total))
}

pub(super) async fn get(
    connection: &mut PgConnection,
    at: LetterAt,
) -> Result<Option<KeptLetter>, Problem> {
    let sql = "SELECT * FROM dead_letter WHERE topic = $1 AND part = $2 AND position = $3";
    let query = sqlx::query(sql)
        .bind(at.topic.name())
        .bind(i64::from(at.partition))
        .bind(stored(at.position));
    Ok(query.fetch_optional(connection).await?.as_ref().map(letter).transpose()?.flatten())
}

/// A row as a letter; nothing for a topic that this release does not know.
fn letter(row: &PgRow) -> Result<Option<KeptLetter>, sqlx::Error> {
    let Some(topic) = Topic::by_name(row.try_get("topic")?) else { return Ok(None) };
    let times = u32::try_from(row.try_get::<i64, _>("tried")?).unwrap_or(u32::MAX);
    let retry = match times {
        0 => None,
        times => Some(Retry {
            times,
            at: Timestamp::from_millis(row.try_get("tried_at")?),
            by: row.try_get("tried_by")?,
            arrived: row.try_get("arrived")?,
        }),
    };
    Ok(Some(KeptLetter {
        at: LetterAt {
            topic,
            partition: u32::try_from(row.try_get::<i64, _>("part")?).unwrap_or(u32::MAX),
            position: number(row.try_get("position")?),
        },
        appended_at: Timestamp::from_millis(row.try_get("appended_at")?),
        reason: row.try_get("reason")?,
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        retry,
    }))
}

pub(super) async fn counts(
    connection: &mut PgConnection,
    limit: usize,
) -> Result<Vec<LetterCount>, Problem> {
    let sql =
        "SELECT topic, reason, count(*) AS letters, count(*) FILTER (WHERE tried = 0) AS waiting,
            max(appended_at) AS newest
        FROM dead_letter GROUP BY topic, reason ORDER BY letters DESC, topic, reason LIMIT $1";
    let rows = sqlx::query(sql).bind(rows_of(limit)).fetch_all(connection).await?;
    let mut counts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(topic) = Topic::by_name(row.try_get("topic")?) else { continue };
        counts.push(LetterCount {
            topic,
            reason: row.try_get("reason")?,
            letters: number(row.try_get("letters")?),
            waiting: number(row.try_get("waiting")?),
            newest: Timestamp::from_millis(row.try_get("newest")?),
        });
    }
    Ok(counts)
}

pub(super) async fn topics(connection: &mut PgConnection) -> Result<Vec<TopicLetters>, Problem> {
    let sql = "SELECT topic, count(*) AS letters, count(*) FILTER (WHERE tried = 0) AS waiting,
            min(appended_at) AS oldest, max(appended_at) AS newest
        FROM dead_letter GROUP BY topic ORDER BY topic";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    let mut topics = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(topic) = Topic::by_name(row.try_get("topic")?) else { continue };
        topics.push(TopicLetters {
            topic,
            letters: number(row.try_get("letters")?),
            waiting: number(row.try_get("waiting")?),
            oldest: Timestamp::from_millis(row.try_get("oldest")?),
            newest: Timestamp::from_millis(row.try_get("newest")?),
        });
    }
    Ok(topics)
}

pub(super) async fn begin_retry(
    connection: &mut PgConnection,
    at: LetterAt,
    seen: u32,
    by: &str,
    now: Timestamp,
) -> Result<usize, Problem> {
    let sql = "UPDATE dead_letter SET tried = tried + 1, tried_at = $4, tried_by = $5
        WHERE topic = $1 AND part = $2 AND position = $3 AND tried = $6";
    let done = sqlx::query(sql)
        .bind(at.topic.name())
        .bind(i64::from(at.partition))
        .bind(stored(at.position))
        .bind(now.as_millis())
        .bind(clean(by).into_owned())
        .bind(i64::from(seen))
        .execute(connection)
        .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(0))
}

pub(super) async fn end_retry(
    connection: &mut PgConnection,
    at: LetterAt,
    begun: u32,
    arrived: bool,
) -> Result<usize, Problem> {
    let sql = match arrived {
        true => {
            "UPDATE dead_letter SET arrived = true
            WHERE topic = $1 AND part = $2 AND position = $3 AND tried >= $4"
        }
        false => {
            "UPDATE dead_letter SET tried = tried - 1
            WHERE topic = $1 AND part = $2 AND position = $3 AND tried = $4"
        }
    };
    let done = sqlx::query(sql)
        .bind(at.topic.name())
        .bind(i64::from(at.partition))
        .bind(stored(at.position))
        .bind(i64::from(begun))
        .execute(connection)
        .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(0))
}
