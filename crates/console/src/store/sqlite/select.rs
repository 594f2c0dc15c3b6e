use hubwarden_event::{Finding, FindingId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use crate::Error;
use crate::store::{
    CANDIDATES, FindingQuery, MAX_PAGE, Order, Page, PageToken, beginning, concept_of,
};

/// So many characters of a text are looked up in the index; its time grows with their square.
const LONGEST_PHRASE: usize = 64;

/// Conditions with their values. The text is made of constants only; values are always bound.
#[derive(Default)]
struct Where {
    clauses: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    fn add(&mut self, clause: &str, values: impl IntoIterator<Item = Value>) {
        self.clauses.push(clause.into());
        self.values.extend(values);
    }

    fn sql(&self) -> String {
        if self.clauses.is_empty() { "1".into() } else { self.clauses.join(" AND ") }
    }

    fn of(query: &FindingQuery) -> Self {
        let mut filter = Self::default();
        if !query.severities.is_empty() {
            let marks = vec!["?"; query.severities.len()].join(", ");
            let values = query.severities.iter().map(|severity| Value::from(*severity as i64));
            filter.add(&format!("severity IN ({marks})"), values);
        }
        if let Some(rule) = &query.rule {
            let clause = if concept_of(rule) == rule { "concept = ?" } else { "rule = ?" };
            filter.add(clause, [Value::from(rule.clone())]);
        }
        if let Some(since) = query.since {
            filter.add("last_seen >= ?", [Value::from(since.as_millis())]);
        }
        if let Some(until) = query.until {
            filter.add("last_seen < ?", [Value::from(until.as_millis())]);
        }
        if let Some(org) = &query.org {
            let clause = "row IN (SELECT finding FROM entity WHERE name = ? AND kind = 'org')";
            filter.add(clause, [Value::from(org.to_lowercase())]);
        }
        if let Some(actor) = &query.actor {
            let clause = "row IN (SELECT finding FROM entity WHERE name = ? AND role = 'actor')";
            filter.add(clause, [Value::from(actor.to_lowercase())]);
        }
        if let Some(entity) = &query.entity {
            let folded = entity.to_lowercase();
            let (kind, name) = folded.split_once('/').unwrap_or(("", ""));
            // A repository's own name has a slash too, so both readings count.
            let clause = "row IN (SELECT finding FROM entity WHERE name = ?
                UNION SELECT finding FROM entity WHERE name = ? AND kind = ?)";
            filter.add(
                clause,
                [folded.as_str(), name, kind].map(|text| Value::from(text.to_owned())),
            );
        }
        if let Some(text) = &query.text {
            let folded: String =
                text.to_lowercase().chars().map(|c| if c == '\0' { ' ' } else { c }).collect();
            if folded.chars().count() < 3 {
                // Too short for the trigram index.
                let clause = "row IN (SELECT rowid FROM finding_text WHERE instr(text, ?) > 0)";
                filter.add(clause, [Value::from(folded)]);
            } else {
                // One quoted string of the search language: no operator in it has a meaning.
                let start: String = folded.chars().take(LONGEST_PHRASE).collect();
                let phrase = format!("\"{}\"", start.replace('"', "\"\""));
                let clause = "row IN (SELECT rowid FROM finding_text WHERE text MATCH ?)";
                filter.add(clause, [Value::from(phrase)]);
                if start.len() < folded.len() {
                    let clause = "row IN (SELECT rowid FROM finding_text WHERE instr(text, ?) > 0)";
                    filter.add(clause, [Value::from(folded)]);
                }
            }
        }
        filter
    }

    fn after(&mut self, order: Order, page: &PageToken) {
        let severity = Value::from(page.severity as i64);
        let last_seen = Value::from(page.last_seen.as_millis());
        let id = Value::from(page.id.to_string());
        match order {
            Order::Worst => {
                self.add("(severity, last_seen, id) < (?, ?, ?)", [severity, last_seen, id])
            }
            Order::Newest => self.add("(last_seen, id) < (?, ?)", [last_seen, id]),
        }
    }
}

