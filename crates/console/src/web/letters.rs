//! Pages of the dead letters, and putting them back.

use axum::extract::{Form, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hubwarden_event::Timestamp;
use maud::{Markup, html};
use serde::Serialize;

use super::guard::Asking;
use super::json::JsonFailed;
use super::layout::{Place, page};
use super::{ConsoleState, Failed, export, parts};
use crate::letters::{
    LetterFilter, LetterPageView, LetterView, MAX_LETTER_PAGE, ReasonView, Retried, TopicView,
    page_text,
};
use crate::link::Link;
use crate::store::letters::{LetterAt, LetterCount, MAX_LETTERS};
use crate::{Error, KeptLetter, LetterPage, escape};

/// Reasons that a page shows.
pub(super) const REASONS: usize = 20;
const PAGE: usize = 50;

type Pairs = Vec<(String, String)>;

fn value<'a>(pairs: &'a [(String, String)], key: &str) -> &'a str {
    pairs.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
}

/// The letters that pass the filter of the address.
pub(super) async fn list(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Failed> {
    let now = (state.clock)();
    let told = told(&pairs);
    let filter = LetterFilter::from_pairs(pairs);
    let counts = state.letters.store().letter_counts(REASONS).await?;
    let (status, results) = match filter.query(PAGE) {
        Ok(query) => {
            let found = state.letters.list(query).await?;
            (StatusCode::OK, results(&filter, &found, &asking, now))
        }
        // The list of reasons stays, so that the mistake can be mended.
        Err(error) => {
            let text = error.to_string();
            let mistake = html! { p class="error" role="alert" { (parts::shown(&text)) "." } };
            (StatusCode::BAD_REQUEST, mistake)
        }
    };
    let content = html! {
        p class="crumbs" { a href=(Link::Pipeline) data-up { "Pipeline" } }
        h1 { "Dead letters" }
        p class="note" {
            "Records that a stage could not read. No rule has judged them. What could be read meanwhile, such as \
             after an upgrade, can be put back on the topic it came from."
        }
        (told)
        (results)
        section aria-labelledby="reasons" {
            h2 id="reasons" { "Reasons" }
            (reasons(&counts, now))
        }
    };
    Ok((status, page("Dead letters", Place::Pipeline, &content)).into_response())
}

fn results(filter: &LetterFilter, found: &LetterPage, asking: &Asking, now: Timestamp) -> Markup {
    let first = filter.first_page();
    let views: Vec<LetterView> = found.letters.iter().map(Into::into).collect();
    html! {
        div class="bar" {
            p class="total" role="status" {
                strong { (parts::counted(found.total, "dead letter", "dead letters")) }
                @if found.total > views.len() as u64 { ", " (views.len()) " on this page" }
                @if found.total >= MAX_LETTERS { "; older ones stand on the topics only" }
            }
            p class="exports" {
                "Export "
                a href=(Link::LettersCsv(&first)) { "CSV" } " "
                a href=(Link::LettersNdjson(&first)) { "NDJSON" } " "
                a href=(Link::LettersJson(&first)) { "JSON" }
            }
        }
        @if !filter.topic.is_empty() && !filter.reason.is_empty() {
            section aria-labelledby="reason" {
                h2 id="reason" { "All of this reason" }
                p { code { (parts::shown(&filter.reason)) } }
                (retry_all(filter, asking))
            }
        }
        @if filter.is_narrow() {
            p { a href=(Link::Letters(&LetterFilter::default())) { "Show all dead letters" } }
        }
        @if views.is_empty() {
            p class="empty" {
                @if filter.is_narrow() { "No dead letter passes this filter." }
                @else { "No dead letters: every record could be read." }
            }
        } @else {
            section aria-label="Dead letters" { (table(&found.letters, &views, now)) }
        }
        nav class="pages" aria-label="Pages" {
            @if !filter.page.is_empty() { a href=(Link::Letters(&first)) { "First page" } }
            @if let Some(next) = found.next {
                @let next = LetterFilter { page: page_text(next), ..filter.clone() };
                a rel="next" href=(Link::Letters(&next)) { "Next page" }
            }
        }
        (parts::command(&first.command()))
    }
}

fn table(letters: &[KeptLetter], views: &[LetterView], now: Timestamp) -> Markup {
    html! {
        div class="scroll whole" tabindex="0" role="region" aria-label="Dead letters of this page" {
            table class="letters" {
                thead {
                    tr {
                        th scope="col" { "Letter" }
                        th scope="col" { "Written" }
                        th scope="col" { "Reason" }
                        th scope="col" { "Stood at" }
                        th scope="col" { "First bytes" }
                        th scope="col" { "Put back" }
                    }
                }
                tbody {
                    @for (kept, view) in letters.iter().zip(views) {
                        tr data-row {
                            td { a data-open href=(Link::Letter(kept.at)) { (view.id) } }
                            td { (parts::age(view.at, now)) }
                            td { (parts::shown(&view.reason)) }
                            td class="id" { (view.source) }
                            td { code { (parts::shown(&view.glance)) } }
                            td { (state_of(view, now)) }
                        }
                    }
                }
            }
        }
    }
}

/// Whether its record was put back, or why it cannot be.
fn state_of(view: &LetterView, now: Timestamp) -> Markup {
    html! {
        @match (&view.retry, &view.lost) {
            (Some(retry), _) if retry.arrived => { "put back " (parts::age(retry.at, now)) " by " (parts::shown(&retry.by)) }
            (Some(retry), _) => { "begun " (parts::age(retry.at, now)) " by " (parts::shown(&retry.by)) ", not known whether it arrived" }
            (None, Some(_)) if view.kept < view.length => "cannot be: cut to its first 64 KiB",
            (None, Some(_)) => "cannot be",
            (None, None) => "no",
        }
    }
}

/// One letter with the bytes that are kept.
pub(super) async fn show(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Path(id): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Result<Html<String>, Failed> {
    let now = (state.clock)();
    let kept = state.letters.get(id.parse()?).await?;
    let view = LetterView::from(&kept);
    let letter = kept.letter();
    let record = letter.as_ref().map_or(&kept.body, |letter| &letter.record);
    let fact = |name: &str, text: &str| html! { div { dt { (name) } dd { (parts::shown(text)) } } };
    let same = LetterFilter::of(kept.at.topic, &kept.reason);
    let content = html! {
        article class="detail" {
            header {
                p class="crumbs" {
                    a href=(Link::Pipeline) { "Pipeline" } " / "
                    a href=(Link::Letters(&LetterFilter::default())) data-up { "Dead letters" }
                    " / " span class="id" { (view.id) }
                }
                h1 { (parts::shown(&view.reason)) }
            }
            (told(&pairs))
            div class="columns" {
                div class="stack" {
                    section aria-labelledby="record" {
                        h2 id="record" { "The record" }
                        p class="note" {
                            (parts::counted(view.length, "byte", "bytes"))
                            @if view.kept < view.length { ", of which the first " (parts::number(view.kept)) " are kept" }
                            ". Written by strangers: shown as text, whatever it is."
                        }
                        pre tabindex="0" { (escape::terminal_lines(&String::from_utf8_lossy(record))) }
                    }
                }
                div class="stack" {
                    section aria-labelledby="retry" {
                        h2 id="retry" { "Put it back" }
                        (retry_one(&kept, &view, &asking, now))
                    }
                    section aria-labelledby="facts" {
                        h2 id="facts" { "Facts" }
                        dl class="pairs" {
                            div { dt { "Written" } dd { (parts::time(view.at)) " UTC" } }
                            (fact("Topic", &view.topic))
                            (fact("Stood at", &view.source))
                            (fact("Connection", view.connection.as_deref().unwrap_or("unknown")))
                            @if let Some(origin) = &view.origin { (fact("File", origin)) }
                            div { dt { "SHA-256" } dd class="id" { (view.hash) } }
                            div { dt { "Others" } dd { a href=(Link::Letters(&same)) { "of this reason" } } }
                            div { dt { "As JSON" } dd { a href=(Link::LetterJson(kept.at)) { "letter" } } }
                        }
                    }
                }
            }
            (parts::command(&format!("hubwarden dead-letter retry {}", view.id)))
        }
    };
    Ok(page(&view.reason, Place::Pipeline, &content))
}

fn retry_one(kept: &KeptLetter, view: &LetterView, asking: &Asking, now: Timestamp) -> Markup {
    let times = kept.retry.as_ref().map_or(0, |retry| retry.times);
    html! {
        @if let Some(retry) = &view.retry {
            p role="status" {
                "Begun " (parts::counted(u64::from(retry.times), "time", "times")) ", the last time "
                (parts::age(retry.at, now)) " by " strong { (parts::shown(&retry.by)) } ". "
                @if retry.arrived { "The record stands on its topic again." }
                @else { "Nobody knows whether the record arrived; putting it back again changes nothing if it did." }
            }
        }
        @if let Some(lost) = &view.lost {
            p { "It cannot be put back: " (lost) "." }
        } @else if !asking.may_retry() {
            p class="note" { "Your role is " (asking.caller.role.as_str()) "; putting it back takes engineer or admin." }
        } @else {
            form method="post" action=(Link::RetryLetter(kept.at)) {
                input type="hidden" name="form" value=(asking.form_token());
                input type="hidden" name="seen" value=(times);
                p { "The stage reads it again, behind what waits now. What it knows by its content is not counted twice." }
                button class=[(times == 0).then_some("primary")] {
                    @if times == 0 { "Put back" } @else { "Put back once more" }
                }
            }
        }
    }
}

fn retry_all(filter: &LetterFilter, asking: &Asking) -> Markup {
    html! {
        @if !asking.may_retry() {
            p class="note" { "Your role is " (asking.caller.role.as_str()) "; putting them back takes engineer or admin." }
        } @else {
            form method="post" action=(Link::RetryLetters) {
                input type="hidden" name="form" value=(asking.form_token());
                input type="hidden" name="topic" value=(filter.topic);
                input type="hidden" name="reason" value=(filter.reason);
                button { "Put back all that nobody has" }
                " " span class="note" { "at most a thousand at once" }
            }
        }
    }
}

/// What the order before this page did, from the numbers in its address.
fn told(pairs: &[(String, String)]) -> Markup {
    let number = |key: &str| value(pairs, key).parse::<u64>().ok();
    html! {
        @if let Some(put) = number("put") {
            p class="done" role="status" {
                (parts::counted(put, "record stands", "records stand")) " on its topic again."
                @if let Some(lost) = number("lost").filter(|lost| *lost > 0) {
                    " " (parts::counted(lost, "letter does", "letters do")) " not hold a whole record."
                }
                @if let Some(others) = number("others").filter(|others| *others > 0) {
                    " " (parts::counted(others, "was", "were")) " put back by somebody else meanwhile."
                }
                @if number("more") == Some(1) { " There are more: repeat it to go on." }
            }
        }
    }
}

/// Takes the form of one letter.
pub(super) async fn retry(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Path(id): Path<String>,
    Form(pairs): Form<Pairs>,
) -> Result<Response, Failed> {
    asking.check_retry(value(&pairs, "form"))?;
    let at: LetterAt = id.parse()?;
    let seen = seen(value(&pairs, "seen"))?;
    state.letters.retry(at, seen, &asking.caller.name, (state.clock)()).await?;
    Ok(see(format!("{}?put=1", Link::Letter(at))))
}

/// Takes the form of all letters of a reason.
pub(super) async fn retry_reason(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Form(pairs): Form<Pairs>,
) -> Result<Response, Failed> {
    asking.check_retry(value(&pairs, "form"))?;
    let filter = LetterFilter::from_pairs(pairs).first_page();
    let retried = all_of(&state, &filter, &asking).await?;
    let Retried { put, lost, others, more } = retried;
    let told = format!("&put={put}&lost={lost}&others={others}&more={}", u8::from(more));
    Ok(see(format!("{}{told}", Link::Letters(&filter))))
}

async fn all_of(
    state: &ConsoleState,
    filter: &LetterFilter,
    asking: &Asking,
) -> Result<Retried, Error> {
    let query = filter.query(PAGE)?;
    if query.topic.is_none() || query.reason.is_none() {
        return Err(Error::BadQuery {
            field: "selection of dead letters",
            value: filter.reason.clone(),
            hint: "name topic and reason: what could not be read for one reason is put back together",
        });
    }
    state.letters.retry_all(query, &asking.caller.name, (state.clock)()).await
}

fn seen(text: &str) -> Result<u32, Error> {
    let hint = "send how often putting it back was begun when you looked, 0 for never";
    match text {
        "" => Ok(0),
        text => {
            text.parse().map_err(|_| Error::BadQuery { field: "seen", value: text.into(), hint })
        }
    }
}

fn see(location: String) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// How many there are and how old they are.
pub(super) fn summary(topics: &[TopicView], now: Timestamp) -> Markup {
    html! {
        @if topics.is_empty() {
            p class="empty" { "None: every record could be read." }
        } @else {
            ul class="plain" {
                @for one in topics {
                    li {
                        strong { (parts::counted(one.letters, "letter", "letters")) }
                        " on " code { (one.topic) } ", "
                        (parts::number(one.waiting)) " not put back; the oldest of "
                        (parts::age(one.oldest, now)) ", the newest of " (parts::age(one.newest, now)) "."
                    }
                }
            }
            p { a href=(Link::Letters(&LetterFilter::default())) { "All dead letters" } }
        }
    }
}

/// The most frequent reasons, each with its letters.
pub(super) fn reasons(counts: &[LetterCount], now: Timestamp) -> Markup {
    html! {
        @if counts.is_empty() {
            p class="empty" { "None." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-label="Reasons of dead letters" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Reason" }
                            th scope="col" { "Topic" }
                            th scope="col" { "Newest" }
                            th scope="col" class="n" { "Letters" }
                            th scope="col" class="n" { "Not put back" }
                        }
                    }
                    tbody {
                        @for count in counts {
                            @let view = ReasonView::from(count);
                            @let filter = LetterFilter::of(count.topic, &count.reason);
                            tr {
                                td { a href=(Link::Letters(&filter)) { (parts::shown(&view.reason)) } }
                                td { (view.topic) }
                                td { (parts::age(view.newest, now)) }
                                td class="n" { (parts::number(view.letters)) }
                                td class="n" { (parts::number(view.waiting)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn csv(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Failed> {
    let header = [
        "id",
        "at",
        "topic",
        "reason",
        "source",
        "connection",
        "origin",
        "length",
        "kept",
        "hash",
        "glance",
        "retried_at",
        "retried_by",
    ];
    let row = |letter: LetterView| {
        let retry = letter.retry.as_ref();
        vec![
            letter.id,
            letter.at.to_string(),
            letter.topic,
            letter.reason,
            letter.source,
            letter.connection.unwrap_or_default(),
            letter.origin.unwrap_or_default(),
            letter.length.to_string(),
            letter.kept.to_string(),
            letter.hash,
            letter.glance,
            retry.map(|retry| retry.at.to_string()).unwrap_or_default(),
            retry.map(|retry| retry.by.clone()).unwrap_or_default(),
        ]
    };
    let letters = whole(&state, pairs).await?;
    let body = export::csv_of(&header, letters.into_iter().map(row))?;
    Ok(export::file("text/csv; charset=utf-8", "dead-letters.csv", body.into()))
}

pub(super) async fn ndjson(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Failed> {
    let body = export::ndjson_of(&whole(&state, pairs).await?)?;
    Ok(export::file("application/x-ndjson", "dead-letters.ndjson", body.into()))
}

/// Every letter of a filter, without its bytes; a store keeps a bounded number.
async fn whole(state: &ConsoleState, pairs: Pairs) -> Result<Vec<LetterView>, Error> {
    let filter =
        LetterFilter { limit: String::new(), ..LetterFilter::from_pairs(pairs).first_page() };
    let mut query = filter.query(MAX_LETTER_PAGE)?;
    let mut letters = Vec::new();
    loop {
        let page = state.letters.list(query.clone()).await?;
        letters.extend(page.letters.iter().map(LetterView::from));
        if page.next.is_none() {
            return Ok(letters);
        }
        query.page = page.next;
    }
}

pub(super) async fn json_list(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<LetterPageView>, JsonFailed> {
    let query = LetterFilter::from_pairs(pairs).query(100)?;
    Ok(Json((&state.letters.list(query).await?).into()))
}

/// One letter with its bytes: as text, or in base64 where they are none.
#[derive(Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    letter: LetterView,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

pub(super) async fn json_get(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
) -> Result<Json<Whole>, JsonFailed> {
    let kept = state.letters.get(id.parse()?).await?;
    let bytes = kept.letter().map_or_else(|| kept.body.clone(), |letter| letter.record);
    let letter = LetterView::from(&kept);
    Ok(Json(match String::from_utf8(bytes.into()) {
        Ok(text) => Whole { letter, record: Some(text), record_base64: None },
        Err(error) => {
            let encoded = BASE64_STANDARD.encode(error.as_bytes());
            Whole { letter, record: None, record_base64: Some(encoded) }
        }
    }))
}

/// Puts one letter back for a program.
pub(super) async fn json_retry(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Path(id): Path<String>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<Retried>, JsonFailed> {
    asking.check_retry("")?;
    let seen = seen(value(&pairs, "seen"))?;
    state.letters.retry(id.parse()?, seen, &asking.caller.name, (state.clock)()).await?;
    Ok(Json(Retried { put: 1, ..Retried::default() }))
}

/// Puts all letters of a reason back for a program.
pub(super) async fn json_retry_reason(
    State(state): State<ConsoleState>,
    Extension(asking): Extension<Asking>,
    Query(pairs): Query<Pairs>,
) -> Result<Json<Retried>, JsonFailed> {
    asking.check_retry("")?;
    let filter = LetterFilter::from_pairs(pairs);
    Ok(Json(all_of(&state, &filter, &asking).await?))
}
