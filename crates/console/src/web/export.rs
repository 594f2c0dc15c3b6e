use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hubwarden_event::Finding;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ConsoleState, Failed};
use crate::{Error, Filter, FindingQuery, Findings, MAX_PAGE, escape};

const COLUMNS: [&str; 12] = [
    "id",
    "severity",
    "confidence",
    "rule",
    "title",
    "sentence",
    "entities",
    "count",
    "first_seen",
    "last_seen",
    "connection",
    "response",
];

/// The findings of a filter for a spreadsheet.
pub(super) async fn csv(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Failed> {
    let query = whole(&state, pairs)?;
    let body = stream(state.findings, query, csv_lines);
    Ok(file("text/csv; charset=utf-8", "findings.csv", body))
}

/// The findings of a filter for a program, one a line.
pub(super) async fn ndjson(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Failed> {
    let query = whole(&state, pairs)?;
    let body = stream(state.findings, query, json_lines);
    Ok(file("application/x-ndjson", "findings.ndjson", body))
}

/// The filter without its page: an export is all of it.
fn whole(state: &ConsoleState, pairs: Vec<(String, String)>) -> Result<FindingQuery, Error> {
    let filter = Filter { limit: String::new(), ..Filter::from_pairs(pairs).first_page() };
    filter.query((state.clock)(), MAX_PAGE)
}

pub(super) fn file(kind: &'static str, name: &'static str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers =
        [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, body).into_response()
}

/// Makes lines of findings; the flag tells the first ones.
type Lines = fn(&[Finding], bool) -> Result<Vec<u8>, Error>;

/// Writes page after page, as fast as the reader takes them; an error cuts the answer off.
fn stream(findings: Findings, mut query: FindingQuery, lines: Lines) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Error>>(2);
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let page = findings.list(query.clone()).await;
            let (chunk, next) = match page {
                Ok(page) => (lines(&page.findings, first).map(Bytes::from), page.next),
                Err(error) => (Err(error), None),
            };
            if let Err(error) = &chunk {
                tracing::error!(error = error as &dyn std::error::Error, "an export was cut off");
            }
            // A reader that has gone away wants no more.
            if sender.send(chunk).await.is_err() || next.is_none() {
                return;
            }
            query.page = next;
            first = false;
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

fn json_lines(findings: &[Finding], _first: bool) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for finding in findings {
        serde_json::to_writer(&mut out, finding)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn csv_lines(findings: &[Finding], first: bool) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if first {
        writer.write_record(COLUMNS)?;
    }
    for finding in findings {
        let entities: Vec<String> =
            finding.entities.iter().map(|one| format!("{}/{}", one.kind, one.name)).collect();
        let cells = [
            finding.id.as_str(),
            finding.severity.as_str(),
            finding.confidence.as_str(),
            &finding.rule.name,
            &finding.rule.title,
            &finding.sentence,
            &entities.join(" "),
            &finding.count.to_string(),
            &finding.first_seen.to_string(),
            &finding.last_seen.to_string(),
            finding.connection.as_str(),
            &finding.response,
        ];
        writer.write_record(cells.map(|cell| escape::csv(cell).into_owned()))?;
    }
    writer.into_inner().map_err(|error| Error::Csv(error.into_error().into()))
}

/// Rows under a header, no cell of which is a formula.
pub(super) fn csv_of(
    header: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row.iter().map(|cell| escape::csv(cell).into_owned()))?;
    }
    writer.into_inner().map_err(|error| Error::Csv(error.into_error().into()))
}

/// Values as JSON, one a line.
pub(super) fn ndjson_of(values: &[impl serde::Serialize]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for value in values {
        serde_json::to_writer(&mut out, value)?;
        out.push(b'\n');
    }
    Ok(out)
}
