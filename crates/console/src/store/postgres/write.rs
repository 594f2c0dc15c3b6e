use std::collections::{BTreeMap, BTreeSet};

use hubwarden_bus::Positions;
use hubwarden_event::{Finding, FindingId};
use sqlx::{PgConnection, Row};

use super::Problem;
use super::label::{clean, label, labels};
use super::select::decode;
use super::tally::Tally;
use crate::store::{Intake, Unreadable, concept_of, joined, search_text, stored};

/// Joins findings with what is kept, and counts and positions with it, in the transaction of this connection.
///
/// Any number of writers may do so at once. Each first inserts what is new, in the order of ids; one
/// that meets an insert of another waits for its end. Then it locks what was there before, in the
/// order of ids, and reads it under the lock, so no join is lost. Counts and positions follow in
/// the order of their keys. As all take locks in this one order, none waits in a circle.
pub(super) async fn take_in(
    connection: &mut PgConnection,
    intake: &Intake,
) -> Result<usize, Problem> {
    let incoming = joined(&intake.findings);
    let mut tally = Tally::default();
    let changed = if incoming.is_empty() {
        0
    } else {
        let new = insert(connection, &incoming, &mut tally).await?;
        new.len() + join(connection, &incoming, &new, &mut tally).await?
    };
    tally.write(connection).await?;
    keep_unreadable(connection, &intake.unreadable).await?;
    keep_positions(connection, &intake.consumed).await?;
    Ok(changed)
}

/// Adds the findings that are not there yet, and says which those were.
async fn insert(
    connection: &mut PgConnection,
    incoming: &BTreeMap<FindingId, Finding>,
    tally: &mut Tally,
) -> Result<BTreeSet<FindingId>, Problem> {
    let columns = Columns::of(incoming.values());
    let sql = "
        INSERT INTO finding
            (id, severity, first_seen, last_seen, rule, concept, labels, words, body)
        SELECT id, severity, first_seen, last_seen, rule, concept,
            string_to_array(labels, E'\\n'), words, body
        FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[],
            $6::text[], $7::text[], $8::text[], $9::bytea[])
            AS come (id, severity, first_seen, last_seen, rule, concept, labels, words, body)
        ORDER BY id COLLATE \"C\"
        ON CONFLICT (id) DO NOTHING
        RETURNING id";
    let rows = columns.bind(sqlx::query(sql)).fetch_all(connection).await?;
    let mut new = BTreeSet::new();
    for row in &rows {
        let id = FindingId::from_text(row.try_get::<String, _>(0)?);
        if let Some(finding) = incoming.get(&id) {
            tally.count(finding, 1);
        }
        new.insert(id);
    }
    Ok(new)
}

/// Joins the findings that were there before, and says how many changed.
async fn join(
    connection: &mut PgConnection,
    incoming: &BTreeMap<FindingId, Finding>,
    new: &BTreeSet<FindingId>,
    tally: &mut Tally,
) -> Result<usize, Problem> {
    let ids = incoming.keys().filter(|id| !new.contains(id));
    let ids: Vec<&str> = ids.map(FindingId::as_str).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = "SELECT id, body FROM finding WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    let rows = sqlx::query(sql).bind(&ids).fetch_all(&mut *connection).await?;
    if rows.len() < ids.len() {
        // Somebody removed a finding between the two statements; a new try inserts it.
        return Err(Problem::Again);
    }
    let mut changed = Vec::new();
    for row in &rows {
        let id = FindingId::from_text(row.try_get::<String, _>(0)?);
        let Some(come) = incoming.get(&id) else { continue };
        let mut kept = decode(row.try_get(1)?)?;
        let before = kept.clone();
        if kept.join(come) {
            tally.count(&before, -1);
            tally.count(&kept, 1);
            changed.push(kept);
        }
    }
    let sql = "
        UPDATE finding SET severity = come.severity, first_seen = come.first_seen,
            last_seen = come.last_seen, rule = come.rule, concept = come.concept,
            labels = string_to_array(come.labels, E'\\n'), words = come.words, body = come.body
        FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::text[],
            $6::text[], $7::text[], $8::text[], $9::bytea[])
            AS come (id, severity, first_seen, last_seen, rule, concept, labels, words, body)
        WHERE finding.id = come.id";
    if !changed.is_empty() {
        Columns::of(&changed).bind(sqlx::query(sql)).execute(connection).await?;
    }
    Ok(changed.len())
}

/// Findings column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns {
    ids: Vec<String>,
    severities: Vec<i16>,
    first_seen: Vec<i64>,
    last_seen: Vec<i64>,
    rules: Vec<String>,
    concepts: Vec<String>,
    /// Each finding's labels in one text, by lines; `unnest` would flatten lists of lists.
    labels: Vec<String>,
    words: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Columns {
    fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut columns = Self::default();
        for finding in findings {
            let rule = finding.rule.name.as_str();
            columns.ids.push(finding.id.to_string());
            columns.severities.push(finding.severity as i16);
            columns.first_seen.push(finding.first_seen.as_millis());
            columns.last_seen.push(finding.last_seen.as_millis());
            columns.rules.push(clean(rule).into_owned());
            columns.concepts.push(label(&[concept_of(rule)]));
            columns.labels.push(labels(finding).join("\n"));
            columns.words.push(search_text(finding));
            columns.bodies.push(hubwarden_proto::encode_finding(finding.clone()).to_vec());
        }
        columns
    }

    fn bind(self, query: Query<'_>) -> Query<'_> {
        query
            .bind(self.ids)
            .bind(self.severities)
            .bind(self.first_seen)
            .bind(self.last_seen)
            .bind(self.rules)
            .bind(self.concepts)
            .bind(self.labels)
            .bind(self.words)
            .bind(self.bodies)
    }
}

async fn keep_unreadable(
    connection: &mut PgConnection,
    records: &[Unreadable],
) -> Result<(), Problem> {
    // Few, if any; in the order of the key, as every writer.
    let mut records: Vec<&Unreadable> = records.iter().collect();
    records.sort_by_key(|record| (record.topic.name(), record.partition, record.position));
    for record in records {
        let sql = "INSERT INTO unreadable VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        sqlx::query(sql)
            .bind(record.topic.name())
            .bind(i64::from(record.partition))
            .bind(stored(record.position))
            .bind(clean(&record.reason).into_owned())
            .bind(record.body.to_vec())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A position never goes back: everything before the higher one is kept, whoever wrote it.
pub(super) async fn keep_positions(
    connection: &mut PgConnection,
    consumed: &Positions,
) -> Result<(), Problem> {
    if consumed.is_empty() {
        return Ok(());
    }
    let mut all: Vec<_> =
        consumed.iter().map(|(topic, part, next)| (topic.name(), part, next)).collect();
    all.sort_unstable();
    let topics: Vec<&str> = all.iter().map(|one| one.0).collect();
    let parts: Vec<i64> = all.iter().map(|one| i64::from(one.1)).collect();
    let nexts: Vec<i64> = all.iter().map(|one| stored(one.2)).collect();
    let sql = "
        INSERT INTO consumed SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
        ON CONFLICT (topic, part) DO UPDATE SET next = greatest(consumed.next, excluded.next)";
    sqlx::query(sql).bind(topics).bind(parts).bind(nexts).execute(connection).await?;
    Ok(())
}
