use hubwarden_event::{Finding, Timestamp};
use rusqlite::{Connection, params};

use super::select;
use crate::Error;
use crate::store::{
    DAY_MS, DayCount, EntityCount, RuleCount, SeverityCounts, concept_of, severity_of,
};

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
         ON CONFLICT DO UPDATE SET name = max(name, excluded.name), findings = findings + ?6",
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
        counts.add(severity_of(row.get(0)?), row.get(1)?);
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
            last.counts.add(severity_of(row.get(1)?), row.get(2)?);
        }
    }
    Ok(days)
}

pub(super) fn top_rules(
    connection: &Connection,
    since: Timestamp,
    limit: usize,
) -> Result<Vec<RuleCount>, Error> {
    // Name and title are those of the worst finding, so that they follow from what is kept.
    let mut statement = connection.prepare_cached(
        "SELECT max(severity) AS worst, sum(findings) AS total,
             (SELECT body FROM finding WHERE finding.concept = rule_day.concept
              ORDER BY severity DESC, last_seen DESC, id DESC LIMIT 1)
         FROM rule_day WHERE day >= ? AND findings > 0 GROUP BY concept
         ORDER BY total DESC, worst DESC, concept LIMIT ?",
    )?;
    let mut rows = statement.query(params![since.floor_to(DAY_MS).as_millis(), limit])?;
    let mut rules = Vec::new();
    while let Some(row) = rows.next()? {
        let rule = select::decode(row.get(2)?)?.rule;
        rules.push(RuleCount {
            concept: concept_of(&rule.name).to_owned(),
            title: rule.title,
            worst: severity_of(row.get(0)?),
            findings: row.get(1)?,
        });
    }
    Ok(rules)
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
            worst: severity_of(row.get(2)?),
            findings: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