/// The statement of a page and its values; the last value is the number of rows.
fn page_sql(query: &FindingQuery) -> (String, Vec<Value>) {
    let mut filter = Where::of(query);
    if let Some(page) = &query.page {
        filter.after(query.order, page);
    }
    let order = match query.order {
        Order::Worst => "severity DESC, last_seen DESC, id DESC",
        Order::Newest => "last_seen DESC, id DESC",
    };
    let sql = format!("SELECT body FROM finding WHERE {} ORDER BY {order} LIMIT ?", filter.sql());
    let limit = query.limit.clamp(1, MAX_PAGE) + 1;
    filter.values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    (sql, filter.values)
}

pub(super) fn list(connection: &Connection, query: &FindingQuery) -> Result<Page, Error> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let (sql, values) = page_sql(query);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        findings.push(decode(row.get(0)?)?);
    }
    let more = findings.len() > limit;
    findings.truncate(limit);
    let next = findings.last().filter(|_| more).map(PageToken::after);
    Ok(Page { findings, next, total: count(connection, query)? })
}

pub(super) fn count(connection: &Connection, query: &FindingQuery) -> Result<u64, Error> {
    let filter = Where::of(query);
    let sql = format!("SELECT count(*) FROM finding WHERE {}", filter.sql());
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row(params_from_iter(filter.values), |row| row.get(0))?)
}

pub(super) fn by_id(
    connection: &Connection,
    id: &FindingId,
) -> Result<Option<(i64, Finding)>, Error> {
    let mut statement = connection.prepare_cached("SELECT row, body FROM finding WHERE id = ?")?;
    let found = statement
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    found.map(|(row, body)| Ok((row, decode(body)?))).transpose()
}

pub(super) fn by_prefix(connection: &Connection, asked: &str) -> Result<Finding, Error> {
    if let Some((_, finding)) = by_id(connection, &FindingId::from_text(asked))? {
        return Ok(finding);
    }
    let not_found = || Error::NotFound { id: asked.into() };
    let (prefix, end) = beginning(asked).ok_or_else(not_found)?;
    let mut statement = connection
        .prepare_cached("SELECT id FROM finding WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3")?;
    let rows = statement.query_map(params![prefix, end, CANDIDATES], |row| row.get(0))?;
    let mut candidates: Vec<String> = rows.collect::<Result<_, _>>()?;
    match candidates.len() {
        0 => Err(not_found()),
        1 => {
            let id = FindingId::from_text(candidates.remove(0));
            by_id(connection, &id)?.map(|(_, finding)| finding).ok_or_else(not_found)
        }
        _ => Err(Error::Ambiguous { prefix: asked.into(), candidates }),
    }
}

pub(super) fn decode(body: Vec<u8>) -> Result<Finding, Error> {
    Ok(hubwarden_proto::decode_finding(body.into())?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hubwarden_event::{Severity, Timestamp};

    use super::*;
    use crate::store::sqlite::schema;

    /// Neither reads every finding nor sorts them, so a page costs the same at a million findings.
    #[test]
    fn pages_are_read_from_an_index_in_its_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, Path::new(":memory:")).unwrap();
        let page = PageToken {
            severity: Severity::High,
            last_seen: Timestamp::from_millis(5),
            id: FindingId::from_text("F-A"),
        };
        let all = FindingQuery::default;
        for (name, query, index) in [
            ("first page", all(), "finding_worst"),
            ("next page", FindingQuery { page: Some(page.clone()), ..all() }, "finding_worst"),
            ("newest", FindingQuery { order: Order::Newest, ..all() }, "finding_newest"),
            (
                "newest, next page",
                FindingQuery { order: Order::Newest, page: Some(page), ..all() },
                "finding_newest",
            ),
            (
                "one severity",
                FindingQuery { severities: vec![Severity::High], ..all() },
                "finding_worst",
            ),
            ("one rule", FindingQuery { rule: Some("r".into()), ..all() }, "finding_of_rule"),
        ] {
            let (sql, values) = page_sql(&query);
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = statement.query_map(params_from_iter(values), |row| row.get(3)).unwrap();
            let plan: Vec<String> = steps.map(Result::unwrap).collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{name}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{name}: {plan}");
        }
    }
}
