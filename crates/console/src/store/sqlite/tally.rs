use hubwarden_event::{Finding, Severity, Timestamp};
use rusqlite::{Connection, params};

use crate::Error;
use crate::store::{DayCount, EntityCount, RuleCount, SeverityCounts, concept_of};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Adds a finding to the counts, or takes it away again (`by` = -1) before it changes.
pub(super) fn count(connection: &Connection, finding: &Finding, by: i64) -> Result<(), Error> {
    let day = finding.first_seen.floor_to(DAY_MS).as_millis();
    let severity = finding.severity as i64;
    connection
        .prepare_cached(
            "INSERT INTO rule_day (day, concept, severity, title, findings)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET title = excluded.title, findings = findings + ?5",
        )?
        .execute(params![day, concept_of(&finding.rule.name), severity, finding.rule.title, by])?;
    let mut entities = connection.prepare_cached(
        "INSERT INTO entity_day (day, kind, folded, severity, name, findings)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET name = excluded.name, findings = findings + ?6",
    )?;
    // One thing in two roles counts once.
    let mut counted: Vec<(&str, String)> = Vec::new();
    for entity in &finding.entities {
        let key = (entity.kind.as_str(), entity.name.to_lowercase());
        if !counted.contains(&key) {
            entities.execute(params![day, key.0, key.1, severity, entity.name, by])?;
            counted.push(key);
        }
    }
    Ok(())
}

pub(super) fn severity_counts(connection: &Connection) -> Result<SeverityCounts, Error> {
    let mut counts = SeverityCounts::default();
    let mut statement = connection
        .prepare_cached("SELECT severity, sum(findings) FROM rule_day GROUP BY severity")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        counts.add(severity(row.get(0)?), row.get(1)?);
    }
    Ok(counts)
}

pub(super) fn per_day(connection: &Connection, since: Timestamp) -> Result<Vec<DayCount>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT day, severity, sum(findings) FROM rule_day WHERE day >= ?
         GROUP BY day, severity HAVING sum(findings) > 0 ORDER BY day",
    )?;
    let mut rows = statement.query([since.floor_to(DAY_MS).as_millis()])?;
    let mut days: Vec<DayCount> = Vec::new();
    while let Some(row) = rows.next()? {
        let day = Timestamp::from_millis(row.get(0)?);
        if days.last().is_none_or(|last| last.day != day) {
            days.push(DayCount { day, counts: SeverityCounts::default() });
        }
        if let Some(last) = days.last_mut() {
            last.counts.add(severity(row.get(1)?), row.get(2)?);
        }
    }
    Ok(days)
}

pub(super) fn top_rules(
    connection: &Connection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<RuleCount>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT concept, max(title), max(severity), sum(findings) AS total FROM rule_day
         WHERE day >= ? AND findings > 0 GROUP BY concept
         ORDER BY total DESC, max(severity) DESC, concept LIMIT ?",
    )?;
    let rows = statement.query_map(params![since.floor_to(DAY_MS).as_millis(), limit], |row| {
        Ok(RuleCount {
            concept: row.get(0)?,
            title: row.get(1)?,
            worst: severity(row.get(2)?),
            findings: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn top_entities(
    connection: &Connection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<EntityCount>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, max(name), max(severity), sum(findings) AS total FROM entity_day
         WHERE day >= ? AND findings > 0 GROUP BY kind, folded
         ORDER BY total DESC, max(severity) DESC, kind, folded LIMIT ?",
    )?;
    let rows = statement.query_map(params![since.floor_to(DAY_MS).as_millis(), limit], |row| {
        Ok(EntityCount {
            kind: row.get(0)?,
            name: row.get(1)?,
            worst: severity(row.get(2)?),
            findings: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The severity that a stored number stands for; the store writes no other numbers.
fn severity(number: i64) -> Severity {
    let place = usize::try_from(number).unwrap_or(0);
    Severity::ALL.get(place).copied().unwrap_or(Severity::Critical)
}
