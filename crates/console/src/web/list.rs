use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use hubwarden_event::Timestamp;
use maud::{Markup, html};

use super::layout::{Place, page};
use super::{ConsoleState, Failed, parts};
use crate::link::Link;
use crate::{Error, Filter, Page};

const PAGE: usize = 50;

/// The findings that pass the filter of the address.
pub(super) async fn show(
    State(state): State<ConsoleState>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Failed> {
    let now = (state.clock)();
    let filter = Filter::from_pairs(pairs);
    let asked = match filter.query(now, PAGE) {
        Ok(query) => state.findings.list(query).await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(found) => Ok(whole(&filter, &results(&filter, &found, now)).into_response()),
        // The form stays, so that the mistake can be mended.
        Err(error) if error.is_question() => {
            Ok((StatusCode::BAD_REQUEST, whole(&filter, &mistake(&error))).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn whole(filter: &Filter, results: &Markup) -> Html<String> {
    let content = html! {
        h1 { "Findings" }
        (form(filter))
        (*results)
    };
    page("Findings", Place::Findings, &content)
}

fn mistake(error: &Error) -> Markup {
    html! { p class="error" role="alert" { (parts::shown(&error.to_string())) "." } }
}

fn form(filter: &Filter) -> Markup {
    let field = |name: &str, label: &str, value: &str, hint: &str, list: Option<&str>| {
        html! {
            label class="field" {
                span { (label) }
                input type="text" name=(name) value=(value) placeholder=(hint) list=[list]
                    autocomplete="off" spellcheck="false";
            }
        }
    };
    html! {
        form class="filter" role="search" aria-label="Filter" action="/findings" {
            label class="field wide" {
                span { "Text" }
                input type="search" name="text" value=(filter.text) data-search
                    placeholder="in sentence, rule, id or names" autocomplete="off" spellcheck="false";
            }
            fieldset class="levels" {
                legend { "Severity" }
                @for severity in parts::worst_first() {
                    @let chosen = filter.severities.iter().any(|name| name.eq_ignore_ascii_case(severity.as_str()));
                    label class={ "level-choice sev-" (severity) } {
                        input type="checkbox" name="severity" value=(severity) checked[chosen];
                        (parts::shape(severity)) (severity)
                    }
                }
            }
            div class="actions" {
                @if filter.is_narrow() { a href=(Link::Findings(&Filter::default())) { "Clear" } }
                button class="primary" { "Apply" }
            }
            @if !filter.sort.is_empty() { input type="hidden" name="sort" value=(filter.sort); }
            (field("rule", "Rule", &filter.rule, "name or concept", None))
            (field("org", "Organization", &filter.org, "octo-corp", None))
            (field("entity", "About", &filter.entity, "repo/octo/app", None))
            (field("actor", "Actor", &filter.actor, "octocat", None))
            (field("since", "Since", &filter.since, "24h or a date", Some("spans")))
            (field("until", "Until", &filter.until, "a date", Some("spans")))
            datalist id="spans" { @for span in ["1h", "24h", "7d", "30d", "90d"] { option value=(span) {} } }
        }
    }
}

fn order(filter: &Filter, sort: &str, text: &str) -> Markup {
    let here = filter.sort == sort || (filter.sort == "worst" && sort.is_empty());
    let link = Filter { sort: sort.into(), ..filter.first_page() };
    html! { a href=(Link::Findings(&link)) aria-current=[here.then_some("true")] { (text) } }
}

fn results(filter: &Filter, found: &Page, now: Timestamp) -> Markup {
    let first = filter.first_page();
    html! {
        div class="bar" {
            p class="total" role="status" {
                strong { (parts::counted(found.total, "finding", "findings")) }
                @if found.total > found.findings.len() as u64 {
                    ", " (found.findings.len()) " on this page"
                }
            }
            p class="orders" {
                (order(filter, "", "Worst first"))
                (order(filter, "newest", "Newest first"))
            }
            p class="exports" {
                "Export "
                a href=(Link::FindingsCsv(&first)) { "CSV" } " "
                a href=(Link::FindingsNdjson(&first)) { "NDJSON" } " "
                a href=(Link::FindingsJson(&first)) { "JSON" }
            }
        }
        @if found.findings.is_empty() {
            p class="empty" {
                @if filter.is_narrow() {
                    "No finding passes this filter. "
                    a href=(Link::Findings(&Filter::default())) { "Show all findings" }
                } @else {
                    "No findings yet. They appear here as soon as a rule fires."
                }
            }
        } @else {
            (parts::findings(&found.findings, now))
        }
        nav class="pages" aria-label="Pages" {
            @if !filter.page.is_empty() { a href=(Link::Findings(&first)) { "First page" } }
            @if let Some(next) = &found.next {
                @let next = Filter { page: next.to_string(), ..filter.clone() };
                a rel="next" href=(Link::Findings(&next)) { "Next page" }
            }
        }
        (parts::command(&first.command()))
    }
}
