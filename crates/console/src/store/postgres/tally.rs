use std::collections::BTreeMap;

use hubwarden_event::{Finding, Timestamp};
use sqlx::{PgConnection, Row};

use super::Problem;
use super::label::{clean, label};
use super::select::decode;
use crate::store::{
    DAY_MS, DayCount, EntityCount, RuleCount, SeverityCounts, concept_of, severity_of,
};

/// How the counts of the overview change with one intake.
///
/// Kept in the order of the keys, in which every writer locks the rows.
#[derive(Default)]
pub(super) struct Tally {
    /// By day, concept and severity.
    rules: BTreeMap<(i64, String, i16), i64>,
    /// By day, thing, spelling and severity: kind, name and the change.
    things: BTreeMap<ThingKey, (String, String, i64)>,
}

type ThingKey = (i64, String, String, i16);

impl Tally {
    /// Adds a finding, or takes it away again (`by` = -1) before it changes.
    pub(super) fn count(&mut self, finding: &Finding, by: i64) {
        let day = finding.first_seen.floor_to(DAY_MS).as_millis();
        let severity = finding.severity as i16;
        let concept = label(&[concept_of(&finding.rule.name)]);
        *self.rules.entry((day, concept, severity)).or_default() += by;
        // One thing in two roles counts once.
        let mut counted = Vec::new();
        for entity in &finding.entities {
            let thing = label(&[&entity.kind, &entity.name.to_lowercase()]);
            if counted.contains(&thing) {
                continue;
            }
            let key = (day, thing.clone(), label(&[&entity.name]), severity);
            let change = self.things.entry(key).or_insert_with(|| {
                (clean(&entity.kind).into_owned(), clean(&entity.name).into_owned(), 0)
            });
            change.2 += by;
            counted.push(thing);
        }
    }

    /// Writes the changes.
    pub(super) async fn write(mut self, connection: &mut PgConnection) -> Result<(), Problem> {
        self.rules.retain(|_, by| *by != 0);
        self.things.retain(|_, (_, _, by)| *by != 0);
        if !self.rules.is_empty() {
            let (keys, changes): (Vec<_>, Vec<i64>) = self.rules.into_iter().unzip();
            let sql = "
                INSERT INTO rule_day
                SELECT * FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::bigint[])
                ON CONFLICT (day, concept, severity)
                DO UPDATE SET findings = rule_day.findings + excluded.findings";
            sqlx::query(sql)
                .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
                .bind(keys.iter().map(|key| key.1.as_str()).collect::<Vec<_>>())
                .bind(keys.iter().map(|key| key.2).collect::<Vec<_>>())
                .bind(changes)
                .execute(&mut *connection)
                .await?;
        }
        if !self.things.is_empty() {
            let (keys, changes): (Vec<_>, Vec<_>) = self.things.into_iter().unzip();
            let sql = "
                INSERT INTO entity_day
                SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[],
                    $5::text[], $6::text[], $7::bigint[])
                ON CONFLICT (day, thing, spelling, severity)
                DO UPDATE SET findings = entity_day.findings + excluded.findings";
            sqlx::query(sql)
                .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
                .bind(keys.iter().map(|key| key.1.as_str()).collect::<Vec<_>>())
                .bind(keys.iter().map(|key| key.2.as_str()).collect::<Vec<_>>())
                .bind(keys.iter().map(|key| key.3).collect::<Vec<_>>())
                .bind(changes.iter().map(|change| change.0.as_str()).collect::<Vec<_>>())
                .bind(changes.iter().map(|change| change.1.as_str()).collect::<Vec<_>>())
                .bind(changes.iter().map(|change| change.2).collect::<Vec<_>>())
                .execute(connection)
                .await?;
        }
        Ok(())
    }
}

pub(super) async fn severity_counts(
    connection: &mut PgConnection,
) -> Result<SeverityCounts, Problem> {
    let sql = "SELECT severity, sum(findings)::bigint FROM rule_day GROUP BY severity";
    let mut counts = SeverityCounts::default();
    for row in sqlx::query(sql).fetch_all(connection).await? {
        counts.add(severity_of(i64::from(row.try_get::<i16, _>(0)?)), number(row.try_get(1)?));
    }
    Ok(counts)
}

pub(super) async fn per_day(
    connection: &mut PgConnection,
    since: Timestamp,
) -> Result<Vec<DayCount>, Problem> {
    let sql = "
        SELECT day, severity, sum(findings)::bigint FROM rule_day WHERE day >= $1
        GROUP BY day, severity HAVING sum(findings) > 0 ORDER BY day";
    let since = since.floor_to(DAY_MS).as_millis();
    let mut days: Vec<DayCount> = Vec::new();
    for row in sqlx::query(sql).bind(since).fetch_all(connection).await? {
        let day = Timestamp::from_millis(row.try_get(0)?);
        if days.last().is_none_or(|last| last.day != day) {
            days.push(DayCount { day, counts: SeverityCounts::default() });
        }
        if let Some(last) = days.last_mut() {
            let severity = severity_of(i64::from(row.try_get::<i16, _>(1)?));
            last.counts.add(severity, number(row.try_get(2)?));
        }
    }
    Ok(days)
}

pub(super) async fn top_rules(
    connection: &mut PgConnection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<RuleCount>, Problem> {
    // Name and title are those of the worst finding, so that they follow from what is kept.
    let sql = "
        SELECT top.worst, top.total, (SELECT body FROM finding WHERE finding.concept = top.concept
            ORDER BY severity DESC, last_seen DESC, id DESC LIMIT 1)
        FROM (SELECT concept, max(severity) AS worst, sum(findings)::bigint AS total FROM rule_day
            WHERE day >= $1 AND findings > 0 GROUP BY concept
            ORDER BY total DESC, worst DESC, concept LIMIT $2) AS top
        ORDER BY top.total DESC, top.worst DESC, top.concept";
    let since = since.floor_to(DAY_MS).as_millis();
    let rows = sqlx::query(sql).bind(since).bind(rows_of(limit)).fetch_all(connection).await?;
    let mut rules = Vec::new();
    for row in rows {
        let Some(body) = row.try_get::<Option<Vec<u8>>, _>(2)? else { continue };
        let rule = decode(body)?.rule;
        rules.push(RuleCount {
            concept: concept_of(&rule.name).to_owned(),
            title: rule.title,
            worst: severity_of(i64::from(row.try_get::<i16, _>(0)?)),
            findings: number(row.try_get(1)?),
        });
    }
    Ok(rules)
}

pub(super) async fn top_entities(
    connection: &mut PgConnection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<EntityCount>, Problem> {
    let sql = "
        SELECT max(kind), max(name), max(severity) AS worst, sum(findings)::bigint AS total
        FROM entity_day WHERE day >= $1 AND findings > 0 GROUP BY thing
        ORDER BY total DESC, worst DESC, thing LIMIT $2";
    let since = since.floor_to(DAY_MS).as_millis();
    let rows = sqlx::query(sql).bind(since).bind(rows_of(limit)).fetch_all(connection).await?;
    let mut entities = Vec::new();
    for row in rows {
        entities.push(EntityCount {
            kind: row.try_get(0)?,
            name: row.try_get(1)?,
            worst: severity_of(i64::from(row.try_get::<i16, _>(2)?)),
            findings: number(row.try_get(3)?),
        });
    }
    Ok(entities)
}

/// A count; a sum of the findings that there are is never negative.
pub(super) fn number(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

/// A number of rows as SQL takes it.
pub(super) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
