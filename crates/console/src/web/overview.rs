use axum::extract::State;
use axum::response::Html;
use hubwarden_event::{BlindRule, Severity, SourceHealth, SourceStatus, Timestamp};
use maud::{Markup, html};

use super::layout::{Place, page};
use super::{ConsoleState, Failed, chart, parts};
use crate::link::Link;
use crate::{
    DayCount, EntityCount, Error, Filter, FindingQuery, Order, Page, RuleCount, SeverityCounts,
    Status,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The days that the chart and the most frequent rules and things look back.
const DAYS: u16 = 30;
const TOP: usize = 6;
const NEWEST: usize = 8;

/// Everything that the page tells.
struct Overview {
    now: Timestamp,
    status: Status,
    counts: SeverityCounts,
    recent: SeverityCounts,
    days: Vec<DayCount>,
    rules: Vec<RuleCount>,
    entities: Vec<EntityCount>,
    newest: Page,
    unreadable: u64,
}

/// Is something wrong? Am I blind?
pub(super) async fn show(State(state): State<ConsoleState>) -> Result<Html<String>, Failed> {
    let now = (state.clock)();
    let overview = ask(&state, now).await?;
    let content = html! {
        h1 class="visually-hidden" { "Overview" }
        div class="answers" {
            (wrong(&overview))
            (blind(&overview))
        }
        (tiles(&overview))
        div class="columns" {
            div class="stack" {
                section aria-labelledby="days" {
                    h2 id="days" { "Findings per day" }
                    (chart::per_day(&overview.days, DAYS, now))
                }
                (rules(&overview.status))
            }
            div class="stack" {
                section aria-labelledby="rules" {
                    h2 id="rules" { "Most frequent rules " span class="note" { "30 days" } }
                    (top_rules(&overview.rules))
                }
                section aria-labelledby="things" {
                    h2 id="things" { "Who and what " span class="note" { "30 days" } }
                    (top_entities(&overview.entities))
                }
            }
        }
        section aria-labelledby="newest" {
            h2 id="newest" { "Newest findings" }
            @if overview.newest.findings.is_empty() {
                p class="empty" { "No findings yet. They appear here as soon as a rule fires." }
            } @else {
                (parts::findings(&overview.newest.findings, now))
                p class="more" {
                    a href=(Link::Findings(&Filter { sort: "newest".into(), ..Filter::default() })) {
                        "All " (parts::counted(overview.newest.total, "finding", "findings"))
                    }
                }
            }
        }
        section id="sources" aria-labelledby="sources-title" {
            h2 id="sources-title" { "Sources" }
            (sources(&overview.status.sources, now))
        }
        (parts::command("hubwarden status"))
    };
    Ok(page("Overview", Place::Overview, &content))
}

async fn ask(state: &ConsoleState, now: Timestamp) -> Result<Overview, Error> {
    let store = state.findings.store();
    let yesterday = now.plus_millis(-DAY_MS);
    let month = now.floor_to(DAY_MS).plus_millis(-i64::from(DAYS - 1) * DAY_MS);
    let newest = FindingQuery { order: Order::Newest, limit: NEWEST, ..FindingQuery::default() };
    let (counts, days, rules, entities, newest, unreadable) = tokio::try_join!(
        store.severity_counts(),
        store.per_day(month),
        store.top_rules(month, TOP),
        store.top_entities(month, TOP),
        store.list(newest),
        store.unreadable(),
    )?;
    let mut recent = SeverityCounts::default();
    for severity in Severity::ALL {
        let query = FindingQuery {
            severities: vec![severity],
            since: Some(yesterday),
            ..FindingQuery::default()
        };
        recent.add(severity, store.count(query).await?);
    }
    let status = (state.status)();
    Ok(Overview { now, status, counts, recent, days, rules, entities, newest, unreadable })
}

/// The answer to a question whose good answer is no.
#[derive(Clone, Copy)]
enum Reply {
    No,
    Partly,
    Yes,
}

fn answer(reply: Reply, question: &str, answer: &str, more: &Markup) -> Markup {
    let (class, mark, word) = match reply {
        Reply::No => ("answer good", "✓", "No"),
        Reply::Partly => ("answer partly", "!", "Partly"),
        Reply::Yes => ("answer bad", "!", "Yes"),
    };
    html! {
        section class=(class) aria-label=(question) {
            span class="mark" aria-hidden="true" { (mark) }
            div {
                p class="question" { (question) " " strong { (word) } }
                p class="reply" { (answer) }
                (more)
            }
        }
    }
}

/// Every finding is open until somebody can close it, so all of them count.
fn wrong(overview: &Overview) -> Markup {
    let open = |severity| overview.counts.of(severity);
    let (critical, high) = (open(Severity::Critical), open(Severity::High));
    let recent = overview.recent.of(Severity::Critical) + overview.recent.of(Severity::High);
    let text = if critical + high == 0 {
        "No finding is critical or high.".to_owned()
    } else {
        let (critical, high) = (parts::number(critical), parts::number(high));
        let recent = parts::number(recent);
        format!(
            "{critical} critical and {high} high findings are open, {recent} had events in the last 24 hours."
        )
    };
    let filter = Filter { severities: vec!["critical".into(), "high".into()], ..Filter::default() };
    let more = html! {
        @if critical + high > 0 { p { a href=(Link::Findings(&filter)) { "Show them" } } }
    };
    let reply = if critical + high == 0 { Reply::No } else { Reply::Yes };
    answer(reply, "Is something wrong?", &text, &more)
}

fn blind(overview: &Overview) -> Markup {
    let Status { sources, rules, .. } = &overview.status;
    let unseen: Vec<&SourceStatus> =
        sources.iter().filter(|source| source.health(overview.now).is_blind()).collect();
    let count = |number: usize, one, many| parts::counted(number as u64, one, many);
    let mut problems = Vec::new();
    if sources.is_empty() {
        problems.push("no source is connected".to_owned());
    }
    if !unseen.is_empty() {
        problems.push(format!(
            "{} of {} cannot be relied on",
            unseen.len(),
            count(sources.len(), "source", "sources")
        ));
    }
    if rules.loaded == 0 {
        problems.push("no rule is loaded".to_owned());
    }
    if !rules.blind.is_empty() {
        problems.push(format!("{} cannot fire", count(rules.blind.len(), "rule", "rules")));
    }
    if !rules.refused.is_empty() {
        problems.push(format!("{} refused", count(rules.refused.len(), "rule file", "rule files")));
    }
    if overview.unreadable > 0 {
        problems.push(format!(
            "{} could not be read",
            parts::counted(overview.unreadable, "finding", "findings")
        ));
    }
    let text = if problems.is_empty() {
        format!(
            "{} read to the present, {} judging.",
            count(sources.len(), "source", "sources"),
            count(rules.loaded, "rule", "rules")
        )
    } else {
        let mut text = problems.join(", ");
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        text + "."
    };
    let more =
        html! { @if !problems.is_empty() { p { a href="#sources" { "See what and why" } } } };
    let reply = match problems.is_empty() {
        true => Reply::No,
        false if sources.is_empty() || !unseen.is_empty() || rules.loaded == 0 => Reply::Yes,
        false => Reply::Partly,
    };
    answer(reply, "Am I blind?", &text, &more)
}

fn tiles(overview: &Overview) -> Markup {
    html! {
        section aria-labelledby="open" {
            h2 id="open" class="visually-hidden" { "Open findings by severity" }
            ul class="tiles" {
                @for severity in parts::worst_first() {
                    @let count = overview.counts.of(severity);
                    @let filter = Filter { severities: vec![severity.to_string()], ..Filter::default() };
                    li {
                        a class={ "tile sev-" (severity) @if count == 0 { " none" } } href=(Link::Findings(&filter)) {
                            span class="label" { (parts::shape(severity)) (severity) }
                            span class="value" { (parts::number(count)) span class="visually-hidden" { " open" } }
                            span class="delta" {
                                @match overview.recent.of(severity) {
                                    0 => "none in 24 h",
                                    recent => (format!("{} in 24 h", parts::number(recent))),
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn top_rules(rules: &[RuleCount]) -> Markup {
    let most = rules.iter().map(|rule| rule.findings).max().unwrap_or(0);
    let rows = rules.iter().map(|rule| {
        let filter = Filter { rule: rule.concept.clone(), ..Filter::default() };
        let link = html! { a href=(Link::Findings(&filter)) { (parts::shown(&rule.title)) } };
        (link, rule.worst, rule.findings)
    });
    top("Rule", most, rows)
}

fn top_entities(entities: &[EntityCount]) -> Markup {
    let most = entities.iter().map(|entity| entity.findings).max().unwrap_or(0);
    let rows = entities.iter().map(|entity| {
        let name = format!("{}/{}", entity.kind, entity.name);
        let filter = Filter { entity: name, ..Filter::default() };
        let link = html! {
            a class="entity" href=(Link::Findings(&filter)) {
                span class="kind" { (parts::shown(&entity.kind)) } " " span class="name" { (parts::shown(&entity.name)) }
            }
        };
        (link, entity.worst, entity.findings)
    });
    top("Name", most, rows)
}

fn top(what: &str, most: u64, rows: impl Iterator<Item = (Markup, Severity, u64)>) -> Markup {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return html! { p class="empty" { "None." } };
    }
    html! {
        table class="top" {
            thead class="visually-hidden" {
                tr { th scope="col" { (what) } th scope="col" { "Worst" } th scope="col" { "Share" } th scope="col" { "Findings" } }
            }
            tbody {
                @for (name, worst, findings) in rows {
                    tr {
                        td class="name" { (name) }
                        td class={ "worst sev-" (worst) } {
                            span class="visually-hidden" { (worst) }
                            (parts::shape(worst))
                        }
                        td class="share-of" { (chart::share(findings, most, worst)) }
                        td class="n" { (parts::number(findings)) }
                    }
                }
            }
        }
    }
}

fn sources(sources: &[SourceStatus], now: Timestamp) -> Markup {
    if sources.is_empty() {
        return html! {
            p class="empty" { "No source is connected. Connect one: " code { "hubwarden connect github" } }
        };
    }
    html! {
        ul class="sources" {
            @for source in sources {
                @let health = source.health(now);
                li class={ "source health-" (health.as_str()) } {
                    p class="title" {
                        (health_mark(health))
                        strong { (parts::shown(&source.connection)) }
                        " " span class="kind" { (parts::shown(&source.feed)) " " (parts::shown(&source.scope)) }
                    }
                    dl {
                        (fact("Last event", &html! {
                            @match source.last_event { Some(moment) => (parts::age(moment, now)), None => "none yet" }
                        }))
                        (fact("Lag", &html! {
                            @match source.lag_ms(now) {
                                _ if source.finished => "–",
                                Some(lag) => (parts::length(lag)),
                                None => "unknown",
                            }
                        }))
                        (fact("Errors", &html! { (parts::number(source.errors)) }))
                        (fact("Records", &html! { (parts::number(source.records)) }))
                        @if let Some(backfill) = &source.backfill {
                            @let percent = backfill.percent();
                            (fact("Backfill", &html! {
                                progress max="100" value=(percent)
                                    aria-label={ "Backfill of " (parts::shown(&source.scope)) } {}
                                " " (percent) " %"
                                span class="note" { " from " (parts::day(backfill.from)) }
                            }))
                        }
                    }
                    @if let Some(error) = source.last_error.as_deref().filter(|_| source.errors > 0) {
                        p class="error" { (parts::shown(error)) }
                    }
                    @if let Some(lost) = &source.lost {
                        p class="error" { (parts::shown(lost)) }
                    }
                }
            }
        }
    }
}

fn health_mark(health: SourceHealth) -> Markup {
    let mark = match health {
        SourceHealth::Healthy | SourceHealth::Finished => "✓",
        SourceHealth::Starting => "…",
        SourceHealth::Paused => "Ⅱ",
        SourceHealth::Stale | SourceHealth::Failing => "!",
    };
    html! { span class="health" { span aria-hidden="true" { (mark) } " " (health.as_str()) } }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (*value) } } }
}

fn rules(status: &Status) -> Markup {
    let rules = &status.rules;
    let list = |title: &str, rules: &[BlindRule]| {
        html! {
            @if !rules.is_empty() {
                details open[rules.len() <= 5] {
                    summary { (title) " (" (rules.len()) ")" }
                    ul class="plain" {
                        @for rule in rules {
                            li { code { (parts::shown(&rule.name)) } " " span class="note" { (parts::shown(&rule.reason)) } }
                        }
                    }
                }
            }
        }
    };
    html! {
        section aria-labelledby="rules-loaded" {
            h2 id="rules-loaded" { "Rules" }
            p {
                (parts::counted(rules.loaded as u64, "rule", "rules")) " loaded, "
                (rules.blind.len()) " of them blind, "
                (parts::counted(rules.refused.len() as u64, "file", "files")) " refused."
                @for stage in &status.stages {
                    " " span class="stage" {
                        (parts::shown(&stage.name)) ": "
                        @if stage.lag == 0 { "up to date" } @else { (parts::counted(stage.lag, "record", "records")) " behind" }
                    }
                }
            }
            (list("Cannot fire until they get what they lack", &rules.blind))
            (list("Could not be loaded", &rules.refused))
        }
    }
}
