use hubwarden_bus::{Positions, Topic};
use hubwarden_event::Finding;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row};

use super::Problem;
use super::label::{actor, clean, label, named, of_kind};
use super::tally::{number, rows_of};
use crate::Error;
use crate::store::{
    CANDIDATES, FindingQuery, MAX_PAGE, Order, Page, PageToken, beginning, concept_of,
};

/// Adds the conditions of a query. The text is made of constants only; values are always bound.
fn filter(sql: &mut QueryBuilder<Postgres>, query: &FindingQuery) {
    sql.push(" WHERE true");
    if !query.severities.is_empty() {
        let severities: Vec<i16> = query.severities.iter().map(|one| *one as i16).collect();
        sql.push(" AND severity = ANY(").push_bind(severities).push(")");
    }
    if let Some(rule) = &query.rule {
        sql.push(" AND concept = ").push_bind(label(&[concept_of(rule)]));
        if concept_of(rule) != rule {
            sql.push(" AND rule = ").push_bind(clean(rule).into_owned());
        }
    }
    if let Some(since) = query.since {
        sql.push(" AND last_seen >= ").push_bind(since.as_millis());
    }
    if let Some(until) = query.until {
        sql.push(" AND last_seen < ").push_bind(until.as_millis());
    }
    let org = query.org.as_ref().map(|org| vec![of_kind("org", &org.to_lowercase())]);
    let actor = query.actor.as_ref().map(|name| vec![actor(&name.to_lowercase())]);
    let entity = query.entity.as_ref().map(|entity| {
        let folded = entity.to_lowercase();
        // A repository's own name has a slash too, so both readings count.
        let read = folded.split_once('/').map(|(kind, name)| of_kind(kind, name));
        [named(&folded)].into_iter().chain(read).collect()
    });
    for labels in [org, actor, entity].into_iter().flatten() {
        sql.push(" AND labels && ").push_bind::<Vec<String>>(labels);
    }
    if let Some(text) = &query.text {
        let mut pattern = String::from("%");
        for letter in clean(&text.to_lowercase()).chars() {
            if matches!(letter, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push('%');
        sql.push(" AND words LIKE ").push_bind(pattern);
    }
}

fn after(sql: &mut QueryBuilder<Postgres>, order: Order, page: &PageToken) {
    let (severity, last_seen) = (page.severity as i16, page.last_seen.as_millis());
    match order {
        Order::Worst => {
            sql.push(" AND (severity, last_seen, id) < (").push_bind(severity).push(", ")
        }
        Order::Newest => sql.push(" AND (last_seen, id) < ("),
    };
    sql.push_bind(last_seen).push(", ").push_bind(clean(page.id.as_str()).into_owned()).push(")");
}

pub(super) async fn list(
    connection: &mut PgConnection,
    query: &FindingQuery,
) -> Result<Page, Problem> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let mut sql = QueryBuilder::new("SELECT body FROM finding");
    filter(&mut sql, query);
    if let Some(page) = &query.page {
        after(&mut sql, query.order, page);
    }
    sql.push(match query.order {
        Order::Worst => " ORDER BY severity DESC, last_seen DESC, id DESC LIMIT ",
        Order::Newest => " ORDER BY last_seen DESC, id DESC LIMIT ",
    });
    sql.push_bind(rows_of(limit + 1));
    let rows = sql.build().fetch_all(&mut *connection).await?;
    let more = rows.len() > limit;
    let mut findings = Vec::new();
    for row in rows.iter().take(limit) {
        findings.push(decode(row.try_get(0)?)?);
    }
    let next = findings.last().filter(|_| more).map(PageToken::after);
    Ok(Page { findings, next, total: count(connection, query).await? })
}

pub(super) async fn count(
    connection: &mut PgConnection,
    query: &FindingQuery,
) -> Result<u64, Problem> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM finding");
    filter(&mut sql, query);
    Ok(number(sql.build_query_scalar().fetch_one(connection).await?))
}

pub(super) async fn by_prefix(
    connection: &mut PgConnection,
    asked: &str,
) -> Result<Finding, Problem> {
    if asked.contains('\0') {
        return Err(Error::NotFound { id: asked.into() }.into());
    }
    let sql = "SELECT body FROM finding WHERE id = $1";
    if let Some(body) = sqlx::query_scalar(sql).bind(asked).fetch_optional(&mut *connection).await?
    {
        return decode(body);
    }
    let Some((prefix, end)) = beginning(asked) else {
        return Err(Error::NotFound { id: asked.into() }.into());
    };
    let sql = "SELECT id, body FROM finding WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
    let query = sqlx::query(sql).bind(&prefix).bind(end).bind(rows_of(CANDIDATES));
    let rows = query.fetch_all(connection).await?;
    match rows.as_slice() {
        [] => Err(Error::NotFound { id: asked.into() }.into()),
        [only] => decode(only.try_get(1)?),
        several => {
            let ids = several.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            Err(Error::Ambiguous { prefix: asked.into(), candidates: ids }.into())
        }
    }
}

pub(super) async fn positions(connection: &mut PgConnection) -> Result<Positions, Problem> {
    let mut positions = Positions::none();
    let rows = sqlx::query("SELECT topic, part, next FROM consumed").fetch_all(connection).await?;
    for row in rows {
        let part = u32::try_from(row.try_get::<i64, _>(1)?);
        if let (Some(topic), Ok(part)) = (Topic::by_name(row.try_get(0)?), part) {
            positions.set(topic, part, number(row.try_get(2)?));
        }
    }
    Ok(positions)
}

pub(super) async fn unreadable(connection: &mut PgConnection) -> Result<u64, Problem> {
    let sql = "SELECT count(*) FROM unreadable";
    Ok(number(sqlx::query_scalar(sql).fetch_one(connection).await?))
}

pub(super) fn decode(body: Vec<u8>) -> Result<Finding, Problem> {
    Ok(hubwarden_proto::decode_finding(body.into()).map_err(Error::from)?)
}
