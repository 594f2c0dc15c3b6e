use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::Html;
use hubwarden_event::{Finding, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{Place, page};
use super::{ConsoleState, Failed, chart, parts};
use crate::link::{Link, Technique};
use crate::{Filter, TimelineEntry, concept_of, escape};

/// The most of a raw record that a page shows; the JSON has all of it.
const RAW_BYTES: usize = 64 << 10;
/// The longest value that an event's line shows.
const GLANCE_CHARS: usize = 80;

/// One finding: what happened, why it fired, to whom, what to do.
pub(super) async fn show(
    State(state): State<ConsoleState>,
    Path(id): Path<String>,
) -> Result<Html<String>, Failed> {
    let now = (state.clock)();
    let (finding, entries) = state.findings.timeline(&id).await?;
    let content = html! {
        article class="detail" {
            (head(&finding, now))
            div class="columns" {
                div class="stack" {
                    (response(&finding))
                    (reasons(&finding))
                    (timeline(&finding, &entries))
                }
                div class="stack" {
                    (entities(&finding))
                    (facts(&finding))
                    (rule(&finding))
                }
            }
            (parts::command(&format!("hubwarden finding explain {}", escape::terminal(finding.id.short()))))
        }
    };
    Ok(page(&finding.sentence, Place::Findings, &content))
}

fn head(finding: &Finding, now: Timestamp) -> Markup {
    html! {
        header {
            p class="crumbs" {
                a href=(Link::Findings(&Filter::default())) data-up { "Findings" }
                " / " span class="id" { (parts::shown(finding.id.short())) }
            }
            h1 { (parts::shown(&finding.sentence)) }
            p class="badges" {
                (parts::pill(finding.severity))
                span class="badge" { (finding.confidence.as_str()) " confidence" }
                span class="badge" { (parts::events(finding)) }
                @if finding.run.is_drill() { span class="badge tag" { "drill" } }
                span class="note" { "last event " (parts::age(finding.last_seen, now)) }
            }
        }
    }
}

fn response(finding: &Finding) -> Markup {
    html! {
        @if !finding.response.trim().is_empty() {
            section class="response" aria-labelledby="response" {
                h2 id="response" { "What to do first" }
                p class="prose" { (escape::terminal_lines(&finding.response)) }
            }
        }
    }
}

fn reasons(finding: &Finding) -> Markup {
    let usual = finding.reason.iter().any(|reason| reason.usual.is_some());
    html! {
        section aria-labelledby="why" {
            h2 id="why" { "Why it fired" }
            @if finding.reason.is_empty() {
                p class="empty" { "The rule gives no reason of its own." }
            } @else {
                div class="scroll" tabindex="0" role="region" aria-label="Conditions" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Condition" }
                                th scope="col" { "Field" }
                                th scope="col" { "Observed" }
                                th scope="col" { "Threshold" }
                                @if usual { th scope="col" { "Usual" } }
                            }
                        }
                        tbody {
                            @for reason in &finding.reason {
                                tr {
                                    td { (parts::shown(&reason.condition)) }
                                    td { code { (parts::shown(&reason.field)) } }
                                    td class="observed" { (parts::shown(&reason.value)) }
                                    td { (optional(reason.threshold.as_deref())) }
                                    @if usual { td { (optional(reason.usual.as_deref())) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn optional(text: Option<&str>) -> Markup {
    html! { @match text { Some(text) => (parts::shown(text)), None => span class="note" { "–" } } }
}

fn entities(finding: &Finding) -> Markup {
    html! {
        section aria-labelledby="who" {
            h2 id="who" { "Who and what" }
            @if finding.entities.is_empty() {
                p class="empty" { "Nothing is named." }
            } @else {
                dl class="pairs" {
                    @for entity in &finding.entities {
                        div { dt { (parts::shown(&entity.role)) } dd { (parts::entity(entity)) } }
                    }
                }
            }
        }
    }
}

fn facts(finding: &Finding) -> Markup {
    html! {
        section aria-labelledby="facts" {
            h2 id="facts" { "Facts" }
            dl class="pairs" {
                div { dt { "First event" } dd { (parts::time(finding.first_seen)) " UTC" } }
                div { dt { "Last event" } dd { (parts::time(finding.last_seen)) " UTC" } }
                div { dt { "Connection" } dd { (parts::shown(finding.connection.as_str())) } }
                div { dt { "Run" } dd { (parts::shown(finding.run.as_str())) } }
                div { dt { "Revision" } dd { (parts::number(finding.revision)) } }
                div { dt { "Id" } dd class="id" { (parts::shown(finding.id.as_str())) } }
                div {
                    dt { "As JSON" }
                    dd {
                        a href=(Link::FindingJson(&finding.id)) { "finding" } " "
                        a href=(Link::TimelineJson(&finding.id)) { "timeline" }
                    }
                }
            }
        }
    }
}

fn rule(finding: &Finding) -> Markup {
    let rule = &finding.rule;
    let others = Filter { rule: concept_of(&rule.name).into(), ..Filter::default() };
    html! {
        section aria-labelledby="rule" {
            h2 id="rule" { "Rule" }
            p { strong { (parts::shown(&rule.title)) } }
            dl class="pairs" {
                div { dt { "Name" } dd { a href=(Link::Findings(&others)) { (parts::shown(&rule.name)) } } }
                @if let Some(id) = &rule.id { div { dt { "Id" } dd class="id" { (parts::shown(id)) } } }
                div {
                    dt { "Content" }
                    dd class="id" title=(escape::terminal(&rule.hash)) { (parts::shown(&cut(&rule.hash, 12))) }
                }
                @if !rule.attack.is_empty() {
                    div {
                        dt { "ATT&CK" }
                        dd { @for technique in &rule.attack { (attack(technique)) " " } }
                    }
                }
            }
        }
    }
}

fn attack(text: &str) -> Markup {
    html! {
        @match Technique::parse(text) {
            Some(technique) => a rel="noreferrer" href=(Link::Technique(technique)) { (text) },
            None => (parts::shown(text)),
        }
    }
}

fn timeline(finding: &Finding, entries: &[TimelineEntry]) -> Markup {
    let moments: Vec<Timestamp> = entries.iter().map(|entry| entry.evidence.occurred_at).collect();
    let shown = entries.len() as u64;
    html! {
        section aria-labelledby="timeline" {
            h2 id="timeline" {
                "Timeline and raw events "
                span class="note" {
                    @if finding.count > shown {
                        "the first " (parts::number(shown)) " of " (parts::events(finding)) ", "
                    }
                    "UTC"
                }
            }
            (chart::lane(&moments))
            ol class="events" {
                @for entry in entries { (event(entry, finding.first_seen)) }
            }
        }
    }
}

fn event(entry: &TimelineEntry, start: Timestamp) -> Markup {
    let evidence = &entry.evidence;
    let id = evidence.id.to_string();
    html! {
        li {
            details {
                summary {
                    (parts::time(evidence.occurred_at))
                    span class="offset" { (offset(evidence.occurred_at.millis_since(start))) }
                    code class="action" { (parts::shown(&evidence.action)) }
                    span class="glance" { (glance(entry)) }
                }
                p class="note" { (id) }
                (fields(entry))
                (raw(entry))
            }
        }
    }
}

/// How long after the first event.
fn offset(millis: i64) -> String {
    if millis <= 0 {
        return "start".into();
    }
    let seconds = millis / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("+{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("+{minutes}:{seconds:02}")
    }
}

/// The fields that tell most of an event, without their names.
fn glance(entry: &TimelineEntry) -> Markup {
    let record = &entry.evidence.record;
    let mut values: Vec<Cow<'_, str>> = Vec::new();
    for name in ["actor", "user", "repo", "org", "actor_ip"] {
        if let Some(Value::String(text)) = record.get(name)
            && !text.is_empty()
            && values.len() < 4
        {
            values.push(cut(text, GLANCE_CHARS));
        }
    }
    html! { @for value in &values { span { (parts::shown(value)) } } }
}

fn fields(entry: &TimelineEntry) -> Markup {
    html! {
        dl class="fields" {
            @for (name, value) in &entry.evidence.record {
                div { dt { (parts::shown(name)) } dd { (parts::shown(&plain(value))) } }
            }
        }
    }
}

/// A value as text: strings without quotes, the rest as JSON.
fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn raw(entry: &TimelineEntry) -> Markup {
    let Some(raw) = &entry.raw else {
        return html! { p class="note" { "The record as GitHub sent it is no longer kept; the fields above are a copy." } };
    };
    let part = &raw[..raw.len().min(RAW_BYTES)];
    let text = String::from_utf8_lossy(part);
    html! {
        p class="note" {
            "As GitHub sent it, " (parts::counted(raw.len() as u64, "byte", "bytes"))
            @if part.len() < raw.len() { ", of which the first " (part.len()) " are shown" }
        }
        pre tabindex="0" { (escape::terminal_lines(&text)) }
    }
}

fn cut(text: &str, chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_from_the_first_event() {
        for (millis, text) in
            [(0, "start"), (-5, "start"), (61_000, "+1:01"), (3_661_000, "+1:01:01")]
        {
            assert_eq!(offset(millis), text);
        }
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("héllo", 2), "hé…");
        assert_eq!(cut("hé", 2), "hé");
    }
}
